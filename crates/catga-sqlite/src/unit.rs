//! The unit of work: what a delivery commits together.

use crate::{
    claims,
    hub::Effect,
    open::Sqlite,
    queue::{Queue, Retry, now, since_1970},
    transport::MAX_FRAME,
    tx::SqliteTx,
};
use bytes::Bytes;
use catga_contract::{
    __private::refuse_if_held, BoxTransport, Entry, Error, ErrorKind, Fault, InboxKey, NewLetter, Outgoing, Result,
    Savepoint, Settle, StoreId, Token, UnitOfWork, partition,
};
use rusqlite::OptionalExtension;
use std::{sync::Arc, time::Duration};

impl Sqlite {
    /// A turn to write, as a transaction.
    pub(crate) async fn open_tx(&self) -> Result<SqliteTx> {
        refuse_if_held(self.inner.id)?;
        let turn = self.inner.shared.turn().await.map_err(|error| self.about(error))?;
        Ok(SqliteTx::new(turn, self.sabotaged(Fault::NoAutocommitCheck)))
    }

    /// Refuses a transaction that another store lent, or that this one lent earlier.
    fn check(&self, tx: &SqliteTx) -> Result<()> {
        if tx.turn().is_current(&self.inner.shared) {
            return Ok(());
        }
        let text = "this is not the transaction that the store lent last: a `Tx` was swapped for another one";
        Err(self.about(Error::new(ErrorKind::Handler, text)))
    }

    /// The number of a consumer; made where it has none, by this transaction.
    fn consumer(&self, tx: &mut SqliteTx, name: &str) -> Result<i64> {
        let name = if self.sabotaged(Fault::MarkWithoutConsumer) { "everybody" } else { name };
        if let Some(id) = self.inner.shared.hub.consumer(name) {
            return Ok(id);
        }
        let id = tx.ours("naming a consumer", |db| {
            db.prepare_cached("INSERT OR IGNORE INTO catga_consumer (name) VALUES (?1)")?.execute([name])?;
            db.prepare_cached("SELECT id FROM catga_consumer WHERE name = ?1")?.query_row([name], |row| row.get(0))
        })?;
        tx.effects.push(Effect::Named(name.into(), id));
        Ok(id)
    }

    /// Claims the next deliveries for the queues that this transaction settles, or counts the next lonely try, so that
    /// a busy consumer needs one commit for a batch instead of two.
    fn claim_next(tx: &mut SqliteTx) -> Result<()> {
        let mut queues: Vec<(Arc<Queue>, Vec<(i64, bool)>)> = Vec::new();
        for effect in &tx.effects {
            let Effect::Settled(queue, seq, again) = effect else { continue };
            let settled = (*seq, again.is_none());
            match queues.iter_mut().find(|(other, _)| other.id == queue.id) {
                Some((_, rows)) => rows.push(settled),
                None => queues.push((queue.clone(), vec![settled])),
            }
        }
        for (queue, settled) in queues {
            match queue.next_alone() {
                Some(seq) => claims::count(tx, &queue, seq)?,
                None => {
                    claims::advance(tx, &queue, &queue.freed(&settled))?;
                    if queue.position().1 {
                        claims::claim(tx, &queue)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl UnitOfWork for Sqlite {
    type Tx = SqliteTx;

    fn id(&self) -> StoreId {
        self.inner.id
    }

    async fn begin(&self) -> Result<SqliteTx> {
        self.open_tx().await
    }

    async fn savepoint(&self, tx: &mut SqliteTx) -> Result<Savepoint> {
        self.check(tx)?;
        tx.savepoint()
    }

    async fn release(&self, tx: &mut SqliteTx, savepoint: Savepoint, keep: bool) -> Result<()> {
        self.check(tx)?;
        let keep = keep || savepoint.0 > 0 && self.sabotaged(Fault::OneSavepoint);
        tx.release(savepoint, keep)
    }

    async fn enter(&self, tx: &mut SqliteTx, key: InboxKey<'_>) -> Result<Entry> {
        let consumer = self.consumer(tx, key.consumer)?;
        tx.ours("marking a message", |db| {
            let sql = "INSERT OR IGNORE INTO catga_inbox (consumer, id, at) VALUES (?1, ?2, ?3)";
            if db.prepare_cached(sql)?.execute((consumer, key.key, now() as i64))? > 0 {
                return Ok(Entry::New);
            }
            let sql = "SELECT answer FROM catga_inbox WHERE consumer = ?1 AND id = ?2";
            let answer = db.prepare_cached(sql)?.query_row((consumer, key.key), |row| row.get::<_, Option<Vec<u8>>>(0));
            Ok(Entry::Done(Bytes::from(answer.optional()?.flatten().unwrap_or_default())))
        })
    }

    async fn finish(&self, tx: &mut SqliteTx, key: InboxKey<'_>, answer: &[u8]) -> Result<()> {
        if answer.is_empty() {
            return Ok(());
        }
        let consumer = self.consumer(tx, key.consumer)?;
        tx.ours("keeping an answer", |db| {
            let sql = "UPDATE catga_inbox SET answer = ?3 WHERE consumer = ?1 AND id = ?2";
            db.prepare_cached(sql)?.execute((consumer, key.key, answer)).map(drop)
        })
    }

    async fn put(&self, tx: &mut SqliteTx, messages: &[Outgoing<'_>]) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        for message in messages {
            check_size(message.subject, message.frame.len())?;
        }
        let now = now();
        tx.ours("writing to the outbox", |db| {
            let sql = "INSERT INTO catga_outbox (partition, id, subject, frame, key) VALUES (?1, ?2, ?3, ?4, ?5)";
            let mut insert = db.prepare_cached(sql)?;
            for Outgoing { id, subject, frame, key, due } in messages {
                let (partition, digest) = (partition(*key, *id), key.map(|key| key.digest() as i64));
                let row = (partition, id.to_bytes(), subject.as_str(), frame, digest);
                match due.map(since_1970).filter(|due| *due > now) {
                    None => insert.execute(row)?,
                    Some(due) => {
                        let sql = "INSERT INTO catga_later (consumer, partition, id, subject, frame, key, due)
                            VALUES (0, ?1, ?2, ?3, ?4, ?5, ?6)";
                        db.prepare_cached(sql)?.execute((row.0, row.1, row.2, row.3, row.4, due as i64))?
                    }
                };
            }
            Ok(())
        })?;
        tx.effects.push(Effect::Outbox);
        Ok(())
    }

    async fn settle(&self, tx: &mut SqliteTx, answers: &[(Token, Settle)]) -> Result<()> {
        self.check(tx)?;
        for (token, answer) in answers {
            let (consumer, seq) = split(*token);
            let Some(queue) = self.inner.shared.hub.queue_by_id(consumer) else {
                let text = format!("no delivery has the token {token:?}: it is of another transport");
                return Err(self.about(Error::new(ErrorKind::Invalid, text)));
            };
            let before = queue.retry(seq);
            let again = match answer {
                Settle::Done | Settle::Bury => None,
                Settle::Again { pause, counts } => {
                    let pause = if self.sabotaged(Fault::NoPause) { Duration::ZERO } else { *pause };
                    Some(queue.again(seq, pause, *counts || self.sabotaged(Fault::EveryTryCounts)))
                }
            };
            tx.ours("settling", |db| match again {
                None => {
                    db.prepare_cached("DELETE FROM catga_queue WHERE seq = ?1")?.execute([seq])?;
                    if before.is_some() {
                        db.prepare_cached("DELETE FROM catga_retry WHERE seq = ?1")?.execute([seq])?;
                    }
                    Ok(())
                }
                Some(Retry { attempts, due, first, .. }) => {
                    let sql = "INSERT INTO catga_retry (seq, consumer, attempts, due, alone, first)
                        VALUES (?1, ?2, ?3, ?4, 0, ?5)
                        ON CONFLICT (seq) DO UPDATE SET
                            attempts = excluded.attempts, due = excluded.due, alone = 0, first = excluded.first";
                    db.prepare_cached(sql)?.execute((seq, consumer, attempts, due as i64, first as i64)).map(drop)
                }
            })?;
            tx.effects.push(Effect::Settled(queue, seq, again));
        }
        Ok(())
    }

    async fn bury(&self, tx: &mut SqliteTx, letter: &NewLetter<'_>) -> Result<()> {
        self.insert_letter(tx, letter).map(drop)
    }

    async fn commit(&self, mut tx: SqliteTx) -> Result<()> {
        self.check(&tx)?;
        if tx.turn().lost.is_none() {
            Self::claim_next(&mut tx)?;
            self.sweep(&mut tx)?;
        }
        tx.commit().await.map_err(|error| self.about(error))
    }

    fn revoke(&self) {
        self.inner.shared.revoke();
    }

    async fn attach(&self) -> Result<()> {
        self.own().await
    }

    async fn keep_description(&self, application: &str, text: &str) -> Result<()> {
        let mut tx = self.open_tx().await?;
        tx.ours("keeping a description", |db| {
            let sql = "INSERT INTO catga_application (name, description, at) VALUES (?1, ?2, ?3)
                ON CONFLICT (name) DO UPDATE SET description = excluded.description, at = excluded.at";
            db.execute(sql, (application, text, now() as i64)).map(drop)
        })?;
        self.commit(tx).await
    }

    fn queue(&self) -> Option<BoxTransport> {
        Some(BoxTransport::new(self.clone()))
    }
}

/// Refuses a message that the file would keep and no one could carry.
pub(crate) fn check_size(subject: &str, size: usize) -> Result<()> {
    if size <= MAX_FRAME {
        return Ok(());
    }
    let text = format!("a message of {size} bytes for `{subject}`; this store keeps at most {MAX_FRAME}");
    Err(Error::new(ErrorKind::Invalid, text))
}

const SEQ_BITS: u32 = 48;

/// The token of a delivery: the consumer's number in the upper 16 bits, the row's in the lower 48.
pub(crate) fn token(consumer: i64, seq: i64) -> Token {
    Token(((consumer as u64) << SEQ_BITS) | (seq as u64 & ((1 << SEQ_BITS) - 1)))
}

fn split(token: Token) -> (i64, i64) {
    // The row's number has a sign: replayed messages have negative ones.
    let unused = u64::BITS - SEQ_BITS;
    ((token.0 >> SEQ_BITS) as i64, ((token.0 << unused) as i64) >> unused)
}
