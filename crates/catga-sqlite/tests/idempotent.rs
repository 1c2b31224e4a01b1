//! Requests and events with equal keys have one effect and one answer.
#![allow(clippy::unwrap_used)]

mod common;

use catga::{App, Error, ErrorKind, HandlerExt, Request, SendOptions, State, Tx, behavior::Idempotent, sqlite::Sqlite};
use common::*;
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

#[derive(Request, Clone, Serialize, Deserialize)]
#[catga(name = "orders.order", reply = Result<u32, String>)]
struct Order {
    number: i64,
}

/// How often a handler ran, and what it waits for.
#[derive(Default)]
struct Desk {
    runs: AtomicU32,
    open: Notify,
}

/// Fails the first time for negative numbers, refuses 0, waits for the door at 100; answers which run it was.
async fn order(order: Order, mut tx: Tx<Sqlite>, desk: State<Arc<Desk>>) -> catga::Result<Result<u32, String>> {
    let run = desk.runs.fetch_add(1, Ordering::SeqCst) + 1;
    tx.execute("INSERT INTO orders (id) VALUES (?1)", [order.number])?;
    match order.number {
        0 => Ok(Err(format!("refused in run {run}"))),
        ..0 if run == 1 => Err(Error::new(ErrorKind::Handler, "not now")),
        _ => Ok(Ok(run)),
    }
}

/// The same without a `Tx`, behind a door.
async fn look(_: Order, desk: State<Arc<Desk>>) -> catga::Result<Result<u32, String>> {
    let run = desk.runs.fetch_add(1, Ordering::SeqCst) + 1;
    desk.open.notified().await;
    Ok(Ok(run))
}

async fn desk() -> (Sqlite, Arc<Desk>, App) {
    let (store, desk) = (temporary().await, Arc::new(Desk::default()));
    let app = App::builder("desk").store(store.clone()).state(desk.clone());
    let app = app.with(Idempotent::new(store.clone())).handle(order).build().await.unwrap();
    (store, desk, app)
}

fn key(key: &str) -> SendOptions {
    SendOptions { idempotency_key: Some(key.into()), ..Default::default() }
}

#[tokio::test]
async fn equal_keys_have_one_effect_and_one_answer() {
    let (store, desk, app) = desk().await;
    for _ in 0..3 {
        assert_eq!(app.send_with(Order { number: 7 }, key("a")).await.unwrap(), Ok(1));
    }
    assert_eq!(app.send_with(Order { number: 7 }, key("b")).await.unwrap(), Ok(2), "another key is another order");
    let anna = SendOptions { principal: Some("anna".into()), ..key("a") };
    assert_eq!(app.send_with(Order { number: 7 }, anna).await.unwrap(), Ok(3), "and so is another caller's");
    assert_eq!(app.send(Order { number: 7 }).await.unwrap(), Ok(4), "without a key each is one");
    assert_eq!(desk.runs.load(Ordering::SeqCst), 4);
    assert_eq!(count(&store, "SELECT count(*) FROM orders"), 4);
}

#[tokio::test]
async fn the_answer_survives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    for run in 1..=2 {
        let store = Sqlite::open(folder.path().join("a.db")).await.unwrap().migrate(SCHEMA).await.unwrap();
        let desk = Arc::new(Desk { runs: AtomicU32::new(run * 10), ..Desk::default() });
        let app = App::builder("desk").store(store.clone()).state(desk).with(Idempotent::new(store)).handle(order);
        let answer = app.build().await.unwrap().send_with(Order { number: 7 }, key("a")).await;
        assert_eq!(answer.unwrap(), Ok(11));
    }
}

#[tokio::test]
async fn a_failure_keeps_nothing_and_a_refusal_keeps_its_answer_only() {
    let (store, _, app) = desk().await;
    app.send_with(Order { number: -1 }, key("a")).await.unwrap_err();
    assert_eq!(count(&store, "SELECT count(*) FROM orders"), 0);
    assert_eq!(app.send_with(Order { number: -1 }, key("a")).await.unwrap(), Ok(2));

    let refused = Err("refused in run 3".to_owned());
    for _ in 0..2 {
        assert_eq!(app.send_with(Order { number: 0 }, key("b")).await.unwrap(), refused);
    }
    assert_eq!(numbers(&store, "SELECT id FROM orders"), [-1], "the refusal's own write was undone");
}

#[tokio::test]
async fn a_key_is_not_used_for_other_contents() {
    let (store, _, app) = desk().await;
    app.send_with(Order { number: 1 }, key("a")).await.unwrap().unwrap();
    let error = app.send_with(Order { number: 2 }, key("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("key `a` was used for a request with other contents"), "{error}");
    let error = app.send_with(Order { number: 2 }, key(&"k".repeat(256))).await.unwrap_err();
    assert!(error.to_string().contains("an idempotency key of 256 bytes; 1 to 255"), "{error}");
    assert_eq!(numbers(&store, "SELECT id FROM orders"), [1]);
}

#[tokio::test]
async fn who_comes_while_the_first_is_at_work_is_told_so_and_gets_the_answer_later() {
    let (store, desk) = (temporary().await, Arc::new(Desk::default()));
    let app = App::builder("desk").store(store.clone()).state(desk.clone());
    let app = app.handle(look.with(Idempotent::new(store).lease(Duration::from_secs(9)))).build().await.unwrap();
    let first = tokio::spawn({
        let app = app.clone();
        async move { app.send_with(Order { number: 1 }, key("a")).await }
    });
    while desk.runs.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let busy = app.send_with(Order { number: 1 }, key("a")).await.unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    assert!(busy.pause().unwrap() <= Duration::from_secs(9), "{:?}", busy.pause());
    desk.open.notify_one();
    assert_eq!(first.await.unwrap().unwrap(), Ok(1));
    assert_eq!(app.send_with(Order { number: 1 }, key("a")).await.unwrap(), Ok(1));

    // A dropped call gives its claim up at once.
    let dropped = tokio::time::timeout(Duration::from_millis(20), app.send_with(Order { number: 1 }, key("b"))).await;
    assert!(dropped.is_err());
    desk.open.notify_one();
    assert_eq!(app.send_with(Order { number: 1 }, key("b")).await.unwrap(), Ok(3));
}

#[tokio::test]
async fn who_takes_longer_than_its_lease_loses_and_leaves_nothing() {
    async fn slow(order: Order, mut tx: Tx<Sqlite>, desk: State<Arc<Desk>>) -> catga::Result<Result<u32, String>> {
        let run = desk.runs.fetch_add(1, Ordering::SeqCst) + 1;
        tx.execute("INSERT INTO orders (id) VALUES (?1)", [order.number * 10 + i64::from(run)])?;
        Ok(Ok(run))
    }
    /// Outside the transaction: the first call waits here until the second one is done.
    #[derive(Clone)]
    struct Door(Arc<Desk>);
    impl catga::Behavior<Order> for Door {
        async fn around<H: catga::Handler<Order>>(
            &self,
            call: &mut catga::Call<'_>,
            order: Order,
            next: &H,
        ) -> catga::Result<Result<u32, String>> {
            if call.context().principal.is_none() && self.0.runs.load(Ordering::SeqCst) == 0 {
                self.0.runs.store(1, Ordering::SeqCst);
                self.0.open.notified().await;
            }
            next.handle(call, order).await
        }
    }
    let (store, desk) = (temporary().await, Arc::new(Desk::default()));
    let once = Idempotent::new(store.clone()).lease(Duration::from_millis(1));
    let app = App::builder("desk").store(store.clone()).state(desk.clone());
    let app = app.with(once).with(Door(desk.clone())).handle(slow).build().await.unwrap();
    let first = tokio::spawn({
        let app = app.clone();
        async move { app.send_with(Order { number: 1 }, key("a")).await }
    });
    while desk.runs.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    // The second call takes the key over when the first one's lease has ended.
    let second = loop {
        match app.send_with(Order { number: 1 }, key("a")).await {
            Err(error) if error.kind() == ErrorKind::Busy => tokio::task::yield_now().await,
            other => break other.unwrap(),
        }
    };
    desk.open.notify_one();
    let overtaken = first.await.unwrap().unwrap_err();
    assert_eq!(overtaken.kind(), ErrorKind::Conflict, "{overtaken}");
    assert_eq!(second, Ok(2));
    assert_eq!(numbers(&store, "SELECT id FROM orders"), [12], "the effect happened once");
    assert_eq!(app.send_with(Order { number: 1 }, key("a")).await.unwrap(), Ok(2));
}

#[tokio::test]
async fn events_with_equal_keys_have_one_effect() {
    let store = temporary().await;
    let by_order = Idempotent::<Sqlite>::by(store.clone(), |event: &Placed| event.id);
    let app = App::builder("shop").store(store.clone()).state(Script::new(|id, attempt, _| match (id, attempt) {
        (2, 1) => Err(Error::new(ErrorKind::Handler, "not now")),
        _ => Ok(()),
    }));
    let app = app.on("mail", mail.with(by_order)).backoff(quick(3)).build().await.unwrap();
    // Different messages, equal keys.
    for id in [1, 2, 1, 2, 1] {
        app.publish(Placed { id }).await.unwrap();
    }
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&store, "SELECT order_id FROM mails ORDER BY 1"), [1, 2]);
    assert_eq!(count(&store, "SELECT count(*) FROM catga_letter"), 0);
}
