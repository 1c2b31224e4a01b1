//! Exchange commands, events and queries between Rust services without losing, doubling or needlessly allocating
//! anything.
//!
//! A **message** is a type with a name. A **handler** answers it: a plain `async fn` whose parameters say what it
//! needs. A **store** keeps business rows, outgoing messages and the marks of what was handled, and commits them
//! together. A **consumer** takes events from a durable queue; its effects commit with its acknowledgement.
//!
#![cfg_attr(all(feature = "json", feature = "sqlite"), doc = "```")]
#![cfg_attr(all(feature = "json", feature = "sqlite"), doc = include_str!("../examples/first.rs"))]
#![cfg_attr(all(feature = "json", feature = "sqlite"), doc = "```")]
//!
//! # What is promised
//!
//! On a store with transactions, each consumer's effects happen once for each message, while the marks are kept:
//! mark, business writes, outgoing messages and acknowledgement are one commit. A process may be killed at any moment;
//! what was not committed comes again.
//!
//! # Where to look
//!
//! | for | see |
//! |---|---|
//! | putting an application together, and running it | [`Builder`], [`App`] |
//! | messages, handlers and what they take | the derives [`Request`](macro@Request) and [`Event`](macro@Event), [`HandlerFn`], [`Tx`], [`State`], [`Context`] |
//! | validation, retries, limits, breakers, idempotency | [`behavior`] |
//! | what failed, and what is done about it | [`Error`], [`ErrorKind`] |
//! | a store, transport or codec of one's own | [`UnitOfWork`], [`Transport`], [`Codec`] |
//!
//! # Crate features
//!
//! | feature | default | brings |
//! |---|---|---|
#![cfg_attr(
    feature = "json",
    doc = "| `json` | yes | [`Json`], the codec that the derives name unless told otherwise |"
)]
#![cfg_attr(
    not(feature = "json"),
    doc = "| `json` | yes | JSON, the codec that the derives name unless told otherwise |"
)]
//! | `memorypack` | no | `MemoryPack`, derive and codec: the bytes of .NET's MemoryPack; `catga::memorypack`, the crate |
//! | `msgpack` | no | `MessagePack`, a codec over serde |
//! | `protobuf` | no | `Protobuf`, a codec for types that derive `prost::Message` |
//! | `sqlite` | no | `catga::sqlite`, the embedded durable store and queue |
//! | `nats` | no | `catga::nats`: core NATS and JetStream |
//! | `redis` | no | `catga::redis`: pub/sub, Streams and stores |
//! | `axum` | no | `catga::axum`: commands over HTTP, problems, readiness, shutdown; with `json` |
//! | `cache` | no | `behavior::Cache`, answers kept for a while, by the crate `moka` |
//! | `rate-limit` | no | `behavior::RateLimit`, by the crate `governor` |
//! | `cli` | no | `catga::cli`, the verbs of the `catga` program for a binary of one's own; with `json` |
//!
//! Each brings its own dependencies; none changes what the others do.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod app;
mod ask;
#[cfg(feature = "axum")]
pub mod axum;
mod backoff;
pub mod behavior;
mod build;
mod bus;
#[cfg(feature = "cli")]
pub mod cli;
mod codec;
mod describe;
mod follow;
mod handlers;
pub mod memory;
mod metrics;
mod panic;
mod parts;
mod probe;
mod publish;
mod registry;
mod relay;
mod send;
mod stop;
mod store;
mod streams;
pub mod testing;
mod worker;

#[cfg(feature = "json")]
pub use crate::codec::json::Json;
#[cfg(feature = "memorypack")]
pub use crate::codec::memory_pack::MemoryPack;
#[cfg(feature = "msgpack")]
pub use crate::codec::message_pack::MessagePack;
#[cfg(feature = "protobuf")]
pub use crate::codec::protobuf::Protobuf;
pub use crate::{
    app::App,
    backoff::Backoff,
    build::{Builder, ConsumerBuilder},
    bus::Bus,
    describe::Description,
    follow::Place,
    metrics::Metrics,
    registry::TypeRegistry,
    send::{Failures, send_to},
    streams::Streams,
};
/// What the derives name.
#[doc(hidden)]
pub mod __private {
    #[cfg(feature = "json")]
    pub use crate::codec::json::JsonSerde;
    #[cfg(not(feature = "json"))]
    pub use crate::probe::JsonAny as JsonSerde;
    pub use crate::probe::{JsonAny, JsonProbe};
    pub use catga_contract::{__private::*, JsonForm};
}
#[cfg(feature = "sabotage")]
#[doc(hidden)]
pub use catga_contract::Fault;
pub use catga_contract::{
    Asked, Behavior, Behaviors, BoxError, BoxRequestReply, BoxStreams, BoxTransport, Call, Capabilities, Checkpoints,
    Codec, Context, DeadLetters, Delivery, Durability, Entered, Entry, Envelope, Error, ErrorKind, Event, EventBatch,
    EventStore, EventsInTx, Expect, FromCall, FromEvent, Handler, HandlerExt, HandlerFn, Headers, Inbox, InboxKey,
    IntoHandler, Key, Later, Letter, LetterId, Message, MessageId, Needs, NewEvent, Outbox, Outcome, Parcel,
    PublishOptions, Recorded, Registration, Request, RequestReply, Resources, Result, SendOptions, Server, Settle,
    Settler, Sink, State, StoreId, Str, Subject, SubscribeOptions, Subscription, ToEvents, ToKey, Token, Transport, Tx,
    UnitOfWork, Wire,
};
#[cfg(feature = "memorypack")]
pub use catga_derive::CatgaMemoryPack as MemoryPack;
pub use catga_derive::{Event, EventSet, Request, handler};
/// The MemoryPack format by itself.
#[cfg(feature = "memorypack")]
pub use catga_memorypack as memorypack;
/// Core NATS and JetStream.
#[cfg(feature = "nats")]
pub use catga_nats as nats;
/// Redis pub/sub, Streams and stores.
#[cfg(feature = "redis")]
pub use catga_redis as redis;
/// The embedded durable store and queue: one SQLite file.
#[cfg(feature = "sqlite")]
pub use catga_sqlite as sqlite;
