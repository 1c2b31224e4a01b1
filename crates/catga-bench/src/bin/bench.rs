//! Measures times; see `catga_bench::harness`.
#![forbid(unsafe_code)]

use catga::{Error, Result};
use catga_bench::{harness, parts, pool, print, send};
use catga_buf::CountingAlloc;
use clap::{Args, Parser, Subcommand};
use std::{io::Write, process::ExitCode, time::Duration};

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
    /// Buffers, streams, Base64 and futures in the pool
    Pool {
        #[command(flatten)]
        options: Options,
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
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl Options {
    fn plan(&self) -> harness::Plan {
        let turn = Duration::from_millis(self.turn.into());
        harness::Plan { rounds: self.rounds.into(), turn, latency: self.latency }
    }
}

fn main() -> Result<ExitCode> {
    let (report, gate, json) = match Cli::parse().what {
        What::Send { gate: true, .. } | What::Pool { gate: true, .. } if cfg!(debug_assertions) => {
            return Err(Error::permanent("a debug build says nothing of times: `cargo run --release`"));
        }
        What::Send { options, peers, gate } => (send::run(options.plan(), peers)?, gate, options.json),
        What::Pool { options, gate } => (pool::run(options.plan())?, gate, options.json),
        What::Parts { options } => (parts::run(options.plan())?, false, options.json),
    };
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        print(&report, &mut out)?;
    }
    Ok(if gate && !report.holds() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
