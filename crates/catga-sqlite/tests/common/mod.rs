//! What the tests of this crate share: a small shop whose handlers can be told what to do.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses a part of it")]

use catga::{
    App, Builder, Context, Event, Request, State, Tx,
    sqlite::{Sqlite, rusqlite},
};
use serde::{Deserialize, Serialize};
use std::sync::Mutex;

/// Without unique constraints, so that a doubled effect is a second row.
pub const SCHEMA: &[&str] = &["
    CREATE TABLE orders (id INTEGER NOT NULL);
    CREATE TABLE mails (order_id INTEGER NOT NULL, consumer TEXT NOT NULL);
"];

#[derive(Request, Serialize, Deserialize)]
#[catga(name = "orders.place", reply = Result<u64, String>)]
pub struct Place(pub u64);

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "orders.placed", key = id)]
pub struct Placed {
    pub id: u64,
}

/// Writes an order and publishes it; refuses order 0 after both.
pub async fn place(Place(id): Place, mut tx: Tx<Sqlite>) -> catga::Result<Result<u64, String>> {
    tx.execute("INSERT INTO orders (id) VALUES (?1)", [id])?;
    tx.publish(Placed { id })?;
    Ok(if id == 0 { Err("no order 0".into()) } else { Ok(id) })
}

/// What a consumer does in a try, after it wrote its row: decided by the test.
pub type Deed = Box<dyn Fn(u64, u32, &mut Tx<Sqlite>) -> catga::Result<()> + Send + Sync>;

/// What [`mail`] does, and which tries it saw, as (order, attempt).
pub struct Script {
    pub deed: Deed,
    pub tries: Mutex<Vec<(u64, u32)>>,
}

impl Script {
    pub fn new(deed: impl Fn(u64, u32, &mut Tx<Sqlite>) -> catga::Result<()> + Send + Sync + 'static) -> Self {
        Self { deed: Box::new(deed), tries: Mutex::default() }
    }

    pub fn fine() -> Self {
        Self::new(|_, _, _| Ok(()))
    }
}

pub async fn mail(event: Placed, mut tx: Tx<Sqlite>, script: State<Script>, cx: Context) -> catga::Result<()> {
    script.tries.lock().unwrap().push((event.id, cx.attempt));
    tx.execute("INSERT INTO mails (order_id, consumer) VALUES (?1, ?2)", (event.id, cx.consumer.as_str()))?;
    (script.deed)(event.id, cx.attempt, &mut tx)
}

pub fn shop(store: &Sqlite, script: Script) -> Builder {
    App::builder("shop").store(store.clone()).state(script).handle(place).on("mail", mail)
}

pub async fn temporary() -> Sqlite {
    Sqlite::temporary().await.unwrap().migrate(SCHEMA).await.unwrap()
}

/// A backoff that does not make a test wait.
pub fn quick(attempts: u32) -> catga::Backoff {
    let millisecond = std::time::Duration::from_millis(1);
    catga::Backoff { attempts, first: millisecond, most: millisecond, ..Default::default() }
}

/// The number that a query answers.
pub fn count(store: &Sqlite, sql: &str) -> i64 {
    store.read(|db| db.query_row(sql, (), |row| row.get(0))).unwrap()
}

/// All numbers that a query answers.
pub fn numbers(store: &Sqlite, sql: &str) -> Vec<i64> {
    store.read(|db| db.prepare(sql)?.query_map((), |row| row.get(0))?.collect::<rusqlite::Result<_>>()).unwrap()
}

/// The text that a query answers.
pub fn text(store: &Sqlite, sql: &str) -> String {
    store.read(|db| db.query_row(sql, (), |row| row.get(0))).unwrap()
}
