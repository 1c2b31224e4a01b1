//! Dead letters: what consumers could not handle, for a human to look at, to replay, or to discard.

use crate::{Sqlite, hub::Effect, queue::micros, tx::SqliteTx};
use bytes::Bytes;
use catga_contract::{DeadLetters, Envelope, Error, ErrorKind, Letter, LetterId, NewLetter, Result};
use rusqlite::{OptionalExtension, Row};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

impl DeadLetters for Sqlite {
    async fn bury(&self, letter: &NewLetter<'_>) -> Result<LetterId> {
        let mut tx = self.open_tx().await?;
        let id = insert(&mut tx, letter)?;
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
            let sql = "SELECT letter.consumer, letter.frame, named.id, EXISTS (
                    SELECT 1 FROM catga_subscription WHERE catga_subscription.consumer = named.id)
                FROM catga_letter AS letter LEFT JOIN catga_consumer AS named ON named.name = letter.consumer
                WHERE letter.id = ?1";
            let row = |row: &Row<'_>| {
                let (name, frame): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
                Ok((name, frame, row.get::<_, Option<i64>>(2)?, row.get::<_, bool>(3)?))
            };
            db.prepare_cached(sql)?.query_row([id.0], row).optional()
        })?;
        let Some((name, frame, consumer, takes)) = found else { return Ok(false) };
        let Some(consumer) = consumer.filter(|_| takes) else {
            let text = format!("letter {} is of consumer `{name}`, which takes nothing any more", id.0);
            return Err(self.about(Error::new(ErrorKind::NotFound, text)));
        };
        let frame = Bytes::from(frame);
        // What cannot be read has no mark.
        let message = Envelope::decode(&frame).ok().map(|envelope| envelope.id.to_bytes());
        tx.ours("replaying a letter", |db| {
            if let Some(message) = message {
                db.execute("DELETE FROM catga_inbox WHERE consumer = ?1 AND id = ?2", (consumer, message))?;
            }
            db.execute("INSERT INTO catga_queue (consumer, frame) VALUES (?1, ?2)", (consumer, &frame[..]))?;
            db.execute("DELETE FROM catga_letter WHERE id = ?1", [id.0])
        })?;
        if let Some(queue) = self.inner.shared.hub.queue_by_id(consumer) {
            tx.effects.push(Effect::Queued(queue));
        }
        tx.commit().await.map_err(|error| self.about(error))?;
        Ok(true)
    }

    async fn remove(&self, id: LetterId) -> Result<bool> {
        let mut tx = self.open_tx().await?;
        let removed = tx.ours("removing a letter", |db| {
            db.prepare_cached("DELETE FROM catga_letter WHERE id = ?1")?.execute([id.0])
        })?;
        tx.commit().await.map_err(|error| self.about(error))?;
        Ok(removed > 0)
    }
}

/// Keeps a letter in a transaction.
pub(crate) fn insert(tx: &mut SqliteTx, letter: &NewLetter<'_>) -> Result<LetterId> {
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, micros) as i64;
    let (first, last) = (since(letter.first), since(letter.last));
    let id = tx.ours("burying", |db| {
        let sql = "INSERT INTO catga_letter (consumer, handler, frame, reason, attempts, node, first, last, parks)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let NewLetter { consumer, handler, frame, reason, attempts, node, .. } = letter;
        let parks = letter.parks.map(|key| key as i64);
        let values = (consumer, handler, frame, reason, attempts, node, first, last, parks);
        db.prepare_cached(sql)?.execute(values)?;
        Ok(db.last_insert_rowid())
    })?;
    Ok(LetterId(id as u64))
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
