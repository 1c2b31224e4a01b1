//! Catga's embedded durable store and queue: one SQLite file in which business writes, inbox marks, outgoing messages
//! and acknowledgements commit together.
//!
//! It is a crate of its own because it brings SQLite with it. Applications turn on the feature `sqlite` of `catga`
//! and name it `catga::sqlite`.
//!
//! ```
//! use catga::{App, Event, Request, Tx, sqlite::Sqlite};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Request, Serialize, Deserialize)]
//! #[catga(name = "orders.place", reply = i64)]
//! struct PlaceOrder { sku: String }
//!
//! async fn place(order: PlaceOrder, mut tx: Tx<Sqlite>) -> catga::Result<i64> {
//!     tx.execute("INSERT INTO orders (sku) VALUES (?1)", [&order.sku])?;
//!     Ok(tx.last_insert_rowid())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> catga::Result<()> {
//! let store = Sqlite::temporary().await?.migrate(&["CREATE TABLE orders (sku TEXT NOT NULL)"]).await?;
//! let app = App::builder("shop").store(store.clone()).handle(place).build().await?;
//! let row = app.send(PlaceOrder { sku: "A-1".into() }).await?;
//! let sku: String = store.read(|db| db.query_row("SELECT sku FROM orders WHERE rowid = ?1", [row], |row| row.get(0)))?;
//! assert_eq!(sku, "A-1");
//! # Ok(())
//! # }
//! ```
//!
//! # How it writes
//!
//! One thread for each open file owns `BEGIN IMMEDIATE`, `COMMIT` and the connection that writes. Whoever wants to
//! write waits for a *turn*: the connection is lent by value, statements run inline, and it comes home when the turn
//! ends. Turns that are waiting when one ends join its transaction, so that concurrent writers share a commit; each
//! has a savepoint, so that none sees another's failure. A transaction ends at 64 turns, after 20 ms, or when nobody
//! waits, whichever is first. The file is in WAL mode with `synchronous=FULL`: what was answered survives a power
//! cut.
//!
//! The thread starts with [`Sqlite::open`] and ends with the last handle.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod claims;
mod error;
mod guard;
mod hub;
mod inbox;
mod letters;
mod lines;
mod open;
mod outbox;
mod queue;
mod sabotage;
mod schema;
mod sweep;
mod transport;
mod tx;
mod unit;
mod writer;

pub use crate::{
    inbox::SqliteClaim, open::Sqlite, transport::SqliteSettler, transport::SqliteSubscription, tx::SqliteTx,
};
pub use rusqlite;
