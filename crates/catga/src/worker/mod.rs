//! The worker: moves deliveries through a handler inside a unit of work.
//!
//! One transaction holds a batch. Each delivery has an outer savepoint with its mark, its settlement and, inside, the
//! handler's own savepoint; so one failure undoes one delivery. A failure of the store itself undoes the batch, and
//! every delivery of it is handled again.
//!
//! Long because the steps of a delivery are one protocol, which is read from top to bottom.

mod lanes;

use crate::{
    app::Core,
    handlers::{Consumer, Route, Takes},
    panic,
    relay::TROUBLE,
    stop::Stopped,
};
use catga_contract::{
    __private::scope, AnyUnit, BoxSettler, BoxTransport, Call, Delivery, Entry, Envelope, Error, ErrorKind, Fault,
    InboxKey, NewLetter, Order, Result, Settle, Settler, SubscribeOptions, Subscription, Token, Transport, Unit,
    UnitOfWork,
};
use futures_util::FutureExt;
use std::{
    any::Any,
    collections::VecDeque,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// The most deliveries of one transaction.
pub(crate) const BATCH: usize = 64;
/// A transaction takes no further delivery after so long.
pub(crate) const BATCH_TIME: Duration = Duration::from_millis(20);
/// How long a delivery waits whose handler found something busy or unreachable and named no pause.
pub(crate) const UNREACHABLE: Duration = Duration::from_secs(1);

/// One consumer and what it needs.
pub(crate) struct Work {
    pub(crate) core: Arc<Core>,
    pub(crate) consumer: Arc<Consumer>,
    pub(crate) transport: BoxTransport,
    pub(crate) stop: Stopped,
}

/// Works until the end is wanted; then finishes the batch at hand.
pub(crate) async fn run<S: UnitOfWork>(store: Arc<S>, work: Work) -> Result<()> {
    let mut options = SubscribeOptions::new(work.consumer.name.clone());
    options.park = work.consumer.parks;
    let mut subscription = work.transport.subscribe(options).await?;
    let settler = subscription.settler();
    let shared = work.transport.shares() == Some(store.id());
    let ordered = work.transport.capabilities().order == Order::Key;
    let worker = Worker { store, work, settler, shared, ordered };
    let (mut waiting, mut batch, mut failures) = (Waiting::default(), Vec::new(), 0);
    loop {
        if waiting.deliveries.is_empty() {
            let next = worker.work.stop.unless(subscription.next_batch(BATCH, &mut batch));
            let Some(next) = next.await else { return Ok(()) };
            waiting.held.clear();
            waiting.deliveries.extend(batch.drain(..));
            if let Err(error) = next {
                failures += 1;
                worker.trouble("no deliveries", &error, failures).await;
                continue;
            }
        }
        match worker.transaction(&mut waiting).await {
            Ok(Progress::Worked) => {
                failures = 0;
                worker.work.core.worked();
            }
            Ok(Progress::Paused(report)) => {
                // Nothing of it is settled: a newer program will find it where it is.
                tracing::error!(consumer = %worker.work.consumer.name, report, "the consumer pauses");
                worker.work.core.paused(&worker.work.consumer.name, report);
                worker.work.stop.wanted().await;
                return Ok(());
            }
            Err(error) => {
                failures += 1;
                worker.trouble("a batch was undone; each of it comes again", &error, failures).await;
                if worker.work.stop.is_wanted() {
                    return Ok(());
                }
            }
        }
        // A handler that never waits must not starve the runtime's timers.
        tokio::task::yield_now().await;
    }
}

struct Worker<S: UnitOfWork> {
    store: Arc<S>,
    work: Work,
    settler: BoxSettler,
    /// Whether the queue lies in the store, so that settlements commit with the effects.
    shared: bool,
    /// Whether the messages of a key must keep their order whatever fails.
    ordered: bool,
}

/// One batch of deliveries.
#[derive(Default)]
struct Waiting {
    deliveries: VecDeque<Delivery>,
    /// Keys of which one came before and is not done with: the later ones of the batch go back unstarted.
    held: Vec<u64>,
}

/// A delivery that goes back unstarted.
const BACK: Settle = Settle::Again { pause: Duration::ZERO, counts: false };

/// How a transaction ended.
enum Progress {
    Worked,
    /// The next message is of a version that this program does not know.
    Paused(String),
}

/// What became of a delivery; told when it is durable.
enum Verdict {
    Committed,
    Duplicate,
    /// The error, for the log.
    Again(Error),
    Buried(Error),
    /// It was not started: one of its key before it is not done with.
    Back,
}

/// What a handler's call left.
struct Called<S: UnitOfWork> {
    /// The unit of work that was lent to it, or that it opened.
    unit: Option<Box<Unit<S>>>,
    answer: Result<()>,
    /// It found that the message had been handled before.
    duplicate: bool,
}

/// The store failed: nothing of the transaction may be committed.
struct Fatal {
    error: Error,
    /// Whether the delivery at hand brought it about.
    guilty: bool,
}

impl From<Error> for Fatal {
    fn from(error: Error) -> Self {
        Self { error, guilty: false }
    }
}

impl<S: UnitOfWork> Worker<S> {
    async fn trouble(&self, what: &str, error: &Error, failures: u32) {
        let consumer = &self.work.consumer.name;
        tracing::warn!(%consumer, error = format_args!("{error:#}"), failures, "{what}");
        self.work.stop.pause(TROUBLE.pause(failures)).await;
    }

    /// Handles deliveries from the front of `waiting` in one transaction, and takes those out that are settled.
    async fn transaction(&self, waiting: &mut Waiting) -> Result<Progress> {
        let deliveries = &waiting.deliveries;
        let known = deliveries.iter().position(|delivery| self.newer(delivery).is_some()).unwrap_or(deliveries.len());
        if known == 0 {
            let report = deliveries.front().and_then(|delivery| self.newer(delivery)).unwrap_or_default();
            return Ok(Progress::Paused(report));
        }
        match self.work.consumer.takes {
            Takes::Tx => self.with_tx(waiting, known).await?,
            Takes::Later => self.later(waiting, known).await?,
            Takes::Nothing => self.without_tx(waiting, known).await?,
        }
        Ok(Progress::Worked)
    }

    /// The first `known` deliveries, as many as one transaction takes.
    async fn with_tx(&self, waiting: &mut Waiting, known: usize) -> Result<()> {
        if self.work.core.resources.sabotaged(Fault::AckFirst) {
            self.settle_alone(waiting.deliveries.iter().map(|delivery| (delivery.token, Settle::Done)).collect())
                .await?;
        }
        let mut unit = Box::new(Unit::new(self.store.clone(), self.store.begin().await?));
        let began = Instant::now();
        let (mut verdicts, mut answers, mut held) = (Vec::new(), Vec::new(), waiting.held.clone());
        for delivery in waiting.deliveries.iter().take(known) {
            if delivery.key.is_some_and(|key| held.contains(&key)) {
                self.settle(unit.tx().await?, delivery, BACK, &mut answers).await?;
                verdicts.push(Verdict::Back);
                continue;
            }
            match self.deliver(unit, delivery, &mut answers).await {
                Ok((back, verdict)) => {
                    unit = back;
                    held.extend(self.holds_up(delivery, &verdict));
                    verdicts.push(verdict);
                }
                Err(Fatal { error, guilty: false }) => return Err(error),
                Err(Fatal { error, guilty: true }) => {
                    let at = verdicts.len();
                    return self.convict(waiting, at, error).await;
                }
            }
            if began.elapsed() >= BATCH_TIME {
                break;
            }
        }
        self.commit(*unit, &answers).await?;
        waiting.held = held;
        for (delivery, verdict) in waiting.deliveries.drain(..verdicts.len()).zip(verdicts) {
            self.tell(&delivery, &verdict);
        }
        Ok(())
    }

    /// The key whose later messages must not be handled yet.
    fn holds_up(&self, delivery: &Delivery, verdict: &Verdict) -> Option<u64> {
        let holds = match verdict {
            Verdict::Committed | Verdict::Duplicate => false,
            Verdict::Again(_) | Verdict::Back => true,
            Verdict::Buried(_) => self.work.consumer.parks,
        };
        delivery.key.filter(|_| self.ordered && holds)
    }

    /// One delivery inside the transaction of its batch.
    async fn deliver(
        &self,
        mut unit: Box<Unit<S>>,
        delivery: &Delivery,
        answers: &mut Vec<(Token, Settle)>,
    ) -> Result<(Box<Unit<S>>, Verdict), Fatal> {
        let store = &*self.store;
        let (resources, consumer) = (&self.work.core.resources, &self.work.consumer);
        let (envelope, route) = match self.readable(delivery) {
            Ok(readable) => readable,
            Err(error) => {
                let verdict = self.conclude(unit.tx().await?, delivery, error, answers).await?;
                return Ok((unit, verdict));
            }
        };
        let id = envelope.id.to_bytes();
        let key = InboxKey { consumer: &consumer.name, key: &id };
        let tx = unit.tx().await?;
        let outer = match resources.sabotaged(Fault::NoSavepoint) {
            false => Some(store.savepoint(tx).await?),
            true => None,
        };
        if !resources.sabotaged(Fault::NoMark) {
            match store.enter(tx, key).await? {
                Entry::New => {}
                Entry::Busy { retry_after } => {
                    if let Some(outer) = outer {
                        store.release(tx, outer, false).await?;
                    }
                    let error = Error::new(ErrorKind::Busy, "it is being handled already");
                    let again = Settle::Again { pause: retry_after, counts: false };
                    self.settle(tx, delivery, again, answers).await?;
                    return Ok((unit, Verdict::Again(error)));
                }
                Entry::Done(_) => {
                    self.settle(tx, delivery, Settle::Done, answers).await?;
                    if let Some(outer) = outer {
                        store.release(tx, outer, true).await?;
                    }
                    return Ok((unit, Verdict::Duplicate));
                }
            }
        }
        let called = self.call(Some(unit), envelope, route, delivery).await;
        let Some(mut unit) = called.unit else {
            let text = "its unit of work did not come back";
            return Err(Fatal { error: Error::new(ErrorKind::Handler, text), guilty: true });
        };
        let verdict = match called.answer {
            Ok(()) => {
                let tx = unit.tx().await.map_err(guilty)?;
                store.finish(tx, key, &[]).await.map_err(guilty)?;
                self.settle(tx, delivery, Settle::Done, answers).await.map_err(guilty)?;
                if let Some(outer) = outer {
                    store.release(tx, outer, true).await.map_err(guilty)?;
                }
                Verdict::Committed
            }
            Err(error) => {
                let undone = match (unit.tx().await, outer) {
                    (Ok(tx), Some(outer)) => store.release(tx, outer, false).await,
                    (Ok(_), None) => Ok(()),
                    (Err(left), _) => Err(left),
                };
                if undone.is_err() {
                    return Err(Fatal { error, guilty: true });
                }
                self.conclude(unit.tx().await?, delivery, error, answers).await?
            }
        };
        Ok((unit, verdict))
    }

    /// Why the consumer must wait for a newer program, if it must.
    fn newer(&self, delivery: &Delivery) -> Option<String> {
        let envelope = delivery.message.as_ref().ok()?;
        let route = self.work.consumer.route(envelope).ok()?;
        (envelope.version > route.version).then(|| {
            format!(
                "message {} `{}` is of version {}, this program knows version {}: deploy the newer program; until then \
                 the message and what follows it wait",
                envelope.id, envelope.name, envelope.version, route.version
            )
        })
    }

    /// Finds what cannot be handled: bytes that cannot be read, what nobody takes, and what was started too often.
    fn readable<'a>(&'a self, delivery: &'a Delivery) -> Result<(&'a Envelope, &'a Route)> {
        let consumer = &self.work.consumer;
        let envelope = delivery.message.as_ref().map_err(|error| {
            Error::new(error.kind(), format!("{error:#}")).context(format_args!("consumer `{}`", consumer.name))
        })?;
        if delivery.started >= self.work.core.backoff.attempts {
            let text = format!(
                "message {} `{}` was started {} times and never ended: its process died each time",
                envelope.id, envelope.name, delivery.started
            );
            return Err(Error::permanent(text));
        }
        Ok((envelope, consumer.route(envelope)?))
    }

    /// Runs the handler; what it panics with is its error.
    async fn call(
        &self,
        unit: Option<Box<Unit<S>>>,
        envelope: &Envelope,
        route: &Route,
        delivery: &Delivery,
    ) -> Called<S> {
        let (core, consumer) = (&self.work.core, &self.work.consumer);
        let attempt = delivery.started + 1;
        let mut call = Call::delivered(&core.resources, envelope, &consumer.name, attempt);
        if let Some(unit) = unit {
            call.lend(unit);
        }
        tracing::debug!(
            target: "catga::delivery", consumer = %consumer.name, id = %envelope.id, attempt = u64::from(attempt), "started"
        );
        let (held, began) = (call.has_unit().then(|| self.store.id()), Instant::now());
        let mut run = route.run(&mut call, envelope);
        let answer = match held {
            // A behavior that asked for the store's writer would wait for this call.
            Some(store) => {
                let run = AssertUnwindSafe(scope(store, route.about.handler, Pin::new(&mut run)));
                run.catch_unwind().await
            }
            None => AssertUnwindSafe(Pin::new(&mut run)).catch_unwind().await,
        };
        drop(run);
        let answer = answer.unwrap_or_else(|panic| Err(panic::error(&*panic)));
        route.consumed.called(began.elapsed(), answer.as_ref().err());
        let answer = answer.map_err(|error| {
            let (consumer, handler) = (&consumer.name, route.about.handler);
            let Envelope { id, name, .. } = envelope;
            error.context(format_args!("consumer `{consumer}`, handler `{handler}`, message {id} `{name}`"))
        });
        let unit = call.take_unit().and_then(|unit: Box<dyn AnyUnit>| (unit as Box<dyn Any>).downcast().ok());
        Called { unit, answer, duplicate: call.is_duplicate() }
    }

    /// Settles a failed delivery: again after a pause, or as a dead letter.
    async fn conclude(
        &self,
        tx: &mut S::Tx,
        delivery: &Delivery,
        error: Error,
        answers: &mut Vec<(Token, Settle)>,
    ) -> Result<Verdict> {
        let backoff = &self.work.core.backoff;
        let tries = delivery.started + 1;
        let pause = match error.kind() {
            ErrorKind::Permanent
            | ErrorKind::NoHandler
            | ErrorKind::Codec
            | ErrorKind::Invalid
            | ErrorKind::Unsupported => None,
            ErrorKind::Unavailable | ErrorKind::Busy => Some((error.pause().unwrap_or(UNREACHABLE), false)),
            _ if tries >= backoff.attempts => None,
            _ => Some((error.pause().unwrap_or_else(|| backoff.pause(tries)), true)),
        };
        match pause {
            Some((pause, counts)) => {
                self.settle(tx, delivery, Settle::Again { pause, counts }, answers).await?;
                Ok(Verdict::Again(error))
            }
            None => {
                let (node, last) = (format!("process {}", std::process::id()), SystemTime::now());
                let letter = NewLetter {
                    consumer: &self.work.consumer.name,
                    handler: self.work.consumer.handler(delivery.message.as_ref().ok()),
                    frame: &delivery.frame,
                    reason: &format!("{error:#}"),
                    attempts: tries,
                    node: &node,
                    first: delivery.first.unwrap_or(last),
                    last,
                    parks: delivery.key.filter(|_| self.work.consumer.parks),
                };
                self.store.bury(tx, &letter).await?;
                // A buried message is done with, also where it was handed over twice: whoever replays it takes the
                // mark away.
                if let Ok(envelope) = &delivery.message {
                    let id = envelope.id.to_bytes();
                    self.store.enter(tx, InboxKey { consumer: &self.work.consumer.name, key: &id }).await?;
                }
                self.settle(tx, delivery, Settle::Bury, answers).await?;
                Ok(Verdict::Buried(error))
            }
        }
    }

    /// Settles in the transaction where the queue lies in the store, else after its commit.
    async fn settle(
        &self,
        tx: &mut S::Tx,
        delivery: &Delivery,
        answer: Settle,
        answers: &mut Vec<(Token, Settle)>,
    ) -> Result<()> {
        if self.shared {
            self.store.settle(tx, &[(delivery.token, answer)]).await
        } else {
            answers.push((delivery.token, answer));
            Ok(())
        }
    }

    /// Commits what settles the deliveries; where the queue lies elsewhere, settles them there.
    async fn commit(&self, unit: Unit<S>, answers: &[(Token, Settle)]) -> Result<()> {
        let began = Instant::now();
        let mut settled = unit.commit().await;
        if settled.is_ok() && !self.shared {
            settled = self.settler.settle(answers).await;
        }
        self.work.core.client.settled(&settled, began.elapsed());
        settled
    }

    /// The delivery at `at` spoiled the transaction of its batch: its failure is settled in a transaction of its own,
    /// and the others, which were undone with it, are handled again.
    async fn convict(&self, waiting: &mut Waiting, at: usize, error: Error) -> Result<()> {
        let Some(delivery) = waiting.deliveries.get(at) else { return Err(error) };
        let mut unit = Unit::new(self.store.clone(), self.store.begin().await?);
        let mut answers = Vec::new();
        let verdict = self.conclude(unit.tx().await?, delivery, error, &mut answers).await?;
        self.commit(unit, &answers).await?;
        if let Some(delivery) = waiting.deliveries.remove(at) {
            waiting.held.extend(self.holds_up(&delivery, &verdict));
            self.tell(&delivery, &verdict);
        }
        Ok(())
    }

    async fn settle_alone(&self, answers: Vec<(Token, Settle)>) -> Result<()> {
        if !self.shared {
            return self.settler.settle(&answers).await;
        }
        let mut tx = self.store.begin().await?;
        self.store.settle(&mut tx, &answers).await?;
        self.store.commit(tx).await
    }

    fn tell(&self, delivery: &Delivery, verdict: &Verdict) {
        let consumer = &self.work.consumer.name;
        let id = delivery.message.as_ref().map(|envelope| envelope.id).unwrap_or_default();
        let attempt = u64::from(delivery.started) + 1;
        let consumed = self.work.consumer.consumed(delivery.message.as_ref().ok());
        match verdict {
            Verdict::Committed => {
                consumed.settled(None);
                tracing::debug!(target: "catga::delivery", %consumer, %id, attempt, "committed");
            }
            Verdict::Duplicate => {
                consumed.duplicate();
                tracing::debug!(target: "catga::delivery", %consumer, %id, attempt, "duplicate");
            }
            Verdict::Back => {
                tracing::debug!(target: "catga::delivery", %consumer, %id, attempt, "not started: one of its key waits");
            }
            Verdict::Again(error) => {
                consumed.settled(Some(error));
                let error = format_args!("{error:#}");
                tracing::debug!(target: "catga::delivery", %consumer, %id, attempt, error, "failed");
            }
            Verdict::Buried(error) => {
                consumed.buried(error);
                let error = format_args!("{error:#}");
                tracing::error!(target: "catga::delivery", %consumer, %id, attempt, error, "buried");
            }
        }
    }
}

fn guilty(error: Error) -> Fatal {
    // A disk or a lock is nobody's fault.
    let guilty = !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Busy);
    Fatal { error, guilty }
}
