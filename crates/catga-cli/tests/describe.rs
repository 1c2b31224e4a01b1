//! `catga describe`, as a user calls it.
#![allow(clippy::unwrap_used)]

use catga::{App, Event, sqlite::Sqlite};
use serde::{Deserialize, Serialize};
use std::process::Command;

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "rang")]
struct Rang;

async fn ring(_: Rang) -> catga::Result<()> {
    Ok(())
}

fn describe(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_catga")).arg("describe").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn prints_what_the_applications_on_a_file_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bell.db");
    let file = path.to_str().unwrap();
    let store = Sqlite::open(&path).await.unwrap();
    let (code, text, _) = describe(&["--store", file]);
    assert_eq!((code, text.as_str()), (0, "no application was built on this file yet\n"));

    // Beside the running application.
    let _app = App::builder("bell").store(store).on("ring", ring).build().await.unwrap();
    let (code, text, _) = describe(&["--store", file]);
    assert_eq!(code, 0);
    assert!(text.starts_with("application\twhat\tname\thow\tbehaviors\n"), "{text}");
    assert!(text.contains("bell\tconsumer\tbell.ring\teffects at least once"), "{text}");
    assert!(text.contains("bell\ttakes\trang\tversion 1 in json from catga.rang to describe::ring"), "{text}");
    let (code, json, _) = describe(&["--store", file, "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, json[0]["application"].as_str()), (0, Some("bell")));

    let (code, _, error) = describe(&["--store", "no/such/file.db"]);
    assert_eq!(code, 2);
    assert!(error.starts_with("catga describe: no/such/file.db: opening"), "{error}");
}
