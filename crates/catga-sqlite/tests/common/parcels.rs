//! A queue in the test's own hands: numbers as messages, taken and answered one by one.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses a part of it")]

use bytes::Bytes;
use catga::{
    Delivery, Envelope, Key, MessageId, Outcome, Parcel, Registration, Settle, Settler, Str, SubscribeOptions,
    Subscription, Token, Transport,
    sqlite::{Sqlite, SqliteSubscription},
};
use std::time::Duration;

pub const CONSUMER: &str = "shop.mail";
pub const SUBJECT: &str = "numbers";
/// Not started, because one before it failed.
pub const BACK: Settle = Settle::Again { pause: Duration::ZERO, counts: false };

pub async fn register(store: &Sqlite, consumer: &'static str) {
    let registration = Registration::new(consumer.into(), vec![SUBJECT.into()]);
    Transport::register(store, &[registration]).await.unwrap();
}

pub fn parcel(key: Option<&'static str>, number: u32) -> Parcel {
    let payload = Bytes::from(number.to_string());
    let mut envelope = Envelope::new(MessageId::new(), "number".into(), "json".into(), payload);
    envelope.key = key.map(Key::new);
    let mut parcel = Parcel::new(SUBJECT.into(), envelope.id, envelope.encode().unwrap().into());
    parcel.key = envelope.key.as_ref().map(Key::digest);
    parcel
}

pub async fn publish(store: &Sqlite, parcels: &[Parcel]) {
    let mut outcomes = Vec::new();
    Transport::publish(store, parcels, &mut outcomes).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Stored)), "{outcomes:?}");
}

/// Publishes numbers of one key.
pub async fn publish_all(store: &Sqlite, key: Option<&'static str>, numbers: impl IntoIterator<Item = u32>) {
    let parcels: Vec<Parcel> = numbers.into_iter().map(|number| parcel(key, number)).collect();
    publish(store, &parcels).await;
}

pub async fn subscribe(store: &Sqlite, park: bool) -> SqliteSubscription {
    let mut options = SubscribeOptions::new(CONSUMER.into());
    options.park = park;
    Transport::subscribe(store, options).await.unwrap()
}

pub fn number(delivery: &Delivery) -> u32 {
    let payload = &delivery.message.as_ref().unwrap().payload;
    std::str::from_utf8(payload).unwrap().parse().unwrap()
}

pub fn all(deliveries: &[Delivery]) -> Vec<u32> {
    deliveries.iter().map(number).collect()
}

/// The next batch, with at most `most` of them.
pub async fn next_of(subscription: &mut SqliteSubscription, most: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    let next = subscription.next_batch(most, &mut deliveries);
    tokio::time::timeout(Duration::from_secs(20), next).await.expect("nothing comes").unwrap();
    deliveries
}

pub async fn next(subscription: &mut SqliteSubscription) -> Vec<Delivery> {
    next_of(subscription, 64).await
}

/// Whether a while passes in which nothing comes. What is asked first makes sure that all before it was seen.
pub async fn nothing(subscription: &mut SqliteSubscription) -> bool {
    let mut deliveries = Vec::new();
    let next = subscription.next_batch(64, &mut deliveries);
    tokio::time::timeout(Duration::from_millis(100), next).await.is_err()
}

pub async fn settle(subscription: &SqliteSubscription, answers: &[(&Delivery, Settle)]) {
    let answers: Vec<(Token, Settle)> = answers.iter().map(|(delivery, answer)| (delivery.token, *answer)).collect();
    subscription.settler().settle(&answers).await.unwrap();
}

pub async fn settle_all(subscription: &SqliteSubscription, deliveries: &[Delivery], answer: Settle) {
    let answers: Vec<_> = deliveries.iter().map(|delivery| (delivery, answer)).collect();
    settle(subscription, &answers).await;
}

pub fn again(pause: Duration) -> Settle {
    Settle::Again { pause, counts: true }
}

pub async fn unsettled(store: &Sqlite) -> u64 {
    Transport::unsettled(store, &Str::from_static(CONSUMER)).await.unwrap()
}
