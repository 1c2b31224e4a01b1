//! Deliveries whose handlers run side by side: those that take no transaction, and those that begin one of their own.

use super::{BACK, Called, Verdict, Waiting, Worker};
use catga_contract::{Delivery, Entry, Error, InboxKey, Result, Settle, Unit, UnitOfWork};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use std::collections::{HashMap, VecDeque};

/// How many calls of a consumer's handlers run at a time.
const CALLS: usize = 16;

impl<S: UnitOfWork> Worker<S> {
    /// Deliveries whose handler takes no `Tx`: its calls run side by side, outside any transaction, and without a
    /// mark; what it did before a crash it does again.
    pub(super) async fn without_tx(&self, waiting: &mut Waiting, known: usize) -> Result<()> {
        let outcomes =
            self.side_by_side(&waiting.deliveries, known, &[], |delivery| self.alone(delivery).boxed()).await;
        let mut unit = Unit::new(self.store.clone(), self.store.begin().await?);
        let (mut verdicts, mut answers) = (Vec::new(), Vec::new());
        for (delivery, outcome) in waiting.deliveries.iter().zip(outcomes) {
            let tx = unit.tx().await?;
            let (answer, verdict) = match outcome {
                Some(Ok(())) => (Settle::Done, Verdict::Committed),
                None => (BACK, Verdict::Back),
                Some(Err(error)) => {
                    verdicts.push(self.conclude(tx, delivery, error, &mut answers).await?);
                    continue;
                }
            };
            self.settle(tx, delivery, answer, &mut answers).await?;
            verdicts.push(verdict);
        }
        self.commit(unit, &answers).await?;
        for (delivery, verdict) in waiting.deliveries.drain(..known).zip(verdicts) {
            self.tell(&delivery, &verdict);
        }
        Ok(())
    }

    async fn alone(&self, delivery: &Delivery) -> Result<()> {
        let (envelope, route) = self.readable(delivery)?;
        self.call(None, envelope, route, delivery).await.answer
    }

    /// Deliveries whose handler begins its transaction itself: its calls run side by side, each commits on its own, and
    /// the store lets those share a commit that come together.
    pub(super) async fn later(&self, waiting: &mut Waiting, known: usize) -> Result<()> {
        let call = |delivery| async move { self.on_its_own(delivery).await }.boxed();
        let Waiting { deliveries, held } = waiting;
        let outcomes = self.side_by_side(deliveries, known, held, call).await;
        let mut failed = None;
        // What was not started, or what the store could not settle, stays and is handled again.
        let mut stays = VecDeque::new();
        for (delivery, outcome) in deliveries.drain(..known).zip(outcomes) {
            match outcome {
                Some(Ok(verdict)) => {
                    held.extend(self.holds_up(&delivery, &verdict));
                    self.tell(&delivery, &verdict);
                    continue;
                }
                Some(Err(error)) => drop(failed.get_or_insert(error)),
                None => {}
            }
            stays.push_back(delivery);
        }
        // Those whose predecessor comes again go behind it; where that cannot be settled now they are not started either.
        let goes_back = |delivery: &Delivery| delivery.key.is_some_and(|key| held.contains(&key));
        let back: Vec<_> = stays.iter().filter(|delivery| goes_back(delivery)).map(|one| (one.token, BACK)).collect();
        if !back.is_empty() {
            match self.settle_alone(back).await {
                Ok(()) => stays.retain(|delivery| {
                    let back = goes_back(delivery);
                    if back {
                        self.tell(delivery, &Verdict::Back);
                    }
                    !back
                }),
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        stays.append(deliveries);
        *deliveries = stays;
        failed.map_or(Ok(()), Err)
    }

    /// One delivery, in a transaction of its own from when its handler begins it.
    async fn on_its_own(&self, delivery: &Delivery) -> Result<Verdict> {
        let (called, key) = match self.readable(delivery) {
            Ok((envelope, route)) => (self.call(None, envelope, route, delivery).await, envelope.id.to_bytes()),
            Err(error) => return self.conclude_alone(delivery, error).await,
        };
        let consumer = &self.work.consumer.name;
        let Called { unit, answer, duplicate } = called;
        let mut answers = Vec::new();
        match answer {
            Err(_) if duplicate => {
                self.settle_alone(vec![(delivery.token, Settle::Done)]).await?;
                Ok(Verdict::Duplicate)
            }
            Err(error) => {
                // What it wrote goes before its failure is written down.
                drop(unit);
                self.conclude_alone(delivery, error).await
            }
            Ok(()) => {
                let mut verdict = Verdict::Committed;
                let mut unit = match unit {
                    Some(unit) => *unit,
                    None => {
                        // It succeeded without a transaction; it is done with all the same.
                        let mut unit = Unit::new(self.store.clone(), self.store.begin().await?);
                        let key = InboxKey { consumer, key: &key };
                        if let Entry::Done(_) = self.store.enter(unit.tx().await?, key).await? {
                            verdict = Verdict::Duplicate;
                        }
                        unit
                    }
                };
                self.settle(unit.tx().await?, delivery, Settle::Done, &mut answers).await?;
                self.commit(unit, &answers).await?;
                Ok(verdict)
            }
        }
    }

    async fn conclude_alone(&self, delivery: &Delivery, error: Error) -> Result<Verdict> {
        let mut unit = Unit::new(self.store.clone(), self.store.begin().await?);
        let mut answers = Vec::new();
        let verdict = self.conclude(unit.tx().await?, delivery, error, &mut answers).await?;
        self.commit(unit, &answers).await?;
        Ok(verdict)
    }

    /// Calls for the first `known` deliveries, some at a time; `None` stands for those that were not started, because
    /// one of their key before them was not done with.
    async fn side_by_side<'d, T: Send + Ends>(
        &self,
        deliveries: &'d VecDeque<Delivery>,
        known: usize,
        held: &[u64],
        call: impl Fn(&'d Delivery) -> BoxFuture<'d, T> + Sync,
    ) -> Vec<Option<T>> {
        let free = |delivery: &&Delivery| delivery.key.is_none_or(|key| !held.contains(&key));
        let lanes = self.lanes(deliveries.iter().take(known).enumerate().filter(|(_, delivery)| free(delivery)));
        let call = &call;
        // Boxed here: the compiler cannot infer the borrow through the stream's closures.
        let calls: Vec<BoxFuture<'_, Vec<(usize, T)>>> = lanes
            .into_iter()
            .map(|lane| {
                async move {
                    let mut outcomes = Vec::with_capacity(lane.len());
                    for (at, delivery) in lane {
                        let outcome = call(delivery).await;
                        let ends = outcome.ends();
                        outcomes.push((at, outcome));
                        if ends {
                            break;
                        }
                    }
                    outcomes
                }
                .boxed()
            })
            .collect();
        let mut outcomes: Vec<Option<T>> = (0..known).map(|_| None).collect();
        let mut ended = stream::iter(calls).buffer_unordered(CALLS);
        while let Some(lane) = ended.next().await {
            lane.into_iter().for_each(|(at, outcome)| outcomes[at] = Some(outcome));
        }
        outcomes
    }

    /// What may be handled side by side: each delivery, or those of one key one after the other.
    fn lanes<'d>(&self, deliveries: impl Iterator<Item = (usize, &'d Delivery)>) -> Vec<Vec<(usize, &'d Delivery)>> {
        let (mut lanes, mut keys) = (Vec::<Vec<_>>::new(), HashMap::new());
        for (at, delivery) in deliveries {
            let lane = match delivery.key.filter(|_| self.ordered) {
                Some(key) => *keys.entry(key).or_insert(lanes.len()),
                None => lanes.len(),
            };
            match lanes.get_mut(lane) {
                Some(lane) => lane.push((at, delivery)),
                None => lanes.push(vec![(at, delivery)]),
            }
        }
        lanes
    }
}

/// Whether the later ones of its key must wait.
trait Ends {
    fn ends(&self) -> bool;
}

impl Ends for Result<()> {
    fn ends(&self) -> bool {
        self.is_err()
    }
}

impl Ends for Result<Verdict> {
    fn ends(&self) -> bool {
        !matches!(self, Ok(Verdict::Committed | Verdict::Duplicate))
    }
}
