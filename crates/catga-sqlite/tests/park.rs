//! A consumer that parks: what is buried holds up its key until a human has decided, and nothing else.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/parcels.rs"]
mod parcels;

use catga::{App, Builder, DeadLetters, Error, Event, LetterId, Outcome, State, Transport, Tx, sqlite::Sqlite};
use common::{count, numbers};
use serde::{Deserialize, Serialize};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "numbered", key = key)]
struct Numbered {
    key: u8,
    number: i64,
}

/// Fails for good at numbers that end in 5, while the switch says so.
async fn note(event: Numbered, mut tx: Tx<Sqlite>, broken: State<Arc<AtomicBool>>) -> catga::Result<()> {
    let Numbered { key, number } = event;
    tx.execute("INSERT INTO notes (number) VALUES (?1)", [i64::from(key) * 1_000 + number])?;
    match broken.load(Ordering::SeqCst) && number % 10 == 5 {
        true => Err(Error::permanent("the pen is dry")),
        false => Ok(()),
    }
}

async fn open(path: &Path) -> Sqlite {
    let schema = "CREATE TABLE notes (number INTEGER)";
    Sqlite::open(path).await.unwrap().migrate(&[schema]).await.unwrap()
}

fn desk(store: &Sqlite, broken: &Arc<AtomicBool>) -> Builder {
    App::builder("desk").store(store.clone()).state(broken.clone())
}

async fn parking(store: &Sqlite, broken: &Arc<AtomicBool>) -> App {
    desk(store, broken).consumer("note", |note_| note_.on(note).park()).build().await.unwrap()
}

async fn publish(app: &App, key: u8, numbers: std::ops::RangeInclusive<i64>) {
    for number in numbers {
        app.publish(Numbered { key, number }).await.unwrap();
    }
}

fn notes(store: &Sqlite, key: i64) -> Vec<i64> {
    numbers(store, &format!("SELECT number - {key} * 1000 FROM notes WHERE number / 1000 = {key} ORDER BY rowid"))
}

async fn letters(store: &Sqlite) -> Vec<catga::Letter> {
    store.list(LetterId::default(), 100).await.unwrap()
}

#[tokio::test]
async fn the_later_ones_wait_for_the_replay_across_restarts_and_keep_nobody_busy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("desk.db");
    let broken = Arc::new(AtomicBool::new(true));
    {
        let store = open(&path).await;
        let app = parking(&store, &broken).await;
        publish(&app, 1, 1..=9).await;
        publish(&app, 2, 1..=4).await;
        app.run_until_idle().await.unwrap();
        assert_eq!(notes(&store, 1), [1, 2, 3, 4], "what follows waits");
        assert_eq!(notes(&store, 2), [1, 2, 3, 4], "other keys do not");
        let letters = letters(&store).await;
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0].parks, Some(catga::Key::new("1").digest()));
        assert_eq!(store.parked(&letters[0]).unwrap(), 4);
        assert_eq!(store.unsettled(&"desk.note".into()).await.unwrap(), 0, "they wait for a human");
    }
    let store = open(&path).await;
    let app = parking(&store, &broken).await;
    publish(&app, 1, 10..=200).await;
    publish(&app, 2, 6..=9).await;
    app.run_until_idle().await.unwrap();
    assert_eq!(notes(&store, 1), [1, 2, 3, 4]);
    assert_eq!(notes(&store, 2), [1, 2, 3, 4, 6, 7, 8, 9]);
    assert_eq!(store.parked(&letters(&store).await[0]).unwrap(), 195);

    // Still wrong: it parks once more, as a new letter.
    assert!(store.replay(LetterId(1)).await.unwrap());
    assert_eq!(store.unsettled(&"desk.note".into()).await.unwrap(), 196, "they wait for the worker now");
    app.run_until_idle().await.unwrap();
    assert_eq!(notes(&store, 1), [1, 2, 3, 4]);
    assert_eq!(letters(&store).await[0].id, LetterId(2));
    // Mended: it comes before those that waited, and they follow in their order.
    broken.store(false, Ordering::SeqCst);
    assert!(store.replay(LetterId(2)).await.unwrap());
    app.run_until_idle().await.unwrap();
    assert_eq!(notes(&store, 1), (1..=200).collect::<Vec<_>>());
    for table in ["catga_queue", "catga_retry", "catga_letter"] {
        assert_eq!(count(&store, &format!("SELECT count(*) FROM {table}")), 0, "{table}");
    }
}

#[tokio::test]
async fn they_go_on_without_it_when_its_letter_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("desk.db")).await;
    let broken = Arc::new(AtomicBool::new(true));
    let app = parking(&store, &broken).await;
    publish(&app, 1, 4..=16).await;
    app.run_until_idle().await.unwrap();
    assert_eq!(notes(&store, 1), [4]);
    assert!(store.remove(LetterId(1)).await.unwrap());
    app.run_until_idle().await.unwrap();
    assert_eq!(notes(&store, 1), [4, 6, 7, 8, 9, 10, 11, 12, 13, 14], "up to the next one that fails");
    assert!(store.remove(LetterId(2)).await.unwrap());
    app.run_until_idle().await.unwrap();
    assert_eq!(notes(&store, 1), [4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16]);
}

#[tokio::test]
async fn what_a_tool_replays_or_removes_lets_them_go_on_in_the_running_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("desk.db")).await;
    let broken = Arc::new(AtomicBool::new(true));
    let app = parking(&store, &broken).await;
    publish(&app, 1, 4..=7).await;
    publish(&app, 2, 4..=7).await;
    app.run_until_idle().await.unwrap();
    assert_eq!((notes(&store, 1), notes(&store, 2)), (vec![4], vec![4]));
    broken.store(false, Ordering::SeqCst);
    let decided = async {
        // What the process itself writes is noticed at once; the rest within its look, which is a second.
        let tool = Sqlite::open_tool(store.path()).await.unwrap();
        assert_eq!(tool.parked(&letters(&tool).await[0]).unwrap(), 2);
        assert!(tool.replay(LetterId(1)).await.unwrap());
        assert!(tool.remove(LetterId(2)).await.unwrap());
        let began = Instant::now();
        while count(&store, "SELECT count(*) FROM notes") < 7 {
            assert!(began.elapsed() < Duration::from_secs(20), "nobody noticed");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    app.run(decided).await.unwrap();
    assert_eq!((notes(&store, 1), notes(&store, 2)), (vec![4, 5, 6, 7], vec![4, 6, 7]));
}

#[tokio::test]
async fn a_consumer_that_parks_no_more_lets_all_pass() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("desk.db")).await;
    let broken = Arc::new(AtomicBool::new(true));
    {
        let app = parking(&store, &broken).await;
        publish(&app, 1, 4..=7).await;
        app.run_until_idle().await.unwrap();
        assert_eq!(notes(&store, 1), [4]);
    }
    let app = desk(&store, &broken).on("note", note).build().await.unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(notes(&store, 1), [4, 6, 7]);
    assert_eq!(letters(&store).await[0].parks, None);
    broken.store(false, Ordering::SeqCst);
    assert!(store.replay(LetterId(1)).await.unwrap());
    app.run_until_idle().await.unwrap();
    assert_eq!(notes(&store, 1), [4, 6, 7, 5]);
}

#[tokio::test]
async fn a_letter_knows_when_its_first_try_started_and_its_last_one_ended() {
    async fn fail(_: Numbered) -> catga::Result<()> {
        Err(std::io::Error::other("it rains").into())
    }
    let store = Sqlite::temporary().await.unwrap();
    let backoff = catga::Backoff { attempts: 3, first: Duration::from_millis(40), jitter: 0.0, ..Default::default() };
    let app = App::builder("desk").store(store.clone()).backoff(backoff).on("note", fail).build().await.unwrap();
    let began = std::time::SystemTime::now();
    publish(&app, 1, 1..=1).await;
    app.run_until_idle().await.unwrap();
    let letter = &letters(&store).await[0];
    assert_eq!(letter.attempts, 3);
    // The file keeps microseconds.
    assert!(letter.first + Duration::from_micros(1) >= began && letter.last <= std::time::SystemTime::now());
    let between = letter.last.duration_since(letter.first).unwrap();
    assert!(between >= Duration::from_millis(40 + 80), "{between:?}");
}

#[tokio::test]
async fn a_parcel_for_one_consumer_goes_to_no_other() {
    use parcels::{CONSUMER, next, number, parcel, register, settle_all, subscribe, unsettled};
    let store = Sqlite::temporary().await.unwrap();
    register(&store, CONSUMER).await;
    register(&store, "shop.audit").await;
    let mut parcels = [parcel(Some("a"), 1), parcel(Some("a"), 2)];
    parcels[0].to = Some(CONSUMER.into());
    parcels[1].to = Some("shop.nobody".into());
    let mut outcomes = Vec::new();
    Transport::publish(&store, &parcels, &mut outcomes).await.unwrap();
    assert!(matches!(&outcomes[0], Outcome::Stored), "{outcomes:?}");
    let Outcome::Refused(error) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert_eq!(error.kind(), catga::ErrorKind::NotFound);
    assert!(error.to_string().contains("no consumer `shop.nobody`"), "{error}");
    assert_eq!(store.unsettled(&"shop.audit".into()).await.unwrap(), 0);
    let mut mail = subscribe(&store, false).await;
    let batch = next(&mut mail).await;
    assert_eq!(batch.iter().map(number).collect::<Vec<_>>(), [1]);
    settle_all(&mail, &batch, catga::Settle::Done).await;
    assert_eq!(unsettled(&store).await, 0);
    // One that was registered and takes nothing any more.
    drop(mail);
    store.remove_consumer(CONSUMER).await.unwrap();
    outcomes.clear();
    Transport::publish(&store, &parcels[..1], &mut outcomes).await.unwrap();
    assert!(matches!(&outcomes[0], Outcome::Refused(error) if error.kind() == catga::ErrorKind::NotFound));
}
