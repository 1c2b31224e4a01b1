//! The bytes that .NET Catga was seen to send, from `dotnet-wire.json`.
#![allow(clippy::unwrap_used)]

mod support;

use async_nats::HeaderMap;
use bytes::Bytes;
use catga_contract::{Envelope, MessageId, Outcome, Parcel, Registration, Settle, Transport};
use catga_nats::{Dotnet, DotnetMessage, Snowflake};
use futures_util::StreamExt;
use serde_json::Value;
use support::{connect, jetstream, publish, quick, server::NatsServer, settle, subscribe, take};

fn publishes() -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_str(include_str!("dotnet-wire.json")).unwrap();
    all.into_iter().filter(|entry| entry["kind"] == "publish" && entry["transport"] == "nats").collect()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn bytes(hex: &str) -> Bytes {
    let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digits).collect::<Vec<_>>().into()
}

/// What a program would say to publish this, from what the .NET program said; `volatile` headers from the capture.
fn said(entry: &Value) -> DotnetMessage {
    let (context, headers) = (&entry["context"], &entry["headers"]);
    let is_volatile = |name: &str| entry["volatile"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    let number = |value: &Value| text(value).map(|text| text.parse::<i64>().unwrap());
    let clr = text(&entry["message"]["type"]).unwrap();
    let subject = entry["subject"].as_str().unwrap();
    let payload = bytes(entry["payload_hex"].as_str().unwrap());
    let full = text(&context["message_type"]).or(text(&headers["MessageType"]));
    let mut message = DotnetMessage::new(subject, full.unwrap_or(clr), payload);
    message.qos = entry["qos"].as_u64().unwrap() as u8;
    message.message_id = number(&context["message_id"]);
    message.correlation_id = number(&context["correlation_id"]);
    if is_volatile("MessageId") {
        message.message_id = number(&headers["MessageId"]);
    }
    assert_eq!(message.sent_at.len(), "2026-01-17T07:06:11.1234567Z".len(), "ours is of the same form");
    message.sent_at = match is_volatile("SentAt") {
        true => text(&headers["SentAt"]).unwrap(),
        false => text(&context["sent_at"]).unwrap(),
    };
    message.trace_parent = text(&headers["traceparent"]);
    message.trace_state = text(&headers["tracestate"]);
    message.baggage = text(&headers["baggage"]);
    message
}

#[test]
fn all_37_publishes_are_reproduced_and_read_back() {
    let publishes = publishes();
    assert_eq!(publishes.len(), 37);
    for entry in publishes {
        let name = &entry["name"];
        let message = said(&entry);
        assert_eq!(message.header_block(), entry["header_block"].as_str().unwrap(), "{name}");
        let headers: HeaderMap = message
            .headers()
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let payload = bytes(entry["payload_hex"].as_str().unwrap());
        assert_eq!(DotnetMessage::read(entry["subject"].as_str().unwrap(), Some(&headers), payload), message, "{name}");
    }
}

#[tokio::test]
async fn messages_of_dotnet_are_received_and_acknowledged() {
    let server = NatsServer::start();
    let mut options = quick();
    options.dotnet = Some(Dotnet::default());
    let transport = jetstream(&server.url(), options).await;
    let entries: Vec<Value> = publishes().into_iter().filter(|entry| entry["subject"] == "catga.StockLow").collect();
    transport.register(&[Registration::new("shop.stock".into(), vec!["catga.StockLow".into()])]).await.unwrap();
    let client = async_nats::connect(server.url()).await.unwrap();
    for entry in &entries {
        let mut headers = HeaderMap::new();
        said(entry).headers().into_iter().for_each(|(name, value)| headers.insert(name, value));
        headers.insert("Nats-Msg-Id", entry["name"].as_str().unwrap());
        let payload = bytes(entry["payload_hex"].as_str().unwrap());
        client.publish_with_headers("catga.StockLow", headers, payload).await.unwrap();
    }
    let mut subscription = subscribe(&transport, "shop.stock").await;
    let came = take(&mut subscription, entries.len()).await;
    for (delivery, entry) in came.iter().zip(&entries) {
        let envelope = delivery.message.as_ref().unwrap();
        assert_eq!((&*envelope.name, &*envelope.codec), ("StockLow", "memorypack"));
        assert_eq!(envelope.payload, bytes(entry["payload_hex"].as_str().unwrap()));
        if let Ok(id) = entry["headers"]["MessageId"].as_str().unwrap().parse::<i64>() {
            assert_eq!(envelope.id, MessageId(u128::from(id as u64)));
        }
    }
    settle(&subscription, &came, Settle::Done).await;
}

#[tokio::test]
async fn dotnet_sees_quality_1_an_id_and_a_trace() {
    let server = NatsServer::start();
    let mut options = quick();
    options.dotnet = Some(Dotnet::default().message("orders.placed", "Shop.OrderPlaced"));
    let transport = jetstream(&server.url(), options).await;
    let client = connect(&server.url()).await;
    drop(client);
    let listener = async_nats::connect(server.url()).await.unwrap();
    let mut heard = listener.subscribe("catga.OrderPlaced").await.unwrap();
    // The server reads a connection in order: when it answers this, it knows of the subscription.
    let info = async_nats::jetstream::new(listener.clone()).get_stream("CATGA_STREAM").await.unwrap();
    assert_eq!(info.cached_info().config.subjects, ["catga.>"]);
    let id = Snowflake::new(1).next_id();
    let envelope = Envelope::new(id, "orders.placed".into(), "memorypack".into(), Bytes::from_static(b"\x00"));
    let parcel = Parcel::new("catga.orders.placed".into(), id, envelope.encode().unwrap().into());
    let outcomes = publish(&transport, &[parcel]).await;
    assert!(matches!(outcomes[0], Outcome::Stored), "{outcomes:?}");
    let message = heard.next().await.unwrap();
    let read = DotnetMessage::read(&message.subject, message.headers.as_ref(), message.payload.clone());
    assert_eq!((read.qos, read.message_id, &*read.message_type), (1, Some(id.0 as i64), "Shop.OrderPlaced"));
    assert!(read.trace_parent.is_some_and(|trace| trace.len() == 55));
    assert_eq!(message.payload, envelope.payload);
}
