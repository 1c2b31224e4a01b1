//! The relay over a transport that loses answers, stores what it says it lost, and refuses.
#![allow(clippy::unwrap_used)]

mod common;

use catga::{
    Capabilities, Error, ErrorKind, Event, Outcome, Parcel, Registration, Request, Result, StoreId, Str,
    SubscribeOptions, Transport, Tx,
    sqlite::{Sqlite, SqliteSubscription},
};
use common::*;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex};

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "counted", key = key)]
struct Counted {
    key: u8,
    number: u32,
}

#[derive(Request)]
#[catga(name = "count", local)]
struct Count;

/// Publishes 8 numbers for each of 10 keys, in turn.
async fn count_up(_: Count, mut tx: Tx<Sqlite>) -> Result<()> {
    for number in 0..8 {
        for key in 0..10 {
            tx.publish(Counted { key, number })?;
        }
    }
    Ok(())
}

async fn note(event: Counted, mut tx: Tx<Sqlite>) -> Result<()> {
    tx.execute("INSERT INTO orders (id) VALUES (?1)", [u32::from(event.key) * 100 + event.number])?;
    Ok(())
}

/// A road with potholes: parcels are lost, or stored with their answer lost, or refused, by a fixed pattern.
struct Road {
    to: Sqlite,
    passed: Arc<Mutex<Passed>>,
}

#[derive(Default)]
struct Passed {
    count: u32,
    /// The frames in the order in which they were stored first.
    stored: Vec<bytes::Bytes>,
    /// The most parcels of one call that were of one partition.
    together: usize,
}

impl Transport for Road {
    type Subscription = SqliteSubscription;

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Transport::capabilities(&self.to);
        capabilities.atomic_batch = false;
        capabilities
    }
    fn shares(&self) -> Option<StoreId> {
        self.to.shares()
    }
    async fn register(&self, consumers: &[Registration]) -> Result<()> {
        self.to.register(consumers).await
    }
    async fn publish(&self, parcels: &[Parcel], outcomes: &mut Vec<Outcome>) -> Result<()> {
        let key = |parcel: &Parcel| catga::Envelope::decode(&parcel.frame).unwrap().key.unwrap();
        let keys: Vec<_> = parcels.iter().map(key).collect();
        for parcel in parcels {
            let count = {
                let mut passed = self.passed.lock().unwrap();
                let mine = key(parcel);
                passed.together = passed.together.max(keys.iter().filter(|other| **other == mine).count());
                passed.count += 1;
                passed.count
            };
            let outcome = match count % 7 {
                2 => Outcome::Unknown, // and not stored
                4 if count.is_multiple_of(2) => Outcome::Refused(Error::new(ErrorKind::Unavailable, "not today")),
                rest => {
                    self.to.publish(std::slice::from_ref(parcel), &mut Vec::new()).await?;
                    let mut passed = self.passed.lock().unwrap();
                    if !passed.stored.contains(&parcel.frame) {
                        passed.stored.push(parcel.frame.clone());
                    }
                    if rest == 5 { Outcome::Unknown } else { Outcome::Stored }
                }
            };
            outcomes.push(outcome);
        }
        Ok(())
    }
    async fn subscribe(&self, options: SubscribeOptions) -> Result<SqliteSubscription> {
        self.to.subscribe(options).await
    }
    async fn unsettled(&self, consumer: &Str) -> Result<u64> {
        self.to.unsettled(consumer).await
    }
}

#[tokio::test]
async fn every_row_leaves_in_the_order_of_its_key_whatever_the_road_does() {
    let store = temporary().await;
    let passed = Arc::new(Mutex::new(Passed::default()));
    let road = Road { to: store.clone(), passed: passed.clone() };
    let app = catga::App::builder("shop").store(store.clone()).transport(road).handle(count_up).on("note", note);
    let app = app.build().await.unwrap();
    app.send(Count).await.unwrap();
    app.run_until_idle().await.unwrap();

    let passed = passed.lock().unwrap();
    assert_eq!(passed.together, 1, "one unanswered parcel of each key");
    let mut next = [0; 10];
    for frame in &passed.stored {
        let envelope = catga::Envelope::decode(frame).unwrap();
        let Counted { key, number } = catga::Wire::open(&envelope).unwrap();
        assert_eq!(number, next[usize::from(key)], "key {key}");
        next[usize::from(key)] += 1;
    }
    assert_eq!(next, [8; 10], "none is lost");
    let expected: Vec<i64> = (0..10).flat_map(|key| (0..8).map(move |number| key * 100 + number)).collect();
    assert_eq!(numbers(&store, "SELECT id FROM orders ORDER BY 1"), expected, "and each has one effect");
}
