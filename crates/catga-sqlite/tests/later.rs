//! Handlers that wait for something else before they begin their transaction.
#![allow(clippy::unwrap_used)]

mod common;

use catga::{App, Builder, Context, Later, State, Tx, sqlite::Sqlite};
use common::{Place, Placed, SCHEMA, count, numbers, quick};
use std::{sync::Mutex, time::Duration};
use tokio::sync::{Barrier, Semaphore};

async fn store() -> Sqlite {
    Sqlite::temporary().await.unwrap().migrate(SCHEMA).await.unwrap()
}

fn shop(store: &Sqlite) -> Builder {
    App::builder("shop").store(store.clone()).backoff(quick(4))
}

async fn insert(tx: &mut Tx<Sqlite>, id: u64) -> catga::Result<()> {
    tx.execute("INSERT INTO mails (order_id, consumer) VALUES (?1, '')", [id]).map(drop)
}

async fn publish(app: &App, ids: impl IntoIterator<Item = u64>) {
    for id in ids {
        app.publish(Placed { id }).await.unwrap();
    }
}

#[tokio::test]
async fn handlers_wait_side_by_side_before_they_begin() {
    async fn mail(event: Placed, tx: Later<Tx<Sqlite>>, all: State<Barrier>) -> catga::Result<()> {
        all.wait().await; // Eight of them are here at once, or none goes on.
        insert(&mut tx.begin().await?, event.id).await
    }
    let store = store().await;
    let app = shop(&store).state(Barrier::new(8)).on("mail", mail).build().await.unwrap();
    publish(&app, 0..8).await;
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&store, "SELECT order_id FROM mails ORDER BY 1"), (0..8).collect::<Vec<_>>());
    assert_eq!(count(&store, "SELECT count(*) FROM catga_inbox"), 8);
}

#[tokio::test]
async fn while_one_waits_before_its_transaction_others_write() {
    async fn mail(event: Placed, tx: Later<Tx<Sqlite>>, gate: State<Semaphore>) -> catga::Result<()> {
        gate.acquire().await.unwrap().forget();
        insert(&mut tx.begin().await?, event.id).await
    }
    let store = store().await;
    let app = shop(&store).state(Semaphore::new(0)).handle(common::place).on("mail", mail).hear(open).build().await;
    let app = app.unwrap();
    publish(&app, [1]).await;
    let (ended, ()) = tokio::join!(app.run_until_idle(), async {
        for id in 2..5 {
            app.send(Place(id)).await.unwrap().unwrap();
        }
        app.notify(Open).await.unwrap();
    });
    ended.unwrap();
    assert_eq!(numbers(&store, "SELECT id FROM orders"), [2, 3, 4]);
    assert_eq!(count(&store, "SELECT count(*) FROM mails"), 4);
}

/// Lets those go on that wait.
#[derive(catga::Event, Clone)]
#[catga(name = "open", local)]
struct Open;

async fn open(_: Open, gate: State<Semaphore>) -> catga::Result<()> {
    gate.add_permits(100);
    Ok(())
}

#[tokio::test]
async fn one_that_fails_after_it_wrote_leaves_nothing_and_comes_again() {
    async fn mail(event: Placed, tx: Later<Tx<Sqlite>>, cx: Context) -> catga::Result<()> {
        let mut tx = tx.begin().await?;
        insert(&mut tx, event.id).await?;
        if cx.attempt < 3 { Err(catga::Error::new(catga::ErrorKind::Handler, "not yet")) } else { Ok(()) }
    }
    let store = store().await;
    let app = shop(&store).on("mail", mail).build().await.unwrap();
    publish(&app, [7]).await;
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&store, "SELECT order_id FROM mails"), [7]);
    assert_eq!(count(&store, "SELECT count(*) FROM catga_inbox"), 1);
}

#[tokio::test]
async fn a_message_that_is_handed_over_twice_has_one_effect() {
    async fn mail(event: Placed, tx: Later<Tx<Sqlite>>, tries: State<Mutex<u32>>) -> catga::Result<()> {
        *tries.lock().unwrap() += 1;
        insert(&mut tx.begin().await?, event.id).await
    }
    let store = store().await;
    let app = shop(&store).state(Mutex::new(0_u32)).on("mail", mail).build().await.unwrap();
    let id = catga::MessageId::new();
    let payload = bytes::Bytes::from_static(br#"{"id":9}"#);
    let frame: bytes::Bytes =
        catga::Envelope::new(id, "orders.placed".into(), "json".into(), payload).encode().unwrap().into();
    let parcel = || catga::Parcel::new("catga.orders.placed".into(), id, frame.clone());
    catga::Transport::publish(&store, &[parcel(), parcel()], &mut Vec::new()).await.unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&store, "SELECT order_id FROM mails"), [9]);
    assert_eq!(count(&store, "SELECT count(*) FROM catga_queue"), 0);
    assert_eq!(count(&store, "SELECT count(*) FROM catga_letter"), 0, "a duplicate is no failure");
}

#[tokio::test]
async fn one_that_waits_with_the_transaction_in_hand_is_ended() {
    async fn place(Place(id): Place, tx: Later<Tx<Sqlite>>) -> catga::Result<Result<u64, String>> {
        let mut tx = tx.begin().await?;
        insert(&mut tx, id).await?;
        std::future::pending::<()>().await;
        Ok(Ok(id))
    }
    let store = store().await;
    let app = shop(&store).patience(Duration::from_millis(5)).handle(place).build().await.unwrap();
    let error = app.send(Place(1)).await.unwrap_err();
    assert_eq!(error.kind(), catga::ErrorKind::Timeout, "{error:#}");
    assert_eq!(count(&store, "SELECT count(*) FROM mails"), 0);
}

#[derive(Clone, catga::Request)]
#[catga(name = "hang", local)]
struct Hang;

/// Writes, then hangs at its first try; the time limit around it ends that one.
async fn hang_once(_: Hang, tx: Later<Tx<Sqlite>>, tries: State<Mutex<u32>>) -> catga::Result<()> {
    let first = {
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        *tries == 1
    };
    let mut tx = tx.begin().await?;
    insert(&mut tx, 7).await?;
    if first {
        std::future::pending::<()>().await;
    }
    Ok(())
}

#[derive(catga::Request)]
#[catga(name = "outer", local)]
struct Outer;

#[tokio::test]
async fn a_time_limit_around_one_that_has_begun_gives_the_transaction_back() {
    async fn outer(_: Outer, mut tx: Tx<Sqlite>, bus: catga::Bus) -> catga::Result<()> {
        insert(&mut tx, 1).await?;
        let error = bus.send_in(&mut tx, Inner).await.unwrap_err();
        assert_eq!(error.kind(), catga::ErrorKind::Timeout, "{error:#}");
        insert(&mut tx, 3).await
    }
    #[derive(catga::Request)]
    #[catga(name = "inner", local)]
    struct Inner;
    async fn inner(_: Inner, tx: Later<Tx<Sqlite>>) -> catga::Result<()> {
        insert(&mut tx.begin().await?, 2).await?;
        std::future::pending().await
    }
    let store = store().await;
    let limit = catga::behavior::Timeout(Duration::from_millis(5));
    let app = shop(&store).patience(Duration::from_secs(20)).handle(outer);
    let app = app.handle(catga::HandlerExt::with(inner, limit)).build().await.unwrap();
    app.send(Outer).await.unwrap();
    assert_eq!(numbers(&store, "SELECT order_id FROM mails"), [1, 3], "the inner one left nothing");
}

#[tokio::test]
async fn nobody_waits_while_a_retry_of_one_that_had_begun_sleeps() {
    let store = store().await;
    let backoff = catga::Backoff { first: Duration::from_millis(300), jitter: 0.0, ..Default::default() };
    let app = shop(&store).patience(Duration::from_secs(20)).state(Mutex::new(0_u32));
    let app = app.with(catga::behavior::Retry::new(backoff)).with(catga::behavior::Timeout(Duration::from_millis(5)));
    let app = app.handle(hang_once).build().await.unwrap();
    let began = std::time::Instant::now();
    let (answer, wrote) = tokio::join!(app.send(Hang), async {
        // Behind the limit of the first try, before the end of the pause.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let tx = catga::UnitOfWork::begin(&store).await.unwrap();
        drop(tx);
        began.elapsed()
    });
    answer.unwrap();
    assert!(wrote < Duration::from_millis(250), "it waited {wrote:?} for one that slept");
    assert_eq!(numbers(&store, "SELECT order_id FROM mails"), [7]);
}

#[tokio::test]
async fn a_request_commits_what_it_began_and_needs_not_begin() {
    async fn place(Place(id): Place, tx: Later<Tx<Sqlite>>) -> catga::Result<Result<u64, String>> {
        if id == 0 {
            return Ok(Err("no order 0".into()));
        }
        let mut tx = tx.begin().await?;
        insert(&mut tx, id).await?;
        tx.publish(Placed { id })?;
        Ok(if id == 1 { Err("no order 1".into()) } else { Ok(id) })
    }
    let store = store().await;
    let app = shop(&store).handle(place).build().await.unwrap();
    assert_eq!(app.send(Place(0)).await.unwrap(), Err("no order 0".into()));
    assert_eq!(app.send(Place(1)).await.unwrap(), Err("no order 1".into()));
    assert_eq!(app.send(Place(2)).await.unwrap(), Ok(2));
    assert_eq!(numbers(&store, "SELECT order_id FROM mails"), [2]);
    assert_eq!(count(&store, "SELECT count(*) FROM catga_outbox"), 1);
}

#[tokio::test]
async fn a_transaction_cannot_begin_when_its_handler_has_answered() {
    type Kept = Mutex<Option<Later<Tx<Sqlite>>>>;
    async fn place(Place(id): Place, tx: Later<Tx<Sqlite>>, kept: State<Kept>) -> catga::Result<Result<u64, String>> {
        *kept.lock().unwrap() = Some(tx);
        Ok(Ok(id))
    }
    async fn begin(_: Open, kept: State<Kept>) -> catga::Result<()> {
        let kept = kept.lock().unwrap().take().unwrap();
        let error = kept.begin().await.unwrap_err();
        assert!(format!("{error:#}").contains("must not outlive it"), "{error:#}");
        Ok(())
    }
    let store = store().await;
    let app = shop(&store).state(Kept::default()).handle(place).hear(begin).build().await.unwrap();
    app.send(Place(1)).await.unwrap().unwrap();
    app.notify(Open).await.unwrap();
}
