//! Measures times; see `catga_bench::harness`.
#![forbid(unsafe_code)]

use catga::{Error, Result};
use catga_bench::{Baseline, harness, parts, print, send};
use catga_buf::CountingAlloc;
use clap::{Args, Parser, Subcommand};
use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc::system();

/// Measure what Catga's paths cost, beside the bare call and beside its peers.
///
/// Exit codes: 0 measured, 1 a bound is missed under `--gate` or something failed, 2 usage.
#[derive(Debug, Parser)]
#[command(name = "bench", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Requests and events within the process
    Send {
        #[command(flatten)]
        options: Options,
        /// Measure `catga-core` 0.2, too; builds it
        #[arg(long)]
        peers: bool,
        /// Fail where a bound is missed
        #[arg(long)]
        gate: bool,
    },
    /// What a send is made of
    Parts {
        #[command(flatten)]
        options: Options,
    },
}

#[derive(Debug, Args)]
struct Options {
    /// How often the candidates take turns
    #[arg(long, default_value_t = 201, value_parser = clap::value_parser!(u16).range(5..))]
    rounds: u16,
    /// How long a turn takes, in milliseconds
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    turn: u16,
    /// Time operations one by one, too: p50, p99, p99.9
    #[arg(long)]
    latency: bool,
    /// Count instructions, too, by valgrind's callgrind; takes some seconds for each candidate
    #[arg(long)]
    instructions: bool,
    /// Run this candidate alone and measure nothing
    #[arg(long, hide = true, requires = "iterations")]
    only: Option<String>,
    #[arg(long, hide = true)]
    iterations: Option<u64>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    /// Print Markdown, as without this
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Compare with what `--json` printed earlier into this file
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    baseline: Option<PathBuf>,
}

impl Options {
    fn plan(&self) -> harness::Plan {
        let turn = Duration::from_millis(self.turn.into());
        let only = self.only.clone().zip(self.iterations);
        harness::Plan { rounds: self.rounds.into(), turn, latency: self.latency, only }
    }
}

fn main() -> Result<ExitCode> {
    let (mut report, verb, gate, options) = match Cli::parse().what {
        What::Send { gate: true, .. } if cfg!(debug_assertions) => {
            return Err(Error::permanent("a debug build says nothing of times: `cargo run --release`"));
        }
        What::Send { options, peers, gate } => (send::run(options.plan(), peers)?, "send", gate, options),
        What::Parts { options } => (parts::run(options.plan())?, "parts", false, options),
    };
    if options.instructions {
        harness::instructions(&mut report, verb)?;
    }
    let mut out = std::io::stdout().lock();
    if options.json {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        print(&report, &mut out)?;
        if let Some(file) = options.baseline {
            let about = |error: Error| error.context(format_args!("reading the baseline {}", file.display()));
            let text = std::fs::read_to_string(&file).map_err(|error| about(error.into()))?;
            let baseline: Baseline = serde_json::from_str(&text).map_err(|error| about(error.into()))?;
            baseline.compare(&report, &mut out)?;
        }
    }
    Ok(if gate && !report.holds() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
