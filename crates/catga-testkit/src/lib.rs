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
//!
//! Without the default feature `suite` there is the [`History`] and its checker alone, as programs use it that check what
//! they did.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a case that meets an error it does not expect has failed")]

#[cfg(feature = "suite")]
mod backend;
#[cfg(feature = "suite")]
#[doc(hidden)]
pub mod cases;
#[cfg(feature = "suite")]
mod fault;
mod history;
#[cfg(feature = "suite")]
mod model;
#[cfg(feature = "suite")]
mod registry;
#[cfg(feature = "suite")]
mod run;
#[cfg(feature = "suite")]
mod tools;

pub use crate::history::{Claim, Demands, End, History, Op, Record, Start, Verdict};
#[cfg(feature = "suite")]
pub use crate::{
    backend::{Backend, Breaks, Reopens, Rows},
    fault::{FAULTS, fault, wanted_fault},
    registry::{Case, GROUPS, Group},
    run::GUARD,
};

#[cfg(feature = "suite")]
#[doc(hidden)]
pub mod __private {
    pub use crate::run::run;
}
