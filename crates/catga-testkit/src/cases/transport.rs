//! Messages on their way to consumers.
//!
//! Long because it is one group, and its cases are read side by side.

use crate::{
    Backend, Claim, Demands, End, GROUPS, History, Op,
    tools::{
        MAIL, PLACED, each_once, envelope, number, numbers, one, open, outcomes, parcel, parcel_for, parcel_of,
        parcels, poll, publish, refused, register, registered, settle, sorted, subscribe, take, take_done, unsettled,
        until_marker,
    },
};
use bytes::Bytes;
use catga_contract::{
    Durability, ErrorKind, Headers, Order, Outcome, Settle, SubscribeOptions, Subscription, Transport,
};
use futures_util::future::join_all;
use std::{pin::pin, sync::Arc, time::Duration};

/// The groups of the macro's list are those that the declared capabilities ask for.
pub async fn groups_are_those_of_the_capabilities<B: Backend<Store: Transport>>(backend: B, groups: &[&str]) {
    let said = open(&backend).await.capabilities();
    let by_key = said.order == Order::Key;
    let ordered = said.order != Order::None;
    let asked = [
        ("settlement", said.redelivery),
        ("order_stream", ordered),
        ("order_key", by_key),
        ("no_order_key", !by_key),
        ("dedupe", said.dedupe),
        ("no_dedupe", !said.dedupe),
        ("atomic_batch", said.atomic_batch),
        ("delay", said.delay),
        ("no_delay", !said.delay),
        ("groups", said.groups),
        ("no_groups", !said.groups),
        ("fenced_settle", said.fenced_settle),
        ("no_fenced_settle", !said.fenced_settle && said.redelivery),
        ("durable", said.durable == Durability::Disk),
    ];
    for (group, wanted) in asked {
        let named = groups.contains(&group);
        assert_eq!(named, wanted, "the group `{group}` against the capabilities {said:?}");
    }
    for group in groups {
        assert!(GROUPS.iter().any(|known| known.name == *group), "there is no group `{group}`");
    }
    assert!(!said.system.is_empty(), "spans name the system");
}

pub async fn every_message_arrives_once_byte_for_byte<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    let sent: Vec<_> = (0..100)
        .map(|number| {
            let mut message = envelope(number, (number % 3 == 0).then_some("Zürich"));
            message.headers.push("tenant", "ÄÖ\u{1F600}".as_bytes()).unwrap();
            message.headers.push("raw", &[0, 255, 10, 13]).unwrap();
            message.payload = [&number.to_le_bytes()[..], &[0xFF, 0, 0xC0]].concat().into();
            parcel_of(PLACED, &message)
        })
        .collect();
    publish(&store, &sent).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let came = take_done(&mut subscription, 100).await;
    each_once(numbers(&came), 100);
    for delivery in &came {
        let parcel = &sent[number(delivery) as usize];
        assert_eq!(delivery.frame, parcel.frame);
        assert_eq!(delivery.key, parcel.key, "the key's digest comes with it");
        assert_eq!(delivery.started, 0);
        assert_eq!(delivery.message.as_ref().unwrap().id, parcel.id);
    }
    assert_eq!(unsettled(&store, MAIL).await, 0);
}

pub async fn many_publishers_lose_and_double_nothing<B: Backend<Store: Transport>>(backend: B) {
    const PUBLISHERS: u64 = 16;
    const EACH: u64 = 60;
    let store = registered(&backend, &[MAIL]).await;
    let history = Arc::new(History::new());
    let publishers = (0..PUBLISHERS).map(|publisher| {
        let (store, history) = (store.clone(), history.clone());
        tokio::spawn(async move {
            for first in (0..EACH).step_by(6) {
                let batch = parcels((first..first + 6).map(|number| publisher * EACH + number));
                let start = history.start();
                publish(&store, &batch).await;
                for parcel in batch {
                    history.end(start, Op::Publish, Claim::of(parcel.id), End::Ok);
                }
            }
        })
    });
    let publishers: Vec<_> = publishers.collect();
    let mut subscription = subscribe(&store, MAIL).await;
    let settler = subscription.settler();
    let mut came = Vec::new();
    while came.len() < (PUBLISHERS * EACH) as usize {
        let mut batch = Vec::new();
        subscription.next_batch(7, &mut batch).await.unwrap();
        for delivery in &batch {
            let (start, id) = (history.start(), delivery.message.as_ref().unwrap().id);
            history.end(start, Op::Effect, Claim::of(id).by(MAIL), End::Ok);
            catga_contract::Settler::settle(&settler, &[(delivery.token, Settle::Done)]).await.unwrap();
            history.end(start, Op::Ack, Claim::of(id).by(MAIL), End::Ok);
        }
        came.extend(numbers(&batch));
    }
    join_all(publishers).await.into_iter().for_each(|done| done.unwrap());
    came.extend(numbers(&until_marker(&store, &mut subscription).await));
    each_once(came, PUBLISHERS * EACH);
    let mut demands = Demands::new(&[MAIL]);
    demands.once = true;
    history.verdict(&demands).unwrap();
    assert_eq!(unsettled(&store, MAIL).await, 0, "nothing is owned by anybody");
}

pub async fn twenty_subjects_keep_to_themselves<B: Backend<Store: Transport>>(backend: B) {
    let store = open(&backend).await;
    let names: Vec<_> = (0..20).map(|topic| (format!("shop.c{topic}"), format!("catga.topic{topic}"))).collect();
    for (consumer, subject) in &names {
        register(&store, &[consumer], subject).await;
    }
    let publishing = names.iter().enumerate().map(|(topic, (_, subject))| {
        let (store, subject) = (store.clone(), subject.clone());
        tokio::spawn(async move {
            for number in 0..20 {
                publish(&store, &[parcel_for(&subject, topic as u64 * 100 + number, None)]).await;
            }
        })
    });
    join_all(publishing.collect::<Vec<_>>()).await.into_iter().for_each(|done| done.unwrap());
    for (topic, (consumer, _)) in names.iter().enumerate() {
        assert_eq!(unsettled(&store, consumer).await, 20, "{consumer}");
        let mut subscription = subscribe(&store, consumer).await;
        let came = sorted(numbers(&take_done(&mut subscription, 20).await));
        assert_eq!(came, (0..20).map(|number| topic as u64 * 100 + number).collect::<Vec<_>>(), "{consumer}");
        assert_eq!(unsettled(&store, consumer).await, 0, "{consumer}");
    }
}

pub async fn each_consumer_gets_everything<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &["shop.a", "shop.b"]).await;
    publish(&store, &parcels(0..50)).await;
    for consumer in ["shop.a", "shop.b"] {
        let mut subscription = subscribe(&store, consumer).await;
        each_once(numbers(&take_done(&mut subscription, 50).await), 50);
    }
    assert_eq!((unsettled(&store, "shop.a").await, unsettled(&store, "shop.b").await), (0, 0));
}

pub async fn nothing_is_lost_over_subscriptions_that_end_midway<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    let (mut done, mut tries) = (Vec::new(), 0);
    for round in 0..5 {
        publish(&store, &parcels(round * 40..(round + 1) * 40)).await;
        let mut subscription = subscribe(&store, MAIL).await;
        let came = take(&mut subscription, 30).await;
        tries += came.len();
        // The rest of what it was given ends with the subscription, unsettled.
        settle(&subscription, &came[..25], Settle::Done).await;
        done.extend(numbers(&came[..25]));
    }
    assert_eq!(unsettled(&store, MAIL).await, 200 - 125);
    let mut subscription = subscribe(&store, MAIL).await;
    done.extend(numbers(&take_done(&mut subscription, 75).await));
    each_once(done, 200);
    assert_eq!(tries, 150);
    assert_eq!(unsettled(&store, MAIL).await, 0);
}

pub async fn subscriptions_opened_and_closed_at_once_lose_nothing<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    let opening = (0..10).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                match store.subscribe(SubscribeOptions::new(MAIL.into())).await {
                    Ok(mut subscription) => {
                        // Dropped while it waits, or with what it just got.
                        let next = tokio::time::timeout(Duration::from_millis(1), async {
                            subscription.next_batch(3, &mut Vec::new()).await
                        });
                        drop(next.await);
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Busy, "{error}"),
                }
            }
        })
    });
    let opening: Vec<_> = opening.collect();
    for number in 0..50 {
        publish(&store, &[parcel(number)]).await;
    }
    join_all(opening).await.into_iter().for_each(|done| done.unwrap());
    assert_eq!(unsettled(&store, MAIL).await, 50);
    let mut subscription = subscribe(&store, MAIL).await;
    each_once(numbers(&take_done(&mut subscription, 50).await), 50);
    assert_eq!(unsettled(&store, MAIL).await, 0);
}

pub async fn what_a_dropped_subscription_had_comes_again<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &parcels(0..20)).await;
    let mut first = subscribe(&store, MAIL).await;
    each_once(numbers(&take(&mut first, 20).await), 20);
    drop(first);
    let mut second = subscribe(&store, MAIL).await;
    each_once(numbers(&take_done(&mut second, 20).await), 20);
    assert_eq!(unsettled(&store, MAIL).await, 0);
}

pub async fn what_a_panicking_receiver_had_comes_again<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &parcels(0..5)).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let receiver = tokio::spawn(async move {
        let came = take(&mut subscription, 3).await;
        assert!(came.is_empty(), "on purpose: this receiver panics with {} in its hands", came.len());
    });
    assert!(receiver.await.is_err_and(|failed| failed.is_panic()));
    let mut subscription = subscribe(&store, MAIL).await;
    each_once(numbers(&take_done(&mut subscription, 5).await), 5);
}

pub async fn a_dropped_next_batch_keeps_what_it_read<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let mut came = Vec::new();
    for number in 0..60 {
        let publishing = tokio::spawn({
            let store = store.clone();
            async move { publish(&store, &[parcel(number)]).await }
        });
        // Polled so often, then dropped: at another await each time.
        let mut dropped = Vec::new();
        {
            let mut next = pin!(subscription.next_batch(2, &mut dropped));
            for _ in 0..=number % 6 {
                if poll(next.as_mut()).is_some() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        publishing.await.unwrap();
        settle(&subscription, &dropped, Settle::Done).await;
        came.extend(numbers(&dropped));
    }
    let left = 60 - came.len();
    came.extend(numbers(&take_done(&mut subscription, left).await));
    each_once(came, 60);
    assert_eq!(unsettled(&store, MAIL).await, 0);
}

pub async fn a_publish_that_is_dropped_can_be_repeated<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    let history = History::new();
    for round in 0..30_u64 {
        let batch = parcels(round * 4..(round + 1) * 4);
        let start = history.start();
        let finished = {
            let mut outcomes = Vec::new();
            let mut publishing = pin!(store.publish(&batch, &mut outcomes));
            let mut finished = false;
            for _ in 0..=round % 5 {
                finished = poll(publishing.as_mut()).is_some();
                if finished {
                    break;
                }
                tokio::task::yield_now().await;
            }
            finished
        };
        let end = if finished { End::Ok } else { End::Unknown };
        batch.iter().for_each(|parcel| history.end(start, Op::Publish, Claim::of(parcel.id), end));
        if round % 2 == 0 {
            let start = history.start();
            outcomes(&store, &batch).await;
            batch.iter().for_each(|parcel| history.end(start, Op::Publish, Claim::of(parcel.id), End::Ok));
        }
    }
    // Whatever a dropped one still does is done when a later one is.
    let mut subscription = subscribe(&store, MAIL).await;
    for delivery in until_marker(&store, &mut subscription).await {
        let id = delivery.message.as_ref().unwrap().id;
        history.end(history.start(), Op::Effect, Claim::of(id).by(MAIL), End::Ok);
    }
    // An unknown one that was repeated may be there twice, one that was not may be there or not: nothing is lost.
    history.verdict(&Demands::new(&[MAIL])).unwrap();
    assert_eq!(unsettled(&store, MAIL).await, 0);
}

pub async fn a_consumer_finds_what_came_since_it_was_registered<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &["shop.early"]).await;
    publish(&store, &parcels(0..10)).await;
    register(&store, &["shop.late"], PLACED).await;
    publish(&store, &parcels(10..15)).await;
    let mut early = subscribe(&store, "shop.early").await;
    each_once(numbers(&take_done(&mut early, 15).await), 15);
    assert_eq!(unsettled(&store, "shop.late").await, 5);
    let mut late = subscribe(&store, "shop.late").await;
    assert_eq!(sorted(numbers(&take_done(&mut late, 5).await)), [10, 11, 12, 13, 14]);
}

pub async fn registering_again_keeps_the_place<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &parcels(0..6)).await;
    let mut subscription = subscribe(&store, MAIL).await;
    take_done(&mut subscription, 2).await;
    drop(subscription);
    register(&store, &[MAIL, "shop.other"], PLACED).await;
    assert_eq!(unsettled(&store, MAIL).await, 4);
    publish(&store, &[parcel(6)]).await;
    let mut subscription = subscribe(&store, MAIL).await;
    assert_eq!(take_done(&mut subscription, 5).await.len(), 5, "once each, though registered twice");
    assert_eq!(unsettled(&store, MAIL).await, 0);
}

pub async fn who_is_not_registered_is_not_found<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    let error = refused(store.subscribe(SubscribeOptions::new("shop.nobody".into())).await, "an unknown consumer");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("shop.nobody"), "it names the consumer: {error}");
}

pub async fn what_nobody_is_registered_for_is_kept_for_nobody<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &[parcel_for("catga.elsewhere", 7, None)]).await;
    register(&store, &["shop.elsewhere"], "catga.elsewhere").await;
    assert_eq!((unsettled(&store, MAIL).await, unsettled(&store, "shop.elsewhere").await), (0, 0));
}

pub async fn a_parcel_for_one_consumer_reaches_that_one_alone<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &["shop.a", "shop.b"]).await;
    let mut replay = parcel(1);
    replay.to = Some("shop.b".into());
    publish(&store, &[parcel(0), replay, parcel(2)]).await;
    let mut a = subscribe(&store, "shop.a").await;
    let mut b = subscribe(&store, "shop.b").await;
    assert_eq!(sorted(numbers(&take_done(&mut b, 3).await)), [0, 1, 2]);
    // A broker may show it to the others, who settle it unhandled; our queues do not.
    assert_eq!(sorted(numbers(&take_done(&mut a, 2).await)), [0, 2]);
    assert_eq!((unsettled(&store, "shop.a").await, unsettled(&store, "shop.b").await), (0, 0));
}

pub async fn the_largest_frame_passes_and_a_larger_one_is_refused_alone<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    let most = store.capabilities().max_payload;
    let sized = |number: u64, size: usize| {
        let mut message = envelope(number, None);
        let head = message.encode().unwrap().len() - message.payload.len();
        let mut payload = vec![0xA5; size - head];
        payload[..8].copy_from_slice(&number.to_le_bytes());
        message.payload = payload.into();
        parcel_of(PLACED, &message)
    };
    let sent = [sized(0, most), sized(1, most + 1), sized(2, 100)];
    assert_eq!(sent[0].frame.len(), most);
    let told = outcomes(&store, &sent).await;
    assert!(matches!(told[0], Outcome::Stored) && matches!(told[2], Outcome::Stored), "{told:?}");
    let Outcome::Refused(error) = &told[1] else { panic!("{} bytes are refused: {told:?}", most + 1) };
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let text = error.to_string();
    assert!(text.contains(&most.to_string()) && text.contains(&(most + 1).to_string()), "both sizes: {text}");
    let mut subscription = subscribe(&store, MAIL).await;
    for _ in 0..2 {
        let delivery = one(&mut subscription).await;
        assert!(delivery.frame == sent[number(&delivery) as usize].frame, "message {}", number(&delivery));
        settle(&subscription, &[delivery], Settle::Done).await;
    }
    assert_eq!(unsettled(&store, MAIL).await, 0);
}

pub async fn no_payload_and_the_largest_headers_pass<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    let mut message = envelope(0, None);
    message.payload = Bytes::new();
    let name = "n".repeat(255);
    while message.headers.push(&name, &vec![0x80; 16_000]).is_ok() {}
    let used: usize = message.headers.iter().map(|(name, value)| name.len() + value.len() + 3).sum();
    message.headers.push("r", &vec![b'x'; Headers::MAX - used - 4]).unwrap();
    let sent = parcel_of(PLACED, &message);
    publish(&store, std::slice::from_ref(&sent)).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let came = take_done(&mut subscription, 1).await;
    assert_eq!(came[0].frame, sent.frame);
    assert_eq!(came[0].message.as_ref().unwrap(), &message);
}

pub async fn a_batch_is_never_larger_than_asked_for<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &parcels(0..200)).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let (mut came, mut most) = (Vec::new(), 1);
    while came.len() < 200 {
        let mut batch = Vec::new();
        subscription.next_batch(most, &mut batch).await.unwrap();
        assert!((1..=most).contains(&batch.len()), "asked for {most}, got {}", batch.len());
        settle(&subscription, &batch, Settle::Done).await;
        came.extend(numbers(&batch));
        most = most % 17 + 1;
    }
    each_once(came, 200);
}

pub async fn no_parcels_are_no_work<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    assert!(outcomes(&store, &[]).await.is_empty());
    assert_eq!(unsettled(&store, MAIL).await, 0);
    assert_eq!(unsettled(&store, "shop.nobody").await, 0, "of nobody nothing waits");
}
