//! What parent and worker say to each other: one JSON value a line, commands on the worker's stdin and reports on its
//! stdout.

use catga_order_system::PlaceOrder;
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    time::{SystemTime, UNIX_EPOCH},
};

/// What the parent asks for.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Command<'a> {
    /// Place this order and answer under this number.
    Place {
        /// Names the attempt towards the parent.
        attempt: u64,
        /// What to place.
        order: Cow<'a, PlaceOrder>,
    },
    /// Say so as soon as outbox and queues are empty.
    AwaitIdle,
}

/// What the worker says.
#[derive(Debug, Deserialize, Serialize, PartialEq)]
pub(crate) enum Report {
    /// It takes commands now.
    Ready {
        /// Memory that the process holds, in bytes.
        rss: u64,
    },
    /// The end of an attempt to place an order.
    Answer {
        /// The number that the command gave.
        attempt: u64,
        /// When the answer came, which is after the commit: microseconds since 1970.
        at: u64,
        /// What it was.
        answer: Answer,
    },
    /// Something happened to a delivery.
    Delivery {
        /// The consumer's durable name.
        consumer: String,
        /// The message's id.
        id: String,
        /// Which try it is, 1 for the first.
        attempt: u64,
        /// When, in microseconds since 1970.
        at: u64,
        /// What happened.
        step: Step,
    },
    /// A parcel was handed over a second time.
    Twice {
        /// The message's id.
        id: String,
    },
    /// Outbox and queues are empty.
    Idle,
    /// It ends, because its input ended.
    End {
        /// Memory that the process holds, in bytes.
        rss: u64,
    },
}

/// How an attempt ended.
#[derive(Debug, Deserialize, Serialize, PartialEq)]
pub(crate) enum Answer {
    /// The order stands.
    Ok {
        /// Whether it stood already.
        existed: bool,
        /// The id of the event that announced it.
        event: Option<String>,
    },
    /// The order is refused.
    Refused(String),
    /// It failed; nothing of it may stay.
    Failed(String),
    /// It may have happened or not.
    Unknown(String),
}

/// What happens to a delivery.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its handler is about to run.
    Started,
    /// What it wrote is durable.
    Committed,
    /// It was handled before.
    Duplicate,
    /// Its handler failed.
    Failed,
    /// It is a dead letter now.
    Buried,
}

impl Step {
    /// The step that a tracing event of target `catga::delivery` speaks of.
    pub(crate) fn named(message: &str) -> Option<Self> {
        Some(match message {
            "started" => Self::Started,
            "committed" => Self::Committed,
            "duplicate" => Self::Duplicate,
            "failed" => Self::Failed,
            "buried" => Self::Buried,
            _ => return None,
        })
    }
}

/// The time by the clock of this machine, which parent and worker share, in microseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
