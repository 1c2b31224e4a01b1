//! Inbox, outbox, event store and dead letters, each for itself.

use super::*;
use catga::{Entered, ErrorKind, Inbox, InboxKey, Key, LetterId, Outbox, UnitOfWork};
use catga_contract::{
    Checkpoints, DeadLetters, EventStore, Expect, Fence, Lease, NewEvent, NewLetter, Outgoing, Row, partition,
};
use std::time::SystemTime;
use tokio::time::Instant;

const KEY: InboxKey<'_> = InboxKey { consumer: "pay", key: b"order-1" };

async fn claim(store: &Memory) -> Entered<catga::memory::MemoryClaim> {
    store.claim(KEY, 30 * SECOND).await.unwrap()
}

async fn claimed(store: &Memory) -> catga::memory::MemoryClaim {
    match claim(store).await {
        Entered::New(claim) => claim,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_one_callers_at_a_time_and_done_once() {
    let store = Memory::new();
    let first = claimed(&store).await;
    tokio::time::advance(10 * SECOND).await;
    let Entered::Busy { retry_after } = claim(&store).await else { panic!("somebody is at it") };
    assert_eq!(retry_after, 20 * SECOND);
    drop(first); // given up at once
    let second = claimed(&store).await;
    store.leave(second).await.unwrap();
    let third = claimed(&store).await;
    Inbox::finish(&store, &third, b"paid").await.unwrap();
    assert_eq!(Inbox::finish(&store, &third, b"again").await.unwrap_err().kind(), ErrorKind::Conflict);
    let Entered::Done(answer) = claim(&store).await else { panic!("it was done") };
    assert_eq!(answer, &b"paid"[..]);
}

#[tokio::test(start_paused = true)]
async fn who_took_longer_than_its_lease_can_neither_finish_nor_end_the_others_claim() {
    let store = Memory::new();
    let slow = claimed(&store).await;
    tokio::time::advance(31 * SECOND).await;
    let quick = claimed(&store).await;
    assert_eq!(Inbox::finish(&store, &slow, b"slow").await.unwrap_err().kind(), ErrorKind::Conflict);
    drop(slow);
    assert!(matches!(claim(&store).await, Entered::Busy { .. }));
    Inbox::finish(&store, &quick, b"quick").await.unwrap();
    let Entered::Done(answer) = claim(&store).await else { panic!("it was done") };
    assert_eq!(answer, &b"quick"[..]);
}

#[tokio::test(start_paused = true)]
async fn marks_go_by_age_and_by_number_the_oldest_first() {
    async fn finish(store: &Memory, consumer: &str, key: &[u8]) -> bool {
        match store.claim(InboxKey { consumer, key }, SECOND).await.unwrap() {
            Entered::New(claim) => Inbox::finish(store, &claim, b"").await.map(|()| true).unwrap(),
            _ => false,
        }
    }
    let store = Memory::new().keep_marks(60 * SECOND, 3).unwrap();
    for key in [b"1", b"2", b"3", b"4"] {
        assert!(finish(&store, "a", key).await);
    }
    assert!(!finish(&store, "a", b"4").await && !finish(&store, "a", b"2").await);
    assert!(finish(&store, "b", b"4").await, "another consumer's marks are its own");
    assert!(finish(&store, "a", b"1").await, "the first went when the fourth came");
    tokio::time::advance(61 * SECOND).await;
    assert!(finish(&store, "a", b"5").await);
    assert!(finish(&store, "a", b"4").await, "too old");
}

/// Commits one row for each key, in this order, with when it is due.
async fn put(store: &Memory, rows: &[(&'static str, Option<Duration>)]) {
    let mut tx = store.begin().await.unwrap();
    for (key, due) in rows {
        let (key, subject) = (Key::new(*key), "s".into());
        let due = due.map(|due| SystemTime::now() + due);
        let outgoing = Outgoing { id: MessageId::new(), subject: &subject, frame: b"frame", key: Some(&key), due };
        store.put(&mut tx, &[outgoing]).await.unwrap();
    }
    store.commit(tx).await.unwrap();
}

/// Two keys of one partition, and one of another: see docs/frame.md.
const ONE: &str = "17";
const OTHER: &str = "a";

fn told(rows: &[Row]) -> Vec<(u64, u8)> {
    rows.iter().map(|row| (row.number, row.partition)).collect()
}

#[tokio::test(start_paused = true)]
async fn rows_come_in_commit_order_until_they_are_sent() {
    let store = Memory::new();
    put(&store, &[(ONE, None), (OTHER, None)]).await;
    put(&store, &[(ONE, None)]).await;
    let lease = store.lease(SECOND).await.unwrap();
    assert_eq!(lease.partitions, Lease::ALL);
    let rows = store.pending(&lease, 10).await.unwrap();
    assert_eq!(told(&rows), [(1, 49), (2, 12), (3, 49)]);
    assert_eq!(partition(Some(&Key::new(ONE)), MessageId::NIL), 49);
    assert_eq!(rows[0].key, Some(Key::new(ONE).digest()));
    assert_eq!(store.pending(&lease, 2).await.unwrap().len(), 2);
    store.sent(&lease, &[1, 3]).await.unwrap();
    assert_eq!(told(&store.pending(&lease, 10).await.unwrap()), [(2, 12)]);
    assert_eq!(store.unsent().await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_failed_holds_back_its_partition_alone_until_it_is_due() {
    let store = Memory::new();
    put(&store, &[(ONE, None), (ONE, None), (OTHER, None)]).await;
    let lease = store.lease(600 * SECOND).await.unwrap();
    store.pending(&lease, 10).await.unwrap();
    store.failed(&lease, 1, "refused", 5 * SECOND).await.unwrap();
    let began = Instant::now();
    assert_eq!(told(&store.pending(&lease, 10).await.unwrap()), [(3, 12)]);
    store.sent(&lease, &[3]).await.unwrap();
    assert!(store.pending(&lease, 10).await.unwrap().is_empty());
    store.written().await;
    assert_eq!(began.elapsed(), 5 * SECOND, "its time is waited for");
    let rows = store.pending(&lease, 10).await.unwrap();
    assert_eq!((told(&rows), rows[0].attempts), (vec![(1, 49), (2, 49)], 1));
}

#[tokio::test(start_paused = true)]
async fn a_row_for_later_holds_nobody_up_and_takes_its_place_when_it_is_due() {
    let store = Memory::new();
    put(&store, &[(ONE, Some(60 * SECOND)), (ONE, None)]).await;
    let lease = store.lease(600 * SECOND).await.unwrap();
    let rows = store.pending(&lease, 10).await.unwrap();
    assert_eq!((told(&rows), store.unsent().await.unwrap()), (vec![(2, 49)], 2));
    store.sent(&lease, &[2]).await.unwrap();
    assert!(store.pending(&lease, 10).await.unwrap().is_empty());
    let began = Instant::now();
    put(&store, &[]).await;
    store.written().await;
    assert_eq!(began.elapsed().as_secs_f64().round(), 60.0);
    put(&store, &[(ONE, None)]).await;
    assert_eq!(told(&store.pending(&lease, 10).await.unwrap()).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_commit_rings_at_once_also_before_anybody_waits() {
    let store = Memory::new();
    let lease = store.lease(600 * SECOND).await.unwrap();
    assert!(store.pending(&lease, 10).await.unwrap().is_empty());
    assert!(poll_once(store.written()).is_none());
    let began = Instant::now();
    let writes = async {
        tokio::time::sleep(SECOND).await;
        put(&store, &[(ONE, None)]).await;
    };
    tokio::join!(store.written(), writes);
    assert_eq!(began.elapsed(), SECOND);
    store.written().await; // nobody has read since
    store.pending(&lease, 10).await.unwrap();
    assert!(poll_once(store.written()).is_none());
}

#[tokio::test(start_paused = true)]
async fn two_relays_never_have_one_partition_and_a_stale_fence_changes_nothing() {
    let store = Memory::new();
    let (one, two) = (store.clone(), store.clone());
    put(&store, &[(ONE, None)]).await;
    let old = one.lease(30 * SECOND).await.unwrap();
    assert_eq!((old.partitions, two.lease(SECOND).await.unwrap().partitions), (Lease::ALL, 0));
    tokio::time::advance(20 * SECOND).await;
    let renewed = one.lease(30 * SECOND).await.unwrap();
    assert_eq!((renewed.partitions, renewed.fence), (Lease::ALL, old.fence), "the same hands");
    tokio::time::advance(20 * SECOND).await;
    assert_eq!(two.lease(SECOND).await.unwrap().partitions, 0, "it was renewed");
    tokio::time::advance(11 * SECOND).await;
    let new = two.lease(30 * SECOND).await.unwrap();
    assert!(new.partitions == Lease::ALL && new.fence > old.fence);
    assert_eq!(one.lease(SECOND).await.unwrap().partitions, 0);
    assert!(one.pending(&renewed, 10).await.unwrap().is_empty());
    for refused in [one.sent(&renewed, &[1]).await, one.failed(&renewed, 1, "no", SECOND).await] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains("partition 49"), "{error}");
    }
    assert_eq!(told(&two.pending(&new, 10).await.unwrap()), [(1, 49)]);
    // A relay that ends gives its partitions up, and who waits hears of it.
    let (waits, ()) = tokio::join!(
        async {
            one.written().await;
            one.lease(SECOND).await
        },
        async { drop(two) }
    );
    assert_eq!(waits.unwrap().partitions, Lease::ALL);
}

fn event(id: u128, frame: &'static [u8]) -> NewEvent<'static> {
    NewEvent { id: MessageId(id), name: "e", frame }
}

#[tokio::test(start_paused = true)]
async fn events_are_appended_all_or_none_under_the_expected_version() {
    let store = Memory::new();
    assert_eq!(store.append("s", Expect::Empty, &[event(1, b"one"), event(2, b"two")]).await.unwrap(), 2);
    assert_eq!(store.append("t", Expect::Any, &[event(1, b"its own")]).await.unwrap(), 1);
    assert_eq!(store.append("s", Expect::Version(2), &[event(3, b"three")]).await.unwrap(), 3);
    for expect in [Expect::Empty, Expect::Version(2), Expect::Version(4)] {
        let error = store.append("s", expect, &[event(4, b"four")]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let expected = if let Expect::Version(version) = expect { version } else { 0 };
        let text = format!("stream `s` is of version 3, not {expected} as expected");
        assert!(error.to_string().contains(&text), "{error}");
    }
    assert_eq!(store.append("s", Expect::Empty, &[]).await.unwrap(), 3, "no events are none");
    assert_eq!(store.append("new", Expect::Any, &[]).await.unwrap(), 0);
    let page = store.read("s", 2, 1).await.unwrap();
    assert_eq!((page[0].version, page[0].position, &page[0].frame[..], &*page[0].stream), (2, 2, &b"two"[..], "s"));
    assert_eq!(store.read("s", 0, 10).await.unwrap().len(), 3, "versions begin at 1");
    assert!(store.read("s", 4, 10).await.unwrap().is_empty() && store.read("nobody", 1, 10).await.unwrap().is_empty());
    let all = store.read_all(1, 10).await.unwrap();
    let told: Vec<_> = all.iter().map(|event| (event.position, event.stream.to_string(), event.version)).collect();
    assert_eq!(told, [(2, "s".to_owned(), 2), (3, "t".to_owned(), 1), (4, "s".to_owned(), 3)]);
    assert_eq!(store.read_all(1, 2).await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_append_is_repeated_safely_and_half_of_it_is_a_conflict() {
    let store = Memory::new();
    let both = [event(1, b"one"), event(2, b"two")];
    for expect in [Expect::Empty, Expect::Empty, Expect::Version(7)] {
        assert_eq!(store.append("s", expect, &both).await.unwrap(), 2);
    }
    assert_eq!(store.append("s", Expect::Any, &both[..1]).await.unwrap(), 1);
    for half in [[event(2, b"two"), event(3, b"three")], [event(2, b"two"), event(1, b"one")]] {
        assert_eq!(store.append("s", Expect::Any, &half).await.unwrap_err().kind(), ErrorKind::Conflict);
    }
    let error = store.append("s", Expect::Any, &[event(5, b"a"), event(5, b"b")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    for name in [String::new(), "n".repeat(256)] {
        assert_eq!(store.append(&name, Expect::Any, &both).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(store.read_all(0, 10).await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_events_hears_of_them_at_once_or_after_its_time() {
    let store = Memory::new();
    let began = Instant::now();
    store.wait(0, 5 * SECOND).await.unwrap();
    assert_eq!(began.elapsed(), 5 * SECOND);
    let appends = async {
        tokio::time::sleep(SECOND).await;
        store.append("s", Expect::Any, &[event(1, b"one")]).await.unwrap();
    };
    let (heard, ()) = tokio::join!(store.wait(0, 5 * SECOND), appends);
    heard.unwrap();
    assert_eq!(began.elapsed(), 6 * SECOND);
    store.wait(0, 5 * SECOND).await.unwrap();
    assert_eq!(began.elapsed(), 6 * SECOND, "it is there");
}

#[tokio::test(start_paused = true)]
async fn a_readers_place_is_the_last_ones_who_took_it() {
    let store = Memory::new();
    let (position, first) = store.load("r").await.unwrap();
    assert_eq!(position, 0);
    store.save("r", 7, first).await.unwrap();
    let (position, second) = store.load("r").await.unwrap();
    assert_eq!(position, 7);
    assert_eq!(store.save("r", 8, first).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(store.save("nobody", 8, Fence(0)).await.unwrap_err().kind(), ErrorKind::Conflict);
    store.save("r", 9, second).await.unwrap();
    assert_eq!(store.load("r").await.unwrap().0, 9);
}

#[tokio::test(start_paused = true)]
async fn letters_are_listed_in_order_and_replayed_to_their_consumer_alone() {
    let store = with_consumers(Memory::new(), &["a", "b"]).await;
    let message = parcel(5, None);
    let (first, last) = (SystemTime::UNIX_EPOCH + SECOND, SystemTime::UNIX_EPOCH + 2 * SECOND);
    let letter = |consumer: &'static str| NewLetter {
        consumer,
        handler: "h",
        frame: &message.frame,
        reason: "no stamp",
        attempts: 3,
        node: "n",
        first,
        last,
        parks: None,
    };
    for (id, consumer) in [(1, "a"), (2, "b"), (3, "gone")] {
        assert_eq!(DeadLetters::bury(&store, &letter(consumer)).await.unwrap(), LetterId(id));
    }
    let listed = store.list(LetterId(1), 1).await.unwrap();
    assert_eq!((listed[0].id, &*listed[0].consumer, listed[0].attempts), (LetterId(2), "b", 3));
    assert_eq!((listed[0].first, listed[0].last, &*listed[0].reason), (first, last, "no stamp"));
    assert_eq!(listed[0].open().unwrap().id, message.id);

    // The mark that it was done with goes, so that the replay is handled.
    let id = message.id.to_bytes();
    let key = InboxKey { consumer: "a", key: &id };
    let Entered::New(claim) = store.claim(key, SECOND).await.unwrap() else { panic!("it is new") };
    Inbox::finish(&store, &claim, b"").await.unwrap();
    drop(claim);
    assert!(store.replay(LetterId(1)).await.unwrap() && !store.replay(LetterId(1)).await.unwrap());
    assert!(matches!(store.claim(key, SECOND).await.unwrap(), Entered::New(_)));
    let replayed = now(&mut member(&store, "a").await);
    assert_eq!((numbers(&replayed), replayed[0].started), (vec![5], 0));
    assert!(now(&mut member(&store, "b").await).is_empty());

    let error = store.replay(LetterId(3)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("consumer `gone`, which takes nothing any more"), "{error}");
    assert!(store.remove(LetterId(2)).await.unwrap() && !store.remove(LetterId(2)).await.unwrap());
    assert_eq!(store.list(LetterId::default(), 10).await.unwrap().len(), 1, "the letter of who is gone stays");
}
