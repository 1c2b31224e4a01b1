//! The unit of work: all at once or not at all, one writer at a time.

use super::*;
use catga::{Entry, ErrorKind, InboxKey, LetterId, Outbox, Str, UnitOfWork};
use catga_contract::{Checkpoints, DeadLetters, EventStore, EventsInTx, Expect, Lease, NewEvent, NewLetter, Outgoing};
use std::{sync::Arc, time::SystemTime};
use tokio::time::Instant;

const KEY: InboxKey<'_> = InboxKey { consumer: "a", key: b"0123456789abcdef" };

fn letter() -> NewLetter<'static> {
    let (first, last) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + SECOND);
    NewLetter {
        consumer: "a",
        handler: "h",
        frame: b"f",
        reason: "r",
        attempts: 1,
        node: "n",
        first,
        last,
        parks: None,
    }
}

/// How much of each kind is visible: settled deliveries, marks, outbox rows, events, saved positions, letters.
async fn seen(store: &Memory) -> [u64; 6] {
    let unsettled = store.unsettled(&Str::from_static("a")).await.unwrap();
    let marked = {
        let mut tx = store.begin().await.unwrap();
        matches!(store.enter(&mut tx, KEY).await.unwrap(), Entry::Done(_))
    };
    let position = store.load("reader").await.unwrap().0;
    let events = store.read_all(0, 10).await.unwrap().len();
    let letters = store.list(LetterId::default(), 10).await.unwrap().len();
    [1 - unsettled, marked.into(), store.unsent().await.unwrap(), events as u64, position, letters as u64]
}

/// Writes one of each kind.
async fn write(store: &Memory, tx: &mut <Memory as UnitOfWork>::Tx, delivery: &Delivery) {
    let fence = store.load("reader").await.unwrap().1;
    assert!(matches!(store.enter(tx, KEY).await.unwrap(), Entry::New));
    store.finish(tx, KEY, b"answer").await.unwrap();
    let subject = "s".into();
    let outgoing = Outgoing { id: MessageId::new(), subject: &subject, frame: b"frame", key: None, due: None };
    store.put(tx, &[outgoing]).await.unwrap();
    let event = NewEvent { id: MessageId::new(), name: "e", frame: b"event" };
    store.append_in(tx, "stream", Expect::Empty, &[event]).await.unwrap();
    store.save_in(tx, "reader", 1, fence).await.unwrap();
    store.settle(tx, &[(delivery.token, DONE)]).await.unwrap();
    UnitOfWork::bury(store, tx, &letter()).await.unwrap();
}

async fn delivered() -> (Memory, MemorySubscription, Delivery) {
    let store = with_consumers(Memory::new(), &["a"]).await;
    publish_numbers(&store, [1], None).await;
    let mut member = member(&store, "a").await;
    let delivery = next(&mut member).await.remove(0);
    (store, member, delivery)
}

#[tokio::test(start_paused = true)]
async fn a_commit_makes_everything_true_and_a_dropped_transaction_nothing() {
    let (store, _member, delivery) = delivered().await;
    let mut tx = store.begin().await.unwrap();
    write(&store, &mut tx, &delivery).await;
    drop(tx);
    assert_eq!(seen(&store).await, [0; 6]);
    let mut tx = store.begin().await.unwrap();
    write(&store, &mut tx, &delivery).await;
    store.commit(tx).await.unwrap();
    assert_eq!(seen(&store).await, [1; 6]);
    let mut tx = store.begin().await.unwrap();
    let Entry::Done(answer) = store.enter(&mut tx, KEY).await.unwrap() else { panic!("it was done") };
    assert_eq!(answer, &b"answer"[..]);
}

#[tokio::test(start_paused = true)]
async fn a_savepoint_that_is_not_kept_takes_those_inside_it_along() {
    let (store, _member, delivery) = delivered().await;
    let mut tx = store.begin().await.unwrap();
    let outer = store.savepoint(&mut tx).await.unwrap();
    let inner = store.savepoint(&mut tx).await.unwrap();
    write(&store, &mut tx, &delivery).await;
    store.release(&mut tx, inner, true).await.unwrap();
    let left_open = store.savepoint(&mut tx).await.unwrap();
    store.release(&mut tx, outer, false).await.unwrap();
    let error = store.release(&mut tx, left_open, true).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "it ended with the one around it");
    assert!(matches!(store.enter(&mut tx, KEY).await.unwrap(), Entry::New), "its mark is gone within, too");
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    let kept = store.savepoint(&mut tx).await.unwrap();
    write(&store, &mut tx, &delivery).await;
    store.release(&mut tx, kept, true).await.unwrap();
    let undone = store.savepoint(&mut tx).await.unwrap();
    UnitOfWork::bury(&store, &mut tx, &letter()).await.unwrap();
    store.release(&mut tx, undone, false).await.unwrap();
    store.commit(tx).await.unwrap();
    assert_eq!(seen(&store).await, [1; 6]);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_sees_its_own_marks_answers_and_events() {
    let store = Memory::new();
    let mut tx = store.begin().await.unwrap();
    assert!(matches!(store.enter(&mut tx, KEY).await.unwrap(), Entry::New));
    store.finish(&mut tx, KEY, b"yes").await.unwrap();
    let Entry::Done(answer) = store.enter(&mut tx, KEY).await.unwrap() else { panic!("it marked it itself") };
    assert_eq!(answer, &b"yes"[..]);
    let event = |id| NewEvent { id: MessageId(id), name: "e", frame: b"event" };
    assert_eq!(store.append_in(&mut tx, "s", Expect::Empty, &[event(1)]).await.unwrap(), 1);
    let error = store.append_in(&mut tx, "s", Expect::Empty, &[event(2)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(store.append_in(&mut tx, "s", Expect::Version(1), &[event(2), event(3)]).await.unwrap(), 3);
    assert_eq!(store.append_in(&mut tx, "s", Expect::Empty, &[event(1), event(2)]).await.unwrap(), 2, "repeated");
    assert!(store.read("s", 1, 10).await.unwrap().is_empty(), "nobody else sees them yet");
    store.commit(tx).await.unwrap();
    let versions: Vec<_> = store.read("s", 1, 10).await.unwrap().iter().map(|event| event.version).collect();
    assert_eq!(versions, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn writers_take_turns_in_the_order_in_which_they_came() {
    let store = Memory::new();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let first = store.begin().await.unwrap();
    let writers: Vec<_> = (0..5)
        .map(|number| {
            let (store, order) = (store.clone(), order.clone());
            tokio::spawn(async move {
                let tx = store.begin().await.unwrap();
                order.lock().unwrap().push(number);
                tokio::time::sleep(SECOND).await;
                store.commit(tx).await.unwrap();
            })
        })
        .collect();
    tokio::task::yield_now().await;
    writers[1].abort();
    tokio::task::yield_now().await;
    drop(first);
    for writer in writers {
        let _ = writer.await;
    }
    assert_eq!(*order.lock().unwrap(), [0, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn who_gets_no_turn_in_its_time_is_told_so() {
    let store = Memory::new();
    let _held = store.begin().await.unwrap();
    let began = Instant::now();
    let error = store.begin().await.unwrap_err();
    assert_eq!((error.kind(), began.elapsed().as_secs()), (ErrorKind::Busy, 30));
}

#[tokio::test(start_paused = true)]
async fn a_revoked_transaction_commits_nothing_and_holds_nobody_up() {
    let (store, _member, delivery) = delivered().await;
    let mut left = store.begin().await.unwrap();
    write(&store, &mut left, &delivery).await;
    store.revoke();
    let next = store.begin().await.unwrap();
    for error in [store.savepoint(&mut left).await.unwrap_err(), store.commit(left).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Handler, "{error}");
        assert!(error.to_string().contains("left its handler"), "{error}");
    }
    // Its end takes nothing from who has the turn now.
    assert!(poll_once(store.begin()).is_none());
    store.commit(next).await.unwrap();
    assert_eq!(seen(&store).await, [0; 6]);
}

#[tokio::test(start_paused = true)]
async fn another_stores_transaction_is_refused() {
    let (one, two) = (Memory::new(), Memory::new());
    let (mine, theirs) = (one.begin().await.unwrap(), two.begin().await.unwrap());
    assert_eq!(one.commit(theirs).await.unwrap_err().kind(), ErrorKind::Handler);
    one.clone().commit(mine).await.unwrap();
    assert_eq!((one.id() == one.clone().id(), one.id() == two.id()), (true, false));
    assert_eq!((one.shares(), one.queue().unwrap().shares()), (Some(one.id()), Some(one.id())));
}

#[tokio::test(start_paused = true)]
async fn a_transaction_whose_delivery_or_place_went_to_somebody_else_changes_nothing() {
    let (store, member, delivery) = delivered().await;
    let mut tx = store.begin().await.unwrap();
    store.enter(&mut tx, KEY).await.unwrap();
    store.settle(&mut tx, &[(delivery.token, again(SECOND))]).await.unwrap();
    drop(member);
    assert_eq!(store.commit(tx).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(seen(&store).await, [0; 6]);
    // Asked in time, it is told at once.
    let mut tx = store.begin().await.unwrap();
    let error = store.settle(&mut tx, &[(delivery.token, Settle::Bury)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    // An effect that is done is never refused.
    store.settle(&mut tx, &[(delivery.token, DONE)]).await.unwrap();
    let (_, fence) = store.load("reader").await.unwrap();
    store.save_in(&mut tx, "reader", 1, fence).await.unwrap();
    store.load("reader").await.unwrap();
    assert_eq!(store.commit(tx).await.unwrap_err().kind(), ErrorKind::Conflict, "its place was taken over");
    assert_eq!(seen(&store).await, [0; 6]);
    let mut tx = store.begin().await.unwrap();
    store.settle(&mut tx, &[(delivery.token, DONE)]).await.unwrap();
    store.commit(tx).await.unwrap();
    assert_eq!(seen(&store).await, [1, 0, 0, 0, 0, 0]);
    let mut tx = store.begin().await.unwrap();
    let foreign = catga::Token(u64::MAX);
    assert_eq!(store.settle(&mut tx, &[(foreign, DONE)]).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_large_is_named() {
    let store = Memory::new();
    let mut tx = store.begin().await.unwrap();
    let (large, subject) = (vec![0; 16 * 1024 * 1024 + 1], "s".into());
    let outgoing = Outgoing { id: MessageId::new(), subject: &subject, frame: &large, key: None, due: None };
    let error = store.put(&mut tx, &[outgoing]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("16777217 bytes for `s`; this store keeps at most 16777216"), "{error}");
    store.commit(tx).await.unwrap();
    assert_eq!(store.lease(SECOND).await.unwrap().partitions, Lease::ALL);
}
