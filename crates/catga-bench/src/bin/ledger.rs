//! Prints the ledger; see `catga_bench::ledger`.
#![forbid(unsafe_code)]

use catga_buf::CountingAlloc;
use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc::system();

/// Count what an operation of each path allocates.
///
/// Exit codes: 0 all numbers are the expected ones, 1 one differs or could not be measured, 2 usage.
#[derive(Debug, Parser)]
#[command(name = "ledger")]
struct Cli {
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

fn main() -> catga::Result<ExitCode> {
    let holds = catga_bench::ledger::print(Cli::parse().json, &mut std::io::stdout().lock())?;
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
