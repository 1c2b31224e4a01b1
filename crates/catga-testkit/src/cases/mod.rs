//! The cases, a module for each group. What each of them shows stands in the registry.
#![allow(missing_docs, reason = "the registry has the promise of each case")]

pub mod bad_data;
mod capabilities;
pub mod durable;
pub mod effects;
pub mod events;
pub mod inbox;
pub mod letters;
pub mod models;
mod order;
pub mod outbox;
pub mod resource;
pub mod settlement;
pub mod transport;
pub mod unit;

pub use capabilities::*;
pub use durable::{durable_events, durable_inbox, durable_letters, durable_unit};
pub use events::{checkpoints, events_in_tx};
pub use inbox::inbox_in_tx;
pub use letters::{park, replay};
pub use models::{model_checkpoints, model_events, model_inbox, model_letters, model_queue, model_unit};
pub use order::{no_order_key, order_key, order_stream};
pub use unit::breaks;

pub mod unit_queue {
    pub use super::unit::{
        a_dropped_transaction_settles_nothing, a_letter_commits_with_its_transaction,
        a_settlement_commits_with_its_transaction,
    };
}
