//! What a backend may use while nobody is quick enough.

use crate::{
    Backend, Demands, History,
    tools::{
        MAIL, PLACED, each_once, envelope, numbers, one, parcel_of, parcels, publish, registered, settle, subscribe,
        take, take_done, unsettled,
    },
};
use catga_contract::{Settle, Subscription, Transport};
use std::time::Duration;

pub async fn a_slow_consumer_loses_nothing<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let mut came = Vec::new();
    for round in 0..50 {
        publish(&store, &parcels(round * 40..(round + 1) * 40)).await;
        came.extend(numbers(&take_done(&mut subscription, 1).await));
    }
    assert_eq!(unsettled(&store, MAIL).await, 2_000 - 50);
    while came.len() < 2_000 {
        let mut batch = Vec::new();
        subscription.next_batch(100, &mut batch).await.unwrap();
        settle(&subscription, &batch, Settle::Done).await;
        came.extend(numbers(&batch));
    }
    each_once(came, 2_000);
    assert_eq!(unsettled(&store, MAIL).await, 0);
}

/// Backpressure: what is out is what was asked for, however much waits.
pub async fn no_more_is_out_than_was_asked_for<B: Backend<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &parcels(0..500)).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let out = take(&mut subscription, 10).await;
    drop(tokio::time::timeout(Duration::from_millis(1), subscription.next_batch(1, &mut Vec::new())).await);
    assert_eq!(out.len(), 10);
    assert_eq!(unsettled(&store, MAIL).await, 500);
    settle(&subscription, &out, Settle::Done).await;
    assert_eq!(unsettled(&store, MAIL).await, 490);
}

pub async fn messages_that_went_leave_no_memory_behind<B: Backend<Store: Transport>>(backend: B) {
    const SIZE: usize = 64 * 1024;
    const ROUNDS: u64 = 800;
    let store = registered(&backend, &[MAIL]).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let mut message = envelope(0, None);
    message.payload = vec![0x5A; SIZE].into();
    let history = History::new();
    let mut before = 0;
    for round in 0..ROUNDS {
        message.id = catga_contract::MessageId::new();
        publish(&store, &[parcel_of(PLACED, &message)]).await;
        let delivery = one(&mut subscription).await;
        assert_eq!(delivery.message.as_ref().unwrap().payload.len(), SIZE);
        settle(&subscription, &[delivery], Settle::Done).await;
        if round == ROUNDS / 4 {
            before = resident();
        } else if round > ROUNDS / 4 {
            history.used(resident().saturating_sub(before));
        }
    }
    // 37 MiB went through meanwhile; other cases run beside this one.
    let bound = Demands { memory: 24 << 20, ..Demands::new(&[]) };
    history.verdict(&bound).unwrap();
    assert_eq!(unsettled(&store, MAIL).await, 0);
}

/// The process's memory, in bytes, as the system counts it; 0 where it does not say.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4_096
}
