//! Processes that die: each test runs itself again as a child, which works on the file until it is done or dead.
#![allow(clippy::unwrap_used)]

mod common;

use catga::{Context, Event, Tx, sqlite::Sqlite};
use common::*;
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

const CHILD: &str = "CATGA_TEST_CRASH_FILE";

/// The file to work on, in a child.
fn child() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(Into::into)
}

/// Runs the test `name` as a child on the file.
fn run_child(name: &str, path: &Path) -> ExitStatus {
    let test = std::env::current_exe().unwrap();
    Command::new(test).args(["--exact", name, "--test-threads", "1"]).env(CHILD, path).output().unwrap().status
}

async fn filled(path: &Path, orders: u64) {
    let store = Sqlite::open(path).await.unwrap().migrate(SCHEMA).await.unwrap();
    let app = shop(&store, Script::fine()).build().await.unwrap();
    for id in 1..=orders {
        app.send(Place(id)).await.unwrap().unwrap();
    }
    // An application without consumers only relays: the events are queued once, and nobody has touched them.
    let relay = catga::App::builder("relay").store(store.clone()).build().await.unwrap();
    relay.run_until_idle().await.unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM catga_queue"), orders as i64);
}

#[tokio::test]
async fn a_message_that_kills_its_process_is_buried_after_its_limit_and_no_other() {
    if let Some(path) = child() {
        let store = Sqlite::open(&path).await.unwrap().migrate(SCHEMA).await.unwrap();
        let script = Script::new(|id, _, _| if id == 7 { std::process::abort() } else { Ok(()) });
        let app = shop(&store, script).backoff(quick(3)).build().await.unwrap();
        app.run_until_idle().await.unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    filled(&path, 64).await;
    let mut deaths = 0;
    while !run_child("a_message_that_kills_its_process_is_buried_after_its_limit_and_no_other", &path).success() {
        deaths += 1;
        assert!(deaths <= 4, "once in its batch, which counts for nobody, and three times alone");
    }
    assert_eq!(deaths, 4);
    let store = Sqlite::open(&path).await.unwrap();
    let others: Vec<i64> = (1..=64).filter(|id| *id != 7).collect();
    assert_eq!(numbers(&store, "SELECT order_id FROM mails ORDER BY 1"), others);
    assert_eq!(count(&store, "SELECT count(*) FROM catga_letter"), 1);
    let seven = r#"SELECT count(*) FROM catga_letter WHERE instr(frame, CAST('{"id":7}' AS BLOB)) > 0"#;
    assert_eq!(count(&store, seven), 1);
    assert!(text(&store, "SELECT reason FROM catga_letter").contains("was started 3 times and never ended"));
    for table in ["catga_queue", "catga_retry", "catga_outbox"] {
        assert_eq!(count(&store, &format!("SELECT count(*) FROM {table}")), 0, "{table}");
    }
}

#[tokio::test]
async fn a_process_that_dies_before_its_commit_did_nothing() {
    if let Some(path) = child() {
        let store = Sqlite::open(&path).await.unwrap().migrate(SCHEMA).await.unwrap();
        // Dies when the last of the batch has written its row.
        let script =
            Script::new(|id, attempt, _| if id == 20 && attempt == 1 { std::process::abort() } else { Ok(()) });
        let app = shop(&store, script).build().await.unwrap();
        app.run_until_idle().await.unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    filled(&path, 20).await;
    let name = "a_process_that_dies_before_its_commit_did_nothing";
    assert!(!run_child(name, &path).success());
    {
        let store = Sqlite::open(&path).await.unwrap();
        let effects = ["mails", "catga_inbox"].map(|table| count(&store, &format!("SELECT count(*) FROM {table}")));
        assert_eq!(effects[0], effects[1], "a mark and its effect are one");
        assert_eq!(count(&store, "SELECT count(*) FROM mails WHERE order_id = 20"), 0);
    }
    // Alone it dies a second time on its first try; the count survives, and the third start is its second try.
    assert!(!run_child(name, &path).success());
    assert!(run_child(name, &path).success());
    let store = Sqlite::open(&path).await.unwrap();
    assert_eq!(numbers(&store, "SELECT order_id FROM mails ORDER BY 1"), (1..=20).collect::<Vec<_>>());
    assert_eq!(count(&store, "SELECT count(*) FROM catga_letter"), 0);
}

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "stepped", key = key)]
struct Stepped {
    key: u8,
    number: i64,
}

/// The third fails once, so that the others wait for it; the fortieth kills its process.
async fn step(Stepped { number, .. }: Stepped, mut tx: Tx<Sqlite>, cx: Context) -> catga::Result<()> {
    tx.execute("INSERT INTO orders (id) VALUES (?1)", [number])?;
    match (number, cx.attempt) {
        (3, 1) => Err(std::io::Error::other("stumbled").into()),
        (40, _) => std::process::abort(),
        _ => Ok(()),
    }
}

#[tokio::test]
async fn of_those_that_wait_for_their_key_none_is_blamed_and_none_overtakes() {
    let steps = |store: &Sqlite| catga::App::builder("walk").store(store.clone()).backoff(quick(3)).on("step", step);
    if let Some(path) = child() {
        let store = Sqlite::open(&path).await.unwrap().migrate(SCHEMA).await.unwrap();
        steps(&store).build().await.unwrap().run_until_idle().await.unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("walk.db");
    {
        let store = Sqlite::open(&path).await.unwrap().migrate(SCHEMA).await.unwrap();
        let app = steps(&store).build().await.unwrap();
        for number in 1..=300 {
            app.publish(Stepped { key: 1, number }).await.unwrap();
        }
    }
    let mut deaths = 0;
    while !run_child("of_those_that_wait_for_their_key_none_is_blamed_and_none_overtakes", &path).success() {
        deaths += 1;
        assert!(deaths <= 4, "once in its batch, which counts for nobody, and three times alone");
    }
    assert_eq!(deaths, 4);
    let store = Sqlite::open(&path).await.unwrap();
    let others: Vec<i64> = (1..=300).filter(|number| *number != 40).collect();
    assert_eq!(numbers(&store, "SELECT id FROM orders ORDER BY rowid"), others);
    assert_eq!(count(&store, "SELECT count(*) FROM catga_letter WHERE attempts = 4"), 1);
    for table in ["catga_queue", "catga_retry"] {
        assert_eq!(count(&store, &format!("SELECT count(*) FROM {table}")), 0, "{table}");
    }
}
