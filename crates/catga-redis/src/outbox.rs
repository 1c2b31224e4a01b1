//! The outbox: what was committed to be sent and has not left yet.

use crate::{args::Arg, error::fault, error::strange, events::LOOK, scripts::SCRIPTS, store::Redis, store::lock};
use bytes::Bytes;
use catga_contract::{Error, ErrorKind, Fence, Lease, MessageId, Outbox, Result, Row};
use event_listener::Event;
use futures_util::future::{Either, select};
use std::{
    pin::pin,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// What this process knows of its outbox.
#[derive(Default)]
pub(crate) struct Bell {
    /// Rises with each commit of this process that wrote rows.
    rung: AtomicU64,
    /// How far it had risen when rows were read last.
    heard: AtomicU64,
    /// The newest lease's.
    fence: AtomicU64,
    /// When the next row may leave that waits for its time.
    next: Mutex<Option<Instant>>,
    event: Event,
}

impl Bell {
    pub(crate) fn ring(&self) {
        self.rung.fetch_add(1, Ordering::SeqCst);
        self.event.notify(usize::MAX);
    }
}

/// A row as `pending.lua` tells it: number, partition, id, subject, frame, digest of the key, tries.
type Told = (u64, u8, Vec<u8>, String, Vec<u8>, String, u32);

/// A hand-off that survives this process, for messages that a handler of this store publishes. Redis shares no
/// transaction with a business database, so it is no outbox for one.
impl Outbox for Redis {
    /// A relay that is silent for the store's [lease](crate::RedisOptions::lease) loses its partitions before the time is
    /// over; it is heard whenever it reads, and ten times a second while it waits.
    async fn lease(&self, time: Duration) -> Result<Lease> {
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX).clamp(1, 1 << 42);
        let args = [Arg::from(&*self.inner.node), Arg::from(millis), self.silence()];
        let (fence, partitions): (u64, Vec<u8>) = self.run(&SCRIPTS.lease, &args, "leasing partitions").await?;
        self.inner.bell.fence.store(fence, Ordering::SeqCst);
        let partitions = partitions.into_iter().fold(0, |all, partition| all | 1 << (partition & 63));
        Ok(Lease { partitions, fence: Fence(fence) })
    }

    async fn pending(&self, lease: &Lease, most: usize) -> Result<Vec<Row>> {
        let bell = &self.inner.bell;
        bell.heard.store(bell.rung.load(Ordering::SeqCst), Ordering::SeqCst);
        let mut args = vec![Arg::from(lease.fence.0.to_string()), self.silence(), Arg::from(most as i64)];
        args.extend((0..64).filter(|partition| lease.has(*partition)).map(|partition| Arg::from(i64::from(partition))));
        let (pause, told): (i64, Vec<Told>) = self.run(&SCRIPTS.pending, &args, "reading the outbox").await?;
        let pause = u64::try_from(pause).ok().map(Duration::from_micros);
        *lock(&bell.next) = pause.and_then(|pause| Instant::now().checked_add(pause));
        let row = |(number, partition, id, subject, frame, key, attempts): Told| {
            let id = <[u8; 16]>::try_from(id).map_err(|_| strange("reading the outbox"))?;
            let id = MessageId::from_bytes(id);
            let mut row = Row::new(number, id, subject.into(), Bytes::from(frame), partition);
            (row.key, row.attempts) = (key.parse().ok(), attempts);
            Ok(row)
        };
        told.into_iter().map(row).collect()
    }

    async fn sent(&self, lease: &Lease, rows: &[u64]) -> Result<()> {
        let mut args = vec![Arg::from(lease.fence.0.to_string())];
        args.extend(rows.iter().map(|row| Arg::from(row.to_string())));
        let done: bool = self.run(&SCRIPTS.sent, &args, "removing what was sent").await?;
        done.then_some(()).ok_or_else(|| stale(lease))
    }

    async fn failed(&self, lease: &Lease, row: u64, reason: &str, pause: Duration) -> Result<()> {
        let micros = i64::try_from(pause.as_micros()).unwrap_or(i64::MAX).min(1 << 52);
        let args =
            [Arg::from(lease.fence.0.to_string()), Arg::from(row.to_string()), Arg::from(reason), Arg::from(micros)];
        let done: bool = self.run(&SCRIPTS.failed, &args, "keeping what could not be sent").await?;
        let again = Instant::now().checked_add(pause);
        let mut next = lock(&self.inner.bell.next);
        *next = next.map_or(again, |next| again.map(|again| next.min(again)));
        done.then_some(()).ok_or_else(|| stale(lease))
    }

    async fn unsent(&self) -> Result<u64> {
        let count = redis::cmd("HLEN").arg(self.key("ob:rows")).to_owned();
        count.query_async(&mut self.main()).await.map_err(|error| fault(error, "counting the outbox"))
    }

    /// What other processes commit is looked for every 100 ms.
    async fn written(&self) {
        let bell = &self.inner.bell;
        loop {
            let rings = bell.event.listen();
            if bell.rung.load(Ordering::SeqCst) != bell.heard.load(Ordering::SeqCst) {
                return;
            }
            let (now, next) = (Instant::now(), *lock(&bell.next));
            if next.is_some_and(|next| next <= now) {
                return;
            }
            let look = next.map_or(now + LOOK, |next| next.min(now + LOOK));
            match select(rings, pin!(sleep_until(look))).await {
                Either::Left(_) => {}
                Either::Right(_) => {
                    let fence = bell.fence.load(Ordering::SeqCst).to_string();
                    let number = self.try_run(&SCRIPTS.watch, &[Arg::from(fence), self.silence()]).await;
                    let number: u64 = number.unwrap_or_default();
                    // Rows of others have been written since somebody here looked last.
                    if self.inner.seen_rows.swap(number, Ordering::SeqCst) != number {
                        return;
                    }
                }
            }
        }
    }
}

impl Redis {
    /// How long a relay may be silent, in milliseconds.
    fn silence(&self) -> Arg<'static> {
        Arg::from(self.inner.options.lease.as_millis() as i64)
    }
}

fn stale(lease: &Lease) -> Error {
    let text = format!("the lease with fence {} is stale: another relay has its partitions", lease.fence.0);
    Error::new(ErrorKind::Conflict, text)
}
