//! An application on it, through the facade alone: effects once, retries on the paused clock, burial, replay, turns.
use super::*;
use catga::{
    App, Backoff, Context, DeadLetters, Error, ErrorKind, Event, LetterId, PublishOptions, Request, SendOptions, State,
    Tx, UnitOfWork, behavior::Idempotent,
};
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::SystemTime,
};
use tokio::time::Instant;

#[derive(Request, Serialize, Deserialize)]
#[catga(name = "orders.place", reply = Result<u64, String>)]
struct Place(u64);

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "orders.placed", key = customer)]
struct Placed {
    customer: u64,
    id: u64,
}

/// Publishes an order; refuses order 0 after that.
async fn place(Place(id): Place, mut tx: Tx<Memory>) -> catga::Result<Result<u64, String>> {
    tx.publish(Placed { customer: id % 3, id })?;
    Ok(if id == 0 { Err("no order 0".into()) } else { Ok(id) })
}

type Deed = Box<dyn Fn(u64, u32) -> catga::Result<()> + Send + Sync>;

/// What [`mail`] does, and which tries it saw: order, attempt and seconds.
struct Script {
    deed: Deed,
    began: Instant,
    tries: Mutex<Vec<(u64, u32, u64)>>,
}

async fn mail(event: Placed, _tx: Tx<Memory>, script: State<Script>, cx: Context) -> catga::Result<()> {
    script.tries.lock().unwrap().push((event.id, cx.attempt, script.began.elapsed().as_secs()));
    (script.deed)(event.id, cx.attempt)
}

fn shop(store: &Memory, deed: impl Fn(u64, u32) -> catga::Result<()> + Send + Sync + 'static) -> catga::Builder {
    let script = Script { deed: Box::new(deed), began: Instant::now(), tries: Mutex::default() };
    App::builder("shop").store(store.clone()).state(script).handle(place)
}

async fn tries(app: &App) -> Vec<(u64, u32, u64)> {
    app.send(Tries).await.unwrap()
}

#[derive(Request)]
#[catga(name = "tries", reply = Vec<(u64, u32, u64)>, local)]
struct Tries;

async fn look(_: Tries, script: State<Script>) -> catga::Result<Vec<(u64, u32, u64)>> {
    Ok(script.tries.lock().unwrap().clone())
}

/// Pauses of exactly 10 s.
fn steady(attempts: u32) -> Backoff {
    Backoff { attempts, first: 10 * SECOND, most: 10 * SECOND, jitter: 0.0, ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn each_order_has_its_effect_once_and_in_the_order_of_its_customer() {
    let store = Memory::new();
    let app = shop(&store, |_, _| Ok(())).handle(look).on("mail", mail).build().await.unwrap();
    for id in 1..=300 {
        assert_eq!(app.send(Place(id)).await.unwrap(), Ok(id));
    }
    assert_eq!(app.send(Place(0)).await.unwrap(), Err("no order 0".into()), "a refusal undoes what it published");
    app.run_until_idle().await.unwrap();
    let tries = tries(&app).await;
    for customer in 0..3 {
        let of: Vec<u64> = tries.iter().map(|(id, ..)| *id).filter(|id| id % 3 == customer).collect();
        assert_eq!(of, (1..=300).filter(|id| id % 3 == customer).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_order_holds_up_its_customer_alone_on_the_tests_clock() {
    let store = Memory::new();
    let fails =
        |id, attempt| if id == 3 && attempt < 3 { Err(Error::new(ErrorKind::Handler, "not yet")) } else { Ok(()) };
    let app = shop(&store, fails).backoff(steady(5)).handle(look).on("mail", mail).build().await.unwrap();
    for id in 1..=9 {
        app.send(Place(id)).await.unwrap().unwrap();
    }
    app.run_until_idle().await.unwrap();
    let tries = tries(&app).await;
    let at = |customer| tries.iter().filter(|(id, ..)| id % 3 == customer).copied().collect::<Vec<_>>();
    assert_eq!(at(0), [(3, 1, 0), (3, 2, 10), (3, 3, 20), (6, 1, 20), (9, 1, 20)]);
    assert_eq!(at(1), [(1, 1, 0), (4, 1, 0), (7, 1, 0)]);
    assert_eq!(at(2), [(2, 1, 0), (5, 1, 0), (8, 1, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_buried_order_parks_its_customer_until_its_replay_and_is_handled_then() {
    let store = Memory::new();
    let mended = std::sync::Arc::new(AtomicU32::new(0));
    let switch = mended.clone();
    let fails = move |id, _| match id == 3 && switch.load(Ordering::SeqCst) == 0 {
        true => Err(Error::permanent("no stamp")),
        false => Ok(()),
    };
    let app =
        shop(&store, fails).handle(look).consumer("mail", |mail_of| mail_of.park().on(mail)).build().await.unwrap();
    for id in 1..=9 {
        app.send(Place(id)).await.unwrap().unwrap();
    }
    app.run_until_idle().await.unwrap();
    let ids = |tries: Vec<(u64, u32, u64)>| {
        let mut ids: Vec<u64> = tries.into_iter().map(|(id, ..)| id).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(tries(&app).await), [1, 2, 3, 4, 5, 7, 8]);
    let letters = store.list(LetterId::default(), 10).await.unwrap();
    assert!(letters.len() == 1 && letters[0].reason.ends_with("no stamp"), "{letters:?}");
    assert_eq!(letters[0].parks, catga::ToKey::to_key(&0_u64).map(|key| key.digest()));

    mended.store(1, Ordering::SeqCst);
    assert!(store.replay(letters[0].id).await.unwrap());
    app.run_until_idle().await.unwrap();
    assert_eq!(ids(tries(&app).await), [1, 2, 3, 3, 4, 5, 6, 7, 8, 9]);
    assert!(store.list(LetterId::default(), 10).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_same_message_handed_over_twice_has_one_effect_for_each_consumer() {
    let store = Memory::new();
    let app = shop(&store, |_, _| Ok(())).handle(look).on("mail", mail).on("audit", mail).build().await.unwrap();
    let (id, payload) = (MessageId::new(), Bytes::from_static(br#"{"customer":1,"id":9}"#));
    let frame = Envelope::new(id, "orders.placed".into(), "json".into(), payload).encode().unwrap();
    let parcel = Parcel::new("catga.orders.placed".into(), id, frame.into());
    publish(&store, &[parcel.clone(), parcel.clone()]).await;
    app.run_until_idle().await.unwrap();
    publish(&store, &[parcel]).await;
    app.run_until_idle().await.unwrap();
    assert_eq!(tries(&app).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_message_for_later_waits_on_the_tests_clock_by_either_way_out() {
    async fn remind(Place(id): Place, mut tx: Tx<Memory>) -> catga::Result<Result<u64, String>> {
        let due = Some(SystemTime::now() + 3600 * SECOND);
        tx.publish_with(Placed { customer: 1, id }, PublishOptions { due, ..Default::default() })?;
        tx.publish(Placed { customer: 1, id: id + 1 })?;
        Ok(Ok(id))
    }
    let store = Memory::new();
    let script = Script { deed: Box::new(|_, _| Ok(())), began: Instant::now(), tries: Mutex::default() };
    let app = App::builder("shop").store(store.clone()).state(script).handle(remind).handle(look).on("mail", mail);
    let app = app.build().await.unwrap();
    app.send(Place(1)).await.unwrap().unwrap();
    let due = Some(SystemTime::now() + 1800 * SECOND);
    app.publish_with(Placed { customer: 1, id: 3 }, PublishOptions { due, ..Default::default() }).await.unwrap();
    app.run_until_idle().await.unwrap();
    let rounded: Vec<_> = tries(&app).await.into_iter().map(|(id, _, seconds)| (id, (seconds + 5) / 10 * 10)).collect();
    assert_eq!(rounded, [(2, 0), (3, 1800), (1, 3600)]);
}

#[tokio::test(start_paused = true)]
async fn a_tx_that_leaves_its_handler_commits_nothing_and_the_store_goes_on() {
    #[derive(Request)]
    #[catga(name = "leave", local)]
    struct Leave;
    static LEFT: Mutex<Option<Tx<Memory>>> = Mutex::new(None);
    async fn leave(_: Leave, mut tx: Tx<Memory>) -> catga::Result<()> {
        tx.publish(Placed { customer: 1, id: 1 })?;
        *LEFT.lock().unwrap() = Some(tx);
        Ok(())
    }
    let store = Memory::new();
    let app = shop(&store, |_, _| Ok(())).handle(leave).handle(look).on("mail", mail).build().await.unwrap();
    let error = app.send(Leave).await.unwrap_err();
    assert!(error.to_string().contains("`Tx` was moved into a task or kept"), "{error}");
    app.send(Place(2)).await.unwrap().unwrap();
    drop(LEFT.lock().unwrap().take());
    app.send(Place(3)).await.unwrap().unwrap();
    app.run_until_idle().await.unwrap();
    let ids: Vec<_> = tries(&app).await.into_iter().map(|(id, ..)| id).collect();
    assert_eq!(ids, [2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_waits_for_itself_is_told_so() {
    #[derive(Request)]
    #[catga(name = "again", local)]
    struct Again;
    async fn again(_: Again, _tx: Tx<Memory>, store: State<Memory>) -> catga::Result<()> {
        drop(store.begin().await?);
        Ok(())
    }
    let store = Memory::new();
    let app = App::builder("shop").store(store.clone()).state(store).handle(again).build().await.unwrap();
    let error = app.send(Again).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("it would wait for itself"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn equal_keys_have_one_effect_and_one_answer() {
    let store = Memory::new();
    let script = Script { deed: Box::new(|_, _| Ok(())), began: Instant::now(), tries: Mutex::default() };
    let app = App::builder("shop").store(store.clone()).state(script).handle(look).on("mail", mail);
    let app = app.with(Idempotent::new(store.clone())).handle(place).build().await.unwrap();
    let options = || SendOptions { idempotency_key: Some("k".into()), ..Default::default() };
    for _ in 0..3 {
        assert_eq!(app.send_with(Place(7), options()).await.unwrap(), Ok(7));
    }
    assert_eq!(app.send_with(Place(8), options()).await.unwrap_err().kind(), ErrorKind::Invalid);
    app.run_until_idle().await.unwrap();
    assert_eq!(tries(&app).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_relay_waits_for_room_and_everything_arrives() {
    let store = Memory::new().capacity(16).unwrap();
    let app = shop(&store, |_, _| Ok(())).handle(look).on("mail", mail).build().await.unwrap();
    for id in 1..=500 {
        app.send(Place(id)).await.unwrap().unwrap();
    }
    app.run_until_idle().await.unwrap();
    assert_eq!(tries(&app).await.len(), 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_on_several_threads() {
    let store = Memory::new().capacity(64).unwrap();
    let app = shop(&store, |_, _| Ok(())).handle(look).on("mail", mail).build().await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn({
        let app = app.clone();
        async move { app.run(async { drop(stopped.await) }).await }
    });
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let app = app.clone();
            tokio::spawn(async move {
                for id in 0..250 {
                    app.send(Place(1 + sender * 250 + id)).await.unwrap().unwrap();
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    app.idle().await.unwrap();
    drop(stop);
    running.await.unwrap().unwrap();
    let mut ids: Vec<_> = tries(&app).await.into_iter().map(|(id, ..)| id).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=1000).collect::<Vec<_>>());
}
