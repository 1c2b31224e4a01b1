//! The queue as a transport: publish inserts a row for each registered consumer, a subscription claims them.

use crate::{
    Sqlite,
    error::fault,
    hub::Effect,
    queue::{CLAIM, Plan, Queue, Ready, Retry},
    tx::SqliteTx,
    unit::{check_size, token},
    writer::Alarm,
};
use bytes::Bytes;
use catga_contract::{
    Capabilities, Delivery, Durability, Error, ErrorKind, Order, Outcome, Parcel, Registration, Result, Settle,
    Settler, StoreId, Str, Subject, SubscribeOptions, Subscription, Token, Transport, UnitOfWork,
};
use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// The largest frame, in bytes: 16 MiB.
pub(crate) const MAX_FRAME: usize = 16 * 1024 * 1024;

impl Transport for Sqlite {
    type Subscription = SqliteSubscription;

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none("catga_sqlite", MAX_FRAME);
        capabilities.durable = Durability::Disk;
        capabilities.redelivery = true;
        capabilities.order = Order::Stream;
        capabilities.atomic_batch = true;
        capabilities
    }

    fn shares(&self) -> Option<StoreId> {
        Some(self.inner.id)
    }

    async fn register(&self, consumers: &[Registration]) -> Result<()> {
        self.own().await?;
        let (shared, consumers) = (self.inner.shared.clone(), consumers.to_vec());
        let registered = self.inner.shared.run(move |link| {
            let failed = |error| fault(error, "registering consumers");
            let transaction = link.connection.transaction().map_err(failed)?;
            let mut known = Vec::new();
            for Registration { consumer, subjects, .. } in &consumers {
                let id = register(&transaction, consumer, subjects).map_err(failed)?;
                if id >= 1 << 16 {
                    let text = format!("consumer `{consumer}` would be number {id}; a file holds 65,535");
                    return Err(Error::new(ErrorKind::Invalid, text));
                }
                known.push(id);
            }
            transaction.commit().map_err(failed)?;
            for (Registration { consumer, subjects, .. }, id) in consumers.iter().zip(known) {
                subjects.iter().for_each(|subject| shared.hub.add(id, consumer, Some(subject)));
            }
            Ok(())
        });
        registered.await.map_err(|error| self.about(error))
    }

    async fn publish(&self, parcels: &[Parcel], outcomes: &mut Vec<Outcome>) -> Result<()> {
        self.own().await?;
        let mut answers = Vec::with_capacity(parcels.len());
        let mut tx = self.open_tx().await?;
        for Parcel { subject, frame, .. } in parcels {
            if let Err(error) = check_size(subject, frame.len()) {
                answers.push(Outcome::Refused(error));
                continue;
            }
            let subscribers = self.inner.shared.hub.subscribers(subject);
            if subscribers.is_empty() {
                self.unheard(subject);
            }
            tx.ours("queueing", |db| {
                let mut insert = db.prepare_cached("INSERT INTO catga_queue (consumer, frame) VALUES (?1, ?2)")?;
                subscribers.iter().try_for_each(|queue| insert.execute((queue.id, &frame[..])).map(drop))
            })?;
            for queue in subscribers {
                if !tx.effects.iter().any(|effect| matches!(effect, Effect::Queued(other) if other.id == queue.id)) {
                    tx.effects.push(Effect::Queued(queue));
                }
            }
            answers.push(Outcome::Stored);
        }
        tx.commit().await.map_err(|error| self.about(error))?;
        outcomes.extend(answers);
        Ok(())
    }

    async fn subscribe(&self, options: SubscribeOptions) -> Result<SqliteSubscription> {
        self.own().await?;
        let consumer = &options.consumer;
        let Some(queue) = self.inner.shared.hub.queue(consumer) else {
            let text = format!("consumer `{consumer}` is not registered");
            return Err(self.about(Error::new(ErrorKind::NotFound, text)));
        };
        if !queue.take() {
            let text = format!("consumer `{consumer}` is running in this process already");
            return Err(self.about(Error::new(ErrorKind::Busy, text)));
        }
        let subscription = SqliteSubscription { store: self.clone(), queue };
        let retries = self.read(|db| {
            let sql = "SELECT seq, attempts, due, alone FROM catga_retry WHERE consumer = ?1";
            let mut select = db.prepare(sql)?;
            let rows = select.query_map([subscription.queue.id], |row| {
                let (attempts, due): (u32, i64) = (row.get(1)?, row.get(2)?);
                Ok((row.get(0)?, Retry { attempts, due: due as u64, alone: row.get(3)?, counted: false }))
            })?;
            rows.collect::<rusqlite::Result<BTreeMap<i64, Retry>>>()
        })?;
        subscription.queue.reset(retries);
        Ok(subscription)
    }

    async fn unsettled(&self, consumer: &Str) -> Result<u64> {
        let Some(queue) = self.inner.shared.hub.queue(consumer) else { return Ok(0) };
        self.read(|db| {
            let sql = "SELECT count(*) FROM catga_queue WHERE consumer = ?1";
            db.prepare_cached(sql)?.query_row([queue.id], |row| row.get(0))
        })
    }
}

fn register(db: &rusqlite::Connection, consumer: &str, subjects: &[Subject]) -> rusqlite::Result<i64> {
    db.execute("INSERT OR IGNORE INTO catga_consumer (name) VALUES (?1)", [consumer])?;
    let id = db.query_row("SELECT id FROM catga_consumer WHERE name = ?1", [consumer], |row| row.get(0))?;
    for subject in subjects {
        let sql = "INSERT OR IGNORE INTO catga_subscription (subject, consumer) VALUES (?1, ?2)";
        db.execute(sql, (subject.as_str(), id))?;
    }
    Ok(id)
}

impl Sqlite {
    /// Removes a consumer by its durable name, such as `shop.mail`, with everything that waits for it; answers how many
    /// messages that were. Without this a consumer that is gone from the program keeps collecting messages. Its marks
    /// stay: should it come back, what it handled is not handled again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] where there is none, [`ErrorKind::Busy`] where it is running or another process works on
    /// the file.
    pub async fn remove_consumer(&self, consumer: &str) -> Result<u64> {
        self.own().await?;
        let Some(queue) = self.inner.shared.hub.queue(consumer) else {
            return Err(self.about(Error::new(ErrorKind::NotFound, format!("there is no consumer `{consumer}`"))));
        };
        if !queue.take() {
            let text = format!("consumer `{consumer}` is running; stop it first");
            return Err(self.about(Error::new(ErrorKind::Busy, text)));
        }
        let removed = async {
            let mut tx = self.open_tx().await?;
            let removed = tx.ours("removing a consumer", |db| {
                db.execute("DELETE FROM catga_subscription WHERE consumer = ?1", [queue.id])?;
                db.execute("DELETE FROM catga_retry WHERE consumer = ?1", [queue.id])?;
                db.execute("DELETE FROM catga_queue WHERE consumer = ?1", [queue.id])
            })?;
            tx.effects.push(Effect::Removed(queue.id));
            tx.commit().await.map_err(|error| self.about(error))?;
            Ok(removed as u64)
        };
        let removed = removed.await;
        queue.give_back();
        removed
    }

    /// Counts an event that nobody is registered for, and says so once for each subject.
    fn unheard(&self, subject: &Subject) {
        let mut unheard = self.inner.shared.hub.unheard.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = unheard.entry(subject.clone()).or_default();
        *count += 1;
        if *count == 1 {
            tracing::warn!(%subject, "an event was published that no consumer is registered for; nothing keeps it");
        }
    }
}

/// Claims up to `most` new rows of a queue in this transaction: what is claimed may have been started when this
/// process dies.
pub(crate) fn claim(tx: &mut SqliteTx, queue: Arc<Queue>, most: usize) -> Result<()> {
    let (read, _) = queue.position();
    let rows = tx.ours("claiming deliveries", |db| {
        let sql = "SELECT seq, frame FROM catga_queue WHERE consumer = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
        let rows = frames(&mut *db.prepare_cached(sql)?, (queue.id, read, most as i64))?;
        if let Some((last, _)) = rows.last() {
            let sql = "UPDATE catga_consumer SET started = max(started, ?2) WHERE id = ?1";
            db.prepare_cached(sql)?.execute((queue.id, last))?;
        }
        Ok(rows)
    })?;
    tx.effects.push(Effect::Claimed(queue, rows));
    Ok(())
}

/// Reads rows and frames, all frames into one block that they share.
fn frames(select: &mut rusqlite::Statement<'_>, params: impl rusqlite::Params) -> rusqlite::Result<Vec<(i64, Bytes)>> {
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

/// A consumer's claim on its queue. One at a time reads a queue; what it does not settle comes again with the next.
#[derive(Debug)]
pub struct SqliteSubscription {
    store: Sqlite,
    queue: Arc<Queue>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Queue").field(&self.name).finish()
    }
}

impl Subscription for SqliteSubscription {
    type Settler = SqliteSettler;

    async fn next_batch(&mut self, most: usize, deliveries: &mut Vec<Delivery>) -> Result<()> {
        loop {
            let listener = self.queue.listen();
            let ready = match self.queue.plan(most.max(1)) {
                Plan::Take(ready) => ready,
                Plan::Again(rows) => self.again(&rows)?,
                Plan::Alone(seq) => {
                    let mut tx = self.store.open_tx().await?;
                    count(&mut tx, &self.queue, seq)?;
                    tx.commit().await.map_err(|error| self.store.about(error))?;
                    continue;
                }
                Plan::Claim => {
                    let mut tx = self.store.open_tx().await?;
                    claim(&mut tx, self.queue.clone(), CLAIM)?;
                    tx.commit().await.map_err(|error| self.store.about(error))?;
                    continue;
                }
                Plan::Wait(due) => {
                    if let Some(due) = due {
                        self.store.inner.shared.set_alarm(Alarm::Queue(self.queue.id), due);
                    }
                    listener.await;
                    continue;
                }
            };
            if !ready.is_empty() {
                let delivery =
                    |Ready { seq, frame, started, .. }| Delivery::new(token(self.queue.id, seq), frame, started);
                deliveries.extend(ready.into_iter().map(delivery));
                return Ok(());
            }
        }
    }

    fn settler(&self) -> SqliteSettler {
        SqliteSettler(self.store.clone())
    }
}

impl SqliteSubscription {
    /// Reads deliveries that are due again.
    fn again(&self, rows: &[i64]) -> Result<Vec<Ready>> {
        let found = self.store.read(|db| {
            let mut select = db.prepare_cached("SELECT seq, frame FROM catga_queue WHERE seq = ?1")?;
            let mut found = Vec::with_capacity(rows.len());
            for seq in rows {
                found.extend(frames(&mut select, [*seq])?);
            }
            Ok(found)
        })?;
        Ok(self.queue.hand_out(rows, found))
    }
}

/// Counts a try before it starts: what was started when a process died may be what killed it.
pub(crate) fn count(tx: &mut SqliteTx, queue: &Arc<Queue>, seq: i64) -> Result<()> {
    let frame = tx.ours("counting a try", |db| {
        let sql = "UPDATE catga_retry SET attempts = attempts + 1 WHERE seq = ?1";
        db.prepare_cached(sql)?.execute([seq])?;
        let sql = "UPDATE catga_consumer SET started = max(started, ?2) WHERE id = ?1";
        db.prepare_cached(sql)?.execute((queue.id, seq))?;
        frames(&mut *db.prepare_cached("SELECT seq, frame FROM catga_queue WHERE seq = ?1")?, [seq])
    })?;
    tx.effects.push(match frame.into_iter().next() {
        Some((_, frame)) => Effect::Counted(queue.clone(), seq, frame),
        None => Effect::Settled(queue.clone(), seq, None),
    });
    Ok(())
}

impl Drop for SqliteSubscription {
    fn drop(&mut self) {
        self.queue.give_back();
    }
}

/// Settles deliveries of a queue in transactions of its own.
#[derive(Clone, Debug)]
pub struct SqliteSettler(Sqlite);

impl Settler for SqliteSettler {
    async fn settle(&self, answers: &[(Token, Settle)]) -> Result<()> {
        let mut tx = self.0.open_tx().await?;
        self.0.settle(&mut tx, answers).await?;
        self.0.commit(tx).await
    }
}
