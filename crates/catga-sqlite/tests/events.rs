//! Event streams and checkpoints, through the traits that stores implement.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use catga::{
    Envelope, ErrorKind, MessageId, Str, UnitOfWork,
    sqlite::{Sqlite, rusqlite},
};
use catga_contract::{Checkpoints, EventStore, EventsInTx, Expect, Fence, NewEvent, Recorded};
use futures_util::{FutureExt, future};
use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Events to append, with what they borrow.
struct Events(Vec<(MessageId, Vec<u8>)>);

impl Events {
    fn of(ids: impl IntoIterator<Item = MessageId>) -> Self {
        let event = |id| {
            let envelope = Envelope::new(id, Str::from_static("it.happened"), Str::from_static("json"), Bytes::new());
            (id, envelope.encode().unwrap())
        };
        Self(ids.into_iter().map(event).collect())
    }

    fn fresh(count: usize) -> Self {
        Self::of((0..count).map(|_| MessageId::new()))
    }

    /// Ids whose order has nothing to do with time, as version 4 has them.
    fn foreign(count: usize, seed: u128) -> Self {
        let odd = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835_u128;
        Self::of((1..=count as u128).map(|index| MessageId((seed << 64 | index).wrapping_mul(odd))))
    }

    fn to_append(&self) -> Vec<NewEvent<'_>> {
        self.0.iter().map(|(id, frame)| NewEvent { id: *id, name: "it.happened", frame }).collect()
    }

    async fn append(&self, store: &Sqlite, stream: &str, expect: Expect) -> catga::Result<u64> {
        store.append(stream, expect, &self.to_append()).await
    }
}

fn ids(events: &[Recorded]) -> Vec<MessageId> {
    events.iter().map(|event| event.open().unwrap().id).collect()
}

fn versions(events: &[Recorded]) -> Vec<u64> {
    events.iter().map(|event| event.version).collect()
}

/// The store has a method of that name of its own.
async fn read(store: &Sqlite, stream: &str, from: u64, most: usize) -> Vec<Recorded> {
    EventStore::read(store, stream, from, most).await.unwrap()
}

async fn temporary() -> Sqlite {
    Sqlite::temporary().await.unwrap()
}

#[tokio::test]
async fn events_are_appended_under_the_expected_version_and_read_in_pages() {
    let store = temporary().await;
    let (first, second, any) = (Events::fresh(3), Events::fresh(2), Events::fresh(1));
    assert_eq!(first.append(&store, "order-1", Expect::Empty).await.unwrap(), 3);
    assert_eq!(second.append(&store, "order-1", Expect::Version(3)).await.unwrap(), 5);
    assert_eq!(any.append(&store, "order-1", Expect::Any).await.unwrap(), 6);
    assert_eq!(Events::fresh(1).append(&store, "order-2", Expect::Any).await.unwrap(), 1);
    assert_eq!(Events::fresh(1).append(&store, "order-3", Expect::Version(0)).await.unwrap(), 1);

    let all = read(&store, "order-1", 1, 100).await;
    assert_eq!(versions(&all), [1, 2, 3, 4, 5, 6]);
    assert_eq!(ids(&all)[..3], ids_of(&first)[..]);
    assert!(all.iter().all(|event| event.stream == "order-1"));
    assert_eq!(versions(&read(&store, "order-1", 3, 2).await), [3, 4]);
    assert_eq!(versions(&read(&store, "order-1", 0, 1).await), [1]);
    for (stream, from, most) in [("order-1", 7, 9), ("order-1", u64::MAX, usize::MAX), ("order-1", 1, 0), ("no", 1, 9)]
    {
        assert!(read(&store, stream, from, most).await.is_empty(), "{stream} {from} {most}");
    }
    let streams: Vec<_> = store.read_all(5, 9).await.unwrap().iter().map(|event| event.stream.to_string()).collect();
    assert_eq!(streams, ["order-1", "order-2", "order-3"]);
    assert_eq!(store.read_all(0, 2).await.unwrap().len(), 2);
}

fn ids_of(events: &Events) -> Vec<MessageId> {
    events.0.iter().map(|(id, _)| *id).collect()
}

#[tokio::test]
async fn a_conflict_names_the_stream_and_both_versions_and_appends_nothing() {
    let store = temporary().await;
    Events::fresh(3).append(&store, "order-1", Expect::Empty).await.unwrap();
    for (stream, expect, expected) in [
        ("order-1", Expect::Empty, "is of version 3; expected version 0"),
        ("order-1", Expect::Version(2), "is of version 3; expected version 2"),
        ("order-1", Expect::Version(4), "is of version 3; expected version 4"),
        ("order-2", Expect::Version(1), "is of version 0; expected version 1"),
    ] {
        let error = Events::fresh(2).append(&store, stream, expect).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error:#}");
        assert!(format!("{error:#}").contains(&format!("stream `{stream}` {expected}")), "{error:#}");
    }
    assert_eq!(store.read_all(0, 100).await.unwrap().len(), 3);
}

#[tokio::test]
async fn no_events_are_none_and_what_the_store_does_not_keep_is_refused() {
    let store = temporary().await;
    assert_eq!(store.append("order-1", Expect::Version(9), &[]).await.unwrap(), 0);
    Events::fresh(2).append(&store, "order-1", Expect::Empty).await.unwrap();
    assert_eq!(store.append("order-1", Expect::Empty, &[]).await.unwrap(), 2);
    let (one, long) = (Events::fresh(1), "é".repeat(128));
    for stream in ["", &long] {
        let error = one.append(&store, stream, Expect::Any).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error:#}");
    }
    let large = vec![0; 16 * 1024 * 1024 + 1];
    let event = NewEvent { id: MessageId::new(), name: "large", frame: &large };
    let events = [one.to_append()[0], event];
    assert_eq!(store.append("order-1", Expect::Any, &events).await.unwrap_err().kind(), ErrorKind::Invalid);
    let twice = [one.to_append()[0], one.to_append()[0]];
    assert_eq!(store.append("order-1", Expect::Any, &twice).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(store.read_all(0, 100).await.unwrap().len(), 2);
}

/// Appends batches, then each again under every expectation: rising ids, foreign ones, and both in one stream.
#[tokio::test]
async fn a_repeated_append_appends_nothing_whatever_is_expected_and_wherever_it_lies() {
    let store = temporary().await;
    let kinds: [fn(u128) -> Events; 3] = [
        |_| Events::fresh(7),
        |seed| Events::foreign(7, seed),
        |seed| if seed % 2 == 0 { Events::fresh(7) } else { Events::foreign(7, seed) },
    ];
    for (kind, make) in kinds.into_iter().enumerate() {
        let stream = format!("order-{kind}");
        let batches: Vec<Events> = (0..30).map(|seed| make(1 + seed)).collect();
        for (index, batch) in batches.iter().enumerate() {
            let before = index as u64 * 7;
            assert_eq!(batch.append(&store, &stream, Expect::Version(before)).await.unwrap(), before + 7);
        }
        for (index, batch) in batches.iter().enumerate() {
            let last = index as u64 * 7 + 7;
            for expect in [Expect::Any, Expect::Empty, Expect::Version(last - 7), Expect::Version(210)] {
                assert_eq!(batch.append(&store, &stream, expect).await.unwrap(), last, "{kind} {index} {expect:?}");
            }
            let part = &batch.to_append()[2..5];
            assert_eq!(store.append(&stream, Expect::Any, part).await.unwrap(), last - 2, "a part of it, in its order");
        }
        assert_eq!(read(&store, &stream, 1, 1_000).await.len(), 210);
    }
    // The same ids in another stream are other events there.
    let again = Events::of(ids(&read(&store, "order-1", 1, 7).await));
    assert_eq!(again.append(&store, "elsewhere", Expect::Empty).await.unwrap(), 7);
}

#[tokio::test]
async fn an_append_of_which_a_part_is_there_is_a_conflict() {
    let store = temporary().await;
    for (stream, known) in [("rising", Events::fresh(4)), ("foreign", Events::foreign(4, 1))] {
        known.append(&store, stream, Expect::Empty).await.unwrap();
        let (known, fresh) = (known.to_append(), Events::fresh(1));
        let fresh = fresh.to_append()[0];
        let wrong = [
            vec![known[3], fresh],
            vec![fresh, known[0]],
            vec![known[1], known[0]],
            vec![known[0], known[2]],
            vec![known[0], fresh, known[1]],
        ];
        for events in wrong {
            let error = store.append(stream, Expect::Any, &events).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error:#}");
            assert!(format!("{error:#}").contains(&format!("stream `{stream}`, of version 4, has ")), "{error:#}");
        }
        assert_eq!(read(&store, stream, 1, 100).await.len(), 4);
    }
}

#[tokio::test]
async fn an_append_in_a_transaction_obeys_its_savepoints_and_is_seen_in_it_alone() {
    let store = temporary().await;
    let (kept, undone) = (Events::fresh(2), Events::fresh(3));
    let mut tx = store.begin().await.unwrap();
    assert_eq!(store.append_in(&mut tx, "order-1", Expect::Empty, &kept.to_append()).await.unwrap(), 2);
    let savepoint = store.savepoint(&mut tx).await.unwrap();
    assert_eq!(store.append_in(&mut tx, "order-1", Expect::Version(2), &undone.to_append()).await.unwrap(), 5);
    assert_eq!(versions(&store.read_in(&mut tx, "order-1", 2, 9).await.unwrap()), [2, 3, 4, 5]);
    store.release(&mut tx, savepoint, false).await.unwrap();
    assert_eq!(versions(&store.read_in(&mut tx, "order-1", 2, 9).await.unwrap()), [2]);
    let conflict = store.append_in(&mut tx, "order-1", Expect::Version(5), &undone.to_append()).await.unwrap_err();
    assert_eq!(conflict.kind(), ErrorKind::Conflict);
    // The transaction can be used further.
    assert_eq!(store.append_in(&mut tx, "order-1", Expect::Version(2), &undone.to_append()).await.unwrap(), 5);
    assert!(store.read_all(0, 9).await.unwrap().is_empty());
    let waiting = store.wait(0, Duration::from_secs(60));
    let mut waiting = std::pin::pin!(waiting);
    assert!(waiting.as_mut().now_or_never().is_none(), "nothing is committed");
    store.commit(tx).await.unwrap();
    waiting.await.unwrap();
    assert_eq!(store.read_all(0, 9).await.unwrap().len(), 5);

    let mut tx = store.begin().await.unwrap();
    store.append_in(&mut tx, "order-1", Expect::Any, &Events::fresh(1).to_append()).await.unwrap();
    drop(tx);
    assert_eq!(read(&store, "order-1", 1, 9).await.len(), 5);
}

/// 16 appenders on 5 streams, some of whose appends conflict or are dropped, while readers follow: what a reader has
/// seen is at every moment a beginning of what is there in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_later_commit_slips_into_the_order_that_a_reader_has_seen() {
    let store = temporary().await;
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (store, done) = (store.clone(), done.clone());
            tokio::spawn(async move {
                let (mut seen, mut after) = (Vec::new(), 0);
                loop {
                    let ended = done.load(Ordering::SeqCst);
                    let page = store.read_all(after, 17).await.unwrap();
                    after = page.last().map_or(after, |event| event.position);
                    if page.is_empty() {
                        if ended {
                            return seen;
                        }
                        store.wait(after, Duration::from_millis(20)).await.unwrap();
                    }
                    seen.extend(page.into_iter().map(|event| (event.position, event.stream, event.version)));
                }
            })
        })
        .collect();
    let appenders: Vec<_> = (0..16_u64)
        .map(|who| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..40_u64 {
                    let (stream, events) = (format!("s{}", (who + round) % 5), Events::fresh(1 + round as usize % 3));
                    if round % 7 == 3 {
                        let mut tx = store.begin().await.unwrap();
                        store.append_in(&mut tx, &stream, Expect::Any, &events.to_append()).await.unwrap();
                        drop(tx);
                    } else if round % 5 == 1 {
                        let expect = Expect::Version(round);
                        match events.append(&store, &stream, expect).await {
                            Ok(_) => {}
                            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error:#}"),
                        }
                    } else {
                        events.append(&store, &stream, Expect::Any).await.unwrap();
                    }
                }
            })
        })
        .collect();
    future::try_join_all(appenders).await.unwrap();
    done.store(true, Ordering::SeqCst);
    let all = store.read_all(0, usize::MAX).await.unwrap();
    let all: Vec<_> = all.into_iter().map(|event| (event.position, event.stream, event.version)).collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), all);
    }
    let mut next = BTreeMap::new();
    for (position, stream, version) in all {
        let last = next.entry(stream.clone()).or_insert(0);
        assert_eq!(version, *last + 1, "{stream} at {position}: versions have no gaps");
        *last = version;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_expect_one_version_one_appends() {
    let store = temporary().await;
    for version in 0..10_u64 {
        let appends = (0..16).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { Events::fresh(1).append(&store, "order-1", Expect::Version(version)).await })
        });
        let outcomes = future::try_join_all(appends).await.unwrap();
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        assert!(outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).all(|e| e.kind() == ErrorKind::Conflict));
    }
    let events = read(&store, "order-1", 1, 100).await;
    assert_eq!(ids(&events).into_iter().collect::<HashSet<_>>().len(), 10);
}

/// Commits that the write-ahead log holds: frames whose header states the size of the database after a commit.
fn commits(store: &Sqlite) -> usize {
    let mut path = store.path().as_os_str().to_owned();
    path.push("-wal");
    let log = std::fs::read(PathBuf::from(path)).unwrap();
    let word = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let page = word(8) as usize;
    let frames: Vec<usize> = (32..log.len()).step_by(24 + page).collect();
    assert!(frames.len() < 1_000, "a log of {} frames may have begun anew in between", frames.len());
    frames.into_iter().filter(|at| word(at + 4) != 0).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_appenders_share_commits() {
    let store = temporary().await;
    let beside = rusqlite::Connection::open(store.path()).unwrap();
    let mut all = 0;
    for round in 0..8 {
        beside.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())).unwrap();
        let appenders = (0..64).map(|who| {
            let store = store.clone();
            tokio::spawn(async move {
                for version in round * 2..round * 2 + 2 {
                    let expect = Expect::Version(version);
                    Events::fresh(1).append(&store, &format!("order-{who}"), expect).await.unwrap();
                }
            })
        });
        future::try_join_all(appenders).await.unwrap();
        all += commits(&store);
    }
    let each = 8 * 128 / all;
    assert!(each >= 16, "{each} appends a commit");
}

#[tokio::test]
async fn a_wait_ends_with_a_commit_at_once_or_with_its_time() {
    let store = temporary().await;
    let began = Instant::now();
    store.wait(0, Duration::ZERO).await.unwrap();
    let (short, long) = (store.wait(0, Duration::from_millis(30)), store.wait(0, Duration::from_secs(60)));
    let mut long = std::pin::pin!(long);
    assert!(long.as_mut().now_or_never().is_none());
    short.await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(30));
    assert!(long.as_mut().now_or_never().is_none(), "its own time is not over");
    let appended = async { Events::fresh(1).append(&store, "order-1", Expect::Empty).await.unwrap() };
    let (waited, _) = future::join(long, appended).await;
    waited.unwrap();
    assert!(began.elapsed() < Duration::from_secs(30));
    store.wait(0, Duration::from_secs(60)).await.unwrap();
}

#[tokio::test]
async fn a_wait_ends_when_another_process_commits() {
    let store = temporary().await;
    // Another handle on the file, with a connection and memory of its own, is what another process would be.
    let other = Sqlite::open_tool(store.path()).await.unwrap();
    let waiting = store.wait(0, Duration::from_secs(60));
    let mut waiting = std::pin::pin!(waiting);
    assert!(waiting.as_mut().now_or_never().is_none());
    Events::fresh(1).append(&other, "order-1", Expect::Empty).await.unwrap();
    let began = Instant::now();
    waiting.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(store.read_all(0, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_checkpoint_is_fenced_and_commits_with_its_transaction() {
    let store = temporary().await;
    let (position, first) = store.load("totals").await.unwrap();
    assert_eq!(position, 0);
    store.save("totals", 7, first).await.unwrap();
    let (position, second) = store.load("totals").await.unwrap();
    assert_eq!(position, 7);
    let stale = store.save("totals", 9, first).await.unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::Conflict);
    assert!(format!("{stale:#}").contains("`totals`"), "{stale:#}");
    assert_eq!(store.save("nobody", 9, Fence(0)).await.unwrap_err().kind(), ErrorKind::Conflict);

    let mut tx = store.begin().await.unwrap();
    store.save_in(&mut tx, "totals", 8, second).await.unwrap();
    assert_eq!(store.save_in(&mut tx, "totals", 9, first).await.unwrap_err().kind(), ErrorKind::Conflict);
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    store.save_in(&mut tx, "totals", 10, second).await.unwrap();
    store.commit(tx).await.unwrap();
    assert_eq!(store.load("totals").await.unwrap().0, 10);
}

#[tokio::test]
async fn streams_survive_the_process_and_go_on_where_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    let events = Events::fresh(2);
    {
        let store = Sqlite::open(&path).await.unwrap();
        events.append(&store, "order-1", Expect::Empty).await.unwrap();
    }
    let store = Sqlite::open(&path).await.unwrap();
    store.wait(1, Duration::from_secs(60)).await.unwrap();
    assert_eq!(events.append(&store, "order-1", Expect::Empty).await.unwrap(), 2);
    assert_eq!(Events::fresh(1).append(&store, "order-1", Expect::Version(2)).await.unwrap(), 3);
    assert_eq!(ids(&read(&store, "order-1", 1, 2).await), ids_of(&events));
}
