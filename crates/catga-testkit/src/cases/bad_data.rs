//! Bytes that are no message.

use crate::{
    Backend,
    tools::{
        MAIL, PLACED, again, envelope, number, one, parcel, parcel_of, publish, registered, settle, subscribe, take,
        unsettled,
    },
};
use bytes::Bytes;
use catga_contract::{ErrorKind, MessageId, Parcel, Settle, Transport};
use std::time::Duration;

fn raw(bytes: Vec<u8>) -> Parcel {
    Parcel::new(PLACED.into(), MessageId::new(), Bytes::from(bytes))
}

/// A whole frame, and all the ways in which it is broken here.
fn broken() -> Vec<Vec<u8>> {
    let whole = envelope(1, Some("key")).encode().unwrap();
    let changed = |at: usize, to: u8| {
        let mut frame = whole.clone();
        frame[at] = to;
        frame
    };
    vec![
        Vec::new(),
        b"hello".to_vec(),
        vec![0; 64],
        whole[..whole.len() - 1].to_vec(),
        whole[..20].to_vec(),
        [&whole[..], &[0]].concat(),
        changed(2, 9),                  // a frame of a newer version
        changed(3, 0xFF),               // flags that nobody knows
        changed(26, 255),               // a name that is longer than the frame
        changed(whole.len() - 1, 0xAA), // damaged in its payload
    ]
}

pub async fn what_is_no_frame_comes_with_its_bytes_and_why<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    let frames = broken();
    for frame in &frames {
        publish(&store, &[raw(frame.clone())]).await;
    }
    let mut subscription = subscribe(&store, MAIL).await;
    let mut came: Vec<Vec<u8>> = Vec::new();
    for _ in &frames {
        let delivery = one(&mut subscription).await;
        let error = delivery.message.as_ref().expect_err("it cannot be read");
        assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
        came.push(delivery.frame.to_vec());
        settle(&subscription, &[delivery], Settle::Bury).await;
    }
    came.sort();
    let mut sent = frames;
    sent.sort();
    assert_eq!(came, sent, "byte for byte");
    assert_eq!(unsettled(&store, MAIL).await, 0);
}

pub async fn what_is_no_frame_holds_nobody_up<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &[parcel(0), raw(b"hello".to_vec()), parcel(1)]).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let came = take(&mut subscription, 3).await;
    let (good, bad): (Vec<_>, Vec<_>) = came.into_iter().partition(|delivery| delivery.message.is_ok());
    assert_eq!((good.len(), bad.len()), (2, 1));
    settle(&subscription, &good, Settle::Done).await;
    // It is settled like any other, also with a pause.
    settle(&subscription, &bad, again(Duration::ZERO)).await;
    publish(&store, &[parcel(2)]).await;
    let came = take(&mut subscription, 2).await;
    assert!(came.iter().any(|delivery| delivery.message.is_err() && delivery.started == 1));
    assert!(came.iter().any(|delivery| delivery.message.is_ok() && number(delivery) == 2));
    settle(&subscription, &came, Settle::Done).await;
    assert_eq!(unsettled(&store, MAIL).await, 0);
}

pub async fn a_message_of_an_unknown_contract_passes_through<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    let mut message = envelope(3, None);
    (message.name, message.codec, message.version) = ("x".repeat(255).into(), "klingon".into(), u16::MAX);
    let sent = parcel_of(PLACED, &message);
    publish(&store, std::slice::from_ref(&sent)).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let delivery = one(&mut subscription).await;
    assert_eq!((delivery.frame.clone(), delivery.message.as_ref().unwrap()), (sent.frame, &message));
    settle(&subscription, &[delivery], Settle::Done).await;
}
