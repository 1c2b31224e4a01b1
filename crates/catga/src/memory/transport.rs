//! The queues as a transport.

use super::{
    MAX_FRAME, Memory, check_size,
    hub::Route,
    moment,
    queue::{Queue, queue_of},
    ring::Ring,
    slots::Taken,
};
use catga_contract::{
    Capabilities, Delivery, Durability, Error, ErrorKind, Order, Outcome, Parcel, Registration, Result, Settle,
    Settler, StoreId, Str, SubscribeOptions, Subscription, Token, Transport,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::task::coop::consume_budget;

/// The most deliveries that are taken at a time.
const BATCH: usize = 64;

impl Transport for Memory {
    type Subscription = MemorySubscription;

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none("catga_memory", MAX_FRAME);
        capabilities.durable = Durability::Process;
        capabilities.redelivery = true;
        capabilities.order = Order::Key;
        capabilities.atomic_batch = true;
        capabilities.delay = true;
        capabilities.groups = true;
        capabilities.fenced_settle = true;
        capabilities
    }

    fn shares(&self) -> Option<StoreId> {
        Some(self.shared.id)
    }

    async fn register(&self, consumers: &[Registration]) -> Result<()> {
        self.shared.hub.register(consumers)
    }

    /// Waits while a consumer has as many messages as it [may](Memory::capacity), a stopped one, too.
    async fn publish(&self, parcels: &[Parcel], outcomes: &mut Vec<Outcome>) -> Result<()> {
        // Whoever publishes in a loop and never waits lets others run, too.
        consume_budget().await;
        if let [parcel] = parcels {
            outcomes.push(self.publish_one(parcel).await);
            return Ok(());
        }
        let mut routes = Vec::with_capacity(parcels.len());
        let mut needs: Vec<(Arc<Queue>, usize)> = Vec::new();
        for parcel in parcels {
            let route = match self.find(parcel) {
                Ok(route) => {
                    outcomes.push(Outcome::Stored);
                    route
                }
                Err(error) => {
                    outcomes.push(Outcome::Refused(error));
                    None
                }
            };
            for queue in route.iter().flat_map(|route| route.iter()) {
                match needs.iter_mut().find(|(other, _)| other.id == queue.id) {
                    Some((_, need)) => *need += usize::from(parcel.to.is_none()),
                    None => needs.push((queue.clone(), usize::from(parcel.to.is_none()))),
                }
            }
            routes.push(route);
        }
        // In the order of their numbers, so that two who need room in the same two queues do not wait for each other.
        needs.sort_by_key(|(queue, _)| queue.id);
        reserve(&needs).await;
        for (queue, need) in &needs {
            queue.fill(*need, |ring| {
                for (parcel, route) in parcels.iter().zip(&routes) {
                    if route.as_ref().is_some_and(|route| route.iter().any(|other| other.id == queue.id)) {
                        put(ring, parcel);
                    }
                }
            });
        }
        Ok(())
    }

    async fn subscribe(&self, options: SubscribeOptions) -> Result<MemorySubscription> {
        static MEMBERS: AtomicU64 = AtomicU64::new(0);
        let SubscribeOptions { consumer, park, .. } = options;
        let queue = self.shared.hub.queue(&consumer).filter(|queue| queue.join().is_ok());
        let Some(queue) = queue else {
            return Err(Error::new(ErrorKind::NotFound, format!("consumer `{consumer}` is not registered")));
        };
        let member = MEMBERS.fetch_add(1, Ordering::Relaxed);
        Ok(MemorySubscription { queue, member, parks: park, taken: Vec::with_capacity(BATCH) })
    }

    async fn unsettled(&self, consumer: &Str) -> Result<u64> {
        Ok(self.shared.hub.queue(consumer).map_or(0, |queue| queue.unsettled() as u64))
    }
}

impl Memory {
    async fn publish_one(&self, parcel: &Parcel) -> Outcome {
        let route = match self.find(parcel) {
            Ok(Some(route)) => route,
            Ok(None) => return Outcome::Stored,
            Err(error) => return Outcome::Refused(error),
        };
        match &route[..] {
            [queue] if parcel.to.is_some() => queue.fill(0, |ring| put(ring, parcel)),
            // The queue of a consumer that is removed meanwhile takes nothing.
            [queue] => drop(queue.admit(1, |ring| put(ring, parcel)).await),
            queues => {
                reserve(queues).await;
                queues.iter().for_each(|queue| queue.fill(1, |ring| put(ring, parcel)));
            }
        }
        Outcome::Stored
    }

    /// Where a parcel goes; `None` where nobody shall have it.
    fn find(&self, parcel: &Parcel) -> Result<Option<Route>> {
        check_size("a message", &parcel.subject, parcel.frame.len())?;
        let route = self.shared.hub.route(parcel)?;
        if route.is_none() {
            self.shared.hub.count_unheard(&parcel.subject);
        }
        Ok(route)
    }
}

fn put(ring: &mut Ring, parcel: &Parcel) {
    let Parcel { frame, key, due, to, .. } = parcel;
    match to {
        None => ring.push(frame.clone(), *key, moment(*due)),
        Some(_) => ring.replay(frame.clone(), *key),
    }
}

/// Waits for room in all of them, which are in the order of their numbers. Dropped, it gives back what it has.
async fn reserve<Q: Needs>(queues: &[Q]) {
    let mut room = Room { queues, has: 0 };
    for needs in queues {
        // The queue of a consumer that is removed meanwhile takes nothing.
        let _ = needs.queue().admit(needs.room(), |_| ()).await;
        room.has += 1;
    }
    room.has = 0;
}

/// Room that is promised in the first queues.
struct Room<'a, Q: Needs> {
    queues: &'a [Q],
    has: usize,
}

/// A queue, and how much room in it.
trait Needs {
    fn queue(&self) -> &Queue;
    fn room(&self) -> usize;
}

impl Needs for Arc<Queue> {
    fn queue(&self) -> &Queue {
        self
    }
    fn room(&self) -> usize {
        1
    }
}

impl Needs for (Arc<Queue>, usize) {
    fn queue(&self) -> &Queue {
        &self.0
    }
    fn room(&self) -> usize {
        self.1
    }
}

impl<Q: Needs> Drop for Room<'_, Q> {
    fn drop(&mut self) {
        self.queues[..self.has].iter().for_each(|needs| needs.queue().forgo(needs.room()));
    }
}

/// A member of a consumer. Dropped, what it did not settle comes again at once, to the others or to the next.
pub struct MemorySubscription {
    queue: Arc<Queue>,
    member: u64,
    parks: bool,
    /// Emptied and filled again by each batch.
    taken: Vec<Taken>,
}

impl Subscription for MemorySubscription {
    type Settler = MemorySettler;

    async fn next_batch(&mut self, most: usize, deliveries: &mut Vec<Delivery>) -> Result<()> {
        consume_budget().await;
        let Self { queue, member, parks, taken } = self;
        if queue.next(*member, *parks, most.clamp(1, BATCH), taken).await.is_err() {
            return Err(Error::new(ErrorKind::Closed, format!("consumer `{}` was removed", queue.name)));
        }
        // Frames are read here, where no lock is held.
        deliveries.extend(taken.drain(..).map(|taken| {
            let token = queue.token(&taken);
            let mut delivery = Delivery::new(token, taken.frame, taken.started);
            (delivery.first, delivery.key) = (taken.first, taken.key);
            delivery
        }));
        Ok(())
    }

    fn settler(&self) -> MemorySettler {
        MemorySettler { queue: self.queue.clone() }
    }
}

impl Drop for MemorySubscription {
    fn drop(&mut self) {
        self.queue.part(self.member);
    }
}

impl std::fmt::Debug for MemorySubscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemorySubscription").field("consumer", &self.queue.name).finish_non_exhaustive()
    }
}

/// Settles deliveries of a consumer, at once and outside any transaction.
#[derive(Clone)]
pub struct MemorySettler {
    queue: Arc<Queue>,
}

impl Settler for MemorySettler {
    /// Takes every answer that it can; where some are stale, the others are taken nevertheless.
    async fn settle(&self, answers: &[(Token, Settle)]) -> Result<()> {
        if let Some((token, _)) = answers.iter().find(|(token, _)| queue_of(*token) != self.queue.id) {
            let text = format!("no delivery of consumer `{}` has the token {token:?}", self.queue.name);
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        match self.queue.settle(answers) {
            0 => Ok(()),
            stale => Err(self.queue.stale(stale)),
        }
    }
}

impl Queue {
    pub(super) fn stale(&self, count: usize) -> Error {
        let text = format!(
            "consumer `{}`: {count} answers came too late: the deliveries have gone to somebody else, or were settled",
            self.name
        );
        Error::new(ErrorKind::Conflict, text)
    }
}

impl std::fmt::Debug for MemorySettler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemorySettler").field("consumer", &self.queue.name).finish_non_exhaustive()
    }
}
