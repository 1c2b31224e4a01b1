//! The store and queue in memory keep their promises, on a clock that the test drives.
#![allow(clippy::unwrap_used)]

#[path = "memory/allocations.rs"]
mod allocations;
#[path = "memory/app.rs"]
mod app;
#[path = "memory/keys.rs"]
mod keys;
#[path = "memory/store.rs"]
mod store;
#[path = "memory/transport.rs"]
mod transport;
#[path = "memory/unit.rs"]
mod unit;

use bytes::Bytes;
use catga::{
    Delivery, Envelope, MessageId, Outcome, Parcel, Registration, Settle, Settler, SubscribeOptions, Subscription,
    Transport,
    memory::{Memory, MemorySubscription},
};
use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);
const DONE: Settle = Settle::Done;
/// Given back unstarted.
const BACK: Settle = Settle::Again { pause: Duration::ZERO, counts: false };

fn again(pause: Duration) -> Settle {
    Settle::Again { pause, counts: true }
}

/// A store in which consumers take the subject `s`.
async fn with_consumers(store: Memory, consumers: &[&'static str]) -> Memory {
    let registration = |name: &&'static str| Registration::new((*name).into(), vec!["s".into()]);
    store.register(&consumers.iter().map(registration).collect::<Vec<_>>()).await.unwrap();
    store
}

/// A parcel for `s` whose payload is a number.
fn parcel(number: u64, key: Option<&'static str>) -> Parcel {
    let (id, payload) = (MessageId::new(), Bytes::from(number.to_string()));
    let mut envelope = Envelope::new(id, "n".into(), "json".into(), payload);
    envelope.key = key.map(catga::Key::new);
    let mut parcel = Parcel::new("s".into(), id, envelope.encode().unwrap().into());
    parcel.key = envelope.key.as_ref().map(catga::Key::digest);
    parcel
}

async fn publish(store: &Memory, parcels: &[Parcel]) {
    let mut outcomes = Vec::new();
    store.publish(parcels, &mut outcomes).await.unwrap();
    assert_eq!(outcomes.len(), parcels.len());
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Stored)), "{outcomes:?}");
}

async fn publish_numbers(store: &Memory, numbers: impl IntoIterator<Item = u64>, key: Option<&'static str>) {
    let parcels: Vec<_> = numbers.into_iter().map(|number| parcel(number, key)).collect();
    publish(store, &parcels).await;
}

async fn member(store: &Memory, consumer: &'static str) -> MemorySubscription {
    store.subscribe(SubscribeOptions::new(consumer.into())).await.unwrap()
}

async fn parking_member(store: &Memory, consumer: &'static str) -> MemorySubscription {
    let mut options = SubscribeOptions::new(consumer.into());
    options.park = true;
    store.subscribe(options).await.unwrap()
}

async fn next(member: &mut MemorySubscription) -> Vec<Delivery> {
    next_most(member, 64).await
}

async fn next_most(member: &mut MemorySubscription, most: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    member.next_batch(most, &mut deliveries).await.unwrap();
    deliveries
}

/// What is there at once, without any waiting.
fn now(member: &mut MemorySubscription) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    let _ = poll_once(member.next_batch(64, &mut deliveries));
    deliveries
}

fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn number(delivery: &Delivery) -> u64 {
    let payload = &delivery.message.as_ref().unwrap().payload;
    std::str::from_utf8(payload).unwrap().parse().unwrap()
}

fn numbers(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(number).collect()
}

/// Answers all of them alike.
async fn settle(member: &MemorySubscription, deliveries: &[Delivery], answer: Settle) {
    let answers: Vec<_> = deliveries.iter().map(|delivery| (delivery.token, answer)).collect();
    member.settler().settle(&answers).await.unwrap();
}
