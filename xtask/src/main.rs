//! The project's own commands: `cargo xtask test` runs every check there is, `cargo xtask readme` fills the README's
//! programs in from the examples.
//!
//! It is a crate of its own so that the commands need nothing but cargo, and so that the tidy rules of the whole
//! repository have a place to be ordinary tests in.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod counts;
mod demo;
mod orders;
mod readme;
mod runner;
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
}

fn main() -> ExitCode {
    let done = match Args::parse().verb {
        Verb::Test(options) => steps::run(&options),
        Verb::Readme { check: true } => readme::check().map(|()| true),
        Verb::Readme { check: false } => readme::fill().map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
