//! The unit of work: a transaction's writes become true at once.

use super::{
    Memory,
    queue::{Queue, State, queue_of},
    tx::{MemoryTx, Write},
};
use catga_contract::{
    __private::refuse_if_held, BoxTransport, Entry, Error, ErrorKind, InboxKey, NewLetter, Outgoing, Result, Savepoint,
    Settle, StoreId, Token, UnitOfWork,
};
use std::sync::{Arc, MutexGuard};
use tokio::time::Instant;

impl Memory {
    /// Refuses a transaction that another store lent, that this one lent earlier, or that was taken back.
    pub(super) fn check(&self, tx: &MemoryTx) -> Result<()> {
        if tx.is_of(&self.shared) {
            return Ok(());
        }
        let text = "this is not the transaction that the store lent last: a `Tx` was swapped for another one, or left \
                    its handler";
        Err(Error::new(ErrorKind::Handler, text))
    }

    fn queue_of(&self, token: Token) -> Result<Arc<Queue>> {
        self.shared.hub.queue_by_id(queue_of(token)).ok_or_else(|| {
            let text = format!(
                "no delivery has the token {token:?}: it is of another transport, or of a consumer that was removed"
            );
            Error::new(ErrorKind::Invalid, text)
        })
    }
}

impl UnitOfWork for Memory {
    type Tx = MemoryTx;

    fn id(&self) -> StoreId {
        self.shared.id
    }

    async fn begin(&self) -> Result<MemoryTx> {
        refuse_if_held(self.shared.id)?;
        let turn = self.shared.turns.begin().await?;
        Ok(MemoryTx::new(self.shared.clone(), turn))
    }

    async fn savepoint(&self, tx: &mut MemoryTx) -> Result<Savepoint> {
        self.check(tx)?;
        Ok(tx.savepoint())
    }

    async fn release(&self, tx: &mut MemoryTx, savepoint: Savepoint, keep: bool) -> Result<()> {
        self.check(tx)?;
        tx.release(savepoint, keep)
    }

    async fn enter(&self, tx: &mut MemoryTx, key: InboxKey<'_>) -> Result<Entry> {
        self.check(tx)?;
        Ok(tx.enter(key))
    }

    async fn finish(&self, tx: &mut MemoryTx, key: InboxKey<'_>, answer: &[u8]) -> Result<()> {
        self.check(tx)?;
        if !answer.is_empty() {
            tx.keep_answer(key, answer);
        }
        Ok(())
    }

    async fn put(&self, tx: &mut MemoryTx, messages: &[Outgoing<'_>]) -> Result<()> {
        self.check(tx)?;
        tx.put(messages)
    }

    /// Refuses stale answers other than `Done`, [`ErrorKind::Conflict`]: none of `answers` is settled then.
    async fn settle(&self, tx: &mut MemoryTx, answers: &[(Token, Settle)]) -> Result<()> {
        self.check(tx)?;
        for (token, answer) in answers {
            let queue = self.queue_of(*token)?;
            if !queue.lock().accepts(*token, *answer) {
                return Err(queue.stale(1));
            }
        }
        tx.writes.extend(answers.iter().map(|(token, answer)| Write::Settle(*token, *answer)));
        Ok(())
    }

    async fn bury(&self, tx: &mut MemoryTx, letter: &NewLetter<'_>) -> Result<()> {
        self.check(tx)?;
        tx.bury(letter)
    }

    /// Never waits. [`ErrorKind::Conflict`] where a delivery that shall come again has gone to somebody else, or a
    /// reader's place was taken over.
    async fn commit(&self, mut tx: MemoryTx) -> Result<()> {
        self.check(&tx)?;
        let queues = self.queues(&tx)?;
        let mut store = self.store();
        let mut locked: Vec<(&Queue, MutexGuard<'_, State>)> =
            queues.iter().map(|queue| (&**queue, queue.lock())).collect();
        let place = |locked: &[(&Queue, MutexGuard<'_, State>)], token: Token| {
            locked.iter().position(|(queue, _)| queue.id == queue_of(token))
        };
        for write in &tx.writes {
            match write {
                Write::Save(name, _, fence) => store.events.check(name, *fence)?,
                Write::Settle(token, answer) => {
                    if let Some(place) = place(&locked, *token)
                        && let (queue, state) = &locked[place]
                        && !state.accepts(*token, *answer)
                    {
                        return Err(queue.stale(1));
                    }
                }
                _ => {}
            }
        }
        let (mut wrote, mut appended, mut now) = (false, false, None);
        for write in std::mem::take(&mut tx.writes) {
            match write {
                Write::Mark(mark) => store.inboxes.mark(mark, *now.get_or_insert_with(Instant::now)),
                Write::Answer(mark, answer) => store.inboxes.keep_answer(&mark, answer),
                Write::Outgoing(row) => {
                    store.outbox.put(row);
                    wrote = true;
                }
                Write::Append(append) => {
                    store.events.append(append);
                    appended = true;
                }
                Write::Save(name, position, _) => store.events.save(&name, position),
                Write::Settle(token, answer) => {
                    if let Some(place) = place(&locked, token) {
                        locked[place].1.settle(token, answer);
                    }
                }
                Write::Bury(letter) => drop(store.letters.bury(*letter)),
            }
        }
        if wrote {
            store.outbox.ring();
        }
        drop(store);
        locked.into_iter().for_each(|(queue, state)| queue.leave(state));
        if wrote {
            self.shared.written.notify_waiters();
        }
        if appended {
            self.shared.appended.notify_waiters();
        }
        Ok(())
    }

    fn revoke(&self) {
        self.shared.turns.revoke();
    }

    async fn attach(&self) -> Result<()> {
        // No other process can have it.
        Ok(())
    }

    fn queue(&self) -> Option<BoxTransport> {
        Some(BoxTransport::new(self.clone()))
    }
}

impl Memory {
    /// The queues whose deliveries the transaction settles, by rising number: everybody locks them in that order.
    fn queues(&self, tx: &MemoryTx) -> Result<Vec<Arc<Queue>>> {
        let mut queues: Vec<Arc<Queue>> = Vec::new();
        for write in &tx.writes {
            if let Write::Settle(token, _) = write
                && !queues.iter().any(|queue| queue.id == queue_of(*token))
            {
                queues.push(self.queue_of(*token)?);
            }
        }
        queues.sort_by_key(|queue| queue.id);
        Ok(queues)
    }
}
