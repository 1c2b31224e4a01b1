//! `catga outbox`: what was committed to be sent and has not left yet.

use crate::rows::{self, Output, seconds};
use anyhow::{Result, anyhow};
use catga::sqlite::{OutboxRow, Sqlite};
use clap::Subcommand;
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

/// What `catga outbox` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file of the store
    #[arg(long, value_name = "FILE", env = "CATGA_STORE", global = true)]
    store: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List messages in the order in which they leave, then those that are due later
    Ls {
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 1_000)]
        most: usize,
        /// How to print them: a table on a terminal and tab-separated lines elsewhere, or JSON
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
}

/// Runs the verb: 0 done, 2 usage or input/output.
pub(crate) fn run(args: &Args) -> ExitCode {
    match work(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("catga outbox: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn work(args: &Args) -> Result<()> {
    let path = args.store.as_ref().ok_or_else(|| anyhow!("which file? Give --store FILE or set CATGA_STORE"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let plain = |error: catga::Error| anyhow!("{error:#}");
    let store = runtime.block_on(Sqlite::open_tool(path)).map_err(plain)?;
    let Verb::Ls { most, output } = &args.verb;
    // One more than asked for shows whether there are more.
    let mut found = store.outbox_rows(most.saturating_add(1)).map_err(plain)?;
    let more = found.len() > *most;
    found.truncate(*most);
    list(&found, *output)?;
    if more {
        eprintln!("there are more; --most N shows them");
    }
    Ok(())
}

fn list(found: &[OutboxRow], output: Output) -> Result<()> {
    let mut out = io::stdout().lock();
    if output.is_json() {
        for row in found {
            let line = serde_json::json!({
                "message_id": row.id.to_string(), "subject": &*row.subject, "key": row.key, "bytes": row.bytes,
                "due": row.due.map(seconds), "attempts": row.attempts, "again": row.again.map(seconds),
                "reason": row.reason,
            });
            writeln!(out, "{line}")?;
        }
        return Ok(());
    }
    let heads = ["message", "subject", "bytes", "due (s since 1970)", "attempts", "again (s since 1970)", "reason"];
    let text = |time: Option<std::time::SystemTime>| time.map_or_else(String::new, |time| seconds(time).to_string());
    let lines = found.iter().map(|row| {
        let (id, subject, reason) = (row.id.to_string(), row.subject.to_string(), row.reason.clone());
        let reason = reason.unwrap_or_default().replace(['\t', '\n'], " ");
        [id, subject, row.bytes.to_string(), text(row.due), row.attempts.to_string(), text(row.again), reason]
    });
    rows::print(&mut out, &heads, lines)
}
