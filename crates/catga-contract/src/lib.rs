//! What Catga's adapters implement and its users rely on: [`Message`], [`Handler`], [`Envelope`], [`Transport`],
//! [`UnitOfWork`], [`Outbox`], [`Error`].
//!
//! It is a crate of its own so that a backend depends on these few traits and on nothing else: no runtime, no serde,
//! no message type. Applications use the `catga` crate, which re-exports what they need.
//!
//! # Layout
//!
//! | module | holds |
//! |---|---|
//! | `error` | [`Error`], one word wide, whose [`ErrorKind`] says what can be done |
//! | `message`, `id`, `key` | what a message is, how it is named, identified and partitioned |
//! | `envelope` | the bytes of a message on the road, specified in `docs/frame.md` |
//! | `call`, `context`, `resources`, `handler` | a call, what handlers take from it, and plain `async fn`s as handlers |
//! | `unit`, `tx`, `later`, `nested` | the unit of work, [`Tx`], the open transaction in a handler's hands, [`Later`], one that it begins itself, and [`Nested`], one that it lends to another handler |
//! | `behavior` | what is put around handlers |
//! | `transport`, `outbox` | what carries messages, and what keeps them until they have left |
//! | `inbox`, `events`, `letters` | what remembers what was done, what happened, and what could not be handled |
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod behavior;
mod boxed;
mod call;
mod context;
mod envelope;
mod error;
mod events;
mod handler;
mod holding;
mod id;
mod inbox;
mod key;
mod later;
mod letters;
mod message;
mod nested;
mod outbox;
mod resources;
mod transport;
mod tx;
mod unit;

pub use crate::{
    behavior::{Behavior, Behaviors, With},
    boxed::{BoxEventStore, BoxFuture, BoxSettler, BoxSubscription, BoxTransport},
    call::{Call, FromCall, State},
    context::{Context, SendOptions},
    envelope::{Envelope, Headers},
    error::{BoxError, Error, ErrorKind, Result},
    events::{Checkpoints, EventStore, EventsInTx, Expect, NewEvent, Recorded},
    handler::{FnHandler, Handler, HandlerExt, HandlerFn, IntoHandler, Stacked, kind},
    holding::Patience,
    id::MessageId,
    inbox::{Entered, Inbox},
    key::{Key, ToKey, partition},
    later::Later,
    letters::{DeadLetters, Letter, LetterId, NewLetter},
    message::{Codec, Event, JsonForm, Message, Request, Wire},
    nested::Nested,
    outbox::{Fence, Lease, Outbox, Outgoing, PublishOptions, Row},
    resources::{Fault, Needs, Resources},
    transport::{
        Capabilities, Delivery, Durability, Order, Outcome, Parcel, Registration, Settle, Settler, SubscribeOptions,
        Subscription, Token, Transport,
    },
    tx::Tx,
    unit::{AnyUnit, Entry, InboxKey, Savepoint, StoreId, Unit, UnitOfWork},
};
pub use catga_buf::{Sink, Str};

/// Where messages go: a dotted name of at most 255 bytes, such as `catga.orders.placed`.
pub type Subject = Str;

#[doc(hidden)]
pub mod __private {
    pub use crate::{
        holding::{refuse_if_held, scope},
        key::ToKey,
        message::{
            keep::{Keep, KeepAny, KeepResult},
            open,
        },
        resources::check_subject,
    };
}
