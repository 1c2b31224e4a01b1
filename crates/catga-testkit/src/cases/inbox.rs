//! What remembers what was done.

use crate::{
    Backend,
    tools::{MAIL, open, refused, until},
};
use catga_contract::{Entered, Entry, ErrorKind, Inbox, InboxKey, UnitOfWork};
use futures_util::future::join_all;
use std::time::{Duration, Instant};

const KEY: InboxKey<'static> = InboxKey { consumer: MAIL, key: b"message-1" };
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(60);

/// Claims a key that must be free.
async fn claimed<I: Inbox>(store: &I, key: InboxKey<'_>, lease: Duration) -> I::Claim {
    match store.claim(key, lease).await.expect("claiming") {
        Entered::New(claim) => claim,
        Entered::Busy { retry_after } => panic!("busy for {retry_after:?}, and should be free"),
        Entered::Done(answer) => panic!("done with {answer:?}, and should be free"),
    }
}

/// The answer of a key that must be done.
async fn done<I: Inbox>(store: &I, key: InboxKey<'_>) -> bytes::Bytes {
    match store.claim(key, LONG).await.expect("claiming") {
        Entered::Done(answer) => answer,
        Entered::New(_) => panic!("free, and should be done"),
        Entered::Busy { .. } => panic!("busy, and should be done"),
    }
}

async fn is_busy<I: Inbox>(store: &I, key: InboxKey<'_>) -> Option<Duration> {
    match store.claim(key, LONG).await.expect("claiming") {
        Entered::Busy { retry_after } => Some(retry_after),
        _ => None,
    }
}

pub async fn of_many_who_claim_a_key_one_gets_it<B: Backend<Store: Inbox>>(backend: B) {
    let store = open(&backend).await;
    for round in 0..10_u8 {
        let claiming = (0..16).map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let key = InboxKey { consumer: MAIL, key: &[round] };
                match store.claim(key, LONG).await.unwrap() {
                    Entered::New(claim) => {
                        store.finish(&claim, b"mine").await.unwrap();
                        true
                    }
                    Entered::Busy { .. } => false,
                    Entered::Done(answer) => {
                        assert_eq!(answer, &b"mine"[..]);
                        false
                    }
                }
            })
        });
        let won = join_all(claiming.collect::<Vec<_>>()).await.into_iter().filter(|won| *won.as_ref().unwrap());
        assert_eq!(won.count(), 1);
    }
}

pub async fn a_finished_key_answers_what_was_answered<B: Backend<Store: Inbox>>(backend: B) {
    let store = open(&backend).await;
    let all: Vec<u8> = (0..=255).collect();
    for (number, answer) in [&b""[..], &all, &vec![0xEE; 1 << 20]].into_iter().enumerate() {
        let mut key = all.clone();
        key.push(number as u8);
        let key = InboxKey { consumer: MAIL, key: &key };
        let claim = claimed(&store, key, LONG).await;
        store.finish(&claim, answer).await.unwrap();
        for _ in 0..2 {
            let found = done(&store, key).await;
            assert!(found == answer, "{} bytes where {} were kept", found.len(), answer.len());
        }
        drop(claim);
        assert!(done(&store, key).await == answer, "the end of the claim takes nothing away");
    }
}

pub async fn what_failed_is_not_recorded_as_done<B: Backend<Store: Inbox>>(backend: B) {
    let store = open(&backend).await;
    for _ in 0..3 {
        let claim = claimed(&store, KEY, LONG).await;
        store.leave(claim).await.unwrap();
    }
    let claim = claimed(&store, KEY, LONG).await;
    store.finish(&claim, b"at last").await.unwrap();
    assert_eq!(done(&store, KEY).await, &b"at last"[..]);
}

pub async fn busy_says_when_to_come_back<B: Backend<Store: Inbox>>(backend: B) {
    let store = open(&backend).await;
    let claim = claimed(&store, KEY, LONG).await;
    let pause = is_busy(&store, KEY).await.expect("somebody is at it");
    assert!(pause > Duration::ZERO && pause <= LONG, "{pause:?}");
    store.leave(claim).await.unwrap();
    claimed(&store, KEY, LONG).await;
}

pub async fn a_dropped_claim_ends_with_its_lease_at_the_latest<B: Backend<Store: Inbox>>(backend: B) {
    let store = open(&backend).await;
    drop(claimed(&store, KEY, SHORT).await);
    until(|| async { is_busy(&store, KEY).await.is_none() }).await;
}

pub async fn a_lease_that_ran_out_fences_its_owner_off<B: Backend<Store: Inbox>>(backend: B) {
    let store = open(&backend).await;
    let began = Instant::now();
    let stale = claimed(&store, KEY, SHORT).await;
    let other = loop {
        match store.claim(KEY, LONG).await.unwrap() {
            Entered::New(claim) => break claim,
            Entered::Busy { retry_after } => tokio::time::sleep(retry_after.min(SHORT)).await,
            Entered::Done(answer) => panic!("nobody finished it: {answer:?}"),
        }
    };
    assert!(began.elapsed() >= SHORT - Duration::from_millis(1), "its lease held for its time");
    let error = refused(store.finish(&stale, b"stale").await, "a stale claim");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    // Neither its end nor its dropping frees what is another one's now.
    store.leave(stale).await.unwrap();
    assert!(is_busy(&store, KEY).await.is_some());
    store.finish(&other, b"mine").await.unwrap();
    assert_eq!(done(&store, KEY).await, &b"mine"[..]);
}

pub async fn who_finishes_too_late_changes_no_answer<B: Backend<Store: Inbox>>(backend: B) {
    let store = open(&backend).await;
    let stale = claimed(&store, KEY, Duration::from_millis(1)).await;
    until(|| async {
        match store.claim(KEY, LONG).await.unwrap() {
            Entered::New(claim) => store.finish(&claim, b"first").await.is_ok(),
            _ => false,
        }
    })
    .await;
    let error = refused(store.finish(&stale, b"second").await, "a stale claim");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(done(&store, KEY).await, &b"first"[..]);
}

pub async fn two_consumers_never_share_a_key<B: Backend<Store: Inbox>>(backend: B) {
    let store = open(&backend).await;
    let other = InboxKey { consumer: "shop.stock", key: KEY.key };
    let (mail, stock) = (claimed(&store, KEY, LONG).await, claimed(&store, other, LONG).await);
    store.finish(&mail, b"mail").await.unwrap();
    assert!(is_busy(&store, other).await.is_some());
    store.finish(&stock, b"stock").await.unwrap();
    assert_eq!((&done(&store, KEY).await[..], &done(&store, other).await[..]), (&b"mail"[..], &b"stock"[..]));
}

pub mod inbox_in_tx {
    use super::*;

    pub async fn marks_of_transactions_and_claims_are_the_same<B: Backend<Store: Inbox + UnitOfWork>>(backend: B) {
        let store = open(&backend).await;
        let mut tx = store.begin().await.unwrap();
        assert!(matches!(store.enter(&mut tx, KEY).await.unwrap(), Entry::New));
        UnitOfWork::finish(&store, &mut tx, KEY, b"in a transaction").await.unwrap();
        store.commit(tx).await.unwrap();
        assert_eq!(done(&store, KEY).await, &b"in a transaction"[..]);

        let key = InboxKey { consumer: MAIL, key: b"message-2" };
        let claim = claimed(&store, key, LONG).await;
        Inbox::finish(&store, &claim, b"by a claim").await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let Entry::Done(answer) = store.enter(&mut tx, key).await.unwrap() else { panic!("it is done") };
        assert_eq!(answer, &b"by a claim"[..]);
    }

    pub async fn a_mark_that_was_undone_can_be_claimed<B: Backend<Store: Inbox + UnitOfWork>>(backend: B) {
        let store = open(&backend).await;
        let mut tx = store.begin().await.unwrap();
        store.enter(&mut tx, KEY).await.unwrap();
        drop(tx);
        drop(store.begin().await.unwrap());
        claimed(&store, KEY, LONG).await;
    }
}
