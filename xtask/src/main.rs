//! The project's own commands: `cargo xtask test` runs every check there is, `cargo xtask readme` fills the README's
//! programs in from the examples, `cargo xtask ledger` and `cargo xtask bench` measure.
//!
//! It is a crate of its own so that the commands need nothing but cargo, and so that the tidy rules of the whole
//! repository have a place to be ordinary tests in.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod book;
mod conformance;
mod counts;
mod demo;
mod measure;
mod orders;
mod readme;
mod runner;
mod sabotage;
mod sheet;
mod steps;
mod symbol;
#[cfg(test)]
mod tidy;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands", disable_version_flag = true)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs every check; ends with a table and the number of tests
    Test(steps::Options),
    /// Copies the first programs from crates/catga/examples into README.md
    Readme {
        /// Changes nothing; fails where README.md differs from the programs
        #[arg(long)]
        check: bool,
    },
    /// Counts what an operation of each path allocates; fails where a number is not the expected one
    #[command(disable_help_flag = true)]
    Ledger(measure::Options),
    /// Measures times: `send` and what it is made of; `bench send --help` says what it takes
    #[command(disable_help_flag = true)]
    Bench(measure::Options),
    /// Breaks the stores on purpose, one defect after the other; fails where no case of the conformance suite sees it
    Sabotage(sabotage::Options),
    /// Writes docs/guarantees.md from what the conformance suite shows
    Sheet {
        /// Changes nothing; fails where the page differs
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let passed = |passed| if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let done = match Args::parse().verb {
        Verb::Test(options) => steps::run(&options).map(passed),
        Verb::Readme { check: true } => readme::check().map(|()| ExitCode::SUCCESS),
        Verb::Readme { check: false } => readme::fill().map(|()| ExitCode::SUCCESS),
        Verb::Ledger(options) => measure::run("ledger", &options),
        Verb::Bench(options) => measure::run("bench", &options),
        Verb::Sabotage(options) => sabotage::run(&options).map(passed),
        Verb::Sheet { check } => sheet::run(check).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
