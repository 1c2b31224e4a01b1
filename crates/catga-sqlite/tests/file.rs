//! The file: its migrations, its owner, its locks.
#![allow(clippy::unwrap_used)]

mod common;

use catga::{
    App, ErrorKind,
    sqlite::{Sqlite, rusqlite},
};
use common::*;
use std::time::{Duration, Instant};

#[test]
fn sqlite_is_recent_enough() {
    // 3.51.3 mended a race that could corrupt a file in WAL mode; another crate in the build could bring an older one.
    assert!(rusqlite::version_number() >= 3_051_003, "{}", rusqlite::version());
}

#[tokio::test]
async fn migrations_run_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let one = "CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1)";
    let two = "INSERT INTO a VALUES (2)";
    drop(Sqlite::open(&path).await.unwrap().migrate(&[one]).await.unwrap());
    let store = Sqlite::open(&path).await.unwrap().migrate(&[one, two]).await.unwrap();
    assert_eq!(numbers(&store, "SELECT x FROM a"), [1, 2]);
}

#[tokio::test]
async fn a_newer_file_a_changed_migration_and_a_broken_one_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let one = "CREATE TABLE a (x INTEGER)";
    drop(Sqlite::open(&path).await.unwrap().migrate(&[one, "INSERT INTO a VALUES (2)"]).await.unwrap());
    let migrate = async |migrations: &[&str]| Sqlite::open(&path).await.unwrap().migrate(migrations).await.unwrap_err();

    let newer = migrate(&[one]).await;
    assert_eq!(newer.kind(), ErrorKind::Unsupported);
    assert!(newer.to_string().contains("newer than this program: its `app` tables are of version 2"), "{newer}");
    assert!(newer.to_string().contains("a.db"), "{newer}");

    let changed = migrate(&["CREATE TABLE a (y INTEGER)", ""]).await;
    assert_eq!(changed.kind(), ErrorKind::Invalid);
    assert!(changed.to_string().contains("migration 1 of `app`"), "{changed}");

    let broken = migrate(&[one, "INSERT INTO a VALUES (2)", "CREATE TABLE b (x); CREATE TABL c"]).await;
    assert!(broken.to_string().contains("migration 3 of `app`"), "{broken}");
    let escaping = migrate(&[one, "INSERT INTO a VALUES (2)", "CREATE TABLE b (x); COMMIT"]).await;
    assert!(escaping.to_string().contains("is refused in a migration"), "{escaping}");
    let store = Sqlite::open(&path).await.unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM sqlite_schema WHERE name = 'b'"), 0, "all or nothing");
}

#[tokio::test]
async fn a_file_of_a_newer_catga_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    drop(Sqlite::open(&path).await.unwrap());
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute("INSERT INTO catga_migration (scope, version, sql) VALUES ('catga', 999, '')", ()).unwrap();
    drop(raw);
    for error in [Sqlite::open(&path).await.unwrap_err(), Sqlite::open_tool(&path).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("version 999"), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    std::fs::write(&path, "this is a letter to my mother, and long enough to be read as one").unwrap();
    let error = Sqlite::open(&path).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("a.db"), "{error}");
    let error = Sqlite::open(folder.path().join("no/such/folder/a.db")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn one_process_works_on_a_file_and_the_second_is_told_whose_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let first = Sqlite::open(&path).await.unwrap().migrate(SCHEMA).await.unwrap();
    let app = shop(&first, Script::fine()).build().await.unwrap();

    // A second handle stands for a second process: the lock belongs to the open file.
    let second = Sqlite::open(&path).await.unwrap();
    let error = App::builder("other").store(second).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");

    // A tool looks in and writes beside the running worker.
    let tool = Sqlite::open_tool(&path).await.unwrap();
    app.send(Place(1)).await.unwrap().unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&tool, "SELECT order_id FROM mails"), [1]);
    let error = App::builder("tool").store(tool).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let missing = Sqlite::open_tool(folder.path().join("b.db")).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Unavailable, "{missing}");

    // When the owner is gone, the next one may.
    drop((app, first));
    let third = Sqlite::open(&path).await.unwrap();
    App::builder("other").store(third).build().await.unwrap();
}

#[tokio::test]
async fn a_file_that_somebody_else_locks_is_busy_and_never_down() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let store = Sqlite::open(&path).await.unwrap().migrate(SCHEMA).await.unwrap();
    let app = shop(&store, Script::fine()).build().await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();

    // A short lock is waited for.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let sent = tokio::spawn({
        let app = app.clone();
        async move { app.send(Place(1)).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!sent.is_finished());
    other.execute_batch("ROLLBACK").unwrap();
    sent.await.unwrap().unwrap().unwrap();

    // A long one is answered after five seconds, and the store works on when it is gone.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = Instant::now();
    let error = app.send(Place(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(began.elapsed() >= Duration::from_secs(5));
    other.execute_batch("ROLLBACK").unwrap();
    app.send(Place(3)).await.unwrap().unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(numbers(&store, "SELECT order_id FROM mails ORDER BY 1"), [1, 3]);
}

#[tokio::test]
async fn a_temporary_store_is_gone_with_its_last_handle() {
    let store = Sqlite::temporary().await.unwrap();
    let path = store.path().to_owned();
    let clone = store.clone();
    drop(store);
    assert!(path.exists());
    drop(clone);
    assert!(!path.exists() && !path.parent().unwrap().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_senders_share_commits_and_none_sees_another_ones_failure() {
    let store = temporary().await;
    let app = shop(&store, Script::fine()).build().await.unwrap();
    let tasks: Vec<_> = (0..200_u64)
        .map(|id| {
            let app = app.clone();
            tokio::spawn(async move { app.send(Place(id % 10)).await })
        })
        .collect();
    let mut refused = 0;
    for task in tasks {
        refused += i32::from(task.await.unwrap().unwrap().is_err());
    }
    assert_eq!(refused, 20);
    assert_eq!(count(&store, "SELECT count(*) FROM orders"), 180);
    assert_eq!(count(&store, "SELECT count(*) FROM orders WHERE id = 0"), 0);
    app.run_until_idle().await.unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM mails"), 180);
}
