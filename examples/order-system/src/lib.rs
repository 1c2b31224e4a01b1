//! A small order system on Catga, written as an application would write it: on the public API alone.
//!
//! An order is one command. Its handler writes the order and announces it in the same transaction; three consumers
//! take it from there:
//!
//! ```text
//! PlaceOrder ──▶ orders, order_items ──▶ OrderPlaced ──▶ billing: invoices ──▶ Invoiced ──▶ mail: mails
//!                                                   └──▶ stock: stock_moves
//! ```
//!
//! Every arrow survives a killed process, and every row on the way is written once: an invoice commits together with
//! the mark that its event was handled and with the event that follows from it. `src/main.rs` runs it in one process;
//! `catga demo` runs the same handlers in a process that it kills.
//!
//! # Layout
//!
//! | module | holds |
//! |---|---|
//! | `messages` | what is asked for and what is announced |
//! | `schema` | the tables, as versioned migrations |
//! | `handlers` | what is done about it |
//! | `mishaps` | a way to make handlers fail on purpose |
#![forbid(unsafe_code)]

mod handlers;
mod messages;
mod mishaps;
mod schema;

pub use crate::{
    messages::{Invoiced, Item, OrderPlaced, PlaceOrder, Placed, Refusal, total_cents},
    mishaps::{Mishap, Mishaps},
    schema::MIGRATIONS,
};

use catga::Builder;

/// Adds the order system to an application: its command, its consumers `billing`, `stock` and `mail`, and the mishaps
/// that shall befall them ([`Mishaps::never`] outside of tests).
pub fn wire(builder: Builder, mishaps: Mishaps) -> Builder {
    builder
        .state(mishaps)
        .handle(handlers::place)
        .on("billing", handlers::bill)
        .on("stock", handlers::move_stock)
        .on("mail", handlers::mail)
}
