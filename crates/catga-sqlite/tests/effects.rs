//! Effects happen once for each delivery, whatever the handler does.
#![allow(clippy::unwrap_used)]

mod common;

use catga::{App, Error, ErrorKind, Outcome, Parcel, State, Transport, Tx, sqlite::Sqlite};
use common::*;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// For handlers that wait on purpose while they hold a `Tx`.
const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_handler_that_fails_twice_after_its_insert_writes_one_row() {
    let store = temporary().await;
    let script = Script::new(|_, attempt, _| if attempt < 3 { Err("not yet".into_error()) } else { Ok(()) });
    let app = shop(&store, script).backoff(quick(5)).build().await.unwrap();
    app.send(Place(7)).await.unwrap().unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&store, "SELECT order_id FROM mails"), [7]);
    assert_eq!(count(&store, "SELECT count(*) FROM catga_inbox"), 1);
    assert_eq!(count(&store, "SELECT count(*) FROM catga_retry"), 0);
}

#[tokio::test]
async fn a_handler_that_panics_leaves_nothing_and_comes_again() {
    let store = temporary().await;
    let script = Script::new(|_, attempt, _| if attempt == 1 { panic!("oh") } else { Ok(()) });
    let app = shop(&store, script).backoff(quick(5)).build().await.unwrap();
    app.send(Place(1)).await.unwrap().unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM mails"), 1);
}

#[tokio::test]
async fn what_fails_too_often_is_buried_with_its_reason_and_leaves_no_effect() {
    let store = temporary().await;
    let script = Script::new(|id, _, _| if id == 2 { Err("no such address".into_error()) } else { Ok(()) });
    let app = shop(&store, script).backoff(quick(3)).build().await.unwrap();
    for id in 1..=3 {
        app.send(Place(id)).await.unwrap().unwrap();
    }
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&store, "SELECT order_id FROM mails ORDER BY 1"), [1, 3]);
    let letter = text(&store, "SELECT consumer || '|' || attempts || '|' || reason FROM catga_letter");
    assert!(letter.starts_with("shop.mail|3|consumer `shop.mail`, handler `"), "{letter}");
    assert!(letter.ends_with("no such address"), "{letter}");
    assert!(letter.contains("`orders.placed`"), "{letter}");
}

#[tokio::test]
async fn a_buried_message_that_is_handed_over_again_is_not_handled_again() {
    let store = temporary().await;
    let app = shop(&store, Script::new(|_, _, _| Err(Error::permanent("never")))).build().await.unwrap();
    let id = catga::MessageId::new();
    let payload = bytes::Bytes::from_static(br#"{"id":9}"#);
    let frame = catga::Envelope::new(id, "orders.placed".into(), "json".into(), payload).encode().unwrap();
    let parcel = Parcel::new("catga.orders.placed".into(), id, frame.into());
    for _ in 0..2 {
        store.publish(std::slice::from_ref(&parcel), &mut Vec::new()).await.unwrap();
        app.run_until_idle().await.unwrap();
    }
    assert_eq!(count(&store, "SELECT count(*) FROM catga_letter"), 1);
}

#[tokio::test]
async fn a_permanent_error_is_buried_at_the_first_try() {
    let store = temporary().await;
    let app = shop(&store, Script::new(|_, _, _| Err(Error::permanent("never")))).build().await.unwrap();
    app.send(Place(1)).await.unwrap().unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&store, "SELECT attempts FROM catga_letter"), [1]);
    assert_eq!(count(&store, "SELECT count(*) FROM mails"), 0);
}

#[tokio::test]
async fn a_refused_reply_undoes_its_writes_and_keeps_its_answer() {
    let store = temporary().await;
    let app = shop(&store, Script::fine()).build().await.unwrap();
    assert_eq!(app.send(Place(0)).await.unwrap(), Err("no order 0".into()));
    assert_eq!(app.send(Place(1)).await.unwrap(), Ok(1));
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&store, "SELECT id FROM orders"), [1]);
    assert_eq!(numbers(&store, "SELECT order_id FROM mails"), [1]);
}

#[tokio::test]
async fn the_same_message_handed_over_twice_has_one_effect_for_each_consumer() {
    let store = temporary().await;
    let app = shop(&store, Script::fine()).on("audit", mail).build().await.unwrap();
    let frame = {
        let id = catga::MessageId::new();
        let payload = bytes::Bytes::from_static(br#"{"id":9}"#);
        let envelope = catga::Envelope::new(id, "orders.placed".into(), "json".into(), payload);
        Parcel::new("catga.orders.placed".into(), id, envelope.encode().unwrap().into())
    };
    let mut outcomes = Vec::new();
    store.publish(&[frame.clone(), frame.clone()], &mut outcomes).await.unwrap();
    app.run_until_idle().await.unwrap();
    store.publish(&[frame], &mut outcomes).await.unwrap();
    app.run_until_idle().await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Stored)) && outcomes.len() == 3);
    let mut consumers: Vec<String> =
        store.read(|db| db.prepare("SELECT consumer FROM mails")?.query_map((), |row| row.get(0))?.collect()).unwrap();
    consumers.sort();
    assert_eq!(consumers, ["shop.audit", "shop.mail"]);
}

#[tokio::test]
async fn a_consumer_gets_what_was_published_while_it_did_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    let open = async || Sqlite::open(&path).await.unwrap().migrate(SCHEMA).await.unwrap();
    {
        let app = shop(&open().await, Script::fine()).build().await.unwrap();
        app.send(Place(5)).await.unwrap().unwrap();
    }
    let store = open().await;
    let app = shop(&store, Script::fine()).build().await.unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&store, "SELECT order_id FROM mails"), [5]);
}

#[tokio::test]
async fn a_consumer_is_removed_with_what_waits_for_it_and_only_by_an_explicit_act() {
    let store = temporary().await;
    let both = shop(&store, Script::fine()).on("audit", mail).build().await.unwrap();
    both.send(Place(1)).await.unwrap().unwrap();
    both.run_until_idle().await.unwrap();
    // The program has lost a consumer; the file has not.
    let app = shop(&store, Script::fine()).build().await.unwrap();
    app.send(Place(2)).await.unwrap().unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM catga_queue"), 1);
    assert_eq!(store.remove_consumer("shop.audit").await.unwrap(), 1);
    app.send(Place(3)).await.unwrap().unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM catga_queue"), 0);
    assert_eq!(numbers(&store, "SELECT order_id FROM mails WHERE consumer = 'shop.mail'"), [1, 2, 3]);
    assert_eq!(store.remove_consumer("shop.audit").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn unreadable_bytes_are_buried_whole_and_the_rest_flows() {
    let store = temporary().await;
    let app = shop(&store, Script::fine()).build().await.unwrap();
    let broken = Parcel::new("catga.orders.placed".into(), catga::MessageId::new(), b"no frame".as_slice().into());
    store.publish(&[broken], &mut Vec::new()).await.unwrap();
    app.send(Place(1)).await.unwrap().unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&store, "SELECT order_id FROM mails"), [1]);
    assert_eq!(text(&store, "SELECT CAST(frame AS TEXT) FROM catga_letter"), "no frame");
    assert!(text(&store, "SELECT reason FROM catga_letter").contains("8 bytes that do not begin like a frame"));
}

#[tokio::test]
async fn a_tx_that_leaves_its_handler_commits_nothing_and_says_so() {
    // Kept beyond the handler, and dropped later: the connection comes home then.
    static KEPT: Mutex<Option<Tx<Sqlite>>> = Mutex::new(None);
    async fn keep(Place(id): Place, mut tx: Tx<Sqlite>) -> catga::Result<Result<u64, String>> {
        tx.execute("INSERT INTO orders (id) VALUES (?1)", [id])?;
        *KEPT.lock().unwrap() = Some(tx);
        Ok(Ok(id))
    }
    let store = temporary().await;
    let app = App::builder("shop").store(store.clone()).handle(keep).build().await.unwrap();
    let error = app.send(Place(1)).await.unwrap_err();
    assert!(error.to_string().contains("its transaction left it"), "{error}");
    assert!(error.to_string().contains("keep` of `orders.place`"), "{error}");
    KEPT.lock().unwrap().take();
    assert_eq!(count(&store, "SELECT count(*) FROM orders"), 0);

    // Never dropped: its connection is written off, and the store goes on with another one.
    async fn forget(Place(id): Place, mut tx: Tx<Sqlite>) -> catga::Result<Result<u64, String>> {
        tx.execute("INSERT INTO orders (id) VALUES (?1)", [id])?;
        if id == 1 {
            *KEPT.lock().unwrap() = Some(tx);
        }
        Ok(Ok(id))
    }
    let app = App::builder("shop").store(store.clone()).handle(forget).build().await.unwrap();
    app.send(Place(1)).await.unwrap_err();
    let waiting = tokio::spawn(async move { app.send(Place(2)).await });
    tokio::time::sleep(Duration::from_millis(1_500)).await; // longer than a connection may stay away
    KEPT.lock().unwrap().take();
    assert_eq!(waiting.await.unwrap().unwrap(), Ok(2));
    assert_eq!(numbers(&store, "SELECT id FROM orders"), [2]);
}

#[tokio::test]
async fn a_consumer_whose_tx_leaves_fails_alone() {
    static KEPT: Mutex<Vec<Tx<Sqlite>>> = Mutex::new(Vec::new());
    async fn keep(event: Placed, mut tx: Tx<Sqlite>) -> catga::Result<()> {
        tx.execute("INSERT INTO mails (order_id, consumer) VALUES (?1, '')", [event.id])?;
        if event.id == 2 {
            KEPT.lock().unwrap().push(tx);
        }
        Ok(())
    }
    let store = temporary().await;
    let app = App::builder("shop")
        .store(store.clone())
        .handle(place)
        .on("mail", keep)
        .backoff(quick(2))
        .build()
        .await
        .unwrap();
    for id in 1..=3 {
        app.send(Place(id)).await.unwrap().unwrap();
    }
    // Somebody drops what was kept, on this same thread: never between a handler's end and the look at its `Tx`.
    let sweep = async {
        loop {
            KEPT.lock().unwrap().clear();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        ended = app.run_until_idle() => ended.unwrap(),
        () = sweep => unreachable!(),
    }
    assert_eq!(numbers(&store, "SELECT order_id FROM mails ORDER BY 1"), [1, 3]);
    assert!(text(&store, "SELECT reason FROM catga_letter").contains("its transaction left it"));
}

#[tokio::test]
async fn a_tx_swapped_for_that_of_another_store_fails_both() {
    type Slot = Arc<Mutex<Option<Tx<Sqlite>>>>;
    struct Other {
        app: App,
        slot: Slot,
    }
    async fn outer(Place(id): Place, mut tx: Tx<Sqlite>, other: State<Other>) -> catga::Result<Result<u64, String>> {
        tx.execute("INSERT INTO orders (id) VALUES (?1)", [id])?;
        *other.slot.lock().unwrap() = Some(tx);
        let inner = other.app.send(Place(id)).await;
        other.slot.lock().unwrap().take();
        let error = inner.unwrap_err();
        assert!(error.to_string().contains("swapped"), "{error}");
        Ok(Ok(id))
    }
    async fn inner(Place(id): Place, mut tx: Tx<Sqlite>, slot: State<Slot>) -> catga::Result<Result<u64, String>> {
        tx.execute("INSERT INTO orders (id) VALUES (?1)", [id])?;
        if let Some(other) = &mut *slot.lock().unwrap() {
            std::mem::swap(&mut **other, &mut *tx);
        }
        Ok(Ok(id))
    }
    let (a, b) = (temporary().await, temporary().await);
    let slot = Slot::default();
    let other = App::builder("b").store(b.clone()).state(slot.clone()).handle(inner).build().await.unwrap();
    let app = App::builder("a")
        .store(a.clone())
        .patience(LONG)
        .state(Other { app: other, slot })
        .handle(outer)
        .build()
        .await
        .unwrap();
    let error = app.send(Place(1)).await.unwrap_err();
    assert!(error.to_string().contains("swapped"), "{error}");
    for store in [&a, &b] {
        assert_eq!(count(store, "SELECT count(*) FROM orders"), 0);
    }
}

#[tokio::test]
async fn a_handler_that_waits_for_itself_is_told_so() {
    struct Me(Mutex<Option<App>>);
    async fn nested(Place(id): Place, tx: Tx<Sqlite>, me: State<Arc<Me>>) -> catga::Result<Result<u64, String>> {
        let app = me.0.0.lock().unwrap().clone().unwrap();
        let _held = tx;
        app.send(Place(id)).await
    }
    let store = temporary().await;
    let me = Arc::new(Me(Mutex::new(None)));
    let app = App::builder("shop").store(store).patience(LONG).state(me.clone()).handle(nested).build().await.unwrap();
    *me.0.lock().unwrap() = Some(app.clone());
    let error = app.send(Place(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("would wait for itself"), "{error}");
    assert!(error.to_string().contains("nested"), "{error}");
    me.0.lock().unwrap().take();
}

#[tokio::test]
async fn a_dropped_call_leaves_nothing_and_gives_its_turn_back() {
    async fn stuck(Place(id): Place, mut tx: Tx<Sqlite>) -> catga::Result<Result<u64, String>> {
        tx.execute("INSERT INTO orders (id) VALUES (?1)", [id])?;
        if id == 1 {
            std::future::pending::<()>().await;
        }
        Ok(Ok(id))
    }
    let store = temporary().await;
    let app = App::builder("shop").store(store.clone()).patience(LONG).handle(stuck).build().await.unwrap();
    let dropped = tokio::time::timeout(Duration::from_millis(20), app.send(Place(1))).await;
    assert!(dropped.is_err());
    // Dropped while it waits for its turn, too.
    {
        let mut first = Box::pin(app.send(Place(1)));
        let _ = futures_poll(&mut first);
        let mut second = Box::pin(app.send(Place(1)));
        let _ = futures_poll(&mut second);
        drop(second);
        drop(first);
    }
    app.send(Place(2)).await.unwrap().unwrap();
    assert_eq!(numbers(&store, "SELECT id FROM orders"), [2]);
}

#[tokio::test]
async fn who_waits_with_the_writer_in_hand_is_ended_and_the_others_go_on() {
    async fn sleepy(Place(id): Place, mut tx: Tx<Sqlite>) -> catga::Result<Result<u64, String>> {
        tx.execute("INSERT INTO orders (id) VALUES (?1)", [id])?;
        if id == 1 {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        Ok(Ok(id))
    }
    let store = temporary().await;
    let app = App::builder("shop").store(store.clone()).handle(sleepy).build().await.unwrap();
    let began = std::time::Instant::now();
    let answers = app.send_batch((1..=20).map(Place), 20).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let error = answers[0].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("held the store's only writer for more than 10ms"), "{error}");
    assert!(error.to_string().contains("sleepy"), "{error}");
    assert!(answers[1..].iter().all(Result::is_ok));
    assert_eq!(numbers(&store, "SELECT id FROM orders ORDER BY 1"), (2..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_consumer_that_waits_with_the_writer_in_hand_is_buried_and_holds_nobody_up() {
    async fn sleepy(event: Placed, mut tx: Tx<Sqlite>) -> catga::Result<()> {
        tx.execute("INSERT INTO mails (order_id, consumer) VALUES (?1, '')", [event.id])?;
        if event.id == 5 {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        Ok(())
    }
    let store = temporary().await;
    let app = App::builder("shop").store(store.clone()).handle(place).on("mail", sleepy).backoff(quick(3));
    let app = app.build().await.unwrap();
    for id in 1..=20 {
        app.send(Place(id)).await.unwrap().unwrap();
    }
    let began = std::time::Instant::now();
    app.run_until_idle().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let others: Vec<i64> = (1..=20).filter(|id| *id != 5).collect();
    assert_eq!(numbers(&store, "SELECT order_id FROM mails ORDER BY 1"), others);
    assert!(text(&store, "SELECT reason FROM catga_letter").contains("held the store's only writer"));
}

fn futures_poll<F: Future>(future: &mut std::pin::Pin<Box<F>>) -> std::task::Poll<F::Output> {
    future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

trait IntoError {
    fn into_error(self) -> Error;
}

impl IntoError for &'static str {
    fn into_error(self) -> Error {
        Error::new(ErrorKind::Handler, self)
    }
}
