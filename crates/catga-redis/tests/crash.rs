//! Servers that die, stand still and come back.
#![allow(clippy::unwrap_used)]

mod support;

use catga_contract::{ErrorKind, Outcome, Settle, Settler, Subscription, Transport};
use catga_redis::{Redis, RedisTransport, redis};
use std::{
    collections::HashSet,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use support::{MAIL, PLACED, Server, number, numbers, parcel, parcels, publish, register, settle, subscribe, take};

/// Publishes until told to end; answers what was acknowledged. What is unknown is published again under its id.
async fn load(transport: RedisTransport, numbers: Arc<AtomicU64>, until: Arc<AtomicU64>) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    while numbers.load(Ordering::SeqCst) < until.load(Ordering::SeqCst) {
        let first = numbers.fetch_add(20, Ordering::SeqCst);
        let batch = parcels(first..first + 20);
        loop {
            let mut outcomes = Vec::new();
            let published = transport.publish(&batch, &mut outcomes).await;
            let kept = |outcome: &Outcome| matches!(outcome, Outcome::Stored | Outcome::Duplicate);
            if published.is_ok() && outcomes.iter().all(kept) {
                acknowledged.extend(first..first + 20);
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_that_syncs_always_loses_nothing_that_it_acknowledged() {
    let mut server = Server::durable().await;
    let redis = Redis::connect(server.options().timeout(Duration::from_secs(2)).strict(true)).await.unwrap();
    register(&redis, MAIL, &[PLACED]).await;
    let once = RedisTransport::streams(&redis).dedupe(Duration::from_secs(600));
    let (numbers, until) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(u64::MAX)));
    let publishing: Vec<_> = (0..4).map(|_| tokio::spawn(load(once.clone(), numbers.clone(), until.clone()))).collect();
    let mut mail = subscribe(&redis, MAIL).await;
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let received = seen.clone();
    let receiving = tokio::spawn(async move {
        let mut batch = Vec::new();
        loop {
            // An error of the server is a pause, as a worker makes one.
            if mail.next_batch(64, &mut batch).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let answers: Vec<_> = batch.iter().map(|delivery| (delivery.token, Settle::Done)).collect();
            received.lock().unwrap().extend(batch.drain(..).map(|delivery| number(&delivery)));
            while mail.settler().settle(&answers).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    for _ in 0..3 {
        let before = numbers.load(Ordering::SeqCst);
        while numbers.load(Ordering::SeqCst) < before + 2_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.kill();
        server.restart().await;
    }
    until.store(0, Ordering::SeqCst);
    let mut acknowledged = HashSet::new();
    for publishing in publishing {
        acknowledged.extend(publishing.await.unwrap());
    }
    assert!(acknowledged.len() >= 6_000);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let came: HashSet<u64> = seen.lock().unwrap().iter().copied().collect();
        let lost = acknowledged.difference(&came).count();
        if lost == 0 {
            break;
        }
        assert!(Instant::now() < deadline && !receiving.is_finished(), "{lost} acknowledged messages did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    receiving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_leaves_the_outcome_unknown_and_is_found_again() {
    let server = Server::fast().await;
    let redis = Redis::connect(server.options().timeout(Duration::from_millis(400))).await.unwrap();
    register(&redis, MAIL, &[PLACED]).await;
    let mut mail = subscribe(&redis, MAIL).await;
    publish(&redis, &[parcel(0)]).await;
    let came = take(&mut mail, 1).await;
    settle(&mail, &came, Settle::Done).await;
    let signal = |name: &str| {
        let done = Command::new("kill").arg(name).arg(server.pid().to_string()).status().unwrap();
        assert!(done.success());
    };
    signal("-STOP");
    let mut outcomes = Vec::new();
    redis.publish(&[parcel(1)], &mut outcomes).await.unwrap();
    assert!(matches!(outcomes[..], [Outcome::Unknown]), "{outcomes:?}");
    // The read of the subscription ends by itself, however silent the connection is.
    let mut batch = Vec::new();
    let deaf = tokio::time::timeout(Duration::from_secs(20), mail.next_batch(1, &mut batch)).await;
    let error = deaf.expect("it does not wait for ever").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable), "{error}");
    signal("-CONT");
    let mut seen = HashSet::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut outcomes = Vec::new();
    while redis.publish(&[parcel(2)], &mut outcomes).await.is_err() || !matches!(outcomes[..], [Outcome::Stored]) {
        assert!(Instant::now() < deadline);
        outcomes.clear();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while !seen.contains(&2) {
        assert!(Instant::now() < deadline, "connected, but deaf: {seen:?}");
        if mail.next_batch(10, &mut batch).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        seen.extend(numbers(&batch));
        batch.clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_are_cut_lose_nothing_and_double_nothing_where_an_id_is_published_once() {
    let server = Server::fast().await;
    let redis = server.redis().await;
    register(&redis, MAIL, &[PLACED]).await;
    register(&redis, "shop.audit", &[PLACED]).await;
    let once = RedisTransport::streams(&redis).dedupe(Duration::from_secs(600));
    let (numbers, until) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(8_000)));
    let publishing: Vec<_> = (0..4).map(|_| tokio::spawn(load(once.clone(), numbers.clone(), until.clone()))).collect();
    let mut raw = server.raw().await.unwrap();
    let mut cut = 0;
    while publishing.iter().any(|publishing| !publishing.is_finished()) {
        // All connections but this one, whatever is under way on them.
        let killed: u64 =
            redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").query_async(&mut raw).await.unwrap();
        cut += killed;
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    let mut acknowledged = HashSet::new();
    for publishing in publishing {
        acknowledged.extend(publishing.await.unwrap());
    }
    assert!(cut >= 10, "{cut} connections were cut");
    let fresh = server.redis().await;
    assert_eq!(support::unsettled(&fresh, "shop.audit").await, acknowledged.len() as u64, "stored is published");
    // A consumer whose links are cut gets all of it.
    let mut mail = subscribe(&fresh, MAIL).await;
    let (mut seen, mut batch) = (HashSet::new(), Vec::new());
    while seen.len() < acknowledged.len() {
        if seen.len() / 1_000 != (seen.len() + batch.len()) / 1_000 {
            redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").query_async::<()>(&mut raw).await.unwrap();
        }
        seen.extend(batch.drain(..).map(|delivery| number(&delivery)));
        if mail.next_batch(200, &mut batch).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let answers: Vec<_> = batch.iter().map(|delivery| (delivery.token, Settle::Done)).collect();
        while mail.settler().settle(&answers).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!(seen, acknowledged);
}
