//! Catga on NATS: core and JetStream transports, an event store, an inbox, checkpoints and dead letters.
//!
//! It is a crate of its own because it brings async-nats and tokio with it. It works with nats-server 2.9.10 and newer.
//!
//! ```no_run
//! use catga_contract::{Parcel, Registration, Transport};
//! use catga_nats::{Nats, NatsOptions, NatsTransport, TransportOptions};
//!
//! # async fn run(parcel: Parcel) -> catga_contract::Result<()> {
//! let nats = Nats::connect("nats://127.0.0.1:4222", NatsOptions::default()).await?;
//! let transport = NatsTransport::jetstream(&nats, TransportOptions::default()).await?;
//! transport.register(&[Registration::new("shop.mail".into(), vec!["catga.orders.placed".into()])]).await?;
//! let mut outcomes = Vec::new();
//! transport.publish(&[parcel], &mut outcomes).await?; // stored, known already, unknown or refused: one for each
//! # Ok(())
//! # }
//! ```
//!
//! # What an acknowledgement means
//!
//! - **JetStream** answers when it has written the message, not when the disk has it: the server flushes every two
//!   minutes by default, and 2.9.10 cannot be told otherwise. What was acknowledged survives the death of the server's
//!   process, not a power cut; with three replicas it survives the loss of one machine.
//! - **An answer that is lost** says nothing. A publish is repeated under the same `Nats-Msg-Id` until its deadline, so
//!   that within the stream's duplicate window each message is stored once; then its outcome is unknown.
//! - **Core NATS** acknowledges nothing. What a broken connection loses, nobody knows; what is dropped here is counted
//!   ([`Nats::dropped`]).
//!
//! There is no outbox in NATS: it would have to commit with the business rows. Keep the rows and the outbox in
//! `catga-sqlite` and let its relay publish through this transport.
//!
//! # Tasks
//!
//! async-nats runs one task for each connection. A JetStream subscription has one more, which tells the server while
//! handlers work; it ends with the subscription.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bucket;
mod checkpoints;
mod connect;
mod consumer;
mod core;
mod dotnet;
mod error;
mod events;
mod frame;
mod heart;
mod inbox;
mod letters;
mod log;
mod names;
mod publish;
mod settle;
mod stream;
mod subscription;
mod transport;
mod tries;

pub use crate::{
    checkpoints::NatsCheckpoints,
    connect::{Nats, NatsOptions},
    consumer::ConsumerOptions,
    dotnet::{Dotnet, DotnetMessage, Snowflake},
    events::NatsEvents,
    frame::Framing,
    inbox::{NatsClaim, NatsInbox},
    letters::NatsLetters,
    settle::NatsSettler,
    stream::StreamOptions,
    subscription::NatsSubscription,
    transport::{NatsTransport, TransportOptions},
};
