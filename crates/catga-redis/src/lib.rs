//! Catga on Redis: pub/sub and Streams as transports, and stores whose scripts commit a handler's work at once.
//!
//! It is a crate of its own because it brings a heavy client with it, which has releases of its own.
//!
//! ```no_run
//! use catga::{App, Event, Request, Result, Tx};
//! use catga_redis::{Redis, redis};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Request)]
//! #[catga(name = "orders.place", local)]
//! struct PlaceOrder { sku: String }
//!
//! #[derive(Event, Clone, Serialize, Deserialize)]
//! #[catga(name = "orders.placed")]
//! struct OrderPlaced { sku: String }
//!
//! async fn place(order: PlaceOrder, mut tx: Tx<Redis>) -> Result<()> {
//!     tx.queue(redis::cmd("RPUSH").arg("{shop}:orders").arg(&order.sku))?;
//!     tx.publish(OrderPlaced { sku: order.sku })?;
//!     Ok(())
//! }
//!
//! async fn count(event: OrderPlaced, mut tx: Tx<Redis>) -> Result<()> {
//!     tx.queue(redis::cmd("HINCRBY").arg("{shop}:sold").arg(&event.sku).arg(1))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let redis = Redis::open("redis://localhost:6379/?namespace=shop&strict=true").await?;
//! let app = App::builder("shop").store(redis.clone()).handle(place).on("sales", count).build().await?;
//! app.send(PlaceOrder { sku: "A-1".into() }).await?;
//! app.run_until_idle().await?;
//! let sold: u64 = redis::cmd("HGET").arg("{shop}:sold").arg("A-1").query_async(&mut redis.connection()).await?;
//! assert_eq!(sold, 1); // once: with its mark, and with the acknowledgement
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - [`RedisTransport::streams`], which a [`Redis`] is itself: at least once, as long as the server keeps what it has
//!   acknowledged. [`Redis::promise`] says what it said at start; `strict` refuses one that may forget.
//! - [`RedisTransport::pubsub`]: at most once, and what is lost is counted.
//! - [`RedisTx`]: once for each consumer and message while marks are kept, *provided that no queued command fails at run
//!   time*; Redis rolls nothing back.
//! - Effects that a handler has elsewhere, in another database say, are at least once. The outbox is a hand-off that
//!   survives the process and shares no transaction with such a database.
//!
//! # How it lies in Redis
//!
//! Every key begins with `catga:{namespace}:`, so all of them lie in one slot, and one script may touch any of them.
//! A subject is a stream, `s:` and its name; a consumer is a group on each of its subjects, and on a stream of its own,
//! `q:` and its name, where replays stand. Failed entries stay pending and have their time in `later:`; their tries are
//! counted in `tries:`. A due message waits in `due:` until somebody who receives its subject moves it. What every
//! registered group has settled is trimmed. The folder `lua` has the scripts, which are sent once to a server.
//!
//! # Tasks and connections
//!
//! One connection serves all commands; pub/sub publishes have another. A subscription has one of its own, because its
//! reads wait on the server, and a task that says every third of the lease that it lives, or on pub/sub one that
//! receives; both end with it. A commit runs in a task, so that it goes on when its future is dropped. Nothing else is
//! spawned, but for the client's own tasks that drive its connections.
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
