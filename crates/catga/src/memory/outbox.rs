//! What was committed to be sent and has not left yet, by partition.

use super::{
    Memory, check_room, check_size, later, moment, owned,
    tx::{MemoryTx, Write},
};
use bytes::Bytes;
use catga_contract::{Error, ErrorKind, Fence, Lease, MessageId, Outbox, Outgoing, Result, Row, Str, partition};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    sync::atomic::Ordering,
    time::Duration,
};
use tokio::time::{Instant, timeout_at};

/// How many rows an outbox holds.
const MOST: usize = 1 << 20;
const PARTITIONS: usize = 64;

/// A message that waits to leave.
pub(super) struct Waiting {
    id: MessageId,
    subject: Str,
    frame: Bytes,
    partition: u8,
    key: Option<u64>,
    due: Option<Instant>,
    attempts: u32,
    /// It failed and is not tried again before.
    again: Option<Instant>,
}

pub(super) struct Outboxes {
    rows: HashMap<u64, Waiting>,
    /// Their numbers in their order; those whose row has gone are passed over.
    order: [VecDeque<u64>; PARTITIONS],
    owners: [Option<Owner>; PARTITIONS],
    /// What takes its place when it is due.
    delayed: BinaryHeap<Reverse<(Instant, u64)>>,
    /// The last row's number.
    number: u64,
    /// Rises whenever a partition changes hands.
    fence: u64,
    /// How often something was written.
    rings: u64,
}

struct Owner {
    relay: u64,
    fence: u64,
    until: Instant,
}

impl Default for Outboxes {
    fn default() -> Self {
        Self {
            rows: HashMap::new(),
            order: [const { VecDeque::new() }; PARTITIONS],
            owners: [const { None }; PARTITIONS],
            delayed: BinaryHeap::new(),
            number: 0,
            fence: 0,
            rings: 0,
        }
    }
}

impl Outboxes {
    pub(super) fn put(&mut self, row: Waiting) {
        self.number += 1;
        match row.due {
            None => self.order[usize::from(row.partition)].push_back(self.number),
            Some(due) => self.delayed.push(Reverse((due, self.number))),
        }
        self.rows.insert(self.number, row);
    }

    pub(super) fn ring(&mut self) {
        self.rings += 1;
    }

    /// Gives up what a relay leased; whether it had anything.
    pub(super) fn leave(&mut self, relay: u64) -> bool {
        let mut had = false;
        for owner in &mut self.owners {
            had |= owner.take_if(|owner| owner.relay == relay).is_some();
        }
        if had {
            self.ring();
        }
        had
    }

    fn lease(&mut self, relay: u64, time: Duration) -> Lease {
        let (now, until) = (Instant::now(), later(time));
        let mut partitions = 0;
        let mut taken = false;
        for (partition, owner) in self.owners.iter_mut().enumerate() {
            match owner {
                Some(owner) if owner.relay == relay => owner.until = until,
                Some(owner) if owner.until > now => continue,
                _ => {
                    *owner = Some(Owner { relay, fence: self.fence + 1, until });
                    taken = true;
                }
            }
            partitions |= 1 << partition;
        }
        self.fence += u64::from(taken);
        Lease { partitions, fence: Fence(self.fence) }
    }

    /// Whether nobody has taken the partition over since it was leased so.
    fn holds(&self, lease: &Lease, partition: u8) -> bool {
        let owner = &self.owners[usize::from(partition)];
        lease.has(partition) && owner.as_ref().is_some_and(|owner| owner.fence <= lease.fence.0)
    }

    fn pending(&self, lease: &Lease, most: usize, now: Instant) -> Vec<Row> {
        // The next place in each partition, by the row's number: the least is next in the order of commits.
        let mut next = BinaryHeap::new();
        for partition in 0..PARTITIONS as u8 {
            if self.holds(lease, partition) {
                let first = self.order[usize::from(partition)].front();
                next.extend(first.map(|number| Reverse((*number, partition, 0))));
            }
        }
        let mut pending = Vec::new();
        while pending.len() < most
            && let Some(Reverse((number, partition, place))) = next.pop()
        {
            let row = self.rows.get(&number);
            if row.is_some_and(|row| row.again.is_some_and(|again| again > now)) {
                continue;
            }
            pending.extend(row.map(|row| row.row(number)));
            let behind = self.order[usize::from(partition)].get(place + 1);
            next.extend(behind.map(|number| Reverse((*number, partition, place + 1))));
        }
        pending
    }

    /// What is due takes its place behind what was committed meanwhile; whether there was any.
    fn fall_due(&mut self, now: Instant) -> bool {
        let rings = self.rings;
        while let Some(Reverse((due, number))) = self.delayed.peek().copied()
            && due <= now
        {
            self.delayed.pop();
            if let Some(mut row) = self.rows.remove(&number) {
                row.due = None;
                self.put(row);
                self.ring();
            }
        }
        self.rings != rings
    }

    /// Takes out what has left.
    fn remove(&mut self, numbers: &[u64]) {
        for number in numbers {
            let Some(row) = self.rows.remove(number) else { continue };
            let order = &mut self.order[usize::from(row.partition)];
            // Those that left while one before them failed go when that one does.
            while order.front().is_some_and(|first| !self.rows.contains_key(first)) {
                order.pop_front();
            }
        }
    }

    /// Refuses what comes under a lease that is stale for one of these rows.
    fn check(&self, lease: &Lease, rows: &[u64]) -> Result<()> {
        let lost = |row: &&Waiting| !self.holds(lease, row.partition);
        match rows.iter().filter_map(|number| self.rows.get(number)).find(lost) {
            None => Ok(()),
            Some(row) => {
                let text = format!("the lease of partition {} is stale: another relay has it", row.partition);
                Err(Error::new(ErrorKind::Conflict, text))
            }
        }
    }

    /// When something comes that this relay cannot have now.
    fn next_due(&self, relay: u64) -> Option<Instant> {
        let delayed = self.delayed.peek().map(|Reverse((due, _))| *due);
        let mine = self.order.iter().zip(&self.owners);
        let mine = mine.filter(|(_, owner)| owner.as_ref().is_some_and(|owner| owner.relay == relay));
        let failed = mine.filter_map(|(order, _)| self.rows.get(order.front()?)?.again);
        delayed.into_iter().chain(failed).min()
    }
}

impl Waiting {
    fn row(&self, number: u64) -> Row {
        let mut row = Row::new(number, self.id, self.subject.clone(), self.frame.clone(), self.partition);
        (row.key, row.attempts) = (self.key, self.attempts);
        row
    }
}

impl MemoryTx {
    /// All frames in one block.
    pub(super) fn put(&mut self, messages: &[Outgoing<'_>]) -> Result<()> {
        messages.iter().try_for_each(|message| check_size("a message", message.subject, message.frame.len()))?;
        let outgoing = self.writes.iter().filter(|write| matches!(write, Write::Outgoing(_))).count();
        let rows = self.shared.store().outbox.rows.len();
        check_room("outbox rows", rows + outgoing + messages.len(), MOST)?;
        let mut block = Vec::with_capacity(messages.iter().map(|message| message.frame.len()).sum());
        messages.iter().for_each(|message| block.extend_from_slice(message.frame));
        let mut block = Bytes::from(block);
        self.writes.extend(messages.iter().map(|Outgoing { id, subject, frame, key, due }| {
            Write::Outgoing(Waiting {
                id: *id,
                subject: owned(subject),
                frame: block.split_to(frame.len()),
                partition: partition(*key, *id),
                key: key.map(|key| key.digest()),
                due: moment(*due),
                attempts: 0,
                again: None,
            })
        }));
        Ok(())
    }
}

impl Outbox for Memory {
    /// Each handle is a relay of its own: a clone asks for what this one has not, and this one's end with it.
    async fn lease(&self, time: Duration) -> Result<Lease> {
        Ok(self.store().outbox.lease(self.relay.id, time))
    }

    async fn pending(&self, lease: &Lease, most: usize) -> Result<Vec<Row>> {
        let mut store = self.store();
        let now = Instant::now();
        let fell_due = store.outbox.fall_due(now);
        self.relay.heard.store(store.outbox.rings, Ordering::Relaxed);
        let pending = store.outbox.pending(lease, most, now);
        drop(store);
        if fell_due {
            self.shared.written.notify_waiters();
        }
        Ok(pending)
    }

    async fn sent(&self, lease: &Lease, rows: &[u64]) -> Result<()> {
        let mut store = self.store();
        store.outbox.check(lease, rows)?;
        store.outbox.remove(rows);
        Ok(())
    }

    /// The reason is the relay's to tell: nobody reads it here.
    async fn failed(&self, lease: &Lease, row: u64, _reason: &str, pause: Duration) -> Result<()> {
        let mut store = self.store();
        store.outbox.check(lease, &[row])?;
        if let Some(row) = store.outbox.rows.get_mut(&row) {
            row.attempts += 1;
            row.again = Some(later(pause));
        }
        Ok(())
    }

    async fn unsent(&self) -> Result<u64> {
        Ok(self.store().outbox.rows.len() as u64)
    }

    async fn written(&self) {
        loop {
            let written = self.shared.written.notified();
            let due = {
                let store = self.store();
                if store.outbox.rings != self.relay.heard.load(Ordering::Relaxed) {
                    return;
                }
                store.outbox.next_due(self.relay.id)
            };
            match due {
                None => written.await,
                Some(due) => {
                    if timeout_at(due, written).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
