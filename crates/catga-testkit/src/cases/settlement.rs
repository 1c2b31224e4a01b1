use crate::{
    Backend,
    tools::{
        MAIL, again, each_once, number, numbers, one, parcel, parcels, publish, registered, settle, sorted, subscribe,
        take, take_done, unsettled, until_marker,
    },
};
use catga_contract::{Settle, Settler, Subscription, Transport};
use std::{
    slice::from_ref,
    time::{Duration, Instant, SystemTime},
};

pub async fn what_is_done_does_not_come_again<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &parcels(0..10)).await;
    let mut subscription = subscribe(&store, MAIL).await;
    take_done(&mut subscription, 10).await;
    drop(subscription);
    assert_eq!(unsettled(&store, MAIL).await, 0);
    let mut subscription = subscribe(&store, MAIL).await;
    assert!(until_marker(&store, &mut subscription).await.is_empty());
}

pub async fn what_is_asked_for_again_comes_after_its_pause<B: Backend<Store: Transport>>(backend: B) {
    const PAUSE: Duration = Duration::from_millis(60);
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &[parcel(0)]).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let delivery = one(&mut subscription).await;
    let (frame, asked, clock) = (delivery.frame.clone(), Instant::now(), SystemTime::now());
    settle(&subscription, &[delivery], again(PAUSE)).await;
    assert_eq!(unsettled(&store, MAIL).await, 1, "it waits");
    let delivery = one(&mut subscription).await;
    assert!(asked.elapsed() >= PAUSE - Duration::from_millis(1), "it came after {:?}", asked.elapsed());
    assert_eq!((delivery.started, &delivery.frame), (1, &frame));
    if let Some(first) = delivery.first {
        assert!(first <= clock + PAUSE, "the first try started before it failed");
    }
    settle(&subscription, &[delivery], Settle::Done).await;
    assert_eq!(unsettled(&store, MAIL).await, 0);
}

pub async fn tries_that_count_are_counted_and_others_are_not<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &[parcel(0)]).await;
    let mut subscription = subscribe(&store, MAIL).await;
    for (started, counts) in [(0, true), (1, false), (1, false), (1, true), (2, true), (3, false)] {
        let delivery = one(&mut subscription).await;
        assert_eq!(delivery.started, started);
        settle(&subscription, &[delivery], Settle::Again { pause: Duration::ZERO, counts }).await;
    }
    // Whoever comes next knows them, too.
    drop(subscription);
    let mut subscription = subscribe(&store, MAIL).await;
    let delivery = one(&mut subscription).await;
    assert_eq!(delivery.started, 3);
    settle(&subscription, &[delivery], Settle::Done).await;
    assert_eq!(unsettled(&store, MAIL).await, 0);
}

pub async fn rounds_of_failures_end_and_lose_nothing<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &parcels(0..50)).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let mut tries = [0_u32; 50];
    let mut done = Vec::new();
    while done.len() < 50 {
        let mut batch = Vec::new();
        subscription.next_batch(8, &mut batch).await.unwrap();
        for delivery in batch {
            let number = number(&delivery);
            let before = &mut tries[number as usize];
            assert_eq!(delivery.started, *before, "message {number}");
            *before += 1;
            let answer = if *before <= 3 { again(Duration::from_millis(number % 4)) } else { Settle::Done };
            settle(&subscription, from_ref(&delivery), answer).await;
            if answer == Settle::Done {
                done.push(number);
            }
        }
    }
    each_once(done, 50);
    assert_eq!(unsettled(&store, MAIL).await, 0);
}

pub async fn what_waits_to_come_again_holds_nobody_up<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &[parcel(0)]).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let stuck = one(&mut subscription).await;
    settle(&subscription, &[stuck], again(Duration::from_secs(3_600))).await;
    publish(&store, &parcels(1..40)).await;
    let came = take_done(&mut subscription, 39).await;
    assert_eq!(sorted(numbers(&came)), (1..40).collect::<Vec<_>>());
    assert_eq!(unsettled(&store, MAIL).await, 1);
}

pub async fn what_is_buried_does_not_come_again<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &parcels(0..3)).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let came = take(&mut subscription, 3).await;
    settle(&subscription, &came, Settle::Bury).await;
    assert_eq!(unsettled(&store, MAIL).await, 0);
    drop(subscription);
    let mut subscription = subscribe(&store, MAIL).await;
    assert!(until_marker(&store, &mut subscription).await.is_empty());
}

pub async fn settling_twice_changes_nothing<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &parcels(0..4)).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let came = take(&mut subscription, 2).await;
    settle(&subscription, &came, Settle::Done).await;
    settle(&subscription, &came, Settle::Done).await;
    assert_eq!(unsettled(&store, MAIL).await, 2);
    assert_eq!(take_done(&mut subscription, 2).await.len(), 2);
    assert_eq!(unsettled(&store, MAIL).await, 0);
}

pub async fn a_late_done_is_accepted<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &[parcel(0)]).await;
    let mut first = subscribe(&store, MAIL).await;
    let settler = first.settler();
    let old = one(&mut first).await;
    drop(first);
    let mut second = subscribe(&store, MAIL).await;
    let new = one(&mut second).await;
    assert_eq!(number(&new), 0);
    settler.settle(&[(old.token, Settle::Done)]).await.expect("the effect is done: never refused");
    settle(&second, &[new], Settle::Done).await;
    assert_eq!(unsettled(&store, MAIL).await, 0);
    assert!(until_marker(&store, &mut second).await.is_empty());
}

pub async fn one_settles_while_next_batch_waits<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &[parcel(0)]).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let (delivery, settler) = (one(&mut subscription).await, subscription.settler());
    let waiting = tokio::spawn(async move { number(&one(&mut subscription).await) });
    settler.clone().settle(&[(delivery.token, Settle::Done)]).await.unwrap();
    assert_eq!(unsettled(&store, MAIL).await, 0);
    assert!(!waiting.is_finished());
    publish(&store, &[parcel(1)]).await;
    assert_eq!(waiting.await.unwrap(), 1);
}

pub async fn one_call_settles_each_in_its_own_way<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &parcels(0..30)).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let came = take(&mut subscription, 30).await;
    let answer = |number| match number % 3 {
        0 => Settle::Done,
        1 => again(Duration::ZERO),
        _ => Settle::Bury,
    };
    let answers: Vec<_> = came.iter().map(|delivery| (delivery.token, answer(number(delivery)))).collect();
    subscription.settler().settle(&answers).await.unwrap();
    assert_eq!(unsettled(&store, MAIL).await, 10);
    let came = take_done(&mut subscription, 10).await;
    assert!(came.iter().all(|delivery| number(delivery) % 3 == 1 && delivery.started == 1));
    assert_eq!(unsettled(&store, MAIL).await, 0);
}
