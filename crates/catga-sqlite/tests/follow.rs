//! Followers: handlers over all streams, whose place commits with their effects.
#![allow(clippy::unwrap_used)]

mod common;

use catga::{App, Builder, Context, ErrorKind, Event, EventStore, Expect, Place, State, Streams, Tx, sqlite::Sqlite};
use common::{count, numbers, quick, text};
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// Without unique constraints, so that a doubled effect is a second row. `before`: how many rows there were.
const SCHEMA: &[&str] = &["
    CREATE TABLE seen (position INTEGER NOT NULL, stream TEXT NOT NULL, version INTEGER NOT NULL,
        number INTEGER NOT NULL, before INTEGER NOT NULL);
    CREATE TABLE parent (id INTEGER PRIMARY KEY);
    CREATE TABLE child (parent INTEGER NOT NULL UNIQUE ON CONFLICT ROLLBACK);
"];

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "it.counted")]
struct Counted {
    number: u64,
}

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "it.happened")]
struct Happened;

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "it.counted", version = 2)]
struct CountedV2 {
    number: u64,
    why: String,
}

fn write(event: &Counted, place: &Place, tx: &mut Tx<Sqlite>) -> catga::Result<()> {
    let sql = "INSERT INTO seen (position, stream, version, number, before)
        VALUES (?1, ?2, ?3, ?4, (SELECT count(*) FROM seen))";
    tx.execute(sql, (place.position, place.stream.as_str(), place.version, event.number))?;
    Ok(())
}

async fn note(event: Counted, mut tx: Tx<Sqlite>, place: Place) -> catga::Result<()> {
    write(&event, &place, &mut tx)
}

/// What a handler does after its row is written, by number and attempt; and what it saw.
#[derive(Clone)]
struct Script {
    deed: Arc<common::Deed>,
    tries: Arc<Mutex<Vec<(u64, u32)>>>,
}

impl Script {
    fn new(deed: impl Fn(u64, u32, &mut Tx<Sqlite>) -> catga::Result<()> + Send + Sync + 'static) -> Self {
        Self { deed: Arc::new(Box::new(deed)), tries: Arc::default() }
    }

    fn tries(&self, number: u64) -> Vec<u32> {
        self.tries.lock().unwrap().iter().filter(|(other, _)| *other == number).map(|(_, attempt)| *attempt).collect()
    }
}

async fn act(
    event: Counted,
    mut tx: Tx<Sqlite>,
    place: Place,
    script: State<Script>,
    cx: Context,
) -> catga::Result<()> {
    script.tries.lock().unwrap().push((event.number, cx.attempt));
    write(&event, &place, &mut tx)?;
    (script.deed)(event.number, cx.attempt, &mut tx)
}

async fn temporary() -> Sqlite {
    Sqlite::temporary().await.unwrap().migrate(SCHEMA).await.unwrap()
}

fn app(store: &Sqlite) -> Builder {
    App::builder("shop").store(store.clone())
}

fn scripted(store: &Sqlite, script: &Script) -> Builder {
    app(store).state(script.clone()).follow("notes", act)
}

async fn count_to(store: &Sqlite, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let stream = format!("s{}", number % 3);
        store.append_events(&stream, Expect::Any, &Counted { number }).await.unwrap();
    }
}

fn seen(store: &Sqlite) -> Vec<i64> {
    numbers(store, "SELECT number FROM seen ORDER BY rowid")
}

#[tokio::test]
async fn a_follower_is_given_every_event_once_in_order_and_goes_on_where_it_was() {
    let store = temporary().await;
    count_to(&store, 1..=200).await;
    app(&store).follow("notes", note).build().await.unwrap().run_until_idle().await.unwrap();
    assert_eq!(seen(&store), (1..=200).collect::<Vec<_>>());
    let places = store.read_all(0, 1_000).await.unwrap();
    let places: Vec<_> = places.iter().map(|e| format!("{} {} {}", e.position, e.stream, e.version)).collect();
    let sql = "SELECT group_concat(position || ' ' || stream || ' ' || version, ',') FROM seen";
    assert_eq!(text(&store, sql), places.join(","));

    count_to(&store, 201..=210).await;
    // Another follower begins at the first event; the one that was here goes on.
    let two = app(&store).follow("notes", note).follow("again", note).build().await.unwrap();
    two.run_until_idle().await.unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM seen"), 210 + 210);
    assert_eq!(count(&store, "SELECT count(*) FROM seen WHERE number > 200"), 20);
}

#[tokio::test]
async fn an_event_wakes_its_follower_at_once() {
    let store = temporary().await;
    let app = app(&store).follow("notes", note).build().await.unwrap();
    let (stop, stopped) = futures_util::future::abortable(std::future::pending::<()>());
    let append = async {
        for number in 1..=50 {
            count_to(&store, [number]).await;
            app.idle().await.unwrap();
            assert_eq!(seen(&store).len(), number as usize);
        }
        stopped.abort();
    };
    let run = app.run(stop.map(drop));
    // A follower that found its events by looking every so often would take minutes.
    let both = tokio::time::timeout(Duration::from_secs(30), futures_util::future::join(run, append));
    both.await.unwrap().0.unwrap();
}

#[tokio::test]
async fn what_fails_is_tried_again_while_those_behind_it_wait() {
    let store = temporary().await;
    count_to(&store, 1..=100).await;
    let script = Script::new(|number, attempt, _| match (number, attempt) {
        (7 | 70, 1..=2) => Err(catga::Error::new(ErrorKind::Handler, "not yet")),
        (30, 1) => panic!("boom"),
        _ => Ok(()),
    });
    scripted(&store, &script).backoff(quick(3)).build().await.unwrap().run_until_idle().await.unwrap();
    assert_eq!(seen(&store), (1..=100).collect::<Vec<_>>(), "each once, in order");
    assert_eq!([script.tries(7), script.tries(30), script.tries(70)], [vec![1, 2, 3], vec![1, 2], vec![1, 2, 3]]);
    assert_eq!(script.tries(6), [1], "what came before it had committed");
}

#[tokio::test]
async fn after_its_attempts_a_follower_pauses_and_skips_nothing() {
    let store = temporary().await;
    count_to(&store, 1..=20).await;
    let broken = Arc::new(AtomicU32::new(1));
    let script = Script::new({
        let broken = broken.clone();
        move |number, _, _| match number == 8 && broken.load(Ordering::SeqCst) == 1 {
            true => Err(catga::Error::new(ErrorKind::Handler, "out of ink")),
            false => Ok(()),
        }
    });
    let app = scripted(&store, &script).backoff(quick(3)).build().await.unwrap();
    let error = app.run_until_idle().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let (name, report) = app.paused().pop().unwrap();
    assert_eq!(name, "shop.notes");
    for part in ["stream `s2`, version 3, position 8", "act`", "out of ink", "tried 3 times"] {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert!(app.describe().to_string().contains("PAUSED"));
    assert_eq!((seen(&store), script.tries(8)), ((1..=7).collect(), vec![1, 2, 3]));
    broken.store(0, Ordering::SeqCst);
    app.run_until_idle().await.unwrap();
    assert_eq!(seen(&store), (1..=20).collect::<Vec<_>>());
    assert!(app.paused().is_empty());
}

#[tokio::test]
async fn a_permanent_failure_pauses_at_once_and_one_that_is_nobodys_fault_counts_for_none() {
    let store = temporary().await;
    count_to(&store, 1..=3).await;
    let calls = AtomicU32::new(0);
    let script = Script::new(move |number, _, _| match number {
        2 if calls.fetch_add(1, Ordering::SeqCst) < 5 => {
            Err(catga::Error::new(ErrorKind::Unavailable, "gone").with_pause(Duration::from_millis(1)))
        }
        3 => Err(catga::Error::permanent("never")),
        _ => Ok(()),
    });
    let app = scripted(&store, &script).backoff(quick(2)).build().await.unwrap();
    app.run_until_idle().await.unwrap_err();
    assert!(app.paused()[0].1.contains("never"));
    assert_eq!(seen(&store), [1, 2]);
    assert_eq!((script.tries(2), script.tries(3)), (vec![1; 6], vec![1]));
}

/// A statement with `ON CONFLICT ROLLBACK` takes the whole transaction with it.
#[tokio::test]
async fn an_event_that_spoils_its_transaction_is_found_and_the_others_commit() {
    let store = temporary().await;
    count_to(&store, 1..=40).await;
    let script = Script::new(|number, _, tx| {
        if number == 30 {
            for _ in 0..2 {
                let _ = tx.execute("INSERT INTO child (parent) VALUES (1)", ());
            }
        }
        Ok(())
    });
    let app = scripted(&store, &script).backoff(quick(3)).build().await.unwrap();
    app.run_until_idle().await.unwrap_err();
    assert_eq!(seen(&store), (1..=29).collect::<Vec<_>>());
    assert!(app.paused()[0].1.contains("position 30"), "{:?}", app.paused());
    assert_eq!(script.tries(30), [1, 2, 3]);
}

#[tokio::test]
async fn unknown_events_are_passed_over_and_a_newer_version_pauses() {
    let store = temporary().await;
    for number in 1..=300 {
        store.append_events("a", Expect::Any, &(Happened, Happened)).await.unwrap();
        if number % 100 == 0 {
            count_to(&store, [number]).await;
        }
    }
    app(&store).follow("notes", note).build().await.unwrap().run_until_idle().await.unwrap();
    assert_eq!(seen(&store), [100, 200, 300]);
    store.append_events("a", Expect::Any, &(Happened, Happened)).await.unwrap();
    app(&store).follow("notes", note).build().await.unwrap().run_until_idle().await.unwrap();
    assert_eq!(count(&store, "SELECT position FROM catga_checkpoint"), 605, "also what was passed over last");

    let (counted, newer) = (Counted { number: 1 }, CountedV2 { number: 2, why: "so".into() });
    store.append_events("b", Expect::Empty, &(counted, newer, Counted { number: 3 })).await.unwrap();
    let app = app(&store).follow("notes", note).build().await.unwrap();
    app.run_until_idle().await.unwrap_err();
    let (_, report) = app.paused().pop().unwrap();
    assert!(report.contains("stream `b`, version 2") && report.contains("deploy the newer program"), "{report}");
    assert_eq!(seen(&store), [100, 200, 300, 1], "what came before is handled, what follows waits");
}

#[tokio::test]
async fn who_takes_a_followers_place_over_is_the_only_one() {
    let store = temporary().await;
    count_to(&store, 1..=10).await;
    let first = app(&store).follow("notes", note).build().await.unwrap();
    let second = app(&store).follow("notes", note).build().await.unwrap();
    let (stop, stopped) = futures_util::future::abortable(std::future::pending::<()>());
    let takeover = async {
        first.idle().await.unwrap();
        second.run_until_idle().await.unwrap();
        count_to(&store, 11..=20).await;
        let error = first.idle().await.unwrap_err();
        assert!(error.to_string().contains("somebody else has taken its place over"), "{error}");
        stopped.abort();
    };
    futures_util::future::join(first.run(stop.map(drop)), takeover).await.0.unwrap();
    second.run_until_idle().await.unwrap();
    assert_eq!(seen(&store), (1..=20).collect::<Vec<_>>());
}

type Heard = Arc<Mutex<Vec<(u64, String)>>>;

async fn hear(event: Counted, heard: State<Heard>, place: Place) -> catga::Result<()> {
    heard.lock().unwrap().push((event.number, place.stream.to_string()));
    Ok(())
}

async fn happened(_: Happened, heard: State<Heard>) -> catga::Result<()> {
    heard.lock().unwrap().push((0, String::new()));
    Ok(())
}

#[tokio::test]
async fn a_follower_of_several_events_without_a_transaction_hears_them_in_order() {
    let store = temporary().await;
    let heard = Heard::default();
    count_to(&store, [1]).await;
    store.append_events("a", Expect::Any, &Happened).await.unwrap();
    count_to(&store, [2]).await;
    let app = app(&store).state(heard.clone()).follower("ears", |ears| ears.on(hear).on(happened));
    let app = app.build().await.unwrap();
    app.run_until_idle().await.unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(*heard.lock().unwrap(), [(1, "s1".into()), (0, String::new()), (2, "s2".into())]);
    let description = app.describe();
    let printed = description.to_string();
    assert!(printed.contains("follower    shop.ears: effects at least once"), "{printed}");
    assert!(printed.contains("  follows   it.counted version 1 in json > "), "{printed}");
    assert_eq!(description.to_json()["followers"][0]["messages"][1]["name"], "it.happened");
}

/// Appends what it is given, once for each event, also under another name.
async fn echo(event: Counted, mut tx: Tx<Sqlite>) -> catga::Result<()> {
    tx.append(&format!("echo-{}", event.number), Expect::Empty, &Happened).await?;
    Ok(())
}

#[tokio::test]
async fn a_follower_may_append_to_the_streams_that_it_follows() {
    let store = temporary().await;
    count_to(&store, 1..=100).await;
    app(&store).follow("echo", echo).build().await.unwrap().run_until_idle().await.unwrap();
    assert_eq!(store.read_all(0, 1_000).await.unwrap().len(), 200);
}

#[tokio::test]
async fn every_mistake_is_listed() {
    let store = temporary().await;
    let builder = App::builder("shop").follow("a", note).follower("b", |b| b).follow("a", hear);
    let error = builder.follower("c", |c| c.park().on(happened)).build().await.unwrap_err().to_string();
    for mistake in [
        "takes `Tx<catga_sqlite::open::Sqlite>`, but the application has no such store",
        "follower `b` takes no event",
        "two consumers or followers named `a`",
        "follower `c` parks",
        "follower `shop.c` has no store with event streams",
    ] {
        assert!(error.contains(mistake), "{mistake}: {error}");
    }
    let heard = app(&store).on("mail", hear).follow("mail", note).build().await.unwrap_err();
    assert!(heard.to_string().contains("named `mail`"));
    let direct = app(&store).state(Heard::default()).on("mail", hear).backoff(quick(1)).build().await.unwrap();
    direct.publish(Counted { number: 1 }).await.unwrap();
    direct.run_until_idle().await.unwrap();
    assert!(text(&store, "SELECT reason FROM catga_letter").contains("takes `Place` is given events by"));
}

const CHILD: &str = "CATGA_TEST_FOLLOW_FILE";

/// Says that it started before it is done with its row, so that the parent kills it in the middle.
async fn tell(event: Counted, mut tx: Tx<Sqlite>, place: Place) -> catga::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "started {}", place.position)?;
    out.flush()?;
    drop(out);
    write(&event, &place, &mut tx)
}

/// The child: appends and follows until it is killed.
async fn work(path: &Path) {
    let store = Sqlite::open(path).await.unwrap().migrate(SCHEMA).await.unwrap();
    let app = app(&store).follow("notes", tell).build().await.unwrap();
    let append = async {
        for number in 0.. {
            let events = [number, number + 1, number + 2].map(|number| Counted { number });
            store.append_events(&format!("s{}", number % 5), Expect::Any, &events).await.unwrap();
        }
    };
    futures_util::future::join(app.run(std::future::pending()), append).await.0.unwrap();
}

/// Starts the child and kills it when it has started so many events.
fn kill_after(path: &Path, events: usize) {
    let name = "killed_twenty_times_a_follower_skips_and_doubles_nothing";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--test-threads", "1", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let started = lines.map_while(Result::ok).filter(|line| line.contains("started ")).take(events).count();
    child.kill().unwrap();
    assert_eq!(started, events, "the child ended by itself: {}", child.wait().unwrap());
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_twenty_times_a_follower_skips_and_doubles_nothing() {
    if let Some(path) = std::env::var_os(CHILD).map(PathBuf::from) {
        work(&path).await;
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    for kill in 0..20 {
        kill_after(&path, 1 + kill * 37 % 150);
    }
    let store = Sqlite::open(&path).await.unwrap();
    assert_eq!(
        count(&store, "SELECT max(position) FROM seen"),
        count(&store, "SELECT position FROM catga_checkpoint"),
        "a place and its effects are one"
    );
    app(&store).follow("notes", note).build().await.unwrap().run_until_idle().await.unwrap();
    let all = store.read_all(0, usize::MAX).await.unwrap();
    let positions: Vec<i64> = all.iter().map(|event| event.position as i64).collect();
    assert_eq!(numbers(&store, "SELECT position FROM seen ORDER BY rowid"), positions);
    assert_eq!(
        numbers(&store, "SELECT before FROM seen ORDER BY rowid"),
        (0..positions.len() as i64).collect::<Vec<_>>()
    );
    assert!(positions.len() > 500, "{} events are too few to tell", positions.len());
}
