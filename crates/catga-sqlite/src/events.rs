//! Event streams.
//!
//! # How a repeated append is found
//!
//! An index over the ids of all events would double the cost of an append where ids are random. So a stream remembers
//! its greatest id, and how many of its first events have rising ids, as ids of version 7 have that were made one
//! after the other. An id above the greatest is new, which is one comparison; one among the rising is found by
//! halving; only ids that came out of order stand in a table of their own.

use crate::{
    Sqlite, checkpoints,
    hub::Effect,
    queue::{micros, now},
    tx::SqliteTx,
    unit::check_size,
    writer::Alarm,
};
use bytes::Bytes;
use catga_contract::{Error, ErrorKind, EventStore, EventsInTx, Expect, Fault, Fence, NewEvent, Recorded, Result, Str};
use rusqlite::{Connection, OptionalExtension, Row};
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

impl EventStore for Sqlite {
    async fn append(&self, stream: &str, expect: Expect, events: &[NewEvent<'_>]) -> Result<u64> {
        let mut tx = self.open_tx().await?;
        let version = append(&mut tx, stream, self.expected(expect), events).map_err(|error| self.about(error))?;
        tx.commit().await.map_err(|error| self.about(error))?;
        Ok(version)
    }

    async fn read(&self, stream: &str, from: u64, most: usize) -> Result<Vec<Recorded>> {
        self.read(|db| read(db, stream, from, most))
    }

    async fn read_all(&self, after: u64, most: usize) -> Result<Vec<Recorded>> {
        self.read(|db| {
            // The events lead: their order is that of the positions.
            let sql = "SELECT position, catga_event.version, frame, name FROM catga_event
                CROSS JOIN catga_stream ON catga_stream.id = catga_event.stream
                WHERE position > ?1 ORDER BY position LIMIT ?2";
            let mut select = db.prepare_cached(sql)?;
            let mut rows = select.query((bounded(after), bounded(most as u64)))?;
            let (mut events, mut stream) = (Vec::new(), Str::default());
            while let Some(row) = rows.next()? {
                let name = row.get_ref(3)?.as_str()?;
                if stream != name {
                    stream = name.into();
                }
                events.push(recorded(row, stream.clone())?);
            }
            Ok(events)
        })
    }

    async fn wait(&self, after: u64, time: Duration) -> Result<()> {
        let shared = &self.inner.shared;
        shared.watch();
        let deadline = Instant::now().checked_add(time);
        loop {
            let heard = shared.hub.events.rings();
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let over = left.is_some_and(|left| left.is_zero());
            if over || shared.hub.last_event.load(Ordering::SeqCst) > after || self.last_event()? > after {
                return Ok(());
            }
            // All who wait hear one alarm, set for the first of them; the others then ask for their own time.
            if let Some(left) = left {
                shared.set_alarm_by(Alarm::Events, now().saturating_add(micros(left)));
            }
            shared.hub.events.after(heard).await;
        }
    }
}

impl EventsInTx for Sqlite {
    async fn append_in(&self, tx: &mut SqliteTx, stream: &str, expect: Expect, events: &[NewEvent<'_>]) -> Result<u64> {
        append(tx, stream, self.expected(expect), events).map_err(|error| self.about(error))
    }

    async fn read_in(&self, tx: &mut SqliteTx, stream: &str, from: u64, most: usize) -> Result<Vec<Recorded>> {
        tx.ours("reading a stream", |db| read(db, stream, from, most)).map_err(|error| self.about(error))
    }

    async fn save_in(&self, tx: &mut SqliteTx, name: &str, position: u64, fence: Fence) -> Result<()> {
        checkpoints::save(tx, name, position, fence).map_err(|error| self.about(error))
    }
}

impl Sqlite {
    fn expected(&self, expect: Expect) -> Expect {
        if self.sabotaged(Fault::AppendUnchecked) { Expect::Any } else { expect }
    }

    /// The position of the last event that is committed.
    fn last_event(&self) -> Result<u64> {
        self.read(|db| {
            let mut select = db.prepare_cached("SELECT coalesce(max(position), 0) FROM catga_event")?;
            select.query_row((), |row| row.get(0))
        })
    }
}

/// The longest name of a stream.
const NAME_MAX: usize = 255;

/// What the file says of a stream.
#[derive(Clone, Copy)]
struct Stream {
    id: i64,
    version: u64,
    rising: u64,
    newest: [u8; 16],
}

impl Stream {
    const NONE: Self = Self { id: 0, version: 0, rising: 0, newest: [0; 16] };

    fn find(db: &Connection, name: &str) -> rusqlite::Result<Option<Self>> {
        let mut select = db.prepare_cached("SELECT id, version, rising, newest FROM catga_stream WHERE name = ?1")?;
        let stream = |row: &Row<'_>| {
            Ok(Self { id: row.get(0)?, version: row.get(1)?, rising: row.get(2)?, newest: row.get(3)? })
        };
        select.query_row([name], stream).optional()
    }

    /// Takes an event in; answers whether its id is out of order, so that it must be written apart.
    fn grow(&mut self, id: [u8; 16]) -> bool {
        let rises = self.rising == self.version && (self.version == 0 || id > self.newest);
        self.version += 1;
        self.rising += u64::from(rises);
        self.newest = self.newest.max(id);
        !rises
    }

    /// Which of the events are in the stream.
    fn known(&self, db: &Connection, events: &[NewEvent<'_>]) -> rusqlite::Result<Known> {
        let is_new = |event: &NewEvent<'_>| event.id.to_bytes() > self.newest;
        if self.version == 0 || events.iter().all(is_new) {
            return Ok(Known::None);
        }
        let mut by_id = db.prepare_cached("SELECT version FROM catga_event_id WHERE stream = ?1 AND id = ?2")?;
        let mut by_version = db.prepare_cached("SELECT id FROM catga_event WHERE stream = ?1 AND version = ?2")?;
        let (mut known, mut first, mut in_line) = (0, None, true);
        for (index, event) in (0..).zip(events).filter(|(_, event)| !is_new(event)) {
            let id = event.id.to_bytes();
            let mut found = None;
            if self.rising < self.version {
                found = by_id.query_row((self.id, id), |row| row.get(0)).optional()?;
            }
            if found.is_none() {
                found = halve(self.rising, id, |version| by_version.query_row((self.id, version), |row| row.get(0)))?;
            }
            if let Some(version) = found {
                known += 1;
                in_line &= *first.get_or_insert(version) + index == version;
            }
        }
        Ok(match first {
            None => Known::None,
            Some(first) if known == events.len() && in_line => Known::All(first + known as u64 - 1),
            Some(_) => Known::Some(known),
        })
    }
}

/// The version among the first `rising`, whose ids rise, that has this id.
fn halve(
    rising: u64,
    id: [u8; 16],
    mut id_of: impl FnMut(u64) -> rusqlite::Result<[u8; 16]>,
) -> rusqlite::Result<Option<u64>> {
    let (mut low, mut high) = (1, rising);
    while low <= high {
        let middle = low + (high - low) / 2;
        match id_of(middle)?.cmp(&id) {
            std::cmp::Ordering::Equal => return Ok(Some(middle)),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle - 1,
        }
    }
    Ok(None)
}

/// How much of an append is in its stream already.
enum Known {
    None,
    /// One behind the other; the last is of this version.
    All(u64),
    Some(usize),
}

fn append(tx: &mut SqliteTx, name: &str, expect: Expect, events: &[NewEvent<'_>]) -> Result<u64> {
    check(name, events)?;
    let (stream, known) = tx.ours("looking for a stream", |db| {
        let stream = Stream::find(db, name)?.unwrap_or(Stream::NONE);
        Ok((stream, stream.known(db, events)?))
    })?;
    match known {
        _ if events.is_empty() => return Ok(stream.version),
        Known::None => {}
        Known::All(version) => return Ok(version),
        Known::Some(known) => {
            let text = format!(
                "stream `{name}`, of version {}, has {known} of the {} events of this append, but not all of them one \
                 behind the other",
                stream.version,
                events.len()
            );
            return Err(Error::new(ErrorKind::Conflict, text));
        }
    }
    let expected = match expect {
        Expect::Any => stream.version,
        Expect::Empty => 0,
        Expect::Version(version) => version,
    };
    if expected != stream.version {
        let text = format!("stream `{name}` is of version {}; expected version {expected}", stream.version);
        return Err(Error::new(ErrorKind::Conflict, text));
    }
    let (version, position) = tx.ours_whole("appending", |db| insert(db, name, stream, events))?;
    tx.effects.push(Effect::Appended(position));
    Ok(version)
}

/// Writes what was found to be in order; answers the last version and position.
fn insert(db: &Connection, name: &str, before: Stream, events: &[NewEvent<'_>]) -> rusqlite::Result<(u64, u64)> {
    let mut after = before;
    for event in events {
        after.grow(event.id.to_bytes());
    }
    let mut stream = before;
    if before.version == 0 {
        let sql = "INSERT INTO catga_stream (name, version, rising, newest) VALUES (?1, ?2, ?3, ?4)";
        db.prepare_cached(sql)?.execute((name, after.version, after.rising, after.newest))?;
        stream.id = db.last_insert_rowid();
    } else {
        let sql = "UPDATE catga_stream SET version = ?2, rising = ?3, newest = ?4 WHERE id = ?1";
        db.prepare_cached(sql)?.execute((before.id, after.version, after.rising, after.newest))?;
    }
    let sql = "INSERT INTO catga_event (stream, version, id, frame) VALUES (?1, ?2, ?3, ?4)";
    let mut event = db.prepare_cached(sql)?;
    let (mut position, mut by_id) = (0, None);
    for NewEvent { id, frame, .. } in events {
        let id = id.to_bytes();
        let apart = stream.grow(id);
        position = event.insert((stream.id, stream.version, id, frame))?;
        if apart {
            let mut insert = match by_id.take() {
                Some(insert) => insert,
                None => db.prepare_cached("INSERT INTO catga_event_id (stream, id, version) VALUES (?1, ?2, ?3)")?,
            };
            insert.execute((stream.id, id, stream.version))?;
            by_id = Some(insert);
        }
    }
    Ok((stream.version, position as u64))
}

/// Refuses what the file does not keep.
fn check(name: &str, events: &[NewEvent<'_>]) -> Result<()> {
    if !(1..=NAME_MAX).contains(&name.len()) {
        let start: String = name.chars().take(40).collect();
        let text = format!("the stream name `{start}…` has {} bytes; 1 to {NAME_MAX}", name.len());
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    events.iter().try_for_each(|event| check_size(event.name, event.frame.len()))?;
    // Ids that rise are all different, which spares most appends the sorting.
    if events.is_sorted_by(|a, b| a.id < b.id) {
        return Ok(());
    }
    let mut ids: Vec<_> = events.iter().map(|event| event.id).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => {
            let text = format!("an append to stream `{name}` has the event {} twice", twice[0]);
            Err(Error::new(ErrorKind::Invalid, text))
        }
        None => Ok(()),
    }
}

fn read(db: &Connection, name: &str, from: u64, most: usize) -> rusqlite::Result<Vec<Recorded>> {
    let sql = "SELECT position, version, frame FROM catga_event
        WHERE stream = (SELECT id FROM catga_stream WHERE name = ?1) AND version >= ?2 ORDER BY version LIMIT ?3";
    let (mut select, stream) = (db.prepare_cached(sql)?, Str::from(name));
    let rows = select.query_map((name, bounded(from), bounded(most as u64)), |row| recorded(row, stream.clone()))?;
    rows.collect()
}

fn recorded(row: &Row<'_>, stream: Str) -> rusqlite::Result<Recorded> {
    Ok(Recorded::new(row.get(0)?, stream, row.get(1)?, Bytes::from(row.get::<_, Vec<u8>>(2)?)))
}

/// As SQLite counts.
fn bounded(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
