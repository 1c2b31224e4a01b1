//! `catga outbox ls`, as an operator calls it beside the running application.
#![allow(clippy::unwrap_used)]

use catga::{App, Event, PublishOptions, Request, Tx, sqlite::Sqlite};
use serde::{Deserialize, Serialize};
use std::{
    process::Command,
    time::{Duration, SystemTime},
};

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "rang", key = bell)]
struct Rang {
    bell: u8,
}

#[derive(Request)]
#[catga(name = "ring", local)]
struct Ring;

async fn ring(_: Ring, mut tx: Tx<Sqlite>) -> catga::Result<()> {
    let due = Some(SystemTime::now() + Duration::from_secs(3_600));
    tx.publish_with(Rang { bell: 1 }, PublishOptions { due, ..PublishOptions::default() })?;
    tx.publish(Rang { bell: 2 }).map(drop)
}

fn outbox(file: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catga"));
    let output = command.args(["outbox", "ls", "--store", file]).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn what_waits_to_leave_is_listed_with_its_time_and_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bell.db");
    let file = path.to_str().unwrap();
    let store = Sqlite::open(&path).await.unwrap();
    let app = App::builder("bell").store(store.clone()).handle(ring).build().await.unwrap();
    app.send(Ring).await.unwrap();
    let raw = catga::sqlite::rusqlite::Connection::open(&path).unwrap();
    let refused = "UPDATE catga_outbox SET attempts = 2, again = 9000000000000000, reason = 'too\tlong'";
    assert_eq!(raw.execute(refused, ()).unwrap(), 1);

    let (code, text, _) = outbox(file, &[]);
    assert_eq!(code, 0);
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.len(), 3, "{text}");
    assert_eq!(rows[0][..3], ["message", "subject", "bytes"]);
    assert_eq!((rows[1][1], &rows[1][3..]), ("catga.rang", &["", "2", "9000000000", "too long"][..]), "{text}");
    assert_eq!((rows[2][4], rows[2][5], rows[2][6]), ("0", "", ""));
    assert!(rows[2][3].parse::<u64>().unwrap() > 1_700_000_000, "it is due later: {text}");

    let (_, json, _) = outbox(file, &["-o", "json"]);
    let rows: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((rows[0]["reason"].as_str(), rows[0]["due"].as_u64()), (Some("too\tlong"), None));
    assert_eq!((rows[0]["key"].as_u64(), rows[1]["attempts"].as_u64()), (Some(catga::Key::new("2").digest()), Some(0)));
    let (code, text, more) = outbox(file, &["--most", "1"]);
    assert_eq!((code, text.lines().count(), more.as_str()), (0, 2, "there are more; --most N shows them\n"));
    assert_eq!(outbox(folder.path().join("none.db").to_str().unwrap(), &[]).0, 2);
}
