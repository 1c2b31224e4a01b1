//! What the tests of this crate share. `server` and `proxy` know nothing of the crate.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

pub mod proxy;
pub mod server;

use bytes::Bytes;
use catga_contract::{
    Delivery, Envelope, MessageId, Outcome, Parcel, Registration, Settle, Settler, Str, SubscribeOptions, Subscription,
    Token, Transport,
};
use catga_nats::{Nats, NatsOptions, NatsTransport, TransportOptions};
use std::time::Duration;

pub const MAIL: &str = "shop.mail";
pub const PLACED: &str = "catga.orders.placed";

/// Options with short times.
pub fn quick() -> TransportOptions {
    let mut options = TransportOptions::default();
    options.consumer.heartbeat = Duration::from_millis(500);
    options.consumer.ack_wait = Duration::from_secs(3);
    options.answer_timeout = Duration::from_millis(500);
    options
}

pub async fn connect(url: &str) -> Nats {
    let mut options = NatsOptions::default();
    options.request_timeout = Duration::from_secs(2);
    options.ping_interval = Duration::from_secs(1);
    Nats::connect(url, options).await.expect("connecting")
}

pub async fn jetstream(url: &str, options: TransportOptions) -> NatsTransport {
    NatsTransport::jetstream(&connect(url).await, options).await.expect("a transport")
}

pub fn envelope(number: u64) -> Envelope {
    let payload = Bytes::from(number.to_le_bytes().to_vec());
    Envelope::new(MessageId::new(), "orders.placed".into(), "raw".into(), payload)
}

pub fn parcel(number: u64) -> Parcel {
    let envelope = envelope(number);
    Parcel::new(PLACED.into(), envelope.id, envelope.encode().expect("a frame").into())
}

pub fn parcels(numbers: impl IntoIterator<Item = u64>) -> Vec<Parcel> {
    numbers.into_iter().map(parcel).collect()
}

pub async fn register(transport: &impl Transport, consumer: &str) {
    let registration = Registration::new(consumer.into(), vec![PLACED.into()]);
    transport.register(&[registration]).await.expect("registering");
}

pub async fn subscribe<T: Transport>(transport: &T, consumer: &str) -> T::Subscription {
    transport.subscribe(SubscribeOptions::new(consumer.into())).await.expect("subscribing")
}

pub async fn publish(transport: &impl Transport, parcels: &[Parcel]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    transport.publish(parcels, &mut outcomes).await.expect("publishing");
    assert_eq!(outcomes.len(), parcels.len());
    outcomes
}

pub async fn unsettled(transport: &impl Transport, consumer: &str) -> u64 {
    transport.unsettled(&Str::from(consumer)).await.expect("counting")
}

pub fn number(delivery: &Delivery) -> u64 {
    let envelope = delivery.message.as_ref().expect("a readable message");
    u64::from_le_bytes(envelope.payload[..8].try_into().expect("eight bytes"))
}

/// Takes so many deliveries, asking again where the backend fails: that is what a worker does.
pub async fn take(subscription: &mut impl Subscription, wanted: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < wanted {
        let most = wanted - taken.len();
        if subscription.next_batch(most, &mut taken).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    taken
}

pub async fn settle(subscription: &impl Subscription, deliveries: &[Delivery], answer: Settle) {
    let answers: Vec<(Token, Settle)> = deliveries.iter().map(|delivery| (delivery.token, answer)).collect();
    let settler = subscription.settler();
    while settler.settle(&answers).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Ends a test that hangs, with its name.
pub async fn within<F: Future>(time: Duration, what: &str, future: F) -> F::Output {
    tokio::time::timeout(time, future).await.unwrap_or_else(|_| panic!("{what} took longer than {time:?}"))
}
