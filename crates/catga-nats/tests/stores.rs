//! The stores on JetStream and on its key-value buckets.
#![allow(clippy::unwrap_used)]

mod support;

use catga_contract::{
    Checkpoints, DeadLetters, Entered, ErrorKind, EventStore, Expect, Inbox, InboxKey, LetterId, MessageId, NewEvent,
    NewLetter, Settle,
};
use catga_nats::{NatsCheckpoints, NatsEvents, NatsInbox, NatsLetters, NatsTransport};
use std::time::{Duration, SystemTime};
use support::{MAIL, connect, number, parcel, quick, register, server::NatsServer, settle, subscribe, take, unsettled};

const AGE: Duration = Duration::from_secs(3_600);

fn ids(count: usize) -> Vec<MessageId> {
    (0..count).map(|_| MessageId::new()).collect()
}

fn events(ids: &[MessageId]) -> Vec<NewEvent<'_>> {
    ids.iter().map(|id| NewEvent { id: *id, name: "orders.placed", frame: b"frame" }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_are_whole_versioned_and_repeated_safely() {
    let server = NatsServer::start();
    let nats = connect(&server.url()).await;
    let store = NatsEvents::open(&nats, "CATGA_EVENTS").await.unwrap();
    let (first, second) = (ids(3), ids(2));
    assert_eq!(store.append("order.1", Expect::Empty, &events(&first)).await.unwrap(), 3);
    assert_eq!(store.append("order.1", Expect::Version(3), &events(&second)).await.unwrap(), 5);
    // Another process, which knows nothing yet.
    let other = NatsEvents::open(&connect(&server.url()).await, "CATGA_EVENTS").await.unwrap();
    for expect in [Expect::Any, Expect::Empty, Expect::Version(9)] {
        assert_eq!(other.append("order.1", expect, &events(&first)).await.unwrap(), 3, "{expect:?}");
    }
    let mixed = [first[0], MessageId::new()];
    let refused = other.append("order.1", Expect::Any, &events(&mixed)).await.expect_err("some of the ids");
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    let late = store.append("order.1", Expect::Version(3), &events(&ids(1))).await.expect_err("an old version");
    assert_eq!(late.kind(), ErrorKind::Conflict);
    assert!(late.to_string().contains("of version 5"), "{late}");
    assert_eq!(other.append("order.1", Expect::Any, &events(&ids(1))).await.unwrap(), 6);
    // The first handle's memory is old by now.
    assert_eq!(store.append("order.1", Expect::Any, &events(&ids(1))).await.unwrap(), 7);
    assert_eq!(store.append("order.1", Expect::Any, &[]).await.unwrap(), 7);
    for from in 1..=8 {
        let versions: Vec<u64> = store.read("order.1", from, 3).await.unwrap().iter().map(|one| one.version).collect();
        assert_eq!(versions, (from..=7).take(3).collect::<Vec<_>>(), "from {from}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_all_streams_skips_nothing_while_others_append() {
    let server = NatsServer::start();
    let nats = connect(&server.url()).await;
    let store = NatsEvents::open(&nats, "CATGA_EVENTS").await.unwrap();
    let appending: Vec<_> = (0..4)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    store.append(&format!("s{}", writer % 2), Expect::Any, &events(&ids(2))).await.unwrap();
                }
            })
        })
        .collect();
    let (mut after, mut seen) = (0, Vec::new());
    while seen.len() < 400 {
        store.wait(after, Duration::from_secs(5)).await.unwrap();
        for event in store.read_all(after, 37).await.unwrap() {
            assert!(event.position > after);
            after = event.position;
            seen.push((event.stream.to_string(), event.version));
        }
    }
    for done in appending {
        done.await.unwrap();
    }
    for stream in ["s0", "s1"] {
        let versions: Vec<u64> = seen.iter().filter(|(of, _)| of == stream).map(|(_, version)| *version).collect();
        assert_eq!(versions, (1..=200).collect::<Vec<_>>(), "{stream}");
    }
    let begun = std::time::Instant::now();
    store.wait(after, Duration::from_millis(50)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(50));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_fenced_by_its_revision() {
    let server = NatsServer::start();
    let inbox = NatsInbox::open(&connect(&server.url()).await, "catga_inbox", AGE).await.unwrap();
    let other = NatsInbox::open(&connect(&server.url()).await, "catga_inbox", AGE).await.unwrap();
    let key = InboxKey { consumer: MAIL, key: b"\x00\xFFk" };
    let lease = Duration::from_millis(200);
    let Entered::New(stale) = inbox.claim(key, lease).await.unwrap() else { panic!("nobody was here") };
    let Entered::Busy { retry_after } = other.claim(key, lease).await.unwrap() else { panic!("somebody is at it") };
    assert!(retry_after <= lease);
    let claim = loop {
        match other.claim(key, lease).await.unwrap() {
            Entered::New(claim) => break claim,
            Entered::Busy { retry_after } => tokio::time::sleep(retry_after).await,
            Entered::Done(_) => panic!("nobody finished"),
        }
    };
    assert_eq!(inbox.finish(&stale, b"late").await.expect_err("stale").kind(), ErrorKind::Conflict);
    inbox.leave(stale).await.unwrap();
    other.finish(&claim, b"answer").await.unwrap();
    let Entered::Done(answer) = inbox.claim(key, lease).await.unwrap() else { panic!("done") };
    assert_eq!(&answer[..], b"answer");
    let elsewhere = InboxKey { consumer: "shop.stock", key: key.key };
    let Entered::New(claim) = inbox.claim(elsewhere, lease).await.unwrap() else { panic!("another consumer") };
    inbox.leave(claim).await.unwrap();
    assert!(matches!(other.claim(elsewhere, lease).await.unwrap(), Entered::New(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_was_taken_over_saves_nothing() {
    let server = NatsServer::start();
    let checkpoints = NatsCheckpoints::open(&connect(&server.url()).await, "catga_checkpoints").await.unwrap();
    let (position, first) = checkpoints.load("projection").await.unwrap();
    assert_eq!(position, 0);
    checkpoints.save("projection", 7, first).await.unwrap();
    let (position, second) = checkpoints.load("projection").await.unwrap();
    assert!(position == 7 && second > first);
    assert_eq!(checkpoints.save("projection", 8, first).await.expect_err("stale").kind(), ErrorKind::Conflict);
    checkpoints.save("projection", 9, second).await.unwrap();
    assert_eq!(checkpoints.load("projection").await.unwrap().0, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_replayed_to_its_consumer_alone() {
    let server = NatsServer::start();
    let nats = connect(&server.url()).await;
    let transport = NatsTransport::jetstream(&nats, quick()).await.unwrap();
    register(&transport, MAIL).await;
    register(&transport, "shop.stock").await;
    let inbox = NatsInbox::open(&nats, "catga_inbox", AGE).await.unwrap();
    let letters = NatsLetters::open(&nats, "CATGA_LETTERS", &transport, Some(inbox.clone())).await.unwrap();
    let parcel = parcel(5);
    let key = InboxKey { consumer: MAIL, key: &parcel.id.to_bytes() };
    let Entered::New(claim) = inbox.claim(key, AGE).await.unwrap() else { panic!("nobody was here") };
    inbox.finish(&claim, b"").await.unwrap();
    let now = SystemTime::now();
    let letter = |consumer| NewLetter {
        consumer,
        handler: "mail",
        frame: &parcel.frame,
        reason: "no stamp",
        attempts: 3,
        node: "node-1",
        first: now,
        last: now,
        parks: None,
    };
    let id = letters.bury(&letter(MAIL)).await.unwrap();
    let gone = letters.bury(&letter("shop.gone")).await.unwrap();
    let listed = letters.list(LetterId(0), 10).await.unwrap();
    assert_eq!(listed.iter().map(|letter| letter.id).collect::<Vec<_>>(), [id, gone]);
    assert_eq!((&*listed[0].consumer, &*listed[0].reason, listed[0].attempts), (MAIL, "no stamp", 3));
    assert_eq!(listed[0].frame, parcel.frame);
    assert_eq!(letters.replay(gone).await.expect_err("nobody takes it").kind(), ErrorKind::NotFound);
    assert!(letters.replay(id).await.unwrap());
    assert!(!letters.replay(id).await.unwrap(), "once");
    let mut mail = subscribe(&transport, MAIL).await;
    let came = take(&mut mail, 1).await;
    assert_eq!((number(&came[0]), came[0].started), (5, 0));
    assert!(matches!(inbox.claim(key, AGE).await.unwrap(), Entered::New(_)), "its mark is gone");
    settle(&mail, &came, Settle::Done).await;
    // The other one meets it, and passes it by.
    let mut stock = subscribe(&transport, "shop.stock").await;
    support::publish(&transport, &[support::parcel(6)]).await;
    let came = take(&mut stock, 1).await;
    assert_eq!(number(&came[0]), 6);
    settle(&stock, &came, Settle::Done).await;
    assert_eq!(unsettled(&transport, "shop.stock").await, 0);
    assert!(letters.remove(gone).await.unwrap());
    assert!(!letters.remove(gone).await.unwrap());
}
