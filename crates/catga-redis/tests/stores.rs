//! What several processes make of one store. One handle stands for each process.
#![allow(clippy::unwrap_used)]

mod support;

use catga_contract::{
    Checkpoints, Entered, Envelope, ErrorKind, EventStore, Expect, Inbox, InboxKey, Lease, MessageId, NewEvent, Outbox,
    Outgoing, UnitOfWork,
};
use catga_redis::{Redis, redis};
use std::time::{Duration, Instant};
use support::{MAIL, Server};

const KEY: InboxKey<'static> = InboxKey { consumer: MAIL, key: b"order-1" };

async fn claim(redis: &Redis, lease: u64) -> Option<catga_redis::RedisClaim> {
    match redis.claim(KEY, Duration::from_millis(lease)).await.unwrap() {
        Entered::New(claim) => Some(claim),
        _ => None,
    }
}

async fn put(redis: &Redis, numbers: std::ops::Range<u64>) {
    let mut tx = redis.begin().await.unwrap();
    for number in numbers {
        let event = Envelope::new(MessageId::new(), "counted".into(), "text".into(), number.to_string().into());
        let (frame, subject) = (event.encode().unwrap(), "catga.counted".into());
        let key = catga_contract::Key::new((number % 5).to_string());
        let message = Outgoing { id: event.id, subject: &subject, frame: &frame, key: Some(&key), due: None };
        redis.put(&mut tx, &[message]).await.unwrap();
    }
    redis.commit(tx).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_fenced_across_processes_and_its_answer_is_kept_for_its_time() {
    let server = Server::fast().await;
    let first = server.redis().await;
    let second = Redis::connect(server.options().keep_marks(Duration::from_secs(100))).await.unwrap();
    let stale = claim(&first, 30).await.unwrap();
    let other = loop {
        match claim(&second, 10_000).await {
            Some(claim) => break claim,
            None => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    assert_eq!(Inbox::finish(&first, &stale, b"mine").await.unwrap_err().kind(), ErrorKind::Conflict);
    Inbox::finish(&second, &other, b"yours").await.unwrap();
    let Entered::Done(answer) = first.claim(KEY, Duration::from_secs(1)).await.unwrap() else { panic!() };
    assert_eq!(answer, &b"yours"[..]);
    let mut raw = server.raw().await.unwrap();
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*:in:*").query_async(&mut raw).await.unwrap();
    let left: i64 = redis::cmd("TTL").arg(&keys[0]).query_async(&mut raw).await.unwrap();
    assert!((95..=100).contains(&left), "{left} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_relay_has_a_partition_and_a_stale_one_removes_nothing() {
    let server = Server::fast().await;
    let (first, second) = (server.redis().await, server.redis().await);
    put(&first, 0..20).await;
    let old = first.lease(Duration::from_millis(80)).await.unwrap();
    assert_eq!(old.partitions, Lease::ALL);
    let rows = first.pending(&old, 100).await.unwrap();
    assert_eq!(rows.len(), 20);
    let none = second.lease(Duration::from_secs(10)).await.unwrap();
    assert_eq!(none.partitions, 0, "the other one has them");
    let new = loop {
        let lease = second.lease(Duration::from_secs(10)).await.unwrap();
        if lease.partitions == Lease::ALL {
            break lease;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(new.fence > old.fence);
    let error = first.sent(&old, &[rows[0].number]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let error = first.failed(&old, rows[0].number, "no", Duration::ZERO).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!((first.pending(&old, 100).await.unwrap().len(), second.unsent().await.unwrap()), (0, 20));
    let rows = second.pending(&new, 100).await.unwrap();
    second.sent(&new, &rows.iter().map(|row| row.number).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(first.unsent().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_died_is_followed_and_one_that_waits_is_not() {
    let server = Server::fast().await;
    let (dies, waits, follows) = (server.redis().await, server.redis().await, server.redis().await);
    let hour = Duration::from_secs(3_600);
    let lease = waits.lease(hour).await.unwrap();
    assert!(waits.pending(&lease, 10).await.unwrap().is_empty());
    let waiting = tokio::spawn(async move {
        loop {
            waits.written().await;
            waits.pending(&lease, 10).await.unwrap();
        }
    });
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1_500) {
        assert_eq!(dies.lease(hour).await.unwrap().partitions, 0, "it lives, and only waits");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    waiting.abort();
    for store in [dies, follows] {
        let deadline = Instant::now() + Duration::from_secs(10);
        while store.lease(hour).await.unwrap().partitions != Lease::ALL {
            assert!(Instant::now() < deadline, "nobody follows it");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_hears_of_what_another_process_commits() {
    let server = Server::fast().await;
    let (relays, writes) = (server.redis().await, server.redis().await);
    let lease = relays.lease(Duration::from_secs(10)).await.unwrap();
    let began = tokio::spawn({
        let relays = relays.clone();
        async move {
            while relays.pending(&lease, 10).await.unwrap().is_empty() {
                relays.written().await;
            }
            Instant::now()
        }
    });
    put(&writes, 0..1).await;
    let committed = Instant::now();
    let heard = began.await.unwrap().saturating_duration_since(committed);
    assert!(heard < Duration::from_secs(1), "after {heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_of_a_stream_never_overwrite_and_all_streams_have_one_order() {
    let server = Server::fast().await;
    let stores = [server.redis().await, server.redis().await];
    let writing: Vec<_> = stores
        .iter()
        .enumerate()
        .map(|(who, store)| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut conflicts = 0;
                for number in 0..100 {
                    let event = Envelope::new(MessageId::new(), "n".into(), "text".into(), number.to_string().into());
                    let frame = event.encode().unwrap();
                    let event = [NewEvent { id: event.id, name: "n", frame: &frame }];
                    store.append(&format!("own-{who}"), Expect::Version(number), &event).await.unwrap();
                    loop {
                        let version = store.append("both", Expect::Any, &[]).await.unwrap();
                        match store.append("both", Expect::Version(version), &event).await {
                            Ok(_) => break,
                            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
                        }
                        conflicts += 1;
                    }
                }
                conflicts
            })
        })
        .collect();
    // A reader who follows meanwhile meets every position once, in its order.
    let (reader, mut after) = (server.redis().await, 0);
    while after < 400 {
        reader.wait(after, Duration::from_secs(10)).await.unwrap();
        for event in reader.read_all(after, 7).await.unwrap() {
            assert_eq!(event.position, after + 1, "skipped one");
            after = event.position;
        }
    }
    for writing in writing {
        writing.await.unwrap();
    }
    let both = reader.read("both", 1, 1_000).await.unwrap();
    assert_eq!(both.iter().map(|event| event.version).collect::<Vec<_>>(), (1..=200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_is_saved_by_who_loaded_it_last() {
    let server = Server::fast().await;
    let (first, second) = (server.redis().await, server.redis().await);
    let (_, old) = first.load("reports").await.unwrap();
    first.save("reports", 7, old).await.unwrap();
    let (position, new) = second.load("reports").await.unwrap();
    assert_eq!(position, 7);
    assert_eq!(first.save("reports", 8, old).await.unwrap_err().kind(), ErrorKind::Conflict);
    second.save("reports", 9, new).await.unwrap();
    assert_eq!(first.load("reports").await.unwrap().0, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_carries_the_hash_tag_and_scripts_are_sent_once() {
    let server = Server::fast().await;
    let redis = server.redis().await;
    support::register(&redis, MAIL, &[support::PLACED]).await;
    support::publish(&redis, &support::parcels(0..10)).await;
    put(&redis, 0..10).await;
    let lease = redis.lease(Duration::from_secs(1)).await.unwrap();
    redis.pending(&lease, 10).await.unwrap();
    drop(claim(&redis, 10_000).await);
    let mut raw = server.raw().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut raw).await.unwrap();
    assert!(keys.len() > 10 && keys.iter().all(|key| key.starts_with("catga:{shop}:")), "{keys:?}");
    let loads = async |raw: &mut _| {
        let stats: String = redis::cmd("INFO").arg("commandstats").query_async(raw).await.unwrap();
        let count = stats.lines().find_map(|line| line.strip_prefix("cmdstat_script|load:calls=").map(str::to_owned));
        count.unwrap().split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let before = loads(&mut raw).await;
    for _ in 0..5 {
        support::publish(&redis, &support::parcels(0..10)).await;
        put(&redis, 0..10).await;
    }
    assert_eq!(loads(&mut raw).await, before);
}
