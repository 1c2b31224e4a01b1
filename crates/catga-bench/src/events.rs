//! `bench events`: what an event stream costs beside the statements that one would write by hand.

use crate::{
    bare::Log,
    harness::{Bound, Candidate, Outcome, Plan, Report, Sample, Spread, Verdict, measure},
};
use bytes::Bytes;
use catga::{
    Envelope, Error, EventStore, Expect, MessageId, NewEvent, Result, Str,
    sqlite::{Sqlite, rusqlite::Connection},
};
use catga_buf::CountingAlloc;
use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};

const BARE: &str = "bare rusqlite, append of 64";
const OURS: &str = "append of 64";
const FOREIGN: &str = "append of 64, random ids";
const SHARED: &str = "64 tasks append 1 each to 64 streams";
const BARE_READ: &str = "bare rusqlite, read of 1,000";
const READ: &str = "read of 1,000";

/// Half the speed of the bare loop, and 0.6 of that of the bare read, as times.
pub const BOUNDS: &[Bound] = &[Bound::times(OURS, 2.0, BARE), Bound::times(READ, 1.66, BARE_READ)];

/// How many appends must share a commit where 64 tasks append.
const TOGETHER: f64 = 16.0;
const BATCH: usize = 64;
const TASKS: usize = 64;
const READS: usize = 1_000;

/// Measures all of them.
///
/// # Errors
///
/// Where a file cannot be written.
pub fn run(plan: Plan) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let (alone, many) =
        (Builder::new_current_thread().build()?, Builder::new_multi_thread().worker_threads(2).build()?);
    let mut bare = Log::create(&path("bare.db"))?;
    let open = |name: &str| many.block_on(Sqlite::open(path(name)));
    let (ours, foreign, shared) = (open("ours.db")?, open("foreign.db")?, open("shared.db")?);
    let mut bare_read = Log::create(&path("read.db"))?;
    let read = open("ours-read.db")?;
    let thousand = batch(READS, MessageId::new)?;
    bare_read.append("read", 0, &thousand)?;
    many.block_on(append(&read, "read", 0, &thousand))?;
    let (mut bare_version, mut version, mut foreign_version, mut shared_version) = (0, 0, 0, 0);
    let candidates = vec![
        Candidate::new(BARE, |iterations| {
            let batches = batches(iterations, MessageId::new)?;
            sample(|| {
                batches.iter().try_for_each(|batch| {
                    bare.append("one", bare_version, batch)?.ok_or_else(|| Error::permanent("another version"))?;
                    bare_version += BATCH as u64;
                    Ok(())
                })
            })
        }),
        Candidate::new(OURS, |iterations| appends(&alone, &ours, &mut version, &batches(iterations, MessageId::new)?)),
        Candidate::new(FOREIGN, |iterations| {
            appends(&alone, &foreign, &mut foreign_version, &batches(iterations, random)?)
        }),
        Candidate::new(SHARED, |iterations| {
            let rounds = usize::try_from(iterations)?;
            let sample = sample(|| many.block_on(together(&shared, rounds, shared_version)))?;
            shared_version += iterations;
            Ok(sample)
        }),
        Candidate::operation(BARE_READ, || bare_read.read("read", READS as u64).map(|events| events.len())),
        Candidate::new(READ, |iterations| {
            sample(|| {
                alone.block_on(async {
                    for _ in 0..iterations {
                        black_box(EventStore::read(&read, "read", 1, READS).await?.len());
                    }
                    Ok(())
                })
            })
        }),
    ];
    let mut report = measure(plan.clone(), candidates, BOUNDS)?;
    report.outcomes.push(commits(plan, &many, &path("commits.db"))?);
    Ok(report)
}

/// Events as they are kept: an id and a frame with 200 bytes in it.
type Event = ([u8; 16], Vec<u8>);

fn batch(size: usize, id: fn() -> MessageId) -> Result<Vec<Event>> {
    let payload = Bytes::from_static(&[b'x'; 200]);
    let event = |_| {
        let id = id();
        let (name, codec) = (Str::from_static("orders.placed"), Str::from_static("json"));
        Ok((id.to_bytes(), Envelope::new(id, name, codec, payload.clone()).encode()?))
    };
    (0..size).map(event).collect()
}

fn batches(count: u64, id: fn() -> MessageId) -> Result<Vec<Vec<Event>>> {
    (0..count).map(|_| batch(BATCH, id)).collect()
}

/// An id as other systems make them: nothing about it rises.
fn random() -> MessageId {
    MessageId(MessageId::new().0.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
}

async fn append(store: &Sqlite, stream: &str, version: u64, events: &[Event]) -> Result<u64> {
    let id = MessageId::from_bytes;
    let events = events.iter().map(|event| NewEvent { id: id(event.0), name: "orders.placed", frame: &event.1 });
    let events: Vec<_> = events.collect();
    store.append(stream, Expect::Version(version), &events).await
}

fn appends(runtime: &Runtime, store: &Sqlite, version: &mut u64, batches: &[Vec<Event>]) -> Result<Sample> {
    sample(|| {
        runtime.block_on(async {
            for batch in batches {
                *version = append(store, "one", *version, batch).await?;
            }
            Ok(())
        })
    })
}

/// Each of 64 tasks appends so many events to a stream of its own, one after the other.
async fn together(store: &Sqlite, rounds: usize, version: u64) -> Result<()> {
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (store, events) = (store.clone(), batch(rounds, MessageId::new)?);
        tasks.spawn(async move {
            let (stream, mut version) = (format!("stream-{task}"), version);
            for event in events.chunks(1) {
                version = append(&store, &stream, version, event).await?;
            }
            Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(Error::permanent).and_then(|ended: Result<()>| ended)?;
    }
    Ok(())
}

/// Counts the commits of 64 tasks in the write-ahead log.
fn commits(plan: Plan, runtime: &Runtime, path: &Path) -> Result<Outcome> {
    /// Few enough that the log is not begun anew in between.
    const EACH: usize = 2;
    let store = runtime.block_on(Sqlite::open(path))?;
    let beside = Connection::open(path)?;
    let mut found = Vec::new();
    for round in 0..plan.rounds {
        beside.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?;
        runtime.block_on(together(&store, EACH, (round * EACH) as u64))?;
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        found.push((TASKS * EACH) as f64 / ends(&std::fs::read(log)?) as f64);
    }
    let found = Spread::of(&found);
    let verdict = if found.median >= TOGETHER { Verdict::Held } else { Verdict::Missed };
    let (name, by) = ("appends a commit", "64 tasks on 64 streams");
    Ok(Outcome { name, by, bound: format!("≥ {TOGETHER}"), found, verdict })
}

/// The frames of a write-ahead log that end a commit: their header states how large the file is after it.
fn ends(log: &[u8]) -> usize {
    let word = |at: usize| log.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
    let page = word(8) as usize;
    (32..log.len()).step_by(24 + page).filter(|at| word(at + 4) != 0).count()
}

fn sample(work: impl FnOnce() -> Result<()>) -> Result<Sample> {
    let (mut elapsed, mut outcome) = (Duration::ZERO, Ok(()));
    let counted = CountingAlloc::count(|| {
        let started = Instant::now();
        outcome = work();
        elapsed = started.elapsed();
    });
    outcome.map(|()| Sample { elapsed, allocations: counted.count, bytes: counted.bytes })
}
