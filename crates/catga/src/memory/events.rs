//! Streams of events, and how far their readers have come.

use super::{
    Memory, check_room, check_size, owned,
    tx::{MemoryTx, Write},
};
use bytes::Bytes;
use catga_contract::{
    Checkpoints, Error, ErrorKind, EventStore, EventsInTx, Expect, Fence, MessageId, NewEvent, Recorded, Result, Str,
    UnitOfWork,
};
use std::{collections::HashMap, time::Duration};
use tokio::time::timeout;

/// How many events a store holds.
const MOST: usize = 1 << 24;

#[derive(Default)]
pub(super) struct Events {
    /// By position, which begins at 1.
    all: Vec<Recorded>,
    streams: HashMap<Str, Stream>,
    readers: HashMap<Str, Reader>,
}

#[derive(Default)]
struct Stream {
    /// The positions of its events, by version.
    positions: Vec<u64>,
    versions: HashMap<MessageId, u64>,
}

#[derive(Default)]
struct Reader {
    position: u64,
    fence: u64,
}

/// What one append wrote.
pub(super) struct Append {
    stream: Str,
    /// The version of the first event.
    first: u64,
    events: Vec<(MessageId, Bytes)>,
}

impl Events {
    pub(super) fn append(&mut self, Append { stream, events, .. }: Append) {
        let kept = self.streams.entry(stream.clone()).or_default();
        for (id, frame) in events {
            let (position, version) = (self.all.len() as u64 + 1, kept.positions.len() as u64 + 1);
            kept.positions.push(position);
            kept.versions.insert(id, version);
            self.all.push(Recorded::new(position, stream.clone(), version, frame));
        }
    }

    /// Refuses a position that comes under a stale fence.
    pub(super) fn check(&self, name: &str, fence: Fence) -> Result<()> {
        if self.readers.get(name).is_some_and(|reader| reader.fence == fence.0) {
            return Ok(());
        }
        let text = format!("the place of reader `{name}` was taken over by somebody else");
        Err(Error::new(ErrorKind::Conflict, text))
    }

    pub(super) fn save(&mut self, name: &str, position: u64) {
        if let Some(reader) = self.readers.get_mut(name) {
            reader.position = position;
        }
    }

    fn version(&self, stream: &str) -> u64 {
        self.streams.get(stream).map_or(0, |stream| stream.positions.len() as u64)
    }

    fn version_of(&self, stream: &str, id: MessageId) -> Option<u64> {
        self.streams.get(stream)?.versions.get(&id).copied()
    }

    fn read(&self, stream: &str, from: u64, most: usize) -> Vec<Recorded> {
        let Some(stream) = self.streams.get(stream) else { return Vec::new() };
        let from = usize::try_from(from.max(1) - 1).unwrap_or(usize::MAX);
        let positions = stream.positions.iter().skip(from).take(most);
        positions.filter_map(|position| self.all.get(*position as usize - 1).cloned()).collect()
    }

    fn read_all(&self, after: u64, most: usize) -> Vec<Recorded> {
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        self.all.iter().skip(after).take(most).cloned().collect()
    }
}

impl MemoryTx {
    /// Appends behind what is committed and what this transaction has appended; answers the last version.
    pub(super) fn append(&mut self, stream: &str, expect: Expect, events: &[NewEvent<'_>]) -> Result<u64> {
        if stream.is_empty() || stream.len() > 255 {
            let text = format!("a stream's name of {} bytes; 1 to 255", stream.len());
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        events.iter().try_for_each(|event| check_size("an event", stream, event.frame.len()))?;
        let (version, total, known) = {
            let store = self.shared.store();
            let mine = || {
                self.writes.iter().filter_map(|write| match write {
                    Write::Append(append) => Some(append),
                    _ => None,
                })
            };
            let of_stream = || mine().filter(|append| *append.stream == *stream);
            let version = of_stream().last().map_or_else(|| store.events.version(stream), Append::last);
            let total = store.events.all.len() + mine().map(|append| append.events.len()).sum::<usize>();
            let version_of = |event: &NewEvent<'_>| {
                let mine = || of_stream().find_map(|append| append.version_of(event.id));
                store.events.version_of(stream, event.id).or_else(mine)
            };
            (version, total, events.iter().map(version_of).collect::<Vec<_>>())
        };
        if events.is_empty() {
            return Ok(version);
        }
        if let Some(last) = repeated(stream, &known)? {
            return Ok(last);
        }
        let expected = match expect {
            Expect::Any => version,
            Expect::Empty => 0,
            Expect::Version(expected) => expected,
        };
        if expected != version {
            let text = format!("stream `{stream}` is of version {version}, not {expected} as expected");
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        check_room("events", total + events.len(), MOST)?;
        let append = Append::new(stream, version + 1, events)?;
        let last = append.last();
        self.writes.push(Write::Append(append));
        Ok(last)
    }
}

/// The version of the last event where all of them are there already, one behind the other.
fn repeated(stream: &str, known: &[Option<u64>]) -> Result<Option<u64>> {
    if known.iter().all(Option::is_none) {
        return Ok(None);
    }
    let follows = |pair: &[Option<u64>]| pair[0].is_some() && pair[0].map(|version| version + 1) == pair[1];
    if known.iter().all(Option::is_some) && known.windows(2).all(follows) {
        return Ok(known.last().copied().flatten());
    }
    let there = known.iter().flatten().count();
    let text =
        format!("stream `{stream}` has {there} of these {} events already, but not all in this order", known.len());
    Err(Error::new(ErrorKind::Conflict, text))
}

impl Append {
    /// All frames in one block.
    fn new(stream: &str, first: u64, events: &[NewEvent<'_>]) -> Result<Self> {
        let mut block = Vec::with_capacity(events.iter().map(|event| event.frame.len()).sum());
        events.iter().for_each(|event| block.extend_from_slice(event.frame));
        let mut block = Bytes::from(block);
        let kept: Vec<_> = events.iter().map(|event| (event.id, block.split_to(event.frame.len()))).collect();
        let mut ids: Vec<MessageId> = events.iter().map(|event| event.id).collect();
        ids.sort_unstable();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            let text = format!("two events for stream `{stream}` have the id {}", pair[0]);
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        Ok(Self { stream: owned(stream), first, events: kept })
    }

    fn last(&self) -> u64 {
        self.first + self.events.len() as u64 - 1
    }

    fn version_of(&self, id: MessageId) -> Option<u64> {
        (self.first..).zip(&self.events).find_map(|(version, (other, _))| (*other == id).then_some(version))
    }
}

impl EventStore for Memory {
    /// Takes a turn to write, so that it comes before or behind a transaction and never between.
    async fn append(&self, stream: &str, expect: Expect, events: &[NewEvent<'_>]) -> Result<u64> {
        let mut tx = self.begin().await?;
        let version = tx.append(stream, expect, events)?;
        self.commit(tx).await?;
        Ok(version)
    }

    async fn read(&self, stream: &str, from: u64, most: usize) -> Result<Vec<Recorded>> {
        Ok(self.store().events.read(stream, from, most))
    }

    async fn read_all(&self, after: u64, most: usize) -> Result<Vec<Recorded>> {
        Ok(self.store().events.read_all(after, most))
    }

    async fn wait(&self, after: u64, time: Duration) -> Result<()> {
        let appended = async {
            loop {
                let appended = self.shared.appended.notified();
                if self.store().events.all.len() as u64 > after {
                    return;
                }
                appended.await;
            }
        };
        // That nothing came in the time is no failure.
        let _ = timeout(time, appended).await;
        Ok(())
    }
}

impl EventsInTx for Memory {
    async fn append_in(&self, tx: &mut MemoryTx, stream: &str, expect: Expect, events: &[NewEvent<'_>]) -> Result<u64> {
        self.check(tx)?;
        tx.append(stream, expect, events)
    }

    async fn save_in(&self, tx: &mut MemoryTx, name: &str, position: u64, fence: Fence) -> Result<()> {
        self.check(tx)?;
        self.store().events.check(name, fence)?;
        tx.writes.push(Write::Save(owned(name), position, fence));
        Ok(())
    }
}

impl Checkpoints for Memory {
    async fn load(&self, name: &str) -> Result<(u64, Fence)> {
        let mut store = self.store();
        let reader = store.events.readers.entry(owned(name)).or_default();
        reader.fence += 1;
        Ok((reader.position, Fence(reader.fence)))
    }

    async fn save(&self, name: &str, position: u64, fence: Fence) -> Result<()> {
        let mut store = self.store();
        store.events.check(name, fence)?;
        store.events.save(name, position);
        Ok(())
    }
}
