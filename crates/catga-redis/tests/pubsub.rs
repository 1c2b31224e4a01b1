//! Redis pub/sub as a transport, and the bytes of .NET Catga.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use catga_contract::{Envelope, ErrorKind, MessageId, Outcome, Parcel, Settle, SubscribeOptions, Transport};
use catga_redis::{Drops, RedisTransport, redis};
use futures_util::StreamExt;
use serde_json::Value;
use std::time::Duration;
use support::{MAIL, PLACED, Server, numbers, outcomes, parcel, parcels, publish, register, settle, subscribe, take};

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_gets_everything_in_its_order_and_what_nobody_hears_is_counted() {
    let server = Server::fast().await;
    let (here, there) = (server.redis().await, server.redis().await);
    let transports = [RedisTransport::pubsub(&here), RedisTransport::pubsub(&there)];
    publish(&transports[0], &[parcel(0)]).await;
    assert_eq!(here.unheard(PLACED), 1);
    let mut listening = Vec::new();
    for transport in &transports {
        register(transport, MAIL, &[PLACED]).await;
        listening.push(subscribe(transport, MAIL).await);
    }
    publish(&transports[0], &parcels(0..500)).await;
    for subscription in &mut listening {
        assert_eq!(numbers(&take(subscription, 500).await), (0..500).collect::<Vec<_>>(), "each process gets all");
    }
    assert_eq!((here.unheard(PLACED), transports[0].drops()), (1, Drops::default()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_again_and_that_is_counted() {
    let server = Server::fast().await;
    let transport = RedisTransport::pubsub(&server.redis().await);
    register(&transport, MAIL, &[PLACED]).await;
    let mut mail = subscribe(&transport, MAIL).await;
    let second = transport.subscribe(SubscribeOptions::new(MAIL.into())).await;
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Busy);
    publish(&transport, &parcels(0..2)).await;
    let came = take(&mut mail, 2).await;
    let again = Settle::Again { pause: Duration::ZERO, counts: true };
    settle(&mail, &came[..1], again).await;
    settle(&mail, &came[1..], Settle::Done).await;
    assert_eq!((transport.drops().failed, transport.unsettled(&MAIL.into()).await.unwrap()), (1, 0));
    publish(&transport, &[parcel(2)]).await;
    assert_eq!(numbers(&take(&mut mail, 1).await), [2]);
    drop(mail);
    drop(subscribe(&transport, MAIL).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_slow_handler_cannot_hold_is_dropped_and_counted() {
    const SENT: u64 = 70_000;
    let server = Server::fast().await;
    let transport = RedisTransport::pubsub(&server.redis().await);
    register(&transport, MAIL, &[PLACED]).await;
    let mut mail = subscribe(&transport, MAIL).await;
    let one = parcel(0);
    let batch = vec![one; 1_000];
    for _ in 0..SENT / 1_000 {
        publish(&transport, &batch).await;
    }
    // What the connection has brought shows in both counts together.
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while transport.unsettled(&MAIL.into()).await.unwrap() + transport.drops().overflowed < SENT {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(transport.drops().overflowed, SENT - 65_536);
    take(&mut mail, 65_536).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_comes_back_and_the_gap_is_counted() {
    let server = Server::fast().await;
    let transport = RedisTransport::pubsub(&server.redis().await);
    register(&transport, MAIL, &[PLACED]).await;
    let mut mail = subscribe(&transport, MAIL).await;
    let mut raw = server.raw().await.unwrap();
    let killed: u64 = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").query_async(&mut raw).await.unwrap();
    assert_eq!(killed, 1);
    let came = tokio::spawn(async move { numbers(&take(&mut mail, 1).await) });
    let mut number = 0;
    while !came.is_finished() {
        outcomes(&transport, &[parcel(number)]).await;
        number += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(came.await.unwrap().len(), 1);
    assert_eq!(transport.drops().gaps, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn due_and_single_consumers_are_refused() {
    let server = Server::fast().await;
    let transport = RedisTransport::pubsub(&server.redis().await);
    let (mut due, mut to) = (parcel(0), parcel(1));
    due.due = Some(std::time::SystemTime::now() + Duration::from_secs(60));
    to.to = Some(MAIL.into());
    for outcome in outcomes(&transport, &[due, to]).await {
        let Outcome::Refused(error) = outcome else { panic!("{outcome:?}") };
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}

/// What .NET published, and what its application said beside it.
fn captured() -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_str(include_str!("data/dotnet-wire.json")).unwrap();
    all.into_iter().filter(|entry| entry["kind"] == "publish" && entry["transport"] == "redis").collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// The parcel of a captured publish: its payload under the id of its context.
fn of_dotnet(entry: &Value) -> Parcel {
    let id = MessageId(entry["context"]["message_id"].as_str().unwrap().parse().unwrap());
    let subject = entry["channel"].as_str().unwrap();
    let name = subject.strip_prefix("catga.").unwrap();
    let payload = Bytes::from(unhex(entry["payload_hex"].as_str().unwrap()));
    let envelope = Envelope::new(id, name.into(), "memorypack".into(), payload);
    Parcel::new(subject.into(), id, envelope.encode().unwrap().into())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_publishes_of_dotnet_are_reproduced() {
    let server = Server::fast().await;
    let redis = server.redis().await;
    let (plain, once) = (RedisTransport::pubsub(&redis).dotnet(), RedisTransport::pubsub(&redis).dotnet());
    let once = once.dedupe(Duration::from_secs(300));
    let client = redis::Client::open(server.url()).unwrap();
    let mut listener = client.get_async_pubsub().await.unwrap();
    listener.psubscribe("catga.*").await.unwrap();
    let mut messages = listener.on_message();
    let mut raw = server.raw().await.unwrap();
    let captured = captured();
    assert_eq!(captured.len(), 15);
    for entry in &captured {
        let (parcel, exactly) = (of_dotnet(entry), entry["qos"] == 2);
        let transport = if exactly { &once } else { &plain };
        publish(transport, std::slice::from_ref(&parcel)).await;
        let message = messages.next().await.unwrap();
        assert_eq!(message.get_channel_name(), entry["channel"], "{}", entry["name"]);
        let text: String = message.get_payload().unwrap();
        assert_eq!(text, entry["payload_text"], "{}", entry["name"]);
        let mut keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut raw).await.unwrap();
        if exactly {
            let key = keys.pop().unwrap();
            assert!(entry["notes"].as_str().unwrap().contains(&format!("SET {key} 1 EX 300 NX")), "{key}");
            let (value, left): (String, i64) = redis::pipe().get(&key).ttl(&key).query_async(&mut raw).await.unwrap();
            assert!(value == "1" && (295..=300).contains(&left), "{value} for {left} s");
            let told = outcomes(transport, &[parcel]).await;
            assert!(matches!(told[..], [Outcome::Duplicate]), "a second publish sends nothing: {told:?}");
            redis::cmd("DEL").arg(&key).query_async::<()>(&mut raw).await.unwrap();
        }
        assert!(keys.is_empty(), "{keys:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dotnet_publishes_is_received_and_what_is_no_base64_is_seen() {
    let server = Server::fast().await;
    let transport = RedisTransport::pubsub(&server.redis().await).dotnet();
    register(&transport, MAIL, &["catga.OrderPlaced"]).await;
    let mut mail = subscribe(&transport, MAIL).await;
    let entry = &captured()[0];
    let mut raw = server.raw().await.unwrap();
    for text in [entry["payload_text"].as_str().unwrap(), "no base64!"] {
        redis::cmd("PUBLISH").arg("catga.OrderPlaced").arg(text).query_async::<()>(&mut raw).await.unwrap();
    }
    let came = take(&mut mail, 2).await;
    let message = came[0].message.as_ref().unwrap();
    assert_eq!((&*message.name, &*message.codec), ("OrderPlaced", "memorypack"));
    assert_eq!(message.payload, unhex(entry["payload_hex"].as_str().unwrap()));
    assert_eq!(came[1].message.as_ref().unwrap_err().kind(), ErrorKind::Codec);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_for_dotnet_have_its_fields_and_are_always_trimmed() {
    let server = Server::fast().await;
    let redis = catga_redis::Redis::connect(server.options().max_len(1_000)).await.unwrap();
    let transport = RedisTransport::streams(&redis).dotnet();
    let entry = &captured()[0];
    let mut parcel = of_dotnet(entry);
    let mut envelope = Envelope::decode(&parcel.frame).unwrap();
    envelope.trace = Some(*b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    parcel.frame = envelope.encode().unwrap().into();
    publish(&transport, std::slice::from_ref(&parcel)).await;
    let mut raw = server.raw().await.unwrap();
    let key = "stream:catga.OrderPlaced";
    let mut read = redis::cmd("XRANGE");
    let entries: Vec<(String, Vec<String>)> = read.arg(key).arg("-").arg("+").query_async(&mut raw).await.unwrap();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(entries[0].1, ["data", entry["payload_text"].as_str().unwrap(), "traceparent", trace]);
    for _ in 0..20 {
        publish(&transport, &vec![parcel.clone(); 200]).await;
    }
    let length: u64 = redis::cmd("XLEN").arg(key).query_async(&mut raw).await.unwrap();
    assert!((1_000..1_200).contains(&length), "{length} entries of 4,001");
    let refused = transport.subscribe(SubscribeOptions::new(MAIL.into())).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
}
