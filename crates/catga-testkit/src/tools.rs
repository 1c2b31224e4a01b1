//! What cases share: messages, their way in and out, and waiting for a condition.

use crate::Backend;
use bytes::Bytes;
use catga_contract::{
    Delivery, Envelope, Error, Key, MessageId, NewLetter, Outcome, Outgoing, Parcel, Registration, Result, Settle,
    Settler, Str, Subject, SubscribeOptions, Subscription, Token, Transport, UnitOfWork,
};
use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

/// The consumer and the subject of cases that need one.
pub(crate) const MAIL: &str = "shop.mail";
pub(crate) const PLACED: &str = "catga.orders.placed";

pub(crate) async fn open<B: Backend>(backend: &B) -> B::Store {
    backend.open().await.expect("a fresh store")
}

/// A store on which `consumers` take `PLACED`.
pub(crate) async fn registered<B: Backend<Store: Transport>>(backend: &B, consumers: &[&str]) -> B::Store {
    let store = open(backend).await;
    register(&store, consumers, PLACED).await;
    store
}

pub(crate) async fn register(store: &impl Transport, consumers: &[&str], subject: &str) {
    let consumers: Vec<_> =
        consumers.iter().map(|name| Registration::new((*name).into(), vec![subject.into()])).collect();
    store.register(&consumers).await.expect("registering");
}

pub(crate) async fn subscribe<T: Transport>(store: &T, consumer: &str) -> T::Subscription {
    store.subscribe(SubscribeOptions::new(consumer.into())).await.expect("subscribing")
}

/// The envelope of message `number`.
pub(crate) fn envelope(number: u64, key: Option<&str>) -> Envelope {
    let payload = Bytes::from(number.to_le_bytes().to_vec());
    let mut envelope = Envelope::new(MessageId::new(), "orders.placed".into(), "raw".into(), payload);
    envelope.key = key.map(|key| Key::new(key.to_owned()));
    envelope
}

/// Message `number` for `subject`.
pub(crate) fn parcel_for(subject: &str, number: u64, key: Option<&str>) -> Parcel {
    parcel_of(subject, &envelope(number, key))
}

pub(crate) fn parcel_of(subject: &str, envelope: &Envelope) -> Parcel {
    let frame = Bytes::from(envelope.encode().expect("a frame"));
    let mut parcel = Parcel::new(subject.into(), envelope.id, frame);
    parcel.key = envelope.key.as_ref().map(Key::digest);
    parcel
}

/// Message `number` for `PLACED`, without a key.
pub(crate) fn parcel(number: u64) -> Parcel {
    parcel_for(PLACED, number, None)
}

pub(crate) fn parcels(numbers: impl IntoIterator<Item = u64>) -> Vec<Parcel> {
    numbers.into_iter().map(parcel).collect()
}

/// Publishes, and sees that each was stored.
pub(crate) async fn publish(store: &impl Transport, parcels: &[Parcel]) {
    let outcomes = outcomes(store, parcels).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Stored)), "stored: {outcomes:?}");
}

/// Publishes, and sees that there is one outcome for each.
pub(crate) async fn outcomes(store: &impl Transport, parcels: &[Parcel]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    store.publish(parcels, &mut outcomes).await.expect("publishing");
    assert_eq!(outcomes.len(), parcels.len(), "one outcome for each parcel: {outcomes:?}");
    outcomes
}

/// The number of a message.
pub(crate) fn number(delivery: &Delivery) -> u64 {
    number_in(delivery.message.as_ref().expect("a readable message"))
}

pub(crate) fn number_in(envelope: &Envelope) -> u64 {
    u64::from_le_bytes(envelope.payload[..8].try_into().expect("eight bytes"))
}

pub(crate) fn numbers<'a>(deliveries: impl IntoIterator<Item = &'a Delivery>) -> Vec<u64> {
    deliveries.into_iter().map(number).collect()
}

pub(crate) fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}

/// Takes the next `wanted` deliveries, unsettled; more fail the case.
pub(crate) async fn take(subscription: &mut impl Subscription, wanted: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < wanted {
        let missing = wanted - taken.len();
        let before = taken.len();
        subscription.next_batch(missing, &mut taken).await.expect("deliveries");
        assert!(taken.len() > before, "next_batch waits for the first");
        assert!(taken.len() <= wanted, "asked for {missing}, got {}", taken.len() - before);
    }
    taken
}

/// Takes the next delivery, unsettled.
pub(crate) async fn one(subscription: &mut impl Subscription) -> Delivery {
    take(subscription, 1).await.remove(0)
}

/// Settles deliveries, all alike. Its future borrows nothing: a subscription need not be shared between threads.
pub(crate) fn settle<S: Subscription>(
    subscription: &S,
    deliveries: &[Delivery],
    answer: Settle,
) -> impl Future<Output = ()> + Send + use<S> {
    let answers: Vec<(Token, Settle)> = deliveries.iter().map(|delivery| (delivery.token, answer)).collect();
    let settler = subscription.settler();
    async move { settler.settle(&answers).await.expect("settling") }
}

/// Takes the next `wanted` and settles each batch as done before the next, which may wait for it.
pub(crate) async fn take_done(subscription: &mut impl Subscription, wanted: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < wanted {
        let (missing, mut batch) = (wanted - taken.len(), Vec::new());
        subscription.next_batch(missing, &mut batch).await.expect("deliveries");
        assert!((1..=missing).contains(&batch.len()), "asked for {missing}, got {}", batch.len());
        settle(subscription, &batch, Settle::Done).await;
        taken.extend(batch);
    }
    taken
}

pub(crate) const fn again(pause: Duration) -> Settle {
    Settle::Again { pause, counts: true }
}

pub(crate) async fn unsettled(store: &impl Transport, consumer: &str) -> u64 {
    store.unsettled(&Str::from(consumer)).await.expect("counting")
}

/// Publishes one more message and takes deliveries until it comes; answers those before it. What could come, has come
/// then, where messages come in order; elsewhere `unsettled` says so.
pub(crate) async fn until_marker<T: Transport>(store: &T, subscription: &mut T::Subscription) -> Vec<Delivery> {
    const MARKER: u64 = u64::MAX;
    publish(store, &[parcel(MARKER)]).await;
    let mut before = Vec::new();
    loop {
        let delivery = one(subscription).await;
        settle(subscription, std::slice::from_ref(&delivery), Settle::Done).await;
        if number(&delivery) == MARKER {
            return before;
        }
        before.push(delivery);
    }
}

/// How often each number came.
pub(crate) fn counted(numbers: impl IntoIterator<Item = u64>) -> HashMap<u64, u64> {
    let mut counts = HashMap::new();
    numbers.into_iter().for_each(|number| *counts.entry(number).or_default() += 1);
    counts
}

/// Fails unless exactly the numbers below `wanted` came, each once.
pub(crate) fn each_once(numbers: Vec<u64>, wanted: u64) {
    let counts = counted(numbers);
    let lost: Vec<u64> = (0..wanted).filter(|number| !counts.contains_key(number)).collect();
    let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    let phantom: Vec<_> = counts.keys().filter(|number| **number >= wanted).collect();
    assert!(
        lost.is_empty() && doubled.is_empty() && phantom.is_empty(),
        "lost {lost:?}, doubled {doubled:?}, phantom {phantom:?}"
    );
}

/// Polls a future once, with nobody to wake.
pub(crate) fn poll<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Asks until the answer is yes; the guard of the case bounds how long.
pub(crate) async fn until<F: Future<Output = bool>>(mut asked: impl FnMut() -> F) {
    while !asked().await {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A message for an outbox.
pub(crate) struct Message {
    pub(crate) envelope: Envelope,
    pub(crate) frame: Vec<u8>,
    pub(crate) subject: Subject,
    pub(crate) due: Option<SystemTime>,
}

impl Message {
    pub(crate) fn new(number: u64, key: Option<&str>) -> Self {
        let envelope = envelope(number, key);
        let frame = envelope.encode().expect("a frame");
        Self { envelope, frame, subject: PLACED.into(), due: None }
    }

    pub(crate) fn outgoing(&self) -> Outgoing<'_> {
        let Self { envelope, frame, subject, due } = self;
        Outgoing { id: envelope.id, subject, frame, key: envelope.key.as_ref(), due: *due }
    }
}

/// Puts messages into the outbox, in one transaction.
pub(crate) async fn put<S: UnitOfWork>(store: &S, messages: &[Message]) {
    let mut tx = store.begin().await.expect("a transaction");
    let outgoing: Vec<_> = messages.iter().map(Message::outgoing).collect();
    store.put(&mut tx, &outgoing).await.expect("putting");
    store.commit(tx).await.expect("committing");
}

/// The numbers of the messages that wait in the outbox.
pub(crate) async fn waiting<S: UnitOfWork>(store: &S) -> Vec<u64> {
    let lease = store.lease(LEASE).await.expect("a lease");
    let rows = store.pending(&lease, 10_000).await.expect("rows");
    rows.iter().map(|row| number_in(&Envelope::decode(&row.frame).expect("a frame"))).collect()
}

/// Longer than any case.
pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// A letter about `frame`, of `consumer`.
pub(crate) fn letter<'a>(consumer: &'a str, frame: &'a [u8]) -> NewLetter<'a> {
    let now = SystemTime::now();
    NewLetter {
        consumer,
        handler: "mail",
        frame,
        reason: "no stamp",
        attempts: 3,
        node: "node-1",
        first: now,
        last: now,
        parks: None,
    }
}

/// The error of what must fail.
pub(crate) fn refused<T>(result: Result<T>, what: &str) -> Error {
    match result {
        Ok(_) => panic!("{what} must be refused"),
        Err(error) => error,
    }
}
