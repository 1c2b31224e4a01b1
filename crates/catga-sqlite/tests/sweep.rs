//! Old marks go, young ones stay, and the file does not keep one for ever.
#![allow(clippy::unwrap_used)]

mod common;

use catga::{
    ErrorKind,
    sqlite::{Sqlite, rusqlite},
};
use common::*;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[tokio::test]
async fn marks_older_than_a_week_are_swept_slice_by_slice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    {
        let store = Sqlite::open(&path).await.unwrap().migrate(SCHEMA).await.unwrap();
        let app = shop(&store, Script::fine()).build().await.unwrap();
        for id in 1..=300 {
            app.send(Place(id)).await.unwrap().unwrap();
        }
        app.run_until_idle().await.unwrap();
        assert_eq!(count(&store, "SELECT count(*) FROM catga_inbox"), 300, "young ones stay");
    }
    // Two hundred of them become eight days old, the others six.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    let day = 24 * 60 * 60 * 1_000_000_i64;
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute("UPDATE catga_inbox SET at = ?1", [now - 6 * day]).unwrap();
    let old = "UPDATE catga_inbox SET at = ?1 WHERE id IN (SELECT id FROM catga_inbox ORDER BY random() LIMIT 200)";
    assert_eq!(raw.execute(old, [now - 8 * day]).unwrap(), 200);
    drop(raw);

    let store = Sqlite::open(&path).await.unwrap().migrate(SCHEMA).await.unwrap();
    let app = shop(&store, Script::fine()).build().await.unwrap();
    let old = format!("SELECT count(*) FROM catga_inbox WHERE at < {}", now - 7 * day);
    let mut before = count(&store, &old);
    for id in 301..=320 {
        app.send(Place(id)).await.unwrap().unwrap();
        app.run_until_idle().await.unwrap();
        let after = count(&store, &old);
        assert!(before - after <= 3 * 64, "a few commits take a few slices, not all at once: {before} to {after}");
        before = after;
    }
    assert_eq!(before, 0);
    assert_eq!(count(&store, "SELECT count(*) FROM catga_inbox"), 100 + 20);
    assert_eq!(count(&store, "SELECT count(*) FROM mails"), 320);
}

#[tokio::test]
async fn the_time_has_bounds() {
    let store = temporary().await;
    let error = store.clone().keep_marks(Duration::from_secs(60)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("an hour to ten years"), "{error}");
    store.keep_marks(Duration::from_secs(3600)).unwrap();
}

#[tokio::test]
async fn retries_that_outlive_the_marks_are_refused() {
    let hour = Duration::from_secs(3600);
    let store = temporary().await.keep_marks(hour).unwrap();
    let backoff = |attempts| catga::Backoff { attempts, first: hour / 4, factor: 1.0, most: hour, jitter: 0.0 };
    let error = shop(&store, Script::fine()).backoff(backoff(6)).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = "a delivery may be tried again after 4500 s, but";
    assert!(error.to_string().contains(text) && error.to_string().contains("keeps its marks for 3600 s"), "{error}");
    shop(&store, Script::fine()).backoff(backoff(5)).build().await.unwrap();
}
