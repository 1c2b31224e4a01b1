//! Mistakes in the wiring are found by `build()`, all at once, and named.
#![allow(clippy::unwrap_used)]

mod common;

use catga::{App, ErrorKind, FromCall, Request, State, Tx, sqlite::Sqlite};
use common::*;

#[derive(Request)]
#[catga(name = "other", local)]
struct Other;

#[derive(Debug)]
struct Missing;

async fn two(_: Other, _: Tx<Sqlite>, _: Tx<Sqlite>, _: State<Missing>) -> catga::Result<()> {
    Ok(())
}

#[tokio::test]
async fn every_mistake_is_listed() {
    let store = temporary().await;
    let error = App::builder("my shop")
        .store(store.clone())
        .store(store)
        .state(1_u8)
        .state(2_u8)
        .handle(place)
        .handle(place)
        .handle(two)
        .on("mail", mail)
        .on("mail", mail)
        .backoff(catga::Backoff { attempts: 0, ..Default::default() })
        .patience(std::time::Duration::ZERO)
        .build()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = error.to_string();
    for part in [
        "application `my shop` cannot be built",
        "the application name `my shop` is not of",
        "a backoff of 0 attempts",
        "a patience of 0ns; 1 ms to 20 s",
        "two states of type `u8`",
        "two stores of type `catga_sqlite::open::Sqlite`",
        "`orders.place` has two handlers",
        "takes two transactions",
        "takes `State<wiring::Missing>`, but the application has no such state",
        "takes `State<wiring::common::Script>`",
        "two consumers named `mail`",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[tokio::test]
async fn a_consumer_needs_a_store_and_a_request_a_handler() {
    let error = App::builder("shop").state(Script::fine()).on("mail", mail).build().await.unwrap_err();
    assert!(error.to_string().contains("no such store: add it with `.store(…)`"), "{error}");
    let app = App::builder("shop").build().await.unwrap();
    let error = app.send(Other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoHandler);
    assert!(error.to_string().contains("application `shop` has no handler for `other`"), "{error}");
}

#[tokio::test]
async fn a_second_run_beside_the_first_is_refused_and_the_first_goes_on() {
    let store = temporary().await;
    let app = shop(&store, Script::fine()).build().await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let first = tokio::spawn({
        let app = app.clone();
        async move { app.run(async { drop(stopped.await) }).await }
    });
    app.send(Place(1)).await.unwrap().unwrap();
    app.idle().await.unwrap();
    let error = app.run(std::future::pending()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.to_string().contains("`shop.mail` is running in this process already"), "{error}");
    app.send(Place(2)).await.unwrap().unwrap();
    app.idle().await.unwrap();
    stop.send(()).unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(numbers(&store, "SELECT order_id FROM mails ORDER BY 1"), [1, 2]);
}

/// What the test below takes from a call by an extractor of its own.
struct Twice(u32);

impl FromCall for Twice {
    type Prepared = std::sync::Arc<u32>;
    fn prepare(resources: &catga::Resources, needs: &mut catga::Needs) -> Option<Self::Prepared> {
        let number = resources.state::<u32>();
        if number.is_none() {
            needs.problem("takes `Twice`, which wants a number as state");
        }
        number
    }
    async fn from_call(number: &Self::Prepared, _: &mut catga::Call<'_>) -> catga::Result<Self> {
        Ok(Self(**number * 2))
    }
}

#[tokio::test]
async fn users_write_their_own_parameters() {
    #[derive(Request)]
    #[catga(name = "double", reply = u32, local)]
    struct Double;
    async fn double(_: Double, twice: Twice) -> Result<u32, std::num::ParseIntError> {
        Ok(twice.0 + "1".parse::<u32>()?)
    }
    let app = App::builder("numbers").state(20_u32).handle(double).build().await.unwrap();
    assert_eq!(app.send(Double).await.unwrap(), 41);
    let error = App::builder("numbers").handle(double).build().await.unwrap_err();
    assert!(error.to_string().contains("takes `Twice`, which wants a number as state"), "{error}");
}

#[tokio::test]
async fn a_handler_without_a_tx_is_settled_and_retried_too() {
    async fn log(event: Placed, seen: State<std::sync::Mutex<Vec<u64>>>, cx: catga::Context) -> catga::Result<()> {
        seen.lock().unwrap().push(event.id);
        if event.id == 2 && cx.attempt < 3 || event.id == 3 {
            return Err(catga::Error::new(ErrorKind::Handler, "not now"));
        }
        Ok(())
    }
    let store = temporary().await;
    let app = App::builder("shop").store(store.clone()).state(std::sync::Mutex::new(Vec::<u64>::new())).handle(place);
    let app = app.on("log", log).backoff(quick(3)).build().await.unwrap();
    for id in 1..=3 {
        app.send(Place(id)).await.unwrap().unwrap();
    }
    app.run_until_idle().await.unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM catga_letter"), 1);
    assert_eq!(count(&store, "SELECT count(*) FROM catga_queue"), 0);
    assert_eq!(count(&store, "SELECT attempts FROM catga_letter"), 3);
}

#[tokio::test]
async fn a_stop_waits_for_the_handler_at_hand_but_not_for_ever() {
    use std::time::Duration;
    async fn slow(event: Placed, mut tx: Tx<Sqlite>) -> catga::Result<()> {
        tx.execute("INSERT INTO mails (order_id, consumer) VALUES (?1, '')", [event.id])?;
        tokio::time::sleep(Duration::from_millis(if event.id == 1 { 100 } else { 60_000 })).await;
        Ok(())
    }
    for (id, ends) in [(1, true), (2, false)] {
        let store = temporary().await;
        let app = App::builder("shop").store(store.clone()).handle(place).on("slow", slow);
        let app = app.patience(Duration::from_secs(20)).drain(Duration::from_millis(500)).build().await.unwrap();
        app.send(Place(id)).await.unwrap().unwrap();
        let stopped = app.run(tokio::time::sleep(Duration::from_millis(50))).await;
        assert_eq!(stopped.as_ref().map_err(catga::Error::kind).err(), (!ends).then_some(ErrorKind::Timeout));
        assert_eq!(count(&store, "SELECT count(*) FROM mails"), i64::from(ends));
        assert_eq!(count(&store, "SELECT count(*) FROM catga_queue"), i64::from(!ends), "the rest comes again");
    }
}
