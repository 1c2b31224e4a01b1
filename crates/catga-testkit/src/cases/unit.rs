//! What one transaction commits together.

use crate::{
    Backend, Rows,
    tools::{
        MAIL, Message, letter, one, parcel, poll, publish, registered, settle, subscribe, take_done, unsettled, waiting,
    },
};
use catga_contract::{DeadLetters, Entry, ErrorKind, InboxKey, LetterId, Result, Settle, Transport, UnitOfWork};
use futures_util::future::join_all;
use std::pin::pin;

const KEY: InboxKey<'static> = InboxKey { consumer: MAIL, key: b"message-1" };

/// A fresh store that this process works on.
async fn open<B: Backend<Store: UnitOfWork>>(backend: &B) -> B::Store {
    let store = crate::tools::open(backend).await;
    store.attach().await.expect("attaching");
    store
}

async fn rows<B: Rows>(store: &B::Store) -> Vec<u64> {
    crate::tools::sorted(B::rows(store).await.expect("rows"))
}

async fn is_new<S: UnitOfWork>(store: &S, key: InboxKey<'_>) -> bool {
    let mut tx = store.begin().await.expect("a transaction");
    matches!(store.enter(&mut tx, key).await.expect("entering"), Entry::New)
}

async fn put_one<S: UnitOfWork>(store: &S, tx: &mut S::Tx, number: u64) -> Result<()> {
    store.put(tx, &[Message::new(number, None).outgoing()]).await
}

pub async fn rows_marks_and_messages_commit_together<B: Rows>(backend: B) {
    let store = open(&backend).await;
    let mut tx = store.begin().await.unwrap();
    assert!(matches!(store.enter(&mut tx, KEY).await.unwrap(), Entry::New));
    B::write(&store, &mut tx, 1).await.unwrap();
    put_one(&store, &mut tx, 7).await.unwrap();
    store.finish(&mut tx, KEY, b"answer").await.unwrap();
    assert!(
        rows::<B>(&store).await.is_empty() && waiting(&store).await.is_empty(),
        "nothing is visible before the commit"
    );
    store.commit(tx).await.unwrap();
    assert_eq!((rows::<B>(&store).await, waiting(&store).await), (vec![1], vec![7]));
    assert!(!is_new(&store, KEY).await);
}

pub async fn a_dropped_transaction_leaves_nothing<B: Rows>(backend: B) {
    let store = open(&backend).await;
    let mut tx = store.begin().await.unwrap();
    store.enter(&mut tx, KEY).await.unwrap();
    B::write(&store, &mut tx, 1).await.unwrap();
    put_one(&store, &mut tx, 7).await.unwrap();
    drop(tx);
    assert!(is_new(&store, KEY).await);
    assert!(rows::<B>(&store).await.is_empty() && waiting(&store).await.is_empty());
}

pub async fn an_undone_savepoint_takes_its_rows_and_messages_along<B: Rows>(backend: B) {
    let store = open(&backend).await;
    let mut tx = store.begin().await.unwrap();
    B::write(&store, &mut tx, 1).await.unwrap();
    put_one(&store, &mut tx, 1).await.unwrap();
    let undone = store.savepoint(&mut tx).await.unwrap();
    B::write(&store, &mut tx, 2).await.unwrap();
    put_one(&store, &mut tx, 2).await.unwrap();
    store.enter(&mut tx, KEY).await.unwrap();
    store.release(&mut tx, undone, false).await.unwrap();
    let kept = store.savepoint(&mut tx).await.unwrap();
    B::write(&store, &mut tx, 3).await.unwrap();
    put_one(&store, &mut tx, 3).await.unwrap();
    store.release(&mut tx, kept, true).await.unwrap();
    store.commit(tx).await.unwrap();
    assert_eq!((rows::<B>(&store).await, waiting(&store).await), (vec![1, 3], vec![1, 3]));
    assert!(is_new(&store, KEY).await, "what failed is not recorded as done");
}

pub async fn an_undone_savepoint_takes_those_inside_it_along<B: Rows>(backend: B) {
    let store = open(&backend).await;
    let mut tx = store.begin().await.unwrap();
    let outer = store.savepoint(&mut tx).await.unwrap();
    B::write(&store, &mut tx, 1).await.unwrap();
    let inner = store.savepoint(&mut tx).await.unwrap();
    B::write(&store, &mut tx, 2).await.unwrap();
    put_one(&store, &mut tx, 2).await.unwrap();
    store.release(&mut tx, inner, true).await.unwrap();
    // Left open, as by a behavior that was dropped.
    store.savepoint(&mut tx).await.unwrap();
    B::write(&store, &mut tx, 3).await.unwrap();
    store.release(&mut tx, outer, false).await.unwrap();
    B::write(&store, &mut tx, 4).await.unwrap();
    store.commit(tx).await.unwrap();
    assert_eq!(rows::<B>(&store).await, [4]);
    assert!(waiting(&store).await.is_empty());
}

pub async fn one_failed_delivery_of_a_batch_is_undone_alone<B: Rows>(backend: B) {
    let store = open(&backend).await;
    let ids: Vec<_> = (0..6_u8).map(|number| [number; 16]).collect();
    let key = |number: usize| InboxKey { consumer: MAIL, key: &ids[number] };
    let mut tx = store.begin().await.unwrap();
    for number in 0..6 {
        let delivery = store.savepoint(&mut tx).await.unwrap();
        store.enter(&mut tx, key(number)).await.unwrap();
        let call = store.savepoint(&mut tx).await.unwrap();
        B::write(&store, &mut tx, number as u64).await.unwrap();
        put_one(&store, &mut tx, number as u64).await.unwrap();
        let fine = number % 3 != 1;
        store.release(&mut tx, call, fine).await.unwrap();
        store.release(&mut tx, delivery, fine).await.unwrap();
    }
    store.commit(tx).await.unwrap();
    assert_eq!((rows::<B>(&store).await, waiting(&store).await), (vec![0, 2, 3, 5], vec![0, 2, 3, 5]));
    for number in 0..6 {
        assert_eq!(is_new(&store, key(number)).await, number % 3 == 1, "the mark of {number}");
    }
}

pub async fn a_refused_call_keeps_its_mark_and_answer_alone<B: Rows>(backend: B) {
    let store = open(&backend).await;
    let mut tx = store.begin().await.unwrap();
    let delivery = store.savepoint(&mut tx).await.unwrap();
    store.enter(&mut tx, KEY).await.unwrap();
    let call = store.savepoint(&mut tx).await.unwrap();
    B::write(&store, &mut tx, 1).await.unwrap();
    store.release(&mut tx, call, false).await.unwrap();
    store.finish(&mut tx, KEY, b"no").await.unwrap();
    store.release(&mut tx, delivery, true).await.unwrap();
    store.commit(tx).await.unwrap();
    assert!(rows::<B>(&store).await.is_empty());
    let mut tx = store.begin().await.unwrap();
    let Entry::Done(answer) = store.enter(&mut tx, KEY).await.unwrap() else { panic!("it is done") };
    assert_eq!(answer, &b"no"[..]);
}

pub async fn a_mark_is_found_with_its_answer_whatever_that_is<B: Rows>(backend: B) {
    let store = open(&backend).await;
    let all: Vec<u8> = (0..=255).collect();
    for (number, answer) in [&b""[..], &all, &vec![0xEE; 1 << 20]].into_iter().enumerate() {
        let mut key = all.clone();
        key.push(number as u8);
        let key = InboxKey { consumer: MAIL, key: &key };
        let mut tx = store.begin().await.unwrap();
        assert!(matches!(store.enter(&mut tx, key).await.unwrap(), Entry::New));
        store.finish(&mut tx, key, answer).await.unwrap();
        store.commit(tx).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let Entry::Done(found) = store.enter(&mut tx, key).await.unwrap() else { panic!("it is done") };
        assert!(found == answer, "{} bytes where {} were kept", found.len(), answer.len());
    }
}

pub async fn two_consumers_never_share_a_mark<B: Rows>(backend: B) {
    let store = open(&backend).await;
    let other = InboxKey { consumer: "shop.stock", key: KEY.key };
    let mut tx = store.begin().await.unwrap();
    assert!(matches!(store.enter(&mut tx, KEY).await.unwrap(), Entry::New));
    assert!(matches!(store.enter(&mut tx, other).await.unwrap(), Entry::New), "in one transaction");
    store.finish(&mut tx, KEY, b"mail").await.unwrap();
    store.commit(tx).await.unwrap();
    let third = InboxKey { consumer: "shop.audit", key: KEY.key };
    assert!(is_new(&store, third).await, "and in the next");
    let mut tx = store.begin().await.unwrap();
    let Entry::Done(answer) = store.enter(&mut tx, other).await.unwrap() else { panic!("it is done") };
    assert!(answer.is_empty(), "the answer of the other one");
}

pub async fn of_many_transactions_one_finds_a_key_new<B: Rows>(backend: B) {
    let store = open(&backend).await;
    let entering = (0..20_u64).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut tx = store.begin().await.unwrap();
            let new = matches!(store.enter(&mut tx, KEY).await.unwrap(), Entry::New);
            if new {
                B::write(&store, &mut tx, number).await.unwrap();
            }
            store.commit(tx).await.unwrap();
            new
        })
    });
    let new = join_all(entering.collect::<Vec<_>>()).await.into_iter().filter(|new| *new.as_ref().unwrap()).count();
    assert_eq!((new, rows::<B>(&store).await.len()), (1, 1));
}

pub async fn concurrent_transactions_see_nothing_of_those_that_fail<B: Rows>(backend: B) {
    let store = open(&backend).await;
    let writing = (0..60_u64).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut tx = store.begin().await.unwrap();
            B::write(&store, &mut tx, number).await.unwrap();
            put_one(&store, &mut tx, number).await.unwrap();
            match number % 3 {
                0 => drop(tx),
                _ => store.commit(tx).await.unwrap(),
            }
        })
    });
    join_all(writing.collect::<Vec<_>>()).await.into_iter().for_each(|done| done.unwrap());
    let kept: Vec<u64> = (0..60).filter(|number| number % 3 > 0).collect();
    assert_eq!(rows::<B>(&store).await, kept);
    assert_eq!(crate::tools::sorted(waiting(&store).await), kept);
}

pub async fn a_dropped_begin_gives_its_turn_to_the_next<B: Rows>(backend: B) {
    let store = open(&backend).await;
    for round in 0..20_u64 {
        let held = store.begin().await.unwrap();
        {
            let mut waits = pin!(store.begin());
            for _ in 0..=round % 3 {
                assert!(poll(waits.as_mut()).is_none(), "one turn at a time");
            }
        }
        drop(held);
        let mut tx = store.begin().await.unwrap();
        B::write(&store, &mut tx, round).await.unwrap();
        store.commit(tx).await.unwrap();
    }
    assert_eq!(rows::<B>(&store).await.len(), 20);
}

pub async fn a_dropped_commit_goes_on<B: Rows>(backend: B) {
    let store = open(&backend).await;
    let mut tx = store.begin().await.unwrap();
    B::write(&store, &mut tx, 1).await.unwrap();
    {
        let mut committing = pin!(store.commit(tx));
        drop(poll(committing.as_mut()));
    }
    // The next turn comes after it.
    let mut tx = store.begin().await.unwrap();
    B::write(&store, &mut tx, 2).await.unwrap();
    store.commit(tx).await.unwrap();
    assert_eq!(rows::<B>(&store).await, [1, 2]);
}

pub async fn a_transaction_of_another_store_is_refused<B: Rows>(backend: B) {
    let (mine, other) = (open(&backend).await, open(&backend).await);
    assert!(mine.id() != other.id() && mine.id() == mine.clone().id());
    let mut tx = other.begin().await.unwrap();
    let savepoint = other.savepoint(&mut tx).await.unwrap();
    B::write(&other, &mut tx, 1).await.unwrap();
    assert!(mine.release(&mut tx, savepoint, true).await.is_err());
    assert!(mine.commit(tx).await.is_err());
    assert!(rows::<B>(&mine).await.is_empty() && rows::<B>(&other).await.is_empty());
}

pub async fn a_message_larger_than_kept_is_refused_by_name<B: Rows<Store: Transport>>(backend: B) {
    let store = open(&backend).await;
    let most = store.capabilities().max_payload;
    let mut tx = store.begin().await.unwrap();
    let mut message = Message::new(0, None);
    message.frame = vec![0; most + 1];
    let error = crate::tools::refused(store.put(&mut tx, &[message.outgoing()]).await, "too large a message");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let text = error.to_string();
    let named = [message.subject.to_string(), most.to_string(), (most + 1).to_string()];
    assert!(named.iter().all(|part| text.contains(part)), "subject and both sizes: {text}");
    drop(tx);
    assert!(waiting(&store).await.is_empty());
}

pub async fn a_settlement_commits_with_its_transaction<B: Rows<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    store.attach().await.unwrap();
    assert!(
        store.queue().is_some_and(|queue| queue.shares() == Some(UnitOfWork::id(&store))),
        "the queue is this store's"
    );
    publish(&store, &[parcel(0)]).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let delivery = one(&mut subscription).await;
    let done = [(delivery.token, Settle::Done)];
    for commits in [false, true] {
        let mut tx = store.begin().await.unwrap();
        let outer = store.savepoint(&mut tx).await.unwrap();
        B::write(&store, &mut tx, 1).await.unwrap();
        store.settle(&mut tx, &done).await.unwrap();
        store.release(&mut tx, outer, commits).await.unwrap();
        store.commit(tx).await.unwrap();
        let expected = (u64::from(!commits), usize::from(commits));
        assert_eq!((unsettled(&store, MAIL).await, rows::<B>(&store).await.len()), expected);
    }
    drop(subscription);
    publish(&store, &[parcel(1)]).await;
    let mut subscription = subscribe(&store, MAIL).await;
    assert_eq!(crate::tools::number(&take_done(&mut subscription, 1).await[0]), 1);
}

pub async fn a_dropped_transaction_settles_nothing<B: Rows<Store: Transport>>(backend: B) {
    let store = registered(&backend, &[MAIL]).await;
    publish(&store, &[parcel(0)]).await;
    let mut subscription = subscribe(&store, MAIL).await;
    let delivery = one(&mut subscription).await;
    for answer in [Settle::Done, Settle::Bury, crate::tools::again(std::time::Duration::ZERO)] {
        let mut tx = store.begin().await.unwrap();
        store.settle(&mut tx, &[(delivery.token, answer)]).await.unwrap();
        drop(tx);
        assert_eq!(unsettled(&store, MAIL).await, 1, "{answer:?}");
    }
    drop(subscription);
    let mut subscription = subscribe(&store, MAIL).await;
    let delivery = one(&mut subscription).await;
    assert_eq!(delivery.started, 0, "no try was counted");
    settle(&subscription, &[delivery], Settle::Done).await;
    assert_eq!(unsettled(&store, MAIL).await, 0);
}

pub async fn a_letter_commits_with_its_transaction<B: Rows<Store: DeadLetters>>(backend: B) {
    let store = open(&backend).await;
    let frame = Message::new(1, None).frame;
    for commits in [false, true] {
        let mut tx = store.begin().await.unwrap();
        UnitOfWork::bury(&store, &mut tx, &letter(MAIL, &frame)).await.unwrap();
        assert!(store.list(LetterId(0), 10).await.unwrap().is_empty(), "not before the commit");
        match commits {
            true => store.commit(tx).await.unwrap(),
            false => drop(tx),
        }
        // Taken after the drop, so that it is over.
        drop(store.begin().await.unwrap());
        assert_eq!(store.list(LetterId(0), 10).await.unwrap().len(), usize::from(commits));
    }
}

/// Attaching again is no second owner.
pub async fn a_store_is_attached_as_often_as_one_likes<B: Backend<Store: UnitOfWork>>(backend: B) {
    let store = open(&backend).await;
    store.attach().await.unwrap();
    store.clone().attach().await.unwrap();
    store.keep_description("shop", "{}").await.unwrap();
    store.keep_description("shop", "{\"handlers\":[]}").await.unwrap();
}

pub mod breaks {
    use crate::{
        Breaks,
        tools::{MAIL, Message, open, waiting},
    };
    use catga_contract::{Entry, InboxKey, UnitOfWork};

    pub async fn a_transaction_that_ended_by_itself_commits_nothing<B: Breaks>(backend: B) {
        let store = open(&backend).await;
        let key = InboxKey { consumer: MAIL, key: b"k" };
        for asks_savepoint in [false, true] {
            let mut tx = store.begin().await.unwrap();
            let outer = store.savepoint(&mut tx).await.unwrap();
            assert!(matches!(store.enter(&mut tx, key).await.unwrap(), Entry::New));
            B::write(&store, &mut tx, 1).await.unwrap();
            B::end_by_itself(&store, &mut tx).await;
            // Whatever its handler makes of it: nothing after that may count.
            drop(B::write(&store, &mut tx, 2).await);
            drop(store.put(&mut tx, &[Message::new(2, None).outgoing()]).await);
            if asks_savepoint {
                assert!(store.release(&mut tx, outer, true).await.is_err(), "its savepoint is gone");
            }
            assert!(store.commit(tx).await.is_err(), "it did not commit");
            assert!(B::rows(&store).await.unwrap().is_empty());
            assert!(waiting(&store).await.is_empty());
        }
        // The store goes on.
        let mut tx = store.begin().await.unwrap();
        assert!(matches!(store.enter(&mut tx, key).await.unwrap(), Entry::New));
        B::write(&store, &mut tx, 3).await.unwrap();
        store.commit(tx).await.unwrap();
        assert_eq!(B::rows(&store).await.unwrap(), [3]);
    }
}
