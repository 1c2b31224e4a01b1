//! Who must be woken by a commit, and what a commit makes true in memory.

use crate::{
    inbox::Claims,
    lines::State,
    queue::{Claimed, Queue, Ready, Retry},
};
use bytes::Bytes;
use catga_contract::Str;
use event_listener::Event;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Everything in memory that follows the file. It changes only when a commit is durable, by [`Effect`]s.
#[derive(Default)]
pub(crate) struct Hub {
    queues: RwLock<Queues>,
    /// Commits that wrote to the outbox, and moments at which a failed row is due again.
    pub(crate) outbox: Bell,
    /// The numbers of consumers whose rows are committed, with a queue or without.
    names: RwLock<HashMap<Str, i64>>,
    /// Who works on which key, outside deliveries.
    pub(crate) claims: Claims,
    /// Events that nobody was registered for, by subject.
    pub(crate) unheard: RwLock<HashMap<Str, u64>>,
}

#[derive(Default)]
struct Queues {
    by_name: HashMap<Str, Arc<Queue>>,
    by_id: HashMap<i64, Arc<Queue>>,
    by_subject: HashMap<Str, Vec<Arc<Queue>>>,
}

/// Something that rings, and that can be asked whether it rang since.
#[derive(Default)]
pub(crate) struct Bell {
    rings: AtomicU64,
    event: Event,
}

impl Bell {
    pub(crate) fn ring(&self) {
        self.rings.fetch_add(1, Ordering::SeqCst);
        self.event.notify(usize::MAX);
    }

    pub(crate) fn rings(&self) -> u64 {
        self.rings.load(Ordering::SeqCst)
    }

    /// Returns when it rang more often than `heard`.
    pub(crate) async fn after(&self, heard: u64) {
        loop {
            let listener = self.event.listen();
            if self.rings() != heard {
                return;
            }
            listener.await;
        }
    }
}

impl Hub {
    pub(crate) fn queue(&self, consumer: &str) -> Option<Arc<Queue>> {
        self.queues.read().unwrap_or_else(PoisonError::into_inner).by_name.get(consumer).cloned()
    }

    pub(crate) fn queue_by_id(&self, id: i64) -> Option<Arc<Queue>> {
        self.queues.read().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).cloned()
    }

    pub(crate) fn subscribers(&self, subject: &str) -> Vec<Arc<Queue>> {
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        queues.by_subject.get(subject).cloned().unwrap_or_default()
    }

    /// Whether that consumer is registered for any message.
    pub(crate) fn takes_something(&self, id: i64) -> bool {
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        queues.by_subject.values().flatten().any(|queue| queue.id == id)
    }

    /// Adds what the file says about a consumer; what is known stays.
    pub(crate) fn add(&self, id: i64, name: &str, subject: Option<&str>) {
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.by_id.entry(id).or_insert_with(|| Arc::new(Queue::new(id, name.into()))).clone();
        queues.by_name.insert(name.into(), queue.clone());
        if let Some(subject) = subject {
            let subscribers = queues.by_subject.entry(subject.into()).or_default();
            if !subscribers.iter().any(|other| other.id == id) {
                subscribers.push(queue);
            }
        }
        self.names.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), id);
    }

    /// Another process wrote: whatever lies in the file may be new.
    pub(crate) fn look_again(&self) {
        let queues: Vec<_> = {
            let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
            queues.by_id.values().cloned().collect()
        };
        queues.iter().for_each(|queue| queue.look_again());
        self.outbox.ring();
    }

    /// Forgets a consumer: nothing is queued for it any more.
    fn remove(&self, id: i64) {
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        queues.by_id.remove(&id);
        queues.by_name.retain(|_, queue| queue.id != id);
        for subscribers in queues.by_subject.values_mut() {
            subscribers.retain(|queue| queue.id != id);
        }
    }

    /// The number of a consumer whose row is committed.
    pub(crate) fn consumer(&self, name: &str) -> Option<i64> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }
}

/// What becomes true in memory when the transaction that caused it is durable; dropped where it is undone.
pub(crate) enum Effect {
    /// Rows were written to the outbox.
    Outbox,
    /// Rows were written to this queue.
    Queued(Arc<Queue>),
    /// A message was queued that is due then.
    Later(Arc<Queue>, u64),
    /// Messages that were due moved into this queue; the next one is due then.
    Promoted(Arc<Queue>, Option<u64>),
    /// A subscription has read what the file says.
    Loaded(Arc<Queue>, State),
    /// A delivery of this queue was settled: for good, or it comes again so.
    Settled(Arc<Queue>, i64, Option<Retry>),
    /// A message was queued before those of its key.
    Replayed(Arc<Queue>, i64, Retry),
    /// Rows of this queue were read up to one, and there may be more.
    Claimed(Arc<Queue>, Vec<Claimed>, i64, bool),
    /// Rows of a key that was held up were claimed, and there may be more.
    Advanced(Arc<Queue>, u64, Vec<(Retry, Ready)>, bool),
    /// The messages of a key wait for a letter.
    Parked(Arc<Queue>, u64),
    /// They wait no more.
    Unparked(Arc<Queue>, u64),
    /// What the file says of letters: the keys that they park, and what was replayed.
    Looked(Arc<Queue>, HashSet<u64>, Vec<(i64, Retry)>),
    /// A try was counted before it started, because its predecessor died with its process.
    Counted(Arc<Queue>, i64, Bytes),
    /// A consumer's row was made.
    Named(Str, i64),
    /// A consumer was removed.
    Removed(i64),
}

impl Effect {
    pub(crate) fn apply(self, hub: &Hub) {
        match self {
            Self::Outbox => hub.outbox.ring(),
            Self::Queued(queue) => queue.written(),
            Self::Later(queue, due) => queue.later(due),
            Self::Promoted(queue, next) => queue.promoted(next),
            Self::Loaded(queue, state) => queue.reset(state),
            Self::Settled(queue, seq, again) => queue.settled(seq, again),
            Self::Replayed(queue, seq, retry) => queue.take_back(seq, retry),
            Self::Claimed(queue, rows, read, more) => queue.claimed(rows, read, more),
            Self::Advanced(queue, key, rows, more) => queue.advanced(key, rows, more),
            Self::Parked(queue, key) => queue.park(key),
            Self::Unparked(queue, key) => queue.unpark(key),
            Self::Looked(queue, parked, replayed) => queue.looked(&parked, replayed),
            Self::Counted(queue, seq, frame) => queue.counted(seq, frame),
            Self::Removed(id) => hub.remove(id),
            Self::Named(name, id) => {
                hub.names.write().unwrap_or_else(PoisonError::into_inner).insert(name, id);
            }
        }
    }
}
