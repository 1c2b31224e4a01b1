//! What could not be handled, for a human.

use crate::{
    Backend,
    tools::{
        MAIL, Message, PLACED, letter, number, one, open, parcel_for, publish, refused, registered, subscribe,
        take_done, unsettled,
    },
};
use bytes::Bytes;
use catga_contract::{DeadLetters, Entry, ErrorKind, InboxKey, LetterId, NewLetter, Transport, UnitOfWork};
use std::time::{Duration, SystemTime};

pub async fn letters_are_listed_as_they_were_buried<B: Backend<Store: DeadLetters>>(backend: B) {
    let store = open(&backend).await;
    let (first, last) = (SystemTime::UNIX_EPOCH + Duration::from_micros(1_234_567), SystemTime::now());
    let frames: Vec<_> = (0..7).map(|number| Message::new(number, None).frame).collect();
    for (number, frame) in (1..).zip(&frames) {
        let reason = format!("no stamp: {number}\nbecause: \u{1F980}");
        let kept = NewLetter { reason: &reason, attempts: number as u32, first, last, ..letter(MAIL, frame) };
        assert_eq!(DeadLetters::bury(&store, &kept).await.unwrap(), LetterId(number), "ids rise from 1");
    }
    let all = store.list(LetterId(0), 100).await.unwrap();
    assert_eq!(all.iter().map(|letter| letter.id.0).collect::<Vec<_>>(), (1..=7).collect::<Vec<_>>());
    let third = &all[2];
    assert_eq!((&third.consumer[..], &third.handler[..], &third.node[..]), (MAIL, "mail", "node-1"));
    assert_eq!((&third.reason[..], third.attempts), ("no stamp: 3\nbecause: \u{1F980}", 3));
    assert_eq!((third.frame.clone(), third.parks), (Bytes::from(frames[2].clone()), None));
    let near = |a: SystemTime, b: SystemTime| {
        a.duration_since(b).or_else(|_| b.duration_since(a)).is_ok_and(|d| d.as_micros() < 1)
    };
    assert!(near(third.first, first) && near(third.last, last), "to the microsecond");
    assert_eq!(crate::tools::number_in(&third.open().unwrap()), 2);
    let page = store.list(LetterId(3), 2).await.unwrap();
    assert_eq!(page.iter().map(|letter| letter.id.0).collect::<Vec<_>>(), [4, 5]);
    assert!(store.list(LetterId(7), 2).await.unwrap().is_empty());
}

pub async fn a_letter_is_removed_once<B: Backend<Store: DeadLetters>>(backend: B) {
    let store = open(&backend).await;
    let frame = Message::new(0, None).frame;
    for _ in 0..3 {
        DeadLetters::bury(&store, &letter(MAIL, &frame)).await.unwrap();
    }
    assert!(store.remove(LetterId(2)).await.unwrap());
    assert!(!store.remove(LetterId(2)).await.unwrap() && !store.remove(LetterId(99)).await.unwrap());
    assert!(!store.replay(LetterId(2)).await.unwrap() && !store.replay(LetterId(99)).await.unwrap());
    let left: Vec<_> = store.list(LetterId(0), 10).await.unwrap().iter().map(|letter| letter.id.0).collect();
    assert_eq!(left, [1, 3]);
    assert_eq!(DeadLetters::bury(&store, &letter(MAIL, &frame)).await.unwrap(), LetterId(4), "no id comes twice");
}

pub mod replay {
    use super::*;

    pub async fn a_replay_reaches_its_consumer_alone<B: Backend<Store: DeadLetters + Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL, "shop.stock"]).await;
        let message = Message::new(5, Some("key"));
        let kept = letter(MAIL, &message.frame);
        let id = DeadLetters::bury(&store, &kept).await.unwrap();
        assert!(store.replay(id).await.unwrap());
        assert!(!store.replay(id).await.unwrap(), "it is gone");
        assert!(store.list(LetterId(0), 10).await.unwrap().is_empty());
        assert_eq!((unsettled(&store, MAIL).await, unsettled(&store, "shop.stock").await), (1, 0));
        let mut subscription = subscribe(&store, MAIL).await;
        let delivery = take_done(&mut subscription, 1).await.remove(0);
        assert_eq!(delivery.frame, message.frame, "with its old message id");
        assert_eq!(delivery.started, 0, "with a fresh count of attempts");
    }

    pub async fn a_replay_wakes_who_waits<B: Backend<Store: DeadLetters + Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL]).await;
        let mut subscription = subscribe(&store, MAIL).await;
        let waiting = tokio::spawn(async move { number(&one(&mut subscription).await) });
        tokio::task::yield_now().await;
        let id = DeadLetters::bury(&store, &letter(MAIL, &Message::new(3, None).frame)).await.unwrap();
        store.replay(id).await.unwrap();
        assert_eq!(waiting.await.unwrap(), 3);
    }

    pub async fn the_mark_is_taken_away_with_a_replay<B: Backend<Store: DeadLetters + Transport + UnitOfWork>>(
        backend: B,
    ) {
        let store = registered(&backend, &[MAIL, "shop.stock"]).await;
        let message = Message::new(5, None);
        let bytes = message.envelope.id.to_bytes();
        let keys = [MAIL, "shop.stock"].map(|consumer| InboxKey { consumer, key: &bytes });
        let mut tx = store.begin().await.unwrap();
        for key in keys {
            store.enter(&mut tx, key).await.unwrap();
        }
        UnitOfWork::bury(&store, &mut tx, &letter(MAIL, &message.frame)).await.unwrap();
        store.commit(tx).await.unwrap();
        let id = store.list(LetterId(0), 1).await.unwrap()[0].id;
        assert!(store.replay(id).await.unwrap());
        let mut tx = store.begin().await.unwrap();
        assert!(matches!(store.enter(&mut tx, keys[0]).await.unwrap(), Entry::New), "else the replay is swallowed");
        assert!(matches!(store.enter(&mut tx, keys[1]).await.unwrap(), Entry::Done(_)), "the other one's stays");
    }

    pub async fn a_letter_of_a_consumer_that_is_gone_stays<B: Backend<Store: DeadLetters + Transport>>(backend: B) {
        let store = registered(&backend, &[MAIL]).await;
        let frame = Message::new(0, None).frame;
        let id = DeadLetters::bury(&store, &letter("shop.gone", &frame)).await.unwrap();
        let error = refused(store.replay(id).await, "a consumer that takes nothing");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert_eq!(store.list(LetterId(0), 10).await.unwrap().len(), 1);
    }

    pub async fn bytes_that_nobody_can_read_are_replayed_as_they_are<B: Backend<Store: DeadLetters + Transport>>(
        backend: B,
    ) {
        let store = registered(&backend, &[MAIL]).await;
        let bytes = [0xCA, 0x7A, 9, 9, 0, 255];
        let id = DeadLetters::bury(&store, &letter(MAIL, &bytes)).await.unwrap();
        let kept = store.list(LetterId(0), 1).await.unwrap().remove(0);
        assert_eq!(kept.frame, &bytes[..]);
        assert_eq!(refused(kept.open(), "what is no frame").kind(), ErrorKind::Codec);
        assert!(store.replay(id).await.unwrap());
        let mut subscription = subscribe(&store, MAIL).await;
        let delivery = take_done(&mut subscription, 1).await.remove(0);
        assert!(delivery.frame == bytes[..] && delivery.message.is_err());
    }
}

pub mod park {
    use super::*;
    use catga_contract::{Delivery, Key, LetterId, Settle, SubscribeOptions, Subscription};

    async fn parking<T: Transport>(store: &T) -> T::Subscription {
        let mut options = SubscribeOptions::new(MAIL.into());
        options.park = true;
        store.subscribe(options).await.expect("subscribing")
    }

    /// Buries a delivery in one transaction with its letter, as a worker does.
    async fn bury<S: UnitOfWork>(store: &S, delivery: &Delivery) {
        let key = delivery.key;
        let mut tx = store.begin().await.unwrap();
        let parks = NewLetter { parks: key, ..letter(MAIL, &delivery.frame) };
        UnitOfWork::bury(store, &mut tx, &parks).await.unwrap();
        store.settle(&mut tx, &[(delivery.token, Settle::Bury)]).await.unwrap();
        store.commit(tx).await.unwrap();
    }

    fn keyed(key: &str, numbers: std::ops::Range<u64>) -> Vec<catga_contract::Parcel> {
        numbers.map(|number| parcel_for(PLACED, number, Some(key))).collect()
    }

    /// The head of "a" is buried, 1 to 3 wait for it; answers the letter.
    async fn parked<S: UnitOfWork + Transport + DeadLetters>(
        store: &S,
        subscription: &mut impl Subscription,
    ) -> LetterId {
        publish(store, &keyed("a", 0..4)).await;
        let head = one(subscription).await;
        assert_eq!(number(&head), 0);
        bury(store, &head).await;
        let letters = store.list(LetterId(0), 10).await.unwrap();
        assert_eq!(letters[0].parks, Some(Key::new("a").digest()));
        publish(store, &keyed("b", 10..13)).await;
        let others: Vec<u64> = take_done(subscription, 3).await.iter().map(number).collect();
        assert_eq!(others, [10, 11, 12], "other keys go on, those of the key wait");
        letters[0].id
    }

    pub async fn later_messages_of_a_buried_key_wait_for_its_replay<B>(backend: B)
    where
        B: Backend<Store: DeadLetters + Transport + UnitOfWork>,
    {
        let store = registered(&backend, &[MAIL]).await;
        let mut subscription = parking(&store).await;
        let id = parked(&store, &mut subscription).await;
        assert_eq!(unsettled(&store, MAIL).await, 0, "what waits for a human does not count");
        assert!(store.replay(id).await.unwrap());
        let mut came = Vec::new();
        for _ in 0..4 {
            came.extend(take_done(&mut subscription, 1).await.iter().map(number));
        }
        assert_eq!(came, [0, 1, 2, 3], "the buried one first");
        publish(&store, &keyed("a", 4..6)).await;
        assert_eq!(take_done(&mut subscription, 2).await.iter().map(number).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(unsettled(&store, MAIL).await, 0);
    }

    pub async fn a_removed_letter_lets_those_behind_it_go<B>(backend: B)
    where
        B: Backend<Store: DeadLetters + Transport + UnitOfWork>,
    {
        let store = registered(&backend, &[MAIL]).await;
        let mut subscription = parking(&store).await;
        let id = parked(&store, &mut subscription).await;
        assert!(store.remove(id).await.unwrap());
        let came: Vec<u64> = take_done(&mut subscription, 3).await.iter().map(number).collect();
        assert_eq!(came, [1, 2, 3]);
        assert_eq!(unsettled(&store, MAIL).await, 0);
    }

    pub async fn a_key_stays_parked_over_subscriptions<B>(backend: B)
    where
        B: Backend<Store: DeadLetters + Transport + UnitOfWork>,
    {
        let store = registered(&backend, &[MAIL]).await;
        let mut subscription = parking(&store).await;
        let id = parked(&store, &mut subscription).await;
        drop(subscription);
        let mut subscription = parking(&store).await;
        publish(&store, &keyed("a", 4..5)).await;
        publish(&store, &keyed("b", 20..21)).await;
        assert_eq!(number(&take_done(&mut subscription, 1).await[0]), 20, "nothing of the parked key before");
        assert!(store.replay(id).await.unwrap());
        let came: Vec<u64> = take_done(&mut subscription, 1).await.iter().map(number).collect();
        assert_eq!(came, [0]);
        assert_eq!(take_done(&mut subscription, 4).await.iter().map(number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    pub async fn a_replay_that_fails_again_parks_again<B>(backend: B)
    where
        B: Backend<Store: DeadLetters + Transport + UnitOfWork>,
    {
        let store = registered(&backend, &[MAIL]).await;
        let mut subscription = parking(&store).await;
        let id = parked(&store, &mut subscription).await;
        assert!(store.replay(id).await.unwrap());
        let head = one(&mut subscription).await;
        assert_eq!(number(&head), 0);
        bury(&store, &head).await;
        publish(&store, &keyed("b", 20..21)).await;
        assert_eq!(number(&take_done(&mut subscription, 1).await[0]), 20, "nothing of the parked key before");
        let letters = store.list(LetterId(0), 10).await.unwrap();
        assert_eq!(letters.len(), 1);
        assert!(store.replay(letters[0].id).await.unwrap());
        let mut came = Vec::new();
        for _ in 0..4 {
            came.extend(take_done(&mut subscription, 1).await.iter().map(number));
        }
        assert_eq!(came, [0, 1, 2, 3]);
    }
}
