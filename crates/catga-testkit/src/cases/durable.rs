//! What outlives the process.

use crate::{
    Reopens, Rows,
    tools::{
        MAIL, Message, again, each_once, letter, number, numbers, one, open, parcels, publish, put, register,
        registered, settle, subscribe, take_done, unsettled, waiting,
    },
};
use catga_contract::{
    Checkpoints, DeadLetters, Entered, Entry, EventStore, Expect, Inbox, InboxKey, LetterId, Settle, Transport,
    UnitOfWork,
};
use std::time::Duration;

async fn reopen<B: Reopens>(backend: &B, store: B::Store) -> B::Store {
    backend.reopen(store).await.expect("opening again")
}

pub async fn messages_and_consumers_outlive_the_process<B: Reopens<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &parcels(0..10)).await;
    let mut subscription = subscribe(&store, MAIL).await;
    take_done(&mut subscription, 4).await;
    drop(subscription);
    let store = reopen(&backend, store).await;
    assert_eq!(unsettled(&store, MAIL).await, 6);
    register(&store, &[MAIL], crate::tools::PLACED).await;
    publish(&store, &parcels(10..12)).await;
    let mut subscription = subscribe(&store, MAIL).await;
    assert_eq!(crate::tools::sorted(numbers(&take_done(&mut subscription, 8).await)), (4..12).collect::<Vec<_>>());
    drop(subscription);
    let store = reopen(&backend, store).await;
    assert_eq!(unsettled(&store, MAIL).await, 0);
}

pub async fn counted_tries_outlive_the_process<B: Reopens<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &parcels(0..1)).await;
    let mut subscription = subscribe(&store, MAIL).await;
    for _ in 0..2 {
        let delivery = one(&mut subscription).await;
        settle(&subscription, &[delivery], again(Duration::ZERO)).await;
    }
    drop(subscription);
    let store = reopen(&backend, store).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let delivery = one(&mut subscription).await;
    assert_eq!((number(&delivery), delivery.started), (0, 2), "so that poison is bounded whatever dies");
    settle(&subscription, &[delivery], Settle::Done).await;
}

pub mod durable_unit {
    use super::*;

    pub async fn commits_outlive_the_process_and_others_do_not<B: Reopens + Rows>(backend: B) {
        let store = open(&backend).await;
        let key = |number: &'static [u8]| InboxKey { consumer: MAIL, key: number };
        let mut tx = store.begin().await.unwrap();
        store.enter(&mut tx, key(b"1")).await.unwrap();
        store.finish(&mut tx, key(b"1"), b"answer").await.unwrap();
        B::write(&store, &mut tx, 1).await.unwrap();
        store.commit(tx).await.unwrap();
        put(&store, &[Message::new(1, Some("key")), Message::new(2, None)]).await;
        let mut tx = store.begin().await.unwrap();
        store.enter(&mut tx, key(b"2")).await.unwrap();
        B::write(&store, &mut tx, 2).await.unwrap();
        store.put(&mut tx, &[Message::new(3, None).outgoing()]).await.unwrap();
        drop(tx);
        let store = reopen(&backend, store).await;
        assert_eq!((B::rows(&store).await.unwrap(), waiting(&store).await), (vec![1], vec![1, 2]));
        let mut tx = store.begin().await.unwrap();
        let Entry::Done(answer) = store.enter(&mut tx, key(b"1")).await.unwrap() else { panic!("it is done") };
        assert_eq!(answer, &b"answer"[..]);
        assert!(matches!(store.enter(&mut tx, key(b"2")).await.unwrap(), Entry::New));
    }
}

pub mod durable_inbox {
    use super::*;

    pub async fn marks_outlive_the_process_and_claims_end_with_it<B: Reopens<Store: Inbox>>(backend: B) {
        const LEASE: Duration = Duration::from_millis(50);
        let store = open(&backend).await;
        let key = |key: &'static [u8]| InboxKey { consumer: MAIL, key };
        let Entered::New(done) = store.claim(key(b"done"), LEASE).await.unwrap() else { panic!("it is new") };
        store.finish(&done, b"answer").await.unwrap();
        let Entered::New(open) = store.claim(key(b"open"), LEASE).await.unwrap() else { panic!("it is new") };
        drop((done, open));
        let store = reopen(&backend, store).await;
        let Entered::Done(answer) = store.claim(key(b"done"), LEASE).await.unwrap() else { panic!("it is done") };
        assert_eq!(answer, &b"answer"[..]);
        crate::tools::until(|| async { matches!(store.claim(key(b"open"), LEASE).await.unwrap(), Entered::New(_)) })
            .await;
    }
}

pub mod durable_letters {
    use super::*;

    pub async fn letters_outlive_the_process<B: Reopens<Store: DeadLetters>>(backend: B) {
        let store = open(&backend).await;
        let frame = Message::new(1, None).frame;
        for _ in 0..2 {
            DeadLetters::bury(&store, &letter(MAIL, &frame)).await.unwrap();
        }
        store.remove(LetterId(2)).await.unwrap();
        let store = reopen(&backend, store).await;
        let letters = store.list(LetterId(0), 10).await.unwrap();
        assert_eq!((letters.len(), letters[0].id, &letters[0].frame[..]), (1, LetterId(1), &frame[..]));
        assert_eq!(DeadLetters::bury(&store, &letter(MAIL, &frame)).await.unwrap(), LetterId(3), "no id comes twice");
    }
}

pub mod durable_events {
    use super::*;
    use crate::cases::events::{Events, told};

    pub async fn events_and_positions_outlive_the_process<B: Reopens<Store: EventStore + Checkpoints>>(backend: B) {
        let store = open(&backend).await;
        let events = Events::new(0..5);
        store.append("s", Expect::Empty, &events.all()).await.unwrap();
        let (_, stale) = store.load("r").await.unwrap();
        store.save("r", 3, stale).await.unwrap();
        let store = reopen(&backend, store).await;
        assert_eq!(told(&store.read_all(0, 10).await.unwrap()), [0, 1, 2, 3, 4]);
        assert_eq!(store.append("s", Expect::Empty, &events.all()).await.unwrap(), 5, "repeated safely");
        assert_eq!(store.append("s", Expect::Version(5), &Events::new([5]).all()).await.unwrap(), 6);
        let (position, fence) = store.load("r").await.unwrap();
        assert!(position == 3 && fence > stale, "the fences of the dead are stale");
        assert!(store.save("r", 9, stale).await.is_err());
        each_once(told(&store.read("s", 1, 10).await.unwrap()), 6);
    }
}
