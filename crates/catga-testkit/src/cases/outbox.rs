//! What was committed to be sent.

use crate::{
    Backend,
    tools::{LEASE, Message, open, poll, put, waiting},
};
use catga_contract::{Envelope, Key, Lease, Outbox, UnitOfWork, partition};
use futures_util::future::join_all;
use std::{
    collections::BTreeSet,
    pin::pin,
    time::{Duration, Instant, SystemTime},
};

async fn lease<S: UnitOfWork>(store: &S) -> Lease {
    store.lease(LEASE).await.expect("a lease")
}

pub async fn rows_are_as_they_were_put_in_commit_order<B: Backend<Store: UnitOfWork>>(backend: B) {
    let store = open(&backend).await;
    let keys = [None, Some("a"), Some(""), Some("key-7")];
    let messages: Vec<_> = (0..24_u64).map(|number| Message::new(number, keys[number as usize % 4])).collect();
    for some in messages.chunks(5) {
        put(&store, some).await;
    }
    assert_eq!(store.unsent().await.unwrap(), 24);
    let lease = lease(&store).await;
    let rows = store.pending(&lease, 100).await.unwrap();
    assert_eq!(rows.len(), 24);
    assert!(rows.is_sorted_by(|a, b| a.number < b.number));
    for (row, message) in rows.iter().zip(&messages) {
        let key = message.envelope.key.as_ref();
        assert_eq!((row.id, &row.subject, &row.frame[..]), (message.envelope.id, &message.subject, &message.frame[..]));
        assert_eq!((row.partition, row.key), (partition(key, row.id), key.map(Key::digest)));
        assert_eq!(row.attempts, 0);
        assert!(lease.has(row.partition));
    }
}

pub async fn what_was_sent_does_not_come_again<B: Backend<Store: UnitOfWork>>(backend: B) {
    let store = open(&backend).await;
    put(&store, &(0..10).map(|number| Message::new(number, None)).collect::<Vec<_>>()).await;
    let lease = lease(&store).await;
    let rows: Vec<u64> = store.pending(&lease, 100).await.unwrap().iter().map(|row| row.number).collect();
    store.sent(&lease, &rows[2..5]).await.unwrap();
    store.sent(&lease, &rows[2..5]).await.expect("once more changes nothing");
    assert_eq!(waiting(&store).await, [0, 1, 5, 6, 7, 8, 9]);
    assert_eq!(store.unsent().await.unwrap(), 7);
    store.sent(&lease, &rows).await.unwrap();
    assert_eq!((waiting(&store).await.len(), store.unsent().await.unwrap()), (0, 0));
}

pub async fn no_more_rows_come_than_asked_for<B: Backend<Store: UnitOfWork>>(backend: B) {
    let store = open(&backend).await;
    put(&store, &(0..30).map(|number| Message::new(number, None)).collect::<Vec<_>>()).await;
    let lease = lease(&store).await;
    let mut came = Vec::new();
    while came.len() < 30 {
        let rows = store.pending(&lease, 7).await.unwrap();
        assert!((1..=7).contains(&rows.len()));
        came.extend(rows.iter().map(|row| crate::tools::number_in(&Envelope::decode(&row.frame).unwrap())));
        store.sent(&lease, &rows.iter().map(|row| row.number).collect::<Vec<_>>()).await.unwrap();
    }
    assert_eq!(came, (0..30).collect::<Vec<_>>());
}

pub async fn what_failed_keeps_back_its_partition_alone<B: Backend<Store: UnitOfWork>>(backend: B) {
    const PAUSE: Duration = Duration::from_millis(200);
    let store = open(&backend).await;
    // "a" is partition 12, "17" is 49, by docs/frame.md.
    let keys = ["a", "17", "a", "17", "a"];
    put(&store, &(0..5).map(|number| Message::new(number, Some(keys[number as usize]))).collect::<Vec<_>>()).await;
    let lease = lease(&store).await;
    let rows = store.pending(&lease, 100).await.unwrap();
    // One that is not the first of its partition keeps back nobody, and comes again as well.
    let failed = Instant::now();
    store.failed(&lease, rows[4].number, "the road is closed", PAUSE).await.unwrap();
    let early = waiting(&store).await;
    if failed.elapsed() < PAUSE {
        assert_eq!(early, [0, 1, 2, 3]);
    }
    while waiting(&store).await.len() < 5 {
        store.written().await;
    }
    store.sent(&lease, &[rows[0].number]).await.unwrap();
    let failed = Instant::now();
    store.failed(&lease, rows[2].number, "the road is closed", PAUSE).await.unwrap();
    let early = waiting(&store).await;
    if failed.elapsed() < PAUSE {
        assert_eq!(early, [1, 3], "it and those behind it in its partition wait");
    }
    assert_eq!(store.unsent().await.unwrap(), 4);
    // It rings when the time has come, also while others still wait: no fixed wait.
    while waiting(&store).await.len() < 4 {
        store.written().await;
    }
    assert!(failed.elapsed() >= PAUSE - Duration::from_millis(1));
    let attempts: Vec<u32> = store.pending(&lease, 100).await.unwrap().iter().map(|row| row.attempts).collect();
    assert_eq!(attempts, [0, 1, 0, 1]);
    assert_eq!(waiting(&store).await, [1, 2, 3, 4], "and they keep their order");
}

pub async fn what_is_due_later_holds_nobody_up<B: Backend<Store: UnitOfWork>>(backend: B) {
    let store = open(&backend).await;
    let mut late = Message::new(0, Some("a"));
    late.due = Some(SystemTime::now() + Duration::from_secs(3_600));
    let mut soon = Message::new(1, Some("a"));
    let at = SystemTime::now() + Duration::from_millis(100);
    soon.due = Some(at);
    let mut past = Message::new(2, Some("a"));
    past.due = Some(SystemTime::UNIX_EPOCH);
    put(&store, &[late, soon, past, Message::new(3, Some("a"))]).await;
    let lease = lease(&store).await;
    let first = store.pending(&lease, 100).await.unwrap();
    if SystemTime::now() < at {
        assert_eq!(first.len(), 2, "those that are due");
    }
    // It rings for what is due, although others wait that have not left.
    while waiting(&store).await.len() < 3 {
        store.written().await;
    }
    assert!(SystemTime::now() + Duration::from_millis(1) >= at, "it came too early");
    let rows = waiting(&store).await;
    assert_eq!(rows.iter().copied().collect::<BTreeSet<_>>(), [1, 2, 3].into(), "{rows:?}");
    assert_eq!((rows.last(), store.unsent().await.unwrap()), (Some(&1), 4), "it comes behind those that were there");
}

pub async fn it_rings_for_what_was_committed_since_it_was_read<B: Backend<Store: UnitOfWork>>(backend: B) {
    let store = open(&backend).await;
    assert!(waiting(&store).await.is_empty());
    {
        let mut rings = pin!(store.written());
        // It may ring without a reason, but not leave out one.
        let _ = poll(rings.as_mut());
        put(&store, &[Message::new(0, None)]).await;
        store.written().await;
    }
    assert_eq!(waiting(&store).await, [0]);
    // By one handle: another one may be another relay.
    let rings = async {
        while waiting(&store).await.len() < 2 {
            store.written().await;
        }
    };
    let one = [Message::new(1, None)];
    tokio::join!(rings, put(&store, &one));
    // Whoever comes after the commit does not wait for the next one, and a dropped wait loses nothing.
    put(&store, &[Message::new(2, None)]).await;
    drop(store.written());
    store.written().await;
    assert_eq!(waiting(&store).await, [0, 1, 2]);
}

pub async fn a_reader_skips_no_row_that_commits_late<B: Backend<Store: UnitOfWork>>(backend: B) {
    const WRITERS: u64 = 6;
    const EACH: u64 = 25;
    let store = open(&backend).await;
    let writing = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 0..EACH {
                let mut tx = store.begin().await.unwrap();
                store.put(&mut tx, &[Message::new(writer * EACH + number, None).outgoing()]).await.unwrap();
                tokio::task::yield_now().await;
                match number % 5 {
                    4 => drop(tx),
                    _ => store.commit(tx).await.unwrap(),
                }
            }
        })
    });
    let writing: Vec<_> = writing.collect();
    let lease = lease(&store).await;
    let (mut seen, mut highest) = (BTreeSet::new(), 0);
    let kept = |number: &u64| number % EACH % 5 != 4;
    while (seen.len() as u64) < WRITERS * EACH / 5 * 4 {
        for row in store.pending(&lease, 1_000).await.unwrap() {
            let number = crate::tools::number_in(&Envelope::decode(&row.frame).unwrap());
            assert!(kept(&number), "{number} was rolled back");
            if seen.insert(number) {
                assert!(row.number > highest, "row {} slipped in behind {highest}", row.number);
                highest = row.number;
            }
        }
        if writing.iter().all(tokio::task::JoinHandle::is_finished) {
            assert_eq!(waiting(&store).await.len() as u64, WRITERS * EACH / 5 * 4);
        }
        tokio::task::yield_now().await;
    }
    join_all(writing).await.into_iter().for_each(|done| done.unwrap());
}

pub async fn leases_cover_every_partition_once<B: Backend<Store: UnitOfWork>>(backend: B) {
    let store = open(&backend).await;
    let first = lease(&store).await;
    assert_eq!(first.partitions, Lease::ALL, "nobody else has one");
    let renewed = lease(&store).await;
    assert_eq!(renewed.partitions, Lease::ALL, "renewed by who has them");
    assert!(renewed.fence >= first.fence);
}
