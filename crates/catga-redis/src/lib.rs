//! Catga on Redis: pub/sub, Streams, and stores.
//!
//! It is a crate of its own because it brings a heavy client with it, which has releases of its own.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod args;
mod commands;
mod dotnet;
mod entry;
mod error;
mod events;
mod inbox;
mod letters;
mod member;
mod options;
mod outbox;
mod promise;
mod pubsub;
mod scripts;
mod store;
mod streams;
mod subscription;
mod transport;
mod tx;
mod unit;

pub use crate::{
    inbox::RedisClaim,
    options::RedisOptions,
    promise::Promise,
    pubsub::Drops,
    store::Redis,
    transport::{RedisSettler, RedisSubscription, RedisTransport},
    tx::RedisTx,
};
pub use redis;
