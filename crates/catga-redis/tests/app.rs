//! An application on Redis alone: store, queue, outbox and dead letters, over processes that die.
#![allow(clippy::unwrap_used)]

mod support;

use catga::{App, Backoff, Context, DeadLetters, Event, LetterId, Request, Result, Tx};
use catga_contract::{Outbox, Parcel};
use catga_redis::{Redis, RedisOptions, redis};
use serde::{Deserialize, Serialize};
use std::{
    process::{Command, ExitStatus},
    time::Duration,
};
use support::{Server, publish, register, unsettled};

#[derive(Request)]
#[catga(name = "orders.place", local)]
struct Place(u64);

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "orders.placed")]
struct Placed {
    id: u64,
}

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "mails.sent")]
struct Sent {
    id: u64,
}

/// The order that kills its process.
const DEADLY: u64 = 7;

async fn place(Place(id): Place, mut tx: Tx<Redis>) -> Result<()> {
    tx.queue(redis::cmd("RPUSH").arg("{shop}:orders").arg(id))?;
    tx.publish(Placed { id })?;
    Ok(())
}

async fn mail(event: Placed, mut tx: Tx<Redis>, cx: Context) -> Result<()> {
    tx.queue(redis::cmd("RPUSH").arg("{shop}:mails").arg(event.id))?;
    tx.publish(Sent { id: event.id })?;
    match (event.id, cx.attempt) {
        (3, 1) => Err(std::io::Error::other("stumbled").into()),
        (DEADLY, _) if child().is_some() => std::process::abort(),
        _ => Ok(()),
    }
}

async fn ledger(event: Sent, mut tx: Tx<Redis>) -> Result<()> {
    tx.queue(redis::cmd("RPUSH").arg("{shop}:ledger").arg(event.id))
}

async fn shop(store: &Redis) -> App {
    let quick = Backoff { attempts: 3, first: Duration::from_millis(1), ..Backoff::default() };
    let builder = App::builder("shop").store(store.clone()).backoff(quick);
    builder.handle(place).on("mail", mail).on("ledger", ledger).build().await.unwrap()
}

async fn list(server: &Server, key: &str) -> Vec<u64> {
    let mut raw = server.raw().await.unwrap();
    let mut all: Vec<u64> = redis::cmd("LRANGE").arg(key).arg(0).arg(-1).query_async(&mut raw).await.unwrap();
    all.sort_unstable();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_has_its_effects_once_from_request_to_ledger() {
    let server = Server::fast().await;
    let store = server.redis().await;
    let app = shop(&store).await;
    for id in 1..=40 {
        app.send(Place(id)).await.unwrap();
    }
    app.run_until_idle().await.unwrap();
    let all: Vec<u64> = (1..=40).collect();
    for key in ["{shop}:orders", "{shop}:mails", "{shop}:ledger"] {
        assert_eq!(list(&server, key).await, all, "{key}");
    }
    assert_eq!(store.unsent().await.unwrap(), 0);
    assert!(store.list(LetterId(0), 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_cannot_be_read_is_buried_and_the_rest_flows() {
    let server = Server::fast().await;
    let store = server.redis().await;
    let app = shop(&store).await;
    let mut raw = server.raw().await.unwrap();
    let mut add = redis::cmd("XADD");
    add.arg("catga:{shop}:s:catga.orders.placed").arg("*").arg("f").arg("no frame");
    app.publish(Placed { id: 1 }).await.unwrap();
    add.query_async::<()>(&mut raw).await.unwrap();
    app.publish(Placed { id: 2 }).await.unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(list(&server, "{shop}:mails").await, [1, 2]);
    let letters = store.list(LetterId(0), 10).await.unwrap();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((&letter.frame[..], &*letter.consumer), (&b"no frame"[..], "shop.mail"));
}

const CHILD: &str = "CATGA_TEST_REDIS_URL";

/// The server to work on, in a child.
fn child() -> Option<String> {
    std::env::var(CHILD).ok()
}

/// Runs the test `name` as a child on the server.
fn run_child(name: &str, url: &str) -> ExitStatus {
    let test = std::env::current_exe().unwrap();
    Command::new(test).args(["--exact", name, "--test-threads", "1"]).env(CHILD, url).output().unwrap().status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kills_its_process_is_buried_after_its_limit_and_no_other() {
    const NAME: &str = "a_message_that_kills_its_process_is_buried_after_its_limit_and_no_other";
    if let Some(url) = child() {
        let options = RedisOptions::from_url(&url).unwrap().namespace("shop").lease(Duration::from_millis(300));
        let store = Redis::connect(options).await.unwrap();
        shop(&store).await.run_until_idle().await.unwrap();
        return;
    }
    let server = Server::fast().await;
    let store = server.redis().await;
    register(&store, "shop.mail", &["catga.orders.placed"]).await;
    let parcel = |id: u64| -> Parcel {
        let payload = serde_json::to_vec(&Placed { id }).unwrap();
        let envelope =
            catga::Envelope::new(catga::MessageId::new(), "orders.placed".into(), "json".into(), payload.into());
        Parcel::new("catga.orders.placed".into(), envelope.id, envelope.encode().unwrap().into())
    };
    publish(&store, &(1..=30).map(parcel).collect::<Vec<_>>()).await;
    let mut deaths = 0;
    while !run_child(NAME, &server.url()).success() {
        deaths += 1;
        assert!(deaths <= 4, "once in its batch, which counts for nobody, and three times alone");
    }
    assert_eq!(deaths, 4);
    let others: Vec<u64> = (1..=30).filter(|id| *id != DEADLY).collect();
    assert_eq!(list(&server, "{shop}:mails").await, others);
    let letters = store.list(LetterId(0), 10).await.unwrap();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert!(letter.reason.contains("was started 3 times and never ended"), "{}", letter.reason);
    assert_eq!(letter.open().unwrap().payload, &br#"{"id":7}"#[..]);
    assert_eq!(unsettled(&store, "shop.mail").await, 0);
}
