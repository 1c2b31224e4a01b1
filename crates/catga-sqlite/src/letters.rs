//! Dead letters: what consumers could not handle, for a human to look at, to replay, or to discard.

use crate::{
    Sqlite,
    hub::Effect,
    queue::{Retry, since_1970},
    tx::SqliteTx,
};
use bytes::Bytes;
use catga_contract::{DeadLetters, Envelope, Error, ErrorKind, Fault, Key, Letter, LetterId, NewLetter, Result};
use rusqlite::{OptionalExtension, Row};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Below the numbers of replayed messages: they come before all others of their key, in the order of their letters.
const REPLAYED: i64 = -(1 << 46);

impl DeadLetters for Sqlite {
    async fn bury(&self, letter: &NewLetter<'_>) -> Result<LetterId> {
        let mut tx = self.open_tx().await?;
        let id = self.insert_letter(&mut tx, letter)?;
        tx.commit().await.map_err(|error| self.about(error))?;
        Ok(id)
    }

    async fn list(&self, after: LetterId, most: usize) -> Result<Vec<Letter>> {
        self.read(|db| {
            let sql = "SELECT id, consumer, handler, frame, reason, attempts, node, first, last, parks
                FROM catga_letter
                WHERE id > ?1 ORDER BY id LIMIT ?2";
            let mut select = db.prepare_cached(sql)?;
            select.query_map((after.0, most), letter)?.collect()
        })
    }

    async fn replay(&self, id: LetterId) -> Result<bool> {
        let mut tx = self.open_tx().await?;
        let found = tx.ours("reading a letter", |db| {
            let sql = "SELECT letter.consumer, letter.frame, letter.parks, named.id, EXISTS (
                    SELECT 1 FROM catga_subscription WHERE catga_subscription.consumer = named.id)
                FROM catga_letter AS letter LEFT JOIN catga_consumer AS named ON named.name = letter.consumer
                WHERE letter.id = ?1";
            let row = |row: &Row<'_>| {
                let (name, frame, parks): (String, Vec<u8>, Option<i64>) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok((name, frame, parks, row.get::<_, Option<i64>>(3)?, row.get::<_, bool>(4)?))
            };
            db.prepare_cached(sql)?.query_row([id.0], row).optional()
        })?;
        let Some((name, frame, parks, consumer, takes)) = found else { return Ok(false) };
        let Some(consumer) = consumer.filter(|_| takes) else {
            let text = format!("letter {} is of consumer `{name}`, which takes nothing any more", id.0);
            return Err(self.about(Error::new(ErrorKind::NotFound, text)));
        };
        let frame = Bytes::from(frame);
        // What cannot be read has no mark, and no key.
        let envelope = Envelope::decode(&frame).ok();
        let key = envelope.as_ref().and_then(|envelope| envelope.key.as_ref()).map(Key::digest);
        let key = parks.map(|key| key as u64).or(key);
        let seq = REPLAYED + id.0 as i64;
        tx.ours("replaying a letter", |db| {
            if let Some(envelope) = envelope {
                let mark = (consumer, envelope.id.to_bytes());
                db.execute("DELETE FROM catga_inbox WHERE consumer = ?1 AND id = ?2", mark)?;
            }
            let sql = "INSERT INTO catga_queue (seq, consumer, frame, key) VALUES (?1, ?2, ?3, ?4)";
            db.execute(sql, (seq, consumer, &frame[..], key.map(|key| key as i64)))?;
            // Claims pass it by, since its number is lower than all: it comes as one that was tried.
            let sql = "INSERT INTO catga_retry (seq, consumer, attempts, due, alone) VALUES (?1, ?2, 0, 0, 0)";
            db.execute(sql, (seq, consumer))?;
            if self.sabotaged(Fault::ReplayToAll) {
                let sql = "INSERT INTO catga_queue (consumer, frame) SELECT id, ?2 FROM catga_consumer WHERE id <> ?1";
                db.execute(sql, (consumer, &frame[..]))?;
            }
            db.execute("DELETE FROM catga_letter WHERE id = ?1", [id.0])
        })?;
        self.unpark(&mut tx, &name, parks)?;
        if let Some(queue) = self.inner.shared.hub.queue_by_id(consumer) {
            let retry = Retry { attempts: 0, due: 0, alone: false, counted: false, first: 0, key };
            tx.effects.push(Effect::Replayed(queue, seq, retry));
        }
        tx.commit().await.map_err(|error| self.about(error))?;
        Ok(true)
    }

    async fn remove(&self, id: LetterId) -> Result<bool> {
        let mut tx = self.open_tx().await?;
        let removed = tx.ours("removing a letter", |db| {
            let sql = "DELETE FROM catga_letter WHERE id = ?1 RETURNING consumer, parks";
            let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?));
            db.prepare_cached(sql)?.query_row([id.0], row).optional()
        })?;
        if let Some((consumer, parks)) = &removed {
            self.unpark(&mut tx, consumer, *parks)?;
        }
        tx.commit().await.map_err(|error| self.about(error))?;
        Ok(removed.is_some())
    }
}

impl Sqlite {
    /// How many messages wait for that letter: 0 where it [parks](Letter::parks) none.
    ///
    /// # Errors
    ///
    /// What SQLite answers.
    pub fn parked(&self, letter: &Letter) -> Result<u64> {
        let Some(key) = letter.parks else { return Ok(0) };
        self.read(|db| {
            let sql = "SELECT count(*) FROM catga_consumer JOIN catga_queue ON catga_queue.consumer = catga_consumer.id
                WHERE name = ?1 AND key = ?2 AND seq >= 0";
            db.prepare_cached(sql)?.query_row((letter.consumer.as_str(), key as i64), |row| row.get(0))
        })
    }

    /// Keeps a letter in a transaction.
    pub(crate) fn insert_letter(&self, tx: &mut SqliteTx, letter: &NewLetter<'_>) -> Result<LetterId> {
        let (first, last) = (since_1970(letter.first) as i64, since_1970(letter.last) as i64);
        let id = tx.ours("burying", |db| {
            let sql = "INSERT INTO catga_letter (consumer, handler, frame, reason, attempts, node, first, last, parks)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            let NewLetter { consumer, handler, frame, reason, attempts, node, .. } = letter;
            let parks = letter.parks.map(|key| key as i64);
            let values = (consumer, handler, frame, reason, attempts, node, first, last, parks);
            db.prepare_cached(sql)?.execute(values)?;
            Ok(db.last_insert_rowid())
        })?;
        if let (Some(key), Some(queue)) = (letter.parks, self.inner.shared.hub.queue(letter.consumer)) {
            tx.effects.push(Effect::Parked(queue, key));
        }
        Ok(LetterId(id as u64))
    }

    /// Lets messages go on that waited for a letter, unless another one keeps them.
    fn unpark(&self, tx: &mut SqliteTx, consumer: &str, parks: Option<i64>) -> Result<()> {
        let (Some(key), Some(queue)) = (parks, self.inner.shared.hub.queue(consumer)) else { return Ok(()) };
        let others = tx.ours("looking for letters", |db| {
            let sql = "SELECT EXISTS (SELECT 1 FROM catga_letter WHERE consumer = ?1 AND parks = ?2)";
            db.prepare_cached(sql)?.query_row((consumer, key), |row| row.get::<_, bool>(0))
        })?;
        if !others {
            tx.effects.push(Effect::Unparked(queue, key as u64));
        }
        Ok(())
    }
}

fn letter(row: &Row<'_>) -> rusqlite::Result<Letter> {
    let text = |index| -> rusqlite::Result<String> { row.get(index) };
    let time = |index| -> rusqlite::Result<SystemTime> {
        let micros: i64 = row.get(index)?;
        Ok(UNIX_EPOCH + Duration::from_micros(micros.unsigned_abs()))
    };
    Ok(Letter {
        id: LetterId(row.get(0)?),
        consumer: text(1)?.into(),
        handler: text(2)?.into(),
        frame: Bytes::from(row.get::<_, Vec<u8>>(3)?),
        reason: text(4)?,
        attempts: row.get(5)?,
        node: text(6)?.into(),
        first: time(7)?,
        last: time(8)?,
        parks: row.get::<_, Option<i64>>(9)?.map(|key| key as u64),
    })
}
