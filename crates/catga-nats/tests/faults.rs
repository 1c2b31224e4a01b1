//! What breaks between this program and the server, and what is promised then.
#![allow(clippy::unwrap_used)]

mod support;

use catga_contract::{ErrorKind, Outcome, Parcel, Settle, Subscription, Transport};
use catga_nats::NatsTransport;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use support::{
    MAIL, connect, jetstream, number, parcels,
    proxy::{Fault, Proxy, Way},
    publish, quick, register,
    server::NatsServer,
    settle, subscribe, take, unsettled, within,
};

/// How long any of these tests may take.
const HANG: Duration = Duration::from_secs(60);

/// Publishes until each parcel is stored or known, as a relay does.
async fn publish_all(transport: &NatsTransport, parcels: &[Parcel]) {
    let mut open = parcels.to_vec();
    while !open.is_empty() {
        let outcomes = publish(transport, &open).await;
        let mut outcomes = outcomes.into_iter();
        open.retain(|_| !matches!(outcomes.next(), Some(Outcome::Stored | Outcome::Duplicate)));
    }
}

/// Takes and settles until `wanted` different messages came; answers how many came in all.
async fn drain(subscription: &mut impl Subscription, wanted: usize) -> usize {
    let (mut seen, mut all) = (BTreeSet::new(), 0);
    while seen.len() < wanted {
        let mut batch = Vec::new();
        if subscription.next_batch(64, &mut batch).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        all += batch.len();
        seen.extend(batch.iter().map(number));
        settle(subscription, &batch, Settle::Done).await;
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_comes_back_loses_nothing_and_deafens_nobody() {
    let mut server = NatsServer::start();
    let transport = jetstream(&server.url(), quick()).await;
    register(&transport, MAIL).await;
    let mut subscription = subscribe(&transport, MAIL).await;
    let sent = parcels(0..2_000);
    let receiving = tokio::spawn(async move { drain(&mut subscription, 2_000).await });
    let publishing = tokio::spawn({
        let transport = transport.clone();
        async move {
            for chunk in sent.chunks(50) {
                publish_all(&transport, chunk).await;
            }
        }
    });
    for _ in 0..2 {
        server.restart();
        while transport.unsettled(&MAIL.into()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    within(HANG, "publishing", publishing).await.unwrap();
    let came = within(HANG, "receiving", receiving).await.unwrap();
    assert!(came >= 2_000, "{came}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_with_256_in_flight_stores_each_once() {
    let server = NatsServer::start();
    let proxy = Proxy::start(server.address()).await;
    let direct = jetstream(&server.url(), quick()).await;
    register(&direct, MAIL).await;
    let transport = jetstream(&proxy.url(), quick()).await;
    let sent = parcels(0..256);
    // In the middle of the messages on their way up, then of the answers on their way down.
    for (round, way, bytes) in [(0, Way::Up, 20_000), (1, Way::Down, 2_000)] {
        let sent: Vec<Parcel> = if round == 0 { sent.clone() } else { parcels(256..512) };
        proxy.set(Fault::CutAfter(way, bytes));
        let publishing = publish_all(&transport, &sent);
        let healing = async {
            let begun = proxy.passed(way);
            while proxy.passed(way) < begun + bytes {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            proxy.heal();
        };
        within(HANG, "publishing", async { tokio::join!(publishing, healing) }).await;
    }
    assert_eq!(unsettled(&direct, MAIL).await, 512, "stored is what was sent: none lost, none twice");
    let mut subscription = subscribe(&direct, MAIL).await;
    assert_eq!(within(HANG, "receiving", drain(&mut subscription, 512)).await, 512);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_one_way_hole_heals_delivery_resumes_within_two_heartbeats() {
    let server = NatsServer::start();
    let proxy = Proxy::start(server.address()).await;
    let options = quick();
    let heartbeat = options.consumer.heartbeat;
    let direct = jetstream(&server.url(), options.clone()).await;
    register(&direct, MAIL).await;
    let transport = jetstream(&proxy.url(), options).await;
    register(&transport, MAIL).await;
    for way in [Way::Down, Way::Up] {
        let mut subscription = subscribe(&transport, MAIL).await;
        publish_all(&direct, &parcels(0..1)).await;
        let first = within(HANG, "the first", take(&mut subscription, 1)).await;
        settle(&subscription, &first, Settle::Done).await;
        proxy.set(Fault::Hole(way));
        publish_all(&direct, &parcels(1..2)).await;
        let hole = tokio::time::timeout(3 * heartbeat, take(&mut subscription, 1)).await;
        assert!(hole.is_err() || way == Way::Up, "nothing comes through a hole");
        if let Ok(came) = hole {
            proxy.heal();
            settle(&subscription, &came, Settle::Done).await;
            continue;
        }
        proxy.heal();
        let healed = Instant::now();
        let came = within(HANG, "the second", take(&mut subscription, 1)).await;
        assert!(healed.elapsed() <= 2 * heartbeat, "{:?}", healed.elapsed());
        settle(&subscription, &came, Settle::Done).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_longer_than_the_wait_for_answers_loses_nothing() {
    let server = NatsServer::start();
    let mut options = quick();
    options.consumer.ack_wait = Duration::from_secs(1);
    let transport = jetstream(&server.url(), options).await;
    register(&transport, MAIL).await;
    publish_all(&transport, &parcels(0..20)).await;
    let mut subscription = subscribe(&transport, MAIL).await;
    let held = take(&mut subscription, 5).await;
    server.pause();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    server.resume();
    settle(&subscription, &held, Settle::Done).await;
    // Some of the five may come again: their answers came too late for the server's patience.
    let numbers: BTreeSet<u64> = held.iter().map(number).collect();
    let mut rest = BTreeSet::new();
    within(HANG, "the rest", async {
        while rest.len() < 15 {
            let came = take(&mut subscription, 1).await;
            rest.extend(came.iter().map(number).filter(|number| !numbers.contains(number)));
            settle(&subscription, &came, Settle::Done).await;
        }
    })
    .await;
    assert_eq!(unsettled(&transport, MAIL).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_consumer_is_made_anew_where_it_stood() {
    let server = NatsServer::start();
    let transport = jetstream(&server.url(), quick()).await;
    register(&transport, MAIL).await;
    publish_all(&transport, &parcels(0..10)).await;
    let mut subscription = subscribe(&transport, MAIL).await;
    let came = take(&mut subscription, 10).await;
    settle(&subscription, &came, Settle::Done).await;
    let admin = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    admin.delete_consumer_from_stream("shop_mail", "CATGA_STREAM").await.unwrap();
    publish_all(&transport, &parcels(10..20)).await;
    // What was done with may come again; what was not, comes.
    let mut seen = BTreeSet::new();
    within(HANG, "the ten", async {
        while seen.len() < 10 {
            let came = take(&mut subscription, 1).await;
            seen.extend(came.iter().map(number).filter(|number| *number >= 10));
            settle(&subscription, &came, Settle::Done).await;
        }
    })
    .await;
    admin.delete_stream("CATGA_STREAM").await.unwrap();
    let receiving = async {
        let came = take(&mut subscription, 10).await;
        came.iter().map(number).collect::<BTreeSet<_>>()
    };
    let sent = parcels(20..30);
    let publishing = publish_all(&transport, &sent);
    let (came, ()) = within(HANG, "a new stream", async { tokio::join!(receiving, publishing) }).await;
    assert_eq!(came, (20..30).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_without_a_server_ends_by_its_deadline_and_is_never_ok() {
    let mut server = NatsServer::start();
    let mut options = quick();
    options.publish_timeout = Duration::from_secs(1);
    let transport = jetstream(&server.url(), options.clone()).await;
    let core = NatsTransport::core(&connect(&server.url()).await, options);
    server.kill();
    let begun = Instant::now();
    let outcomes = within(HANG, "publishing", publish(&transport, &parcels(0..10))).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    for outcome in &outcomes {
        match outcome {
            Outcome::Unknown => {}
            Outcome::Refused(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            said => panic!("{said:?} without a server"),
        }
    }
    let outcomes = within(HANG, "publishing", publish(&core, &parcels(0..10))).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Refused(_))), "{outcomes:?}");
}
