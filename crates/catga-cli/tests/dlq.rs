//! `catga dlq`, as an operator calls it beside the running application.
#![allow(clippy::unwrap_used)]

use catga::{App, Event, State, Tx, sqlite::Sqlite};
use serde::{Deserialize, Serialize};
use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "rang")]
struct Rang(u32);

async fn ring(Rang(bell): Rang, mut tx: Tx<Sqlite>, broken: State<Arc<AtomicBool>>) -> catga::Result<()> {
    tx.execute("INSERT INTO rings (bell) VALUES (?1)", [bell])?;
    if broken.load(Ordering::SeqCst) { Err(catga::Error::permanent("the rope is torn")) } else { Ok(()) }
}

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "pulled", key = rope)]
struct Pulled {
    rope: u8,
    pull: u32,
}

async fn pull(Pulled { pull, .. }: Pulled, mut tx: Tx<Sqlite>, broken: State<Arc<AtomicBool>>) -> catga::Result<()> {
    tx.execute("INSERT INTO rings (bell) VALUES (?1)", [pull])?;
    if broken.load(Ordering::SeqCst) { Err(catga::Error::permanent("the rope is torn")) } else { Ok(()) }
}

#[tokio::test]
async fn a_letter_says_how_many_wait_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bell.db");
    let file = path.to_str().unwrap();
    let store = Sqlite::open(&path).await.unwrap().migrate(&["CREATE TABLE rings (bell INTEGER)"]).await.unwrap();
    let broken = Arc::new(AtomicBool::new(true));
    let app = App::builder("bell").store(store.clone()).state(broken.clone());
    let app = app.consumer("pull", |consumer| consumer.on(pull).park()).build().await.unwrap();
    for pull in 1..=4 {
        app.publish(Pulled { rope: 1, pull }).await.unwrap();
    }
    app.run_until_idle().await.unwrap();
    let (_, text, _) = dlq(file, &["ls"]);
    let fields: Vec<&str> = text.lines().nth(1).unwrap().split('\t').collect();
    assert_eq!((fields.len(), fields[6]), (8, "3"), "{text}");
    let (_, json, _) = dlq(file, &["ls", "-o", "json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["parked"].as_u64(), Some(3));
    let (_, text, _) = dlq(file, &["show", "1"]);
    assert!(text.contains("parked    3 later messages of its key wait for it"), "{text}");
    broken.store(false, Ordering::SeqCst);
    assert_eq!(dlq(file, &["replay", "1"]).0, 0);
    app.run_until_idle().await.unwrap();
    let rings = |db: &catga::sqlite::rusqlite::Connection| {
        db.prepare("SELECT bell FROM rings ORDER BY rowid")?.query_map((), |row| row.get(0))?.collect()
    };
    assert_eq!(store.read::<Vec<u32>>(rings).unwrap(), [1, 2, 3, 4]);
}

fn dlq(file: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catga"));
    let output = command.arg("dlq").args(arguments).args(["--store", file]).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn letters_are_looked_at_replayed_and_discarded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bell.db");
    let file = path.to_str().unwrap();
    let store = Sqlite::open(&path).await.unwrap().migrate(&["CREATE TABLE rings (bell INTEGER)"]).await.unwrap();
    let broken = Arc::new(AtomicBool::new(true));
    let app = App::builder("bell").store(store.clone()).state(broken.clone()).on("ring", ring).build().await.unwrap();
    for bell in 1..=3 {
        app.publish(Rang(bell)).await.unwrap();
    }
    app.run_until_idle().await.unwrap();

    let (code, text, _) = dlq(file, &["ls"]);
    assert_eq!(code, 0);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[1].starts_with("1\tbell.ring\trang\t1\t") && lines[1].ends_with("the rope is torn"), "{text}");
    let (_, json, _) = dlq(file, &["ls", "--consumer", "bell.ring", "-o", "jsonl"]);
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((first["id"].as_u64(), first["message"].as_str()), (Some(1), Some("rang")));
    assert_eq!(dlq(file, &["ls", "--consumer", "other", "-o", "jsonl"]).1, "");
    assert!(first["first"].as_u64() <= first["last"].as_u64() && first["parked"].is_null(), "{first}");
    let (code, text, _) = dlq(file, &["show", "2"]);
    assert_eq!(code, 0);
    assert!(text.contains("\nfirst     ") && text.contains("\nlast      ") && !text.contains("parked"), "{text}");
    assert!(text.contains("json      2\n") && text.contains("reason    consumer `bell.ring`"), "{text}");
    let (code, _, error) = dlq(file, &["show", "9"]);
    assert_eq!((code, error.as_str()), (1, "there is no letter 9\n"));

    let (code, plan, _) = dlq(file, &["replay", "1", "--dry-run"]);
    assert_eq!((code, plan.as_str()), (0, "replay 1: rang of bell.ring\nnothing was done (--dry-run)\n"));
    broken.store(false, Ordering::SeqCst);
    let (code, done, _) = dlq(file, &["replay", "1", "3"]);
    assert_eq!((code, done.ends_with("2 done\n")), (0, true), "{done}");
    app.run_until_idle().await.unwrap();
    let rings = |db: &catga::sqlite::rusqlite::Connection| {
        db.prepare("SELECT bell FROM rings")?.query_map((), |row| row.get(0))?.collect()
    };
    let rings: Vec<u32> = store.read(rings).unwrap();
    assert_eq!(rings, [1, 3]);
    let (code, done, _) = dlq(file, &["discard", "--all"]);
    assert_eq!((code, done.as_str()), (0, "discard 2: rang of bell.ring\n1 done\n"));
    assert_eq!(dlq(file, &["ls"]).1.lines().count(), 1);
    assert_eq!(dlq(file, &["replay"]).0, 2, "which ones must be said");
}
