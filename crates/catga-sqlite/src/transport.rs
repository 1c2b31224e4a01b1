//! The queue as a transport: publish inserts a row for each registered consumer, a subscription claims them.

use crate::{
    Sqlite, claims,
    error::fault,
    hub::Effect,
    queue::{Plan, Queue, Ready, now, since_1970},
    tx::SqliteTx,
    unit::{check_size, token},
    writer::Alarm,
};
use catga_contract::{
    Capabilities, Delivery, Durability, Error, ErrorKind, Order, Outcome, Parcel, Registration, Result, Settle,
    Settler, StoreId, Str, Subject, SubscribeOptions, Subscription, Token, Transport, UnitOfWork,
};
use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

/// The largest frame, in bytes: 16 MiB.
pub(crate) const MAX_FRAME: usize = 16 * 1024 * 1024;

impl Transport for Sqlite {
    type Subscription = SqliteSubscription;

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none("catga_sqlite", MAX_FRAME);
        capabilities.durable = Durability::Disk;
        capabilities.redelivery = true;
        capabilities.order = Order::Key;
        capabilities.atomic_batch = true;
        capabilities.delay = true;
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
                shared.hub.queue_by_id(id).into_iter().for_each(|queue| queue.registered());
            }
            Ok(())
        });
        registered.await.map_err(|error| self.about(error))
    }

    async fn publish(&self, parcels: &[Parcel], outcomes: &mut Vec<Outcome>) -> Result<()> {
        self.own().await?;
        let mut answers = Vec::with_capacity(parcels.len());
        let mut tx = self.open_tx().await?;
        for parcel in parcels {
            answers.push(match self.queue_up(&mut tx, parcel) {
                Ok(()) => Outcome::Stored,
                Err(error) if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::NotFound) => {
                    Outcome::Refused(error)
                }
                Err(error) => return Err(error),
            });
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
        let queue = &subscription.queue;
        queue.set_parks(options.park);
        let mut tx = self.open_tx().await?;
        claims::load(&mut tx, queue)?;
        tx.commit().await.map_err(|error| self.about(error))?;
        Ok(subscription)
    }

    async fn unsettled(&self, consumer: &Str) -> Result<u64> {
        let Some(queue) = self.inner.shared.hub.queue(consumer) else { return Ok(0) };
        self.read(|db| {
            let sql = "SELECT (SELECT count(*) FROM catga_queue WHERE consumer = ?1)
                + (SELECT count(*) FROM catga_later WHERE consumer = ?1)";
            let all: u64 = db.prepare_cached(sql)?.query_row([queue.id], |row| row.get(0))?;
            if !queue.leaves_out() {
                return Ok(all);
            }
            // A replayed message waits for nobody; the key of another letter does not make it wait.
            let sql = "SELECT count(*) FROM (SELECT DISTINCT parks FROM catga_letter
                    WHERE consumer = ?2 AND parks IS NOT NULL) AS letter
                JOIN catga_queue ON catga_queue.consumer = ?1 AND catga_queue.key = letter.parks
                WHERE catga_queue.seq >= 0";
            let parked: u64 = db.prepare_cached(sql)?.query_row((queue.id, queue.name.as_str()), |row| row.get(0))?;
            Ok(all.saturating_sub(parked))
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
                let later = db.execute("DELETE FROM catga_later WHERE consumer = ?1", [queue.id])?;
                Ok(later + db.execute("DELETE FROM catga_queue WHERE consumer = ?1", [queue.id])?)
            })?;
            tx.effects.push(Effect::Removed(queue.id));
            tx.commit().await.map_err(|error| self.about(error))?;
            Ok(removed as u64)
        };
        let removed = removed.await;
        queue.give_back();
        removed
    }

    /// Writes a row for each consumer that a parcel is for.
    fn queue_up(&self, tx: &mut SqliteTx, parcel: &Parcel) -> Result<()> {
        let Parcel { subject, frame, key, due, to, .. } = parcel;
        check_size(subject, frame.len())?;
        let hub = &self.inner.shared.hub;
        let queues = match to {
            None => hub.subscribers(subject),
            Some(name) => {
                let takes = hub.queue(name).filter(|queue| hub.takes_something(queue.id));
                let Some(queue) = takes else {
                    let text = format!("there is no consumer `{name}` that takes anything");
                    return Err(self.about(Error::new(ErrorKind::NotFound, text)));
                };
                vec![queue]
            }
        };
        if queues.is_empty() {
            self.unheard(subject);
        }
        let (key, due) = (key.map(|key| key as i64), due.map(since_1970).filter(|due| *due > now()));
        tx.ours("queueing", |db| {
            let (queue, later) = (
                "INSERT INTO catga_queue (consumer, frame, key) VALUES (?1, ?2, ?3)",
                "INSERT INTO catga_later (consumer, frame, key, due) VALUES (?1, ?2, ?3, ?4)",
            );
            for Queue { id, .. } in queues.iter().map(|queue| &**queue) {
                match due {
                    None => db.prepare_cached(queue)?.execute((id, &frame[..], key))?,
                    Some(due) => db.prepare_cached(later)?.execute((id, &frame[..], key, due as i64))?,
                };
            }
            Ok(())
        })?;
        for queue in queues {
            let known = |effect: &Effect| matches!(effect, Effect::Queued(other) if other.id == queue.id);
            match due {
                Some(due) => tx.effects.push(Effect::Later(queue, due)),
                None if tx.effects.iter().any(known) => {}
                None => tx.effects.push(Effect::Queued(queue)),
            }
        }
        Ok(())
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
                Plan::Look => {
                    self.claim(claims::look).await?;
                    continue;
                }
                Plan::Promote => {
                    self.claim(claims::promote).await?;
                    continue;
                }
                Plan::Alone(seq) => {
                    self.claim(|tx, queue| claims::count(tx, queue, seq)).await?;
                    continue;
                }
                Plan::Advance(keys) => {
                    self.claim(|tx, queue| claims::advance(tx, queue, &keys)).await?;
                    continue;
                }
                Plan::Claim => {
                    self.claim(claims::claim).await?;
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
                let delivery = |Ready { seq, frame, started, first, key, .. }| {
                    let mut delivery = Delivery::new(token(self.queue.id, seq), frame, started);
                    delivery.first = (first > 0).then(|| UNIX_EPOCH + Duration::from_micros(first));
                    delivery.key = key;
                    delivery
                };
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
    /// Reads or claims in a transaction of its own.
    async fn claim(&self, work: impl FnOnce(&mut SqliteTx, &Arc<Queue>) -> Result<()>) -> Result<()> {
        let mut tx = self.store.open_tx().await?;
        work(&mut tx, &self.queue)?;
        tx.commit().await.map_err(|error| self.store.about(error))
    }

    /// Reads deliveries that are due again.
    fn again(&self, rows: &[i64]) -> Result<Vec<Ready>> {
        let found = self.store.read(|db| {
            let mut select = db.prepare_cached("SELECT seq, frame FROM catga_queue WHERE seq = ?1")?;
            let mut found = Vec::with_capacity(rows.len());
            for seq in rows {
                found.extend(claims::frames(&mut select, [*seq])?);
            }
            Ok(found)
        })?;
        Ok(self.queue.hand_out(rows, found))
    }
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
