//! Streams of events, and how far their readers have come.

use crate::{
    Backend,
    tools::{envelope, number_in, open, refused},
};
use bytes::Bytes;
use catga_contract::{Checkpoints, Envelope, ErrorKind, EventStore, Expect, MessageId, NewEvent, Recorded};
use futures_util::future::join_all;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Events `numbers`, with fresh ids.
pub(crate) struct Events(Vec<(MessageId, Vec<u8>)>);

impl Events {
    pub(crate) fn new(numbers: impl IntoIterator<Item = u64>) -> Self {
        let event = |number| {
            let envelope = envelope(number, None);
            (envelope.id, envelope.encode().expect("a frame"))
        };
        Self(numbers.into_iter().map(event).collect())
    }

    pub(crate) fn all(&self) -> Vec<NewEvent<'_>> {
        self.0.iter().map(|(id, frame)| NewEvent { id: *id, name: "orders.placed", frame }).collect()
    }
}

pub(crate) fn told(recorded: &[Recorded]) -> Vec<u64> {
    recorded.iter().map(|event| number_in(&event.open().expect("a frame"))).collect()
}

fn versions(recorded: &[Recorded]) -> Vec<u64> {
    recorded.iter().map(|event| event.version).collect()
}

async fn append(store: &impl EventStore, stream: &str, expect: Expect, events: &Events) -> u64 {
    store.append(stream, expect, &events.all()).await.expect("appending")
}

pub async fn events_are_read_as_they_were_appended<B: Backend<Store: EventStore>>(backend: B) {
    let store = open(&backend).await;
    let (first, second) = (Events::new(0..3), Events::new(3..8));
    assert_eq!(append(&store, "order-1", Expect::Empty, &first).await, 3);
    assert_eq!(append(&store, "order-1", Expect::Version(3), &second).await, 8);
    let all = store.read("order-1", 1, 100).await.unwrap();
    assert_eq!(versions(&all), (1..=8).collect::<Vec<_>>(), "from 1, without gaps");
    assert!(all.is_sorted_by(|a, b| a.position < b.position) && all[0].position > 0);
    assert!(all.iter().all(|event| event.stream == "order-1"));
    let frames: Vec<_> = first.0.iter().chain(&second.0).map(|(_, frame)| Bytes::from(frame.clone())).collect();
    assert_eq!(all.iter().map(|event| event.frame.clone()).collect::<Vec<_>>(), frames);
    assert_eq!(versions(&store.read("order-1", 4, 3).await.unwrap()), [4, 5, 6]);
    assert_eq!(store.read("order-1", 0, 2).await.unwrap().len(), 2, "version 0 is before the first");
    assert!(store.read("order-1", 9, 3).await.unwrap().is_empty());
    assert!(store.read("order-2", 1, 3).await.unwrap().is_empty(), "a stream that nobody made");
}

pub async fn another_version_than_expected_is_a_conflict<B: Backend<Store: EventStore>>(backend: B) {
    let store = open(&backend).await;
    append(&store, "s", Expect::Any, &Events::new(0..3)).await;
    for expect in [Expect::Empty, Expect::Version(2), Expect::Version(4), Expect::Version(0)] {
        let error = refused(store.append("s", expect, &Events::new([9, 10]).all()).await, "that version");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{expect:?}: {error}");
        let text = error.to_string();
        assert!(text.contains('3'), "{expect:?}: the version that it has: {text}");
        if let Expect::Version(version) = expect {
            assert!(text.contains(&version.to_string()), "{expect:?}: the version that was expected: {text}");
        }
    }
    let error =
        refused(store.append("t", Expect::Version(1), &Events::new([9]).all()).await, "a stream without events");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(told(&store.read_all(0, 100).await.unwrap()), [0, 1, 2], "all or nothing");
    assert_eq!(append(&store, "s", Expect::Version(3), &Events::new([3])).await, 4);
    assert_eq!(append(&store, "s", Expect::Any, &Events::new([4])).await, 5);
}

pub async fn an_append_is_repeated_safely<B: Backend<Store: EventStore>>(backend: B) {
    let store = open(&backend).await;
    let (first, second) = (Events::new(0..3), Events::new(3..5));
    append(&store, "s", Expect::Empty, &first).await;
    append(&store, "s", Expect::Version(3), &second).await;
    for expect in [Expect::Empty, Expect::Version(3), Expect::Version(77), Expect::Any] {
        assert_eq!(append(&store, "s", expect, &first).await, 3, "{expect:?}");
        assert_eq!(append(&store, "s", expect, &second).await, 5, "{expect:?}");
    }
    assert_eq!(told(&store.read("s", 1, 100).await.unwrap()), [0, 1, 2, 3, 4]);
    assert_eq!(store.read_all(0, 100).await.unwrap().len(), 5);
}

pub async fn some_known_ids_among_new_ones_are_a_conflict<B: Backend<Store: EventStore>>(backend: B) {
    let store = open(&backend).await;
    let known = Events::new(0..4);
    append(&store, "s", Expect::Empty, &known).await;
    let new = Events::new([9]);
    let mixed = [known.all()[3], new.all()[0]];
    let apart = [known.all()[0], known.all()[2]];
    let turned = [known.all()[1], known.all()[0]];
    for events in [&mixed[..], &apart, &turned] {
        for expect in [Expect::Any, Expect::Version(4)] {
            let error = refused(store.append("s", expect, events).await, "ids that the stream has in part");
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        }
    }
    assert_eq!(told(&store.read("s", 1, 100).await.unwrap()), [0, 1, 2, 3]);
}

pub async fn no_events_answer_the_version<B: Backend<Store: EventStore>>(backend: B) {
    let store = open(&backend).await;
    assert_eq!(append(&store, "s", Expect::Empty, &Events::new([])).await, 0);
    append(&store, "s", Expect::Any, &Events::new(0..2)).await;
    assert_eq!(append(&store, "s", Expect::Any, &Events::new([])).await, 2);
    assert_eq!(append(&store, "s", Expect::Version(2), &Events::new([])).await, 2);
    assert_eq!(store.read_all(0, 100).await.unwrap().len(), 2);
}

pub async fn a_stream_has_a_name_of_1_to_255_bytes<B: Backend<Store: EventStore>>(backend: B) {
    let store = open(&backend).await;
    let (longest, longer) = ("ä".repeat(127) + "s", "s".repeat(256));
    for name in ["", &longer] {
        let error = refused(store.append(name, Expect::Any, &Events::new([0]).all()).await, "that name");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    assert_eq!(longest.len(), 255);
    append(&store, &longest, Expect::Any, &Events::new([1])).await;
    assert_eq!(store.read(&longest, 1, 2).await.unwrap()[0].stream, longest.as_str());
    assert_eq!(told(&store.read_all(0, 10).await.unwrap()), [1]);
}

pub async fn of_many_appends_under_one_version_one_wins<B: Backend<Store: EventStore>>(backend: B) {
    let store = open(&backend).await;
    for version in 0..10_u64 {
        let appending = (0..8_u64).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let expect = if version == 0 { Expect::Empty } else { Expect::Version(version) };
                match store.append("s", expect, &Events::new([writer]).all()).await {
                    Ok(now) => {
                        assert_eq!(now, version + 1);
                        true
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                        false
                    }
                }
            })
        });
        let won =
            join_all(appending.collect::<Vec<_>>()).await.into_iter().filter(|won| *won.as_ref().unwrap()).count();
        assert_eq!(won, 1, "at version {version}");
    }
    assert_eq!(versions(&store.read("s", 1, 100).await.unwrap()), (1..=10).collect::<Vec<_>>());
}

pub async fn a_reader_of_all_streams_skips_nothing<B: Backend<Store: EventStore>>(backend: B) {
    const WRITERS: u64 = 8;
    const EACH: u64 = 30;
    let store = open(&backend).await;
    let writing = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut next = 0;
            while next < EACH {
                let many = (next % 3 + 1).min(EACH - next);
                let events = Events::new((next..next + many).map(|number| writer * EACH + number));
                append(&store, &format!("s-{writer}"), Expect::Any, &events).await;
                next += many;
            }
        })
    });
    let writing: Vec<_> = writing.collect();
    let (mut after, mut came) = (0, Vec::new());
    let mut next: HashMap<String, u64> = HashMap::new();
    while (came.len() as u64) < WRITERS * EACH {
        store.wait(after, Duration::from_secs(5)).await.unwrap();
        for event in store.read_all(after, 7).await.unwrap() {
            assert!(event.position > after, "position {} behind {after}", event.position);
            after = event.position;
            let version = next.entry(event.stream.to_string()).or_default();
            *version += 1;
            assert_eq!(event.version, *version, "stream {} as it was appended", event.stream);
            came.extend(told(&[event]));
        }
    }
    join_all(writing).await.into_iter().for_each(|done| done.unwrap());
    crate::tools::each_once(came.clone(), WRITERS * EACH);
    assert_eq!(told(&store.read_all(0, 1_000).await.unwrap()), came, "and whoever comes later reads the same");
    assert!(store.read_all(after, 10).await.unwrap().is_empty());
}

pub async fn a_wait_ends_with_the_append_or_with_its_time<B: Backend<Store: EventStore>>(backend: B) {
    const TIME: Duration = Duration::from_millis(60);
    let store = open(&backend).await;
    let began = Instant::now();
    store.wait(0, TIME).await.unwrap();
    assert!(began.elapsed() >= TIME - Duration::from_millis(1), "there is nothing: {:?}", began.elapsed());
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.wait(0, Duration::from_secs(600)).await }
    });
    tokio::task::yield_now().await;
    append(&store, "s", Expect::Any, &Events::new([0])).await;
    // The guard of the case is shorter than its time.
    waiting.await.unwrap().unwrap();
    store.wait(0, Duration::from_secs(600)).await.unwrap();
    let last = store.read_all(0, 10).await.unwrap()[0].position;
    drop(store.wait(last, Duration::from_secs(600)));
    store.wait(last, Duration::ZERO).await.unwrap();
}

pub async fn what_is_no_frame_is_kept_byte_for_byte<B: Backend<Store: EventStore>>(backend: B) {
    let store = open(&backend).await;
    let (bad, good) = ([0xCA, 0x7A, 0xFF, 0], Events::new([1]));
    let bad = NewEvent { id: MessageId::new(), name: "orders.placed", frame: &bad };
    store.append("s", Expect::Empty, &[bad, good.all()[0]]).await.unwrap();
    let all = store.read("s", 1, 10).await.unwrap();
    assert_eq!(all[0].frame, bad.frame);
    assert_eq!(refused(all[0].open(), "what is no frame").kind(), ErrorKind::Codec);
    assert_eq!(number_in(&Envelope::decode(&all[1].frame).unwrap()), 1);
}

pub mod checkpoints {
    use super::*;

    pub async fn a_reader_goes_on_where_it_saved<B: Backend<Store: Checkpoints>>(backend: B) {
        let store = open(&backend).await;
        let (position, fence) = store.load("shop.mail").await.unwrap();
        assert_eq!(position, 0, "a new reader begins before everything");
        store.save("shop.mail", 7, fence).await.unwrap();
        store.save("shop.mail", 9, fence).await.expect("under the same fence again");
        let (position, fence) = store.load("shop.mail").await.unwrap();
        assert_eq!(position, 9);
        store.save("shop.mail", u64::from(u32::MAX) + 1, fence).await.unwrap();
        assert_eq!(store.load("shop.mail").await.unwrap().0, u64::from(u32::MAX) + 1);
        assert_eq!(store.load("shop.stock").await.unwrap().0, 0, "another reader's place is its own");
    }

    pub async fn who_was_taken_over_saves_nothing<B: Backend<Store: Checkpoints>>(backend: B) {
        let store = open(&backend).await;
        let (_, stale) = store.load("r").await.unwrap();
        store.save("r", 3, stale).await.unwrap();
        let (position, fence) = store.load("r").await.unwrap();
        assert!(position == 3 && fence > stale);
        let error = refused(store.save("r", 5, stale).await, "a stale fence");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        store.save("r", 4, fence).await.unwrap();
        assert_eq!(store.load("r").await.unwrap().0, 4);
        let error = refused(store.save("r", 6, fence).await, "a stale fence");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
}

pub mod events_in_tx {
    use super::*;
    use catga_contract::{EventsInTx, UnitOfWork};

    pub async fn appends_are_visible_with_their_commit<B: Backend<Store: EventsInTx>>(backend: B) {
        let store = open(&backend).await;
        let mut tx = store.begin().await.unwrap();
        let (first, second) = (Events::new(0..2), Events::new(2..3));
        assert_eq!(store.append_in(&mut tx, "s", Expect::Empty, &first.all()).await.unwrap(), 2);
        assert_eq!(
            store.append_in(&mut tx, "s", Expect::Version(2), &second.all()).await.unwrap(),
            3,
            "it sees its own"
        );
        assert_eq!(
            store.append_in(&mut tx, "s", Expect::Empty, &first.all()).await.unwrap(),
            2,
            "and repeats it safely"
        );
        assert!(store.read_all(0, 10).await.unwrap().is_empty(), "not before the commit");
        store.commit(tx).await.unwrap();
        assert_eq!(told(&store.read_all(0, 10).await.unwrap()), [0, 1, 2]);
        store.wait(0, Duration::from_secs(600)).await.unwrap();
    }

    pub async fn what_is_undone_was_never_appended<B: Backend<Store: EventsInTx>>(backend: B) {
        let store = open(&backend).await;
        let mut tx = store.begin().await.unwrap();
        store.append_in(&mut tx, "s", Expect::Empty, &Events::new([0]).all()).await.unwrap();
        drop(tx);
        let mut tx = store.begin().await.unwrap();
        let savepoint = store.savepoint(&mut tx).await.unwrap();
        store.append_in(&mut tx, "s", Expect::Empty, &Events::new([1]).all()).await.unwrap();
        store.release(&mut tx, savepoint, false).await.unwrap();
        assert_eq!(store.append_in(&mut tx, "s", Expect::Empty, &Events::new([2]).all()).await.unwrap(), 1);
        store.commit(tx).await.unwrap();
        assert_eq!(told(&store.read("s", 1, 10).await.unwrap()), [2]);
        assert_eq!(store.read_all(0, 10).await.unwrap().len(), 1);
        assert_eq!(append(&store, "s", Expect::Version(1), &Events::new([3])).await, 2);
    }

    pub async fn a_conflict_leaves_the_transaction_usable<B: Backend<Store: EventsInTx>>(backend: B) {
        let store = open(&backend).await;
        append(&store, "s", Expect::Empty, &Events::new([0])).await;
        let mut tx = store.begin().await.unwrap();
        let error =
            refused(store.append_in(&mut tx, "s", Expect::Empty, &Events::new([1, 2]).all()).await, "that version");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        let error = refused(store.append_in(&mut tx, "", Expect::Any, &Events::new([1]).all()).await, "that name");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert_eq!(store.append_in(&mut tx, "s", Expect::Version(1), &Events::new([3]).all()).await.unwrap(), 2);
        store.commit(tx).await.unwrap();
        assert_eq!(told(&store.read("s", 1, 10).await.unwrap()), [0, 3]);
    }

    pub async fn a_position_is_saved_with_its_commit<B: Backend<Store: EventsInTx>>(backend: B) {
        let store = open(&backend).await;
        let (_, fence) = store.load("r").await.unwrap();
        let mut tx = store.begin().await.unwrap();
        store.save_in(&mut tx, "r", 5, fence).await.unwrap();
        drop(tx);
        let (position, fence) = store.load("r").await.unwrap();
        assert_eq!(position, 0, "it was undone");
        let mut tx = store.begin().await.unwrap();
        store.save_in(&mut tx, "r", 6, fence).await.unwrap();
        store.commit(tx).await.unwrap();
        let (position, newer) = store.load("r").await.unwrap();
        assert_eq!(position, 6);
        let mut tx = store.begin().await.unwrap();
        let error = refused(store.save_in(&mut tx, "r", 9, fence).await, "a stale fence");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        store.save_in(&mut tx, "r", 7, newer).await.expect("the transaction can be used further");
        store.commit(tx).await.unwrap();
        assert_eq!(store.load("r").await.unwrap().0, 7);
    }
}
