//! What every Catga backend must pass: one conformance suite over all of them, a checker of histories, and models that
//! stores are compared with.
//!
//! It is a crate of its own so that a backend depends on it in its tests only. A backend writes a factory, names the
//! groups of cases that its traits and its capabilities ask for, and has one named test for each case:
//!
//! ```no_run
//! use catga_contract::Result;
//! use catga_testkit::Backend;
//! # use catga_contract::{Capabilities, Outcome, Parcel, Registration, Str, SubscribeOptions, Transport};
//! # #[derive(Clone)] struct Mine;
//!
//! #[derive(Default)]
//! struct Fresh;
//!
//! impl Backend for Fresh {
//!     type Store = Mine;
//!     async fn open(&self) -> Result<Mine> {
//!         Ok(Mine) // a store that nobody else has
//!     }
//! }
//!
//! // In tests/conformance.rs:
//! // catga_testkit::conformance!(mine, Fresh::default(), [inbox, events, checkpoints]);
//! ```
//!
//! A capability adds cases and never removes one: for each there is a group for those that promise it (`delay`) and one
//! for those that deny it (`no_delay`), and a test sees that the groups are those of the declared capabilities.
//! Duplicates are counted, never filtered. Nothing sleeps but up to the bound of a condition, and each case that hangs
//! is ended after [`GUARD`] with its name.
//!
//! [`GROUPS`] lists every case with the promise that it holds.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a case that meets an error it does not expect has failed")]

mod backend;
#[doc(hidden)]
pub mod cases;
mod fault;
mod history;
mod model;
mod registry;
mod run;
mod tools;

pub use crate::{
    backend::{Backend, Breaks, Reopens, Rows},
    fault::{FAULTS, fault, wanted_fault},
    history::{Claim, Demands, End, History, Op, Record, Start, Verdict},
    registry::{Case, GROUPS, Group},
    run::GUARD,
};

#[doc(hidden)]
pub mod __private {
    pub use crate::run::run;
}
