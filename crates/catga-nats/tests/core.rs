//! Core NATS: at most once, and honest about it.
#![allow(clippy::unwrap_used)]

mod support;

use catga_contract::{Durability, Settle, Subscription, Transport};
use catga_nats::{Nats, NatsOptions, NatsTransport};
use std::time::Duration;
use support::{
    MAIL, PLACED, connect, number, parcels, publish, quick, register, server::NatsServer, settle, subscribe, take,
};

#[tokio::test(flavor = "multi_thread")]
async fn members_share_what_was_published_since_they_were_registered() {
    let server = NatsServer::start();
    let transport = NatsTransport::core(&connect(&server.url()).await, quick());
    let capabilities = transport.capabilities();
    assert!(capabilities.durable == Durability::None && !capabilities.redelivery && !capabilities.dedupe);
    publish(&transport, &parcels(100..110)).await;
    register(&transport, MAIL).await;
    publish(&transport, &parcels(0..50)).await;
    let mut subscription = subscribe(&transport, MAIL).await;
    let came = take(&mut subscription, 50).await;
    assert_eq!(came.iter().map(number).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
    settle(&subscription, &came[1..], Settle::Done).await;
    // While this process lives it can try again.
    settle(&subscription, &came[..1], Settle::Again { pause: Duration::from_millis(20), counts: true }).await;
    let again = take(&mut subscription, 1).await;
    assert_eq!((number(&again[0]), again[0].started), (0, 1));
    settle(&subscription, &again, Settle::Done).await;
    assert_eq!(support::unsettled(&transport, MAIL).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_dropped_and_counted() {
    let server = NatsServer::start();
    let mut options = NatsOptions::default();
    options.subscription_capacity = 16;
    let nats = Nats::connect(&server.url(), options).await.unwrap();
    let transport = NatsTransport::core(&nats, quick());
    register(&transport, MAIL).await;
    publish(&NatsTransport::core(&connect(&server.url()).await, quick()), &parcels(0..200)).await;
    let counting = async {
        while nats.dropped() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    support::within(Duration::from_secs(20), "counting", counting).await;
    let mut subscription = subscribe(&transport, MAIL).await;
    let mut came = Vec::new();
    subscription.next_batch(200, &mut came).await.unwrap();
    assert!(came.len() < 200, "{} of 200 on `{PLACED}`", came.len());
}
