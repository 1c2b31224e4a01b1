//! The `catga` program: `demo`, an order system at work, killed on the way and checked; `describe`; `dlq`; `wire`.
//!
//! # Layout
//!
//! | module | holds |
//! |---|---|
//! | `describe` | what the applications on a file say of themselves |
//! | `dlq` | dead letters |
//! | `demo` | arguments and the whole run |
//! | `demo::director` | the parent's loop: issues orders, kills, restarts |
//! | `demo::child` | the worker process that is killed |
//! | `demo::protocol`, `demo::worker_link` | what the two say to each other, and the pipes between them |
//! | `demo::generate`, `demo::input`, `demo::feed` | where orders come from |
//! | `demo::journal`, `demo::deliveries`, `demo::kills` | what the parent knows: answers, deliveries, kills |
//! | `demo::effects`, `demo::check` | what must follow from the answers, and what the store has of it |
//! | `demo::progress`, `demo::summary`, `demo::report` | what a person or a machine reads |
#![forbid(unsafe_code)]

mod demo;
mod describe;
mod dlq;

use catga::TypeRegistry;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Catga: exchange commands, events and queries without losing or doubling an effect.
///
/// Exit codes: 0 all is well, 1 problems were found, 2 usage or input/output.
#[derive(Debug, Parser)]
#[command(name = "catga", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run an order system on one file, kill its worker on the way, and count what was lost or doubled
    Demo(demo::Args),
    /// Print what the applications on a file handle, consume and promise
    Describe(describe::Args),
    /// Look at dead letters, replay or discard them
    Dlq(dlq::Args),
    /// Take a message's bytes apart, read them, or make them
    #[command(subcommand)]
    Wire(catga::cli::Wire),
    /// The process that the demo kills
    #[command(hide = true)]
    DemoWorker(demo::WorkerArgs),
}

fn main() -> ExitCode {
    match Cli::parse().verb {
        Verb::Demo(args) => demo::run(&args),
        Verb::Describe(args) => describe::run(&args),
        Verb::Dlq(args) => dlq::run(&args),
        // This program knows no messages' types: JSON is read as it stands.
        Verb::Wire(wire) => wire.run(&TypeRegistry::default(), &mut std::io::stdout().lock()),
        Verb::DemoWorker(args) => demo::work(&args),
    }
}
