//! The reliable transport against a private server.
#![allow(clippy::unwrap_used)]

mod support;

use catga_contract::{ErrorKind, Outcome, Registration, Settle, Transport};
use catga_nats::{Framing, NatsTransport};
use std::{collections::HashSet, time::Duration};
use support::{
    MAIL, PLACED, connect, jetstream, number, parcel, parcels, publish, quick, register, server::NatsServer, settle,
    subscribe, take, unsettled,
};

#[tokio::test]
async fn what_is_published_is_stored_once_and_comes_to_every_consumer() {
    let server = NatsServer::start();
    let transport = jetstream(&server.url(), quick()).await;
    register(&transport, MAIL).await;
    register(&transport, "shop.stock").await;
    let sent = parcels(0..500);
    assert!(publish(&transport, &sent).await.iter().all(|outcome| matches!(outcome, Outcome::Stored)));
    assert!(publish(&transport, &sent).await.iter().all(|outcome| matches!(outcome, Outcome::Duplicate)));
    for consumer in [MAIL, "shop.stock"] {
        let mut subscription = subscribe(&transport, consumer).await;
        let came = take(&mut subscription, 500).await;
        let numbers: Vec<u64> = came.iter().map(number).collect();
        assert_eq!(numbers, (0..500).collect::<Vec<_>>(), "in their order");
        settle(&subscription, &came, Settle::Done).await;
        assert_eq!(unsettled(&transport, consumer).await, 0);
    }
}

#[tokio::test]
async fn headers_carry_the_whole_envelope() {
    let server = NatsServer::start();
    let mut options = quick();
    options.framing = Framing::Headers;
    let transport = jetstream(&server.url(), options).await;
    register(&transport, MAIL).await;
    let mut envelope = support::envelope(7);
    envelope.key = Some(catga_contract::Key::new(vec![0, 255, b'%', b'=']));
    envelope.correlation = catga_contract::MessageId::new();
    envelope.deadline = Some(std::time::UNIX_EPOCH + Duration::from_micros(1_234_567));
    envelope.trace = Some(*b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    for (name, value) in [("tenant", &b"acme"[..]), ("b", b""), ("tenant", b"\x00\xFFx\r\n"), ("a=b", b"=")] {
        envelope.headers.push(name, value).unwrap();
    }
    let frame = bytes::Bytes::from(envelope.encode().unwrap());
    publish(&transport, &[catga_contract::Parcel::new(PLACED.into(), envelope.id, frame.clone())]).await;
    let mut subscription = subscribe(&transport, MAIL).await;
    let came = take(&mut subscription, 1).await;
    assert_eq!(came[0].message.as_ref().unwrap(), &envelope);
    assert_eq!(came[0].frame, frame);
}

#[tokio::test]
async fn a_payload_over_the_servers_maximum_is_refused_before_it_is_sent() {
    let server = NatsServer::start_with("max_payload: 8192");
    let transport = jetstream(&server.url(), quick()).await;
    register(&transport, MAIL).await;
    let most = transport.capabilities().max_payload;
    assert_eq!(most, 8_192 - 1_024);
    let sized = |size: usize| {
        let mut envelope = support::envelope(1);
        let head = envelope.encode().unwrap().len() - 8;
        envelope.payload = vec![7; size - head].into();
        catga_contract::Parcel::new(PLACED.into(), envelope.id, envelope.encode().unwrap().into())
    };
    let outcomes = publish(&transport, &[sized(most), sized(most + 1), parcel(2)]).await;
    let Outcome::Refused(error) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains(&most.to_string()), "{error}");
    assert!(matches!((&outcomes[0], &outcomes[2]), (Outcome::Stored, Outcome::Stored)), "{outcomes:?}");
    assert_eq!(unsettled(&transport, MAIL).await, 2);
}

#[tokio::test]
async fn a_handler_that_always_fails_holds_nobody_up_and_is_tried_at_its_pace() {
    let server = NatsServer::start();
    let transport = jetstream(&server.url(), quick()).await;
    register(&transport, MAIL).await;
    publish(&transport, &parcels(0..100)).await;
    let mut subscription = subscribe(&transport, MAIL).await;
    let (pause, mut done, mut tries) = (Duration::from_millis(150), HashSet::new(), Vec::new());
    while tries.len() < 4 {
        for delivery in take(&mut subscription, 1).await {
            if number(&delivery) == 3 {
                assert_eq!(delivery.started as usize, tries.len(), "our count, not the server's");
                tries.push(std::time::Instant::now());
                settle(&subscription, &[delivery], Settle::Again { pause, counts: true }).await;
            } else {
                done.insert(number(&delivery));
                settle(&subscription, &[delivery], Settle::Done).await;
            }
        }
    }
    assert_eq!(done.len(), 99, "all the others passed");
    assert!(tries.windows(2).all(|pair| pair[1] - pair[0] >= pause), "{tries:?}");
}

#[tokio::test]
async fn what_differs_on_the_server_is_reported_and_left() {
    let server = NatsServer::start();
    let first = jetstream(&server.url(), quick()).await;
    register(&first, MAIL).await;
    assert!(first.drift().is_empty(), "{:?}", first.drift());
    let mut options = quick();
    options.stream.max_age = Duration::from_secs(3_600);
    options.consumer.ack_wait = Duration::from_secs(9);
    let nats = connect(&server.url()).await;
    let second = NatsTransport::jetstream(&nats, options.clone()).await.unwrap();
    register(&second, MAIL).await;
    let drift = second.drift().join("\n");
    assert!(drift.contains("the age limit is 604800s") && drift.contains("the wait for an answer is 3s"), "{drift}");
    // Left as it was: the third sees what the first made.
    let third = jetstream(&server.url(), quick()).await;
    register(&third, MAIL).await;
    assert!(third.drift().is_empty(), "{:?}", third.drift());
    options.stream.duplicate_window = Duration::from_secs(5);
    let refused = NatsTransport::jetstream(&nats, options).await.expect_err("a window that is too short");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn what_this_server_cannot_do_is_said() {
    let server = NatsServer::start();
    let transport = jetstream(&server.url(), quick()).await;
    let several = Registration::new(MAIL.into(), vec![PLACED.into(), "catga.orders.paid".into()]);
    match transport.register(&[several]).await {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}"),
        Ok(()) => assert!(!transport.drift().iter().any(|drift| drift.contains("filter"))),
    }
    let elsewhere = Registration::new(MAIL.into(), vec!["other.subject".into()]);
    assert_eq!(transport.register(&[elsewhere]).await.expect_err("no stream").kind(), ErrorKind::Invalid);
    register(&transport, MAIL).await;
    let mut later = parcel(1);
    later.due = Some(std::time::SystemTime::now() + Duration::from_secs(60));
    let outcomes = publish(&transport, &[later]).await;
    assert!(matches!(&outcomes[0], Outcome::Refused(error) if error.kind() == ErrorKind::Unsupported), "{outcomes:?}");
}
