//! The order system from outside: what it answers, and what it leaves in the store.
#![allow(clippy::unwrap_used)]

use catga::{App, Backoff, sqlite::Sqlite};
use catga_order_system::{Item, MIGRATIONS, Mishaps, PlaceOrder, Refusal, wire};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

const TABLES: [&str; 5] = ["orders", "order_items", "invoices", "stock_moves", "mails"];

async fn shop(mishaps: Mishaps) -> (App, Sqlite) {
    let store = Sqlite::temporary().await.unwrap().migrate(MIGRATIONS).await.unwrap();
    let backoff = Backoff { first: Duration::from_millis(1), ..Backoff::default() };
    let builder = App::builder("shop").store(store.clone()).backoff(backoff);
    (wire(builder, mishaps).build().await.unwrap(), store)
}

fn order(id: &str, qty: u32) -> PlaceOrder {
    let item = |sku: &str| Item { sku: sku.to_owned(), qty, price_cents: 1250 };
    PlaceOrder { id: id.to_owned(), customer: "c-17".to_owned(), items: vec![item("A-1"), item("B-7")] }
}

fn rows(store: &Sqlite) -> [i64; 5] {
    TABLES.map(|table| {
        store.read(|db| db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))).unwrap()
    })
}

#[tokio::test]
async fn the_same_id_twice_is_one_order_and_never_another_one() {
    let (app, store) = shop(Mishaps::never()).await;
    let first = app.send(order("o-1", 2)).await.unwrap().unwrap();
    assert!(!first.existed && first.event.is_some());
    let second = app.send(order("o-1", 2)).await.unwrap().unwrap();
    assert!(second.existed && second.event.is_none());
    assert_eq!(app.send(order("o-1", 3)).await.unwrap(), Err(Refusal::OtherContents));
    app.run_until_idle().await.unwrap();
    assert_eq!(rows(&store), [1, 2, 1, 2, 1]);
    let amount: i64 =
        store.read(|db| db.query_row("SELECT sum(amount_cents) FROM mails", [], |row| row.get(0))).unwrap();
    assert_eq!(amount, 2 * 2 * 1250);
}

#[tokio::test]
async fn a_failed_order_leaves_nothing_and_can_be_sent_again() {
    // The first call fails after its first write, the second one before its answer.
    let asked = AtomicU32::new(0);
    let (app, store) = shop(Mishaps::when(move || matches!(asked.fetch_add(1, Ordering::Relaxed), 0 | 2))).await;
    for _ in 0..2 {
        app.send(order("o-1", 2)).await.unwrap_err();
        app.run_until_idle().await.unwrap();
        assert_eq!(rows(&store), [0; 5]);
    }
    assert!(!app.send(order("o-1", 2)).await.unwrap().unwrap().existed);
}

#[tokio::test]
async fn consumers_that_fail_write_once() {
    // Four failures, fewer than bury a message, wherever they fall. The order itself is placed without one.
    let failed = Arc::new(AtomicU32::new(0));
    let asked = AtomicU32::new(0);
    let count = failed.clone();
    let mishaps = Mishaps::when(move || {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        let fails = matches!(number, 2 | 4 | 6 | 8);
        count.fetch_add(u32::from(fails), Ordering::Relaxed);
        fails
    });
    let (app, store) = shop(mishaps).await;
    app.send(order("o-1", 2)).await.unwrap().unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(failed.load(Ordering::Relaxed), 4);
    assert_eq!(rows(&store), [1, 2, 1, 2, 1]);
}
