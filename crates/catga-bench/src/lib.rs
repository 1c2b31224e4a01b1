//! Measures Catga: what each path allocates, and what it costs beside the bare call and beside its peers.
//!
//! A crate of its own because it is for those who work on Catga: nothing that is published depends on it.
//!
//! - **The ledger** ([`ledger`]): one row a path, with the exact number of allocations an operation makes. A test fails
//!   where a number differs, in either direction.
//! - **The harness** ([`harness`]): candidates take turns, round by round, so that a machine which slows down slows all
//!   of them; medians with their spread, ratios within a round, allocations and bytes an operation, bounds.
//! - **The bare baselines** ([`bare`]): the best code that one would write without Catga, a file each.
//! - **The peers**: crates of others in `peers/`, a workspace of its own, run as child processes that take their turns.
//!
//! ```text
//! cargo run --release -p catga-bench --bin ledger
//! cargo run --release -p catga-bench --bin bench -- send --peers --gate
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod bare;
pub mod harness;
pub mod ledger;
mod machine;
pub mod parts;
mod peer;
mod ready;
mod report;
pub mod send;
pub mod shop;

pub use crate::{
    machine::Machine,
    peer::Peer,
    ready::ready,
    report::{Baseline, print},
};
