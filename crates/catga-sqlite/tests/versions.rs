//! Contracts that change while messages are under way.
#![allow(clippy::unwrap_used)]

mod common;

use catga::{App, Codec, Event, Json, Sink, State, sqlite::Sqlite};
use common::*;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex};

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "stock.put")]
struct PutV1 {
    amount: u32,
}

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "stock.moved", alias = "stock.put", version = 2, from = PutV1)]
struct Moved {
    amount: i64,
    place: String,
}

impl From<PutV1> for Moved {
    fn from(old: PutV1) -> Self {
        Self { amount: old.amount.into(), place: "main".into() }
    }
}

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "stock.moved", version = 3)]
struct MovedV3 {
    amount: i64,
    place: String,
    reason: String,
}

type Seen = Arc<Mutex<Vec<(i64, String)>>>;

async fn moved(event: Moved, seen: State<Seen>) -> catga::Result<()> {
    seen.lock().unwrap().push((event.amount, event.place));
    Ok(())
}

async fn app(store: &Sqlite, seen: &Seen) -> App {
    App::builder("stock").store(store.clone()).state(seen.clone()).on("book", moved).build().await.unwrap()
}

#[tokio::test]
async fn old_names_and_old_versions_are_brought_up() {
    let (store, seen) = (temporary().await, Seen::default());
    let app = app(&store, &seen).await;
    app.publish(PutV1 { amount: 5 }).await.unwrap();
    app.publish(Moved { amount: -2, place: "yard".into() }).await.unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [(5, "main".into()), (-2, "yard".into())]);
}

#[tokio::test]
async fn an_unknown_newer_version_pauses_its_consumer_and_loses_nothing() {
    let (store, seen) = (temporary().await, Seen::default());
    {
        let app = app(&store, &seen).await;
        app.publish(Moved { amount: 1, place: "a".into() }).await.unwrap();
        app.publish(MovedV3 { amount: 2, place: "b".into(), reason: "gift".into() }).await.unwrap();
        app.publish(Moved { amount: 3, place: "c".into() }).await.unwrap();
        let error = app.run_until_idle().await.unwrap_err();
        assert!(error.to_string().contains("consumer `stock.book` will not be handled by this program"), "{error}");
        assert!(app.describe().to_string().contains("PAUSED"));
        assert_eq!(*seen.lock().unwrap(), [(1, "a".into())], "what came before is handled, what follows waits");
        let report = app.describe().to_json()["consumers"][0]["paused"].to_string();
        for part in ["`stock.moved` is of version 3", "knows version 2", "deploy the newer program"] {
            assert!(report.contains(part), "{report}");
        }
        assert_eq!(count(&store, "SELECT count(*) FROM catga_letter"), 0);
        assert_eq!(count(&store, "SELECT count(*) FROM catga_queue"), 2);
    }
    // The newer program finds both where they are.
    #[derive(Event, Clone, Serialize, Deserialize)]
    #[catga(name = "stock.moved", version = 3, from = Moved)]
    struct Newest {
        amount: i64,
        reason: String,
    }
    impl From<Moved> for Newest {
        fn from(old: Moved) -> Self {
            Self { amount: old.amount, reason: format!("to {}", old.place) }
        }
    }
    async fn newest(event: Newest, seen: State<Seen>) -> catga::Result<()> {
        seen.lock().unwrap().push((event.amount, event.reason));
        Ok(())
    }
    let app = App::builder("stock").store(store.clone()).state(seen.clone()).on("book", newest).build().await.unwrap();
    app.run_until_idle().await.unwrap();
    assert_eq!(seen.lock().unwrap()[1..], [(2, "gift".into()), (3, "to c".into())]);
}

/// JSON under another name, with a mark in front.
struct Marked;

impl<T: Serialize + serde::de::DeserializeOwned> Codec<T> for Marked {
    const NAME: &'static str = "marked";
    fn encode<W: Sink>(value: &T, out: &mut W) -> catga::Result<()> {
        out.write_all(b"#")?;
        Json::encode(value, out)
    }
    fn decode(bytes: &[u8]) -> catga::Result<T> {
        let rest = bytes.strip_prefix(b"#").ok_or_else(|| catga::Error::new(catga::ErrorKind::Codec, "no mark"))?;
        Json::decode(rest)
    }
}

#[tokio::test]
async fn a_pair_of_codecs_reads_both_and_writes_the_new_one() {
    #[derive(Event, Clone, Serialize, Deserialize)]
    #[catga(name = "told")]
    struct Old(u32);
    #[derive(Event, Clone, Serialize, Deserialize)]
    #[catga(name = "told", codec = (Marked, Json))]
    struct New(u32);
    async fn told(event: New, seen: State<Seen>) -> catga::Result<()> {
        seen.lock().unwrap().push((event.0.into(), String::new()));
        Ok(())
    }
    let (store, seen) = (temporary().await, Seen::default());
    let app = App::builder("tales").store(store.clone()).state(seen.clone()).on("ear", told).build().await.unwrap();
    app.publish(Old(1)).await.unwrap();
    app.publish(New(2)).await.unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM catga_queue WHERE instr(frame, CAST('#2' AS BLOB)) > 0"), 1);
    app.run_until_idle().await.unwrap();
    assert_eq!(seen.lock().unwrap().iter().map(|seen| seen.0).collect::<Vec<_>>(), [1, 2]);
}
