//! Messages of one key keep their order within a consumer, whatever fails and whoever dies; others never wait for them.
#![allow(clippy::unwrap_used)]

#[path = "common/parcels.rs"]
mod parcels;

use catga::Transport;
use catga::{
    App, Capabilities, Context, Error, Event, Request, Settle, Tx,
    sqlite::{Sqlite, rusqlite},
};
use parcels::*;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant, SystemTime};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn later_ones_of_a_key_wait_for_the_one_that_comes_again_and_all_others_pass() {
    let store = Sqlite::temporary().await.unwrap();
    let Capabilities { order, .. } = Transport::capabilities(&store);
    assert_eq!(order, catga_contract::Order::Key);
    register(&store, CONSUMER).await;
    let mut mail = subscribe(&store, false).await;
    publish_all(&store, Some("a"), [1, 2, 3]).await;
    publish(&store, &[parcel(Some("b"), 4), parcel(None, 5)]).await;
    let batch = next(&mut mail).await;
    assert_eq!(all(&batch), [1, 2, 3, 4, 5], "one batch may hold several of a key, in order");
    assert_eq!(batch[0].key, Some(catga::Key::new("a").digest()));

    let began = SystemTime::now();
    let pause = Duration::from_millis(50);
    let answers = [again(pause), BACK, BACK, Settle::Done, Settle::Done];
    settle(&mail, &batch.iter().zip(answers).collect::<Vec<_>>()).await;
    publish(&store, &[parcel(Some("a"), 6), parcel(Some("b"), 7), parcel(None, 8)]).await;
    let others = next(&mut mail).await;
    assert_eq!(all(&others), [7, 8]);
    let first = next(&mut mail).await;
    assert_eq!(all(&first), [1], "it comes alone: should it fail once more, nobody must be given back");
    assert!(began.elapsed().unwrap() >= pause);
    assert_eq!((first[0].started, batch[0].first), (1, None));
    assert!(first[0].first.is_some_and(|first| first <= began), "{:?}", first[0].first);
    assert!(nothing(&mut mail).await, "it is with the worker");

    settle_all(&mail, &others, Settle::Done).await;
    settle_all(&mail, &first, Settle::Done).await;
    let rest = next(&mut mail).await;
    assert_eq!(all(&rest), [2, 3, 6], "then the others, in their order");
    assert!(rest.iter().all(|delivery| delivery.started == 0 && delivery.first.is_none()), "they were not started");
    settle_all(&mail, &rest, Settle::Done).await;
    publish_all(&store, Some("a"), [9]).await;
    assert_eq!(all(&next(&mut mail).await), [9]);
    assert_eq!(unsettled(&store).await, 1);
}

#[tokio::test]
async fn a_restart_changes_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    {
        let store = Sqlite::open(&path).await.unwrap();
        register(&store, CONSUMER).await;
        let mut mail = subscribe(&store, false).await;
        publish_all(&store, Some("a"), 1..=70).await;
        let batch = next(&mut mail).await;
        assert_eq!(all(&batch), (1..=64).collect::<Vec<_>>());
        let answers: Vec<_> = batch.iter().map(|delivery| (delivery, BACK)).collect();
        settle(&mail, &answers).await;
        let batch = next(&mut mail).await;
        settle(&mail, &[(&batch[0], again(Duration::from_millis(300)))]).await;
    }
    let store = Sqlite::open(&path).await.unwrap();
    register(&store, CONSUMER).await;
    publish(&store, &[parcel(Some("a"), 71), parcel(None, 72)]).await;
    let mut mail = subscribe(&store, false).await;
    let (mut seen, mut others) = (Vec::new(), Vec::new());
    while seen.len() < 71 {
        let batch = next(&mut mail).await;
        for delivery in &batch {
            match delivery.key {
                Some(_) => seen.push((number(delivery), delivery.started)),
                None => others.push(number(delivery)),
            }
        }
        settle_all(&mail, &batch, Settle::Done).await;
    }
    let expected: Vec<(u32, u32)> = (1..=71).map(|number| (number, u32::from(number == 1))).collect();
    assert_eq!((seen, others), (expected, vec![72]));
}

/// The bound is the number of keys that wait, not that of the messages behind them.
#[tokio::test]
async fn a_blocked_key_with_thousands_of_followers_stops_nobody() {
    let store = Sqlite::temporary().await.unwrap();
    register(&store, CONSUMER).await;
    let mut mail = subscribe(&store, false).await;
    publish_all(&store, Some("hot"), [0]).await;
    let first = next(&mut mail).await;
    settle(&mail, &[(&first[0], again(HOUR))]).await;
    for thousand in 0..12 {
        publish_all(&store, Some("hot"), (1..=1_000).map(|number| thousand * 1_000 + number)).await;
        publish(&store, &[parcel(Some("cold"), thousand), parcel(None, thousand)]).await;
        let batch = next(&mut mail).await;
        assert_eq!(all(&batch), [thousand; 2]);
        settle_all(&mail, &batch, Settle::Done).await;
    }
    assert_eq!(unsettled(&store).await, 12_001);
    // The key goes on when what it waits for is done: all in their order.
    settle(&mail, &[(&first[0], again(Duration::ZERO))]).await;
    let mut seen = Vec::new();
    while seen.len() < 12_001 {
        let batch = next(&mut mail).await;
        seen.extend(all(&batch));
        settle_all(&mail, &batch, Settle::Done).await;
    }
    assert_eq!(seen, (0..=12_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_with_the_worker_holds_up_its_key_alone() {
    let store = Sqlite::temporary().await.unwrap();
    register(&store, CONSUMER).await;
    let mut mail = subscribe(&store, false).await;
    publish_all(&store, Some("a"), [1, 2, 3, 4]).await;
    publish_all(&store, Some("b"), [5]).await;
    let one = next_of(&mut mail, 1).await;
    assert_eq!(all(&one), [1]);
    let other = next(&mut mail).await;
    assert_eq!(all(&other), [5]);
    settle_all(&mail, &one, Settle::Done).await;
    let two = next_of(&mut mail, 2).await;
    assert_eq!(all(&two), [2, 3]);
    // The second of them fails: what is ready already waits, too.
    settle(&mail, &[(&two[0], Settle::Done), (&two[1], again(Duration::from_millis(1)))]).await;
    let three = next(&mut mail).await;
    assert_eq!((all(&three), three[0].started), (vec![3], 1));
    settle_all(&mail, &three, Settle::Bury).await;
    assert_eq!(all(&next(&mut mail).await), [4], "a burial lets the next one pass");
}

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "counted", key = key)]
struct Counted {
    key: u8,
    number: u32,
}

#[derive(Request)]
#[catga(name = "count", local)]
struct Count(u32);

async fn count_up(Count(round): Count, mut tx: Tx<Sqlite>) -> catga::Result<()> {
    for number in 0..20 {
        for key in 0..10 {
            tx.publish(Counted { key, number: round * 20 + number })?;
        }
    }
    Ok(())
}

/// A third of all first tries fail, and some second ones, by a fixed pattern; some for good.
async fn note(event: Counted, mut tx: Tx<Sqlite>, cx: Context) -> catga::Result<()> {
    let Counted { key, number } = event;
    tx.execute("INSERT INTO notes (key, number) VALUES (?1, ?2)", (key, number))?;
    let chance = (u32::from(key) * 7 + number * 13) % 30;
    match cx.attempt {
        1 if chance == 0 => Err(Error::permanent("torn")),
        1 if chance < 10 => Err(std::io::Error::other("smudged").into()),
        2 if chance < 3 => Err(std::io::Error::other("smudged again").into()),
        _ => Ok(()),
    }
}

#[tokio::test]
async fn the_effects_of_each_key_follow_their_order_whatever_fails_and_whoever_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    let millisecond = Duration::from_millis(1);
    let quick = catga::Backoff { attempts: 5, first: millisecond, most: millisecond, ..Default::default() };
    for round in 0..4 {
        let schema = "CREATE TABLE notes (key INTEGER, number INTEGER)";
        let store = Sqlite::open(&path).await.unwrap().migrate(&[schema]).await.unwrap();
        let app = App::builder("shop").store(store).backoff(quick).handle(count_up).on("note", note);
        let app = app.build().await.unwrap();
        let stops = async { app.send(Count(round)).await.unwrap() };
        match round {
            3 => {
                app.send(Count(round)).await.unwrap();
                app.run_until_idle().await.unwrap();
            }
            // In the midst of it.
            _ => app.run(stops).await.unwrap(),
        }
    }
    let store = Sqlite::open(&path).await.unwrap();
    let notes = |db: &rusqlite::Connection| {
        let mut select = db.prepare("SELECT key, number FROM notes ORDER BY rowid")?;
        select.query_map((), |row| Ok((row.get::<_, u8>(0)?, row.get::<_, u32>(1)?)))?.collect()
    };
    let notes: Vec<(u8, u32)> = store.read(notes).unwrap();
    for key in 0..10 {
        let of_key: Vec<u32> = notes.iter().filter(|note| note.0 == key).map(|note| note.1).collect();
        let buried = |number: &u32| !(u32::from(key) * 7 + number * 13).is_multiple_of(30);
        assert_eq!(of_key, (0..80).filter(buried).collect::<Vec<_>>(), "key {key}");
    }
}

/// Unkeyed traffic pays nothing for keys that are held up, and keyed traffic without trouble no write of its own.
#[tokio::test]
async fn messages_that_nothing_holds_up_have_no_row_but_their_own() {
    let store = Sqlite::temporary().await.unwrap();
    register(&store, CONSUMER).await;
    let mut mail = subscribe(&store, false).await;
    let began = Instant::now();
    publish_all(&store, Some("a"), 0..200).await;
    let mut seen = 0;
    while seen < 200 {
        let batch = next(&mut mail).await;
        seen += batch.len();
        let retries =
            |db: &rusqlite::Connection| db.query_row("SELECT count(*) FROM catga_retry", (), |row| row.get(0));
        assert_eq!(store.read::<i64>(retries).unwrap(), 0, "after {:?}", began.elapsed());
        settle_all(&mail, &batch, Settle::Done).await;
    }
}
