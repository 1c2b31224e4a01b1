//! A handler that sends further requests: within its transaction, or beside it.
#![allow(clippy::unwrap_used)]

mod common;

use catga::{App, Builder, Bus, Context, Event, Request, SendOptions, State, Tx, sqlite::Sqlite};
use common::{count, numbers, quick};
use serde::{Deserialize, Serialize};
use std::{sync::Mutex, time::Duration};

const SCHEMA: &str =
    "CREATE TABLE orders (id INTEGER); CREATE TABLE parts (id INTEGER); CREATE TABLE seen (id INTEGER);";

#[derive(Request, Clone, Serialize, Deserialize)]
#[catga(name = "orders.take")]
struct Take(u64);

/// Refuses part 0, fails on part 1, waits for ever on part 2 and loses its transaction on part 3.
#[derive(Request)]
#[catga(name = "parts.take", reply = Result<u64, String>, local)]
struct Part(u64);

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "parts.taken")]
struct Taken(u64);

type Seen = Mutex<Vec<Context>>;

async fn part(
    Part(id): Part,
    mut tx: Tx<Sqlite>,
    cx: Context,
    seen: State<Seen>,
) -> catga::Result<Result<u64, String>> {
    seen.lock().unwrap().push(cx);
    tx.execute("INSERT INTO parts (id) VALUES (?1)", [id])?;
    tx.publish(Taken(id))?;
    match id {
        0 => return Ok(Err("no part 0".into())),
        1 => return Err(catga::Error::permanent("part 1 is broken")),
        2 => std::future::pending().await,
        3 => {
            Box::leak(Box::new(tx));
        }
        _ => {}
    }
    Ok(Ok(id))
}

/// Takes parts 10 and `id`; whatever becomes of the second, the order is written.
async fn take(Take(id): Take, mut tx: Tx<Sqlite>, bus: Bus) -> catga::Result<()> {
    bus.send_in(&mut tx, Part(10)).await?.map_err(catga::Error::permanent)?;
    let second = tokio::time::timeout(Duration::from_millis(1), bus.send_in(&mut tx, Part(id))).await;
    if let Ok(Err(error)) = second {
        let text = format!("{error:#}");
        assert!(text.contains("`parts.take`"), "{text}");
    }
    tx.execute("INSERT INTO orders (id) VALUES (?1)", [id])?;
    Ok(())
}

async fn taken(Taken(id): Taken, mut tx: Tx<Sqlite>) -> catga::Result<()> {
    tx.execute("INSERT INTO seen (id) VALUES (?1)", [id]).map(drop)
}

async fn store() -> Sqlite {
    Sqlite::temporary().await.unwrap().migrate(&[SCHEMA]).await.unwrap()
}

fn shop(store: &Sqlite) -> Builder {
    App::builder("shop").store(store.clone()).state(Seen::default()).handle(part).handle(take).on("log", taken)
}

#[tokio::test]
async fn a_nested_request_commits_with_the_outer_one() {
    let store = store().await;
    let app = shop(&store).build().await.unwrap();
    app.send(Take(7)).await.unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&store, "SELECT id FROM parts"), [10, 7]);
    assert_eq!(numbers(&store, "SELECT id FROM orders"), [7]);
    assert_eq!(numbers(&store, "SELECT id FROM seen"), [10, 7]);
}

#[tokio::test]
async fn a_nested_request_that_fails_or_refuses_leaves_nothing_of_its_own() {
    let store = store().await;
    let app = shop(&store).build().await.unwrap();
    app.send(Take(0)).await.unwrap();
    app.send(Take(1)).await.unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&store, "SELECT id FROM parts"), [10, 10]);
    assert_eq!(numbers(&store, "SELECT id FROM orders"), [0, 1]);
    assert_eq!(numbers(&store, "SELECT id FROM seen"), [10, 10]);
}

#[tokio::test]
async fn an_outer_call_that_fails_undoes_what_it_nested() {
    async fn fail(Take(id): Take, mut tx: Tx<Sqlite>, bus: Bus) -> catga::Result<()> {
        bus.send_in(&mut tx, Part(id)).await?.unwrap();
        Err(catga::Error::permanent("the outer one fails"))
    }
    let store = store().await;
    let builder = App::builder("shop").store(store.clone()).state(Seen::default());
    let app = builder.handle(part).handle(fail).on("log", taken).build().await.unwrap();
    app.send(Take(8)).await.unwrap_err();
    app.run_until_idle().await.unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM parts"), 0);
    assert_eq!(count(&store, "SELECT count(*) FROM seen"), 0);
}

#[tokio::test]
async fn a_nested_request_that_is_dropped_fails_the_outer_one() {
    let store = store().await;
    let app = shop(&store).patience(Duration::from_secs(20)).build().await.unwrap();
    let error = app.send(Take(2)).await.unwrap_err();
    assert!(format!("{error:#}").contains("dropped a call within its transaction"), "{error:#}");
    assert_eq!(count(&store, "SELECT count(*) FROM orders") + count(&store, "SELECT count(*) FROM parts"), 0);
    // The file goes on.
    app.send(Take(9)).await.unwrap();
    assert_eq!(numbers(&store, "SELECT id FROM orders"), [9]);
}

#[tokio::test]
async fn a_nested_handler_that_keeps_the_transaction_is_told_so_and_nothing_commits() {
    async fn outer(Take(id): Take, mut tx: Tx<Sqlite>, bus: Bus) -> catga::Result<()> {
        bus.send_in(&mut tx, Part(id)).await.map(drop)
    }
    let store = store().await;
    let builder = App::builder("shop").store(store.clone()).state(Seen::default());
    let app = builder.handle(part).handle(outer).build().await.unwrap();
    let error = app.send(Take(3)).await.unwrap_err();
    assert!(format!("{error:#}").contains("left it"), "{error:#}");
    assert_eq!(count(&store, "SELECT count(*) FROM parts"), 0);
}

#[tokio::test]
async fn a_nested_call_of_a_delivery_has_the_same_id_each_time() {
    async fn again(take: Take, mut tx: Tx<Sqlite>, bus: Bus, cx: Context) -> catga::Result<()> {
        bus.send_in(&mut tx, Part(take.0)).await?.map_err(catga::Error::permanent)?;
        if cx.attempt == 1 { Err(catga::Error::new(catga::ErrorKind::Handler, "once more")) } else { Ok(()) }
    }
    let store = store().await;
    let builder = App::builder("shop").store(store.clone()).state(Seen::default()).backoff(quick(3));
    let app = builder.handle(part).hear(witness).on("take", again).on("log", taken).build().await.unwrap();
    let id = app.enqueue(Take(5)).await.unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&store, "SELECT id FROM parts"), [5]);
    assert_eq!(numbers(&store, "SELECT id FROM seen"), [5]);
    app.notify(Look(id)).await.unwrap();
}

/// Looks at the contexts that the nested calls saw.
#[derive(Event, Clone)]
#[catga(name = "look", local)]
struct Look(catga::MessageId);

async fn witness(Look(id): Look, seen: State<Seen>) -> catga::Result<()> {
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2, "the delivery was tried twice");
    assert_eq!(seen[0].id, seen[1].id);
    assert_ne!(seen[0].id, id);
    assert!(seen.iter().all(|context| context.causation == id && context.correlation == id));
    Ok(())
}

#[tokio::test]
async fn a_request_beside_the_transaction_is_refused_where_it_would_wait_for_itself() {
    async fn beside(Take(id): Take, _tx: Tx<Sqlite>, bus: Bus) -> catga::Result<()> {
        bus.send(Part(id)).await.map(drop)
    }
    let store = store().await;
    let builder = App::builder("shop").store(store.clone()).state(Seen::default());
    let app = builder.handle(part).handle(beside).build().await.unwrap();
    let error = app.send(Take(7)).await.unwrap_err();
    assert!(format!("{error:#}").contains("Bus::send_in"), "{error:#}");
}

#[tokio::test]
async fn a_request_by_the_bus_carries_conversation_and_principal_on() {
    async fn ask(Take(id): Take, bus: Bus) -> catga::Result<()> {
        bus.send(Part(id)).await?.map_err(catga::Error::permanent).map(drop)
    }
    let store = store().await;
    let builder = App::builder("shop").store(store.clone()).state(Seen::default());
    let app = builder.handle(part).handle(ask).hear(heard).build().await.unwrap();
    let correlation = catga::MessageId::new();
    let options = SendOptions {
        correlation: Some(correlation),
        principal: Some("anna".into()),
        idempotency_key: Some("k".into()),
        ..Default::default()
    };
    app.send_with(Take(7), options).await.unwrap();
    app.notify(Look(correlation)).await.unwrap();
}

async fn heard(Look(correlation): Look, seen: State<Seen>) -> catga::Result<()> {
    let seen = seen.lock().unwrap();
    let [context] = &seen[..] else { panic!("one call, not {}", seen.len()) };
    assert_eq!(context.correlation, correlation);
    assert_eq!(context.principal.as_deref(), Some("anna"));
    assert_eq!(context.idempotency_key, None, "the key belongs to the outer request");
    assert_ne!(context.id, context.causation);
    Ok(())
}
