//! What a subscription reads and claims: each in a transaction, and true in memory with its commit.

use crate::{
    hub::Effect,
    lines::State,
    queue::{CLAIM, Claimed, Queue, Ready, Retry, SCAN, now},
    tx::SqliteTx,
};
use bytes::Bytes;
use catga_contract::Result;
use rusqlite::{Connection, OptionalExtension, Row, Statement};
use std::{collections::HashSet, ops::Range, sync::Arc};

/// Reads what the file says of a queue, for a subscription that begins.
pub(crate) fn load(tx: &mut SqliteTx, queue: &Arc<Queue>) -> Result<()> {
    let state = tx.ours("reading a queue", |db| {
        if !queue.parks() {
            // Who does not wait for letters any more must not be thought to have waited.
            let sql = "UPDATE catga_letter SET parks = NULL WHERE consumer = ?1 AND parks IS NOT NULL";
            db.execute(sql, [queue.name.as_str()])?;
        }
        let sql = "SELECT seq, attempts, due, alone, first, key FROM catga_retry JOIN catga_queue USING (seq)
            WHERE catga_retry.consumer = ?1 ORDER BY seq";
        let retries = db.prepare(sql)?.query_map([queue.id], retry)?.collect::<rusqlite::Result<_>>()?;
        Ok(State::new(retries, parked(db, queue)?, next_due(db, queue)?))
    })?;
    tx.effects.push(Effect::Loaded(queue.clone(), state));
    Ok(())
}

/// Reads what another process may have done with letters.
pub(crate) fn look(tx: &mut SqliteTx, queue: &Arc<Queue>) -> Result<()> {
    let (parked, replayed) = tx.ours("looking for replayed letters", |db| {
        // Replayed messages are those before all others.
        let sql = "SELECT seq, attempts, due, alone, first, key FROM catga_retry JOIN catga_queue USING (seq)
            WHERE seq < 0 AND catga_retry.consumer = ?1 ORDER BY seq";
        let replayed = db.prepare_cached(sql)?.query_map([queue.id], retry)?.collect::<rusqlite::Result<_>>()?;
        Ok((parked(db, queue)?, replayed))
    })?;
    tx.effects.push(Effect::Looked(queue.clone(), parked, replayed));
    Ok(())
}

fn retry(row: &Row<'_>) -> rusqlite::Result<(i64, Retry)> {
    let (due, first): (i64, i64) = (row.get(2)?, row.get(4)?);
    let key = row.get::<_, Option<i64>>(5)?.map(|key| key as u64);
    let (attempts, alone) = (row.get(1)?, row.get(3)?);
    Ok((row.get(0)?, Retry { attempts, due: due as u64, alone, counted: false, first: first as u64, key }))
}

/// The keys whose messages wait for a letter.
fn parked(db: &Connection, queue: &Queue) -> rusqlite::Result<HashSet<u64>> {
    if !queue.parks() {
        return Ok(HashSet::new());
    }
    let sql = "SELECT parks FROM catga_letter WHERE consumer = ?1 AND parks IS NOT NULL";
    let mut select = db.prepare_cached(sql)?;
    select.query_map([queue.name.as_str()], |row| row.get::<_, i64>(0).map(|key| key as u64))?.collect()
}

/// When the next message is due that was published for later.
fn next_due(db: &Connection, queue: &Queue) -> rusqlite::Result<Option<u64>> {
    let sql = "SELECT due FROM catga_later WHERE consumer = ?1 ORDER BY due LIMIT 1";
    let due = db.prepare_cached(sql)?.query_row([queue.id], |row| row.get::<_, i64>(0)).optional()?;
    Ok(due.map(|due| due as u64))
}

/// Moves messages that are due into their queue, where they take their place behind those that are there.
pub(crate) fn promote(tx: &mut SqliteTx, queue: &Arc<Queue>) -> Result<()> {
    let next = tx.ours("queueing what is due", |db| {
        let sql = "SELECT seq FROM catga_later WHERE consumer = ?1 AND due <= ?2 ORDER BY due, seq LIMIT ?3";
        let mut select = db.prepare_cached(sql)?;
        let due: Vec<i64> = select
            .query_map((queue.id, now() as i64, CLAIM as i64), |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for seq in due {
            let sql = "INSERT INTO catga_queue (consumer, frame, key)
                SELECT consumer, frame, key FROM catga_later WHERE seq = ?1";
            db.prepare_cached(sql)?.execute([seq])?;
            db.prepare_cached("DELETE FROM catga_later WHERE seq = ?1")?.execute([seq])?;
        }
        next_due(db, queue)
    })?;
    tx.effects.push(Effect::Promoted(queue.clone(), next));
    Ok(())
}

/// Claims the next new rows of a queue in this transaction, and passes over those whose key is held up: what is claimed
/// may have been started when this process dies.
pub(crate) fn claim(tx: &mut SqliteTx, queue: &Arc<Queue>) -> Result<()> {
    let (read, _) = queue.position();
    let (rows, read, more) = tx.ours("claiming deliveries", |db| {
        let sql = "SELECT seq, key, frame FROM catga_queue WHERE consumer = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
        let mut select = db.prepare_cached(sql)?;
        let mut rows = select.query((queue.id, read, SCAN as i64))?;
        let (mut block, mut found, mut last) = (Vec::new(), Vec::<(i64, Option<u64>, Option<Range<usize>>)>::new(), 0);
        let (mut taken, mut looked) = (0, 0);
        while taken < CLAIM
            && let Some(row) = rows.next()?
        {
            let (seq, key): (i64, Option<i64>) = (row.get(0)?, row.get(1)?);
            let key = key.map(|key| key as u64);
            looked += 1;
            let frame = match key {
                Some(key) if queue.is_blocked(key) => None,
                _ => {
                    let start = block.len();
                    block.extend_from_slice(row.get_ref(2)?.as_blob()?);
                    (taken, last) = (taken + 1, seq);
                    Some(start..block.len())
                }
            };
            found.push((seq, key, frame));
        }
        if taken > 0 {
            started(db, queue, last)?;
        }
        let (block, more) = (Bytes::from(block), taken == CLAIM || looked == SCAN);
        let read = found.last().map_or(read, |(seq, ..)| *seq);
        let claimed = |(seq, key, range): (i64, Option<u64>, Option<Range<usize>>)| Claimed {
            seq,
            key,
            frame: range.map(|range| block.slice(range)),
        };
        Ok((found.into_iter().map(claimed).collect(), read, more))
    })?;
    tx.effects.push(Effect::Claimed(queue.clone(), rows, read, more));
    Ok(())
}

/// Notes that rows up to this one may have been started.
fn started(db: &Connection, queue: &Queue, last: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE catga_consumer SET started = max(started, ?2) WHERE id = ?1";
    db.prepare_cached(sql)?.execute((queue.id, last)).map(drop)
}

/// Claims what lies behind of these keys, up to one batch of all together. Each gets its row in `catga_retry`, which
/// says that those behind it were not started.
pub(crate) fn advance(tx: &mut SqliteTx, queue: &Arc<Queue>, keys: &[u64]) -> Result<()> {
    let mut room = CLAIM;
    for key in keys {
        if room == 0 {
            break;
        }
        let (rows, more) = tx.ours("claiming what waited", |db| advance_key(db, queue, *key, room))?;
        room = room.saturating_sub(rows.len().max(1));
        tx.effects.push(Effect::Advanced(queue.clone(), *key, rows, more));
    }
    Ok(())
}

fn advance_key(db: &Connection, queue: &Queue, key: u64, room: usize) -> rusqlite::Result<(Vec<(Retry, Ready)>, bool)> {
    let (read, _) = queue.position();
    let sql = "SELECT queue.seq, retry.attempts, retry.due, retry.alone, retry.first, queue.frame
        FROM catga_queue AS queue LEFT JOIN catga_retry AS retry ON retry.seq = queue.seq
        WHERE queue.consumer = ?1 AND queue.key = ?2 AND (queue.seq <= ?3 OR retry.seq IS NOT NULL)
        ORDER BY queue.seq LIMIT ?4";
    let mut select = db.prepare_cached(sql)?;
    let mut rows = select.query((queue.id, key as i64, read, room as i64 + 1))?;
    let (mut found, now): (Vec<(Retry, Ready)>, u64) = (Vec::new(), now());
    let (mut last, mut more) = (0, false);
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        let attempts: Option<u32> = row.get(1)?;
        let retry = match attempts {
            None => Retry { attempts: 0, due: 0, alone: false, counted: false, first: 0, key: Some(key) },
            Some(attempts) => {
                let (due, first): (i64, i64) = (row.get(2)?, row.get(4)?);
                let (due, first) = (due as u64, first as u64);
                Retry { attempts, due, alone: row.get(3)?, counted: false, first, key: Some(key) }
            }
        };
        let waits = retry.due > now || retry.alone;
        if found.len() == room || (waits && !found.is_empty()) {
            more = true;
            break;
        }
        if attempts.is_none() {
            let sql = "INSERT INTO catga_retry (seq, consumer, attempts, due, alone) VALUES (?1, ?2, 0, 0, 0)";
            db.prepare_cached(sql)?.execute((seq, queue.id))?;
        }
        found.push((retry, retry.ready(seq, Bytes::copy_from_slice(row.get_ref(5)?.as_blob()?))));
        last = seq;
        if waits {
            more = true;
            break;
        }
    }
    if !found.is_empty() {
        started(db, queue, last)?;
    }
    Ok((found, more))
}

/// Counts a try before it starts: what was started when a process died may be what killed it.
pub(crate) fn count(tx: &mut SqliteTx, queue: &Arc<Queue>, seq: i64) -> Result<()> {
    let frame = tx.ours("counting a try", |db| {
        let sql = "UPDATE catga_retry SET attempts = attempts + 1, first = iif(first = 0, ?2, first) WHERE seq = ?1";
        db.prepare_cached(sql)?.execute((seq, now() as i64))?;
        started(db, queue, seq)?;
        frames(&mut *db.prepare_cached("SELECT seq, frame FROM catga_queue WHERE seq = ?1")?, [seq])
    })?;
    tx.effects.push(match frame.into_iter().next() {
        Some((_, frame)) => Effect::Counted(queue.clone(), seq, frame),
        None => Effect::Settled(queue.clone(), seq, None),
    });
    Ok(())
}

/// Reads rows and frames, all frames into one block that they share.
pub(crate) fn frames(select: &mut Statement<'_>, params: impl rusqlite::Params) -> rusqlite::Result<Vec<(i64, Bytes)>> {
    let mut block = Vec::new();
    let mut found: Vec<(i64, Range<usize>)> = Vec::new();
    let mut rows = select.query(params)?;
    while let Some(row) = rows.next()? {
        let start = block.len();
        block.extend_from_slice(row.get_ref(1)?.as_blob()?);
        found.push((row.get(0)?, start..block.len()));
    }
    let block = Bytes::from(block);
    Ok(found.into_iter().map(|(seq, range)| (seq, block.slice(range))).collect())
}
