//! Followers: handlers over all event streams, in order, whose checkpoint commits with their effects.
//!
//! One transaction holds a batch. Each event has a savepoint in it, so that one which fails undoes itself alone: what
//! came before it commits, and the follower waits at it. A failure of the transaction itself undoes the batch; its
//! events are then handled one by one, so that those before the one at fault commit.
//!
//! Long because wiring, loop and transaction of a follower are one protocol.

use crate::{
    app::Core,
    backoff::Backoff,
    build::{Builder, ConsumerBuilder},
    handlers::{Consumer, Route},
    panic,
    relay::TROUBLE,
    stop::Stopped,
    store::AnyStore,
    worker::{BATCH, BATCH_TIME, UNREACHABLE},
};
use catga_contract::{
    __private::scope, AnyUnit, Behaviors, BoxStreams, Call, Envelope, Error, ErrorKind, Event, Fence, FromCall,
    IntoHandler, Needs, Recorded, Resources, Result, Str, Unit, UnitOfWork, Wire,
};
use futures_util::{FutureExt, future::BoxFuture};
use std::{
    any::Any,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How long a follower waits for an event before it looks by itself, for stores that overhear one.
const LOOK: Duration = Duration::from_secs(10);
/// How many events that are not for it a follower passes over before it writes down that it did.
const PASSED: u64 = 256;

impl<L> Builder<L> {
    /// Adds a follower: a handler that is given every event of that type from all streams of the store, in the order in
    /// which they were appended, from the first on. Its place is kept under its name, `{application}.{name}`.
    ///
    /// A handler that takes a `Tx` has its effects once: what it writes commits with its place, in one transaction for
    /// up to 64 events or 20 ms. Without one it is given an event again after a crash. An event whose handler fails is
    /// tried again at the pace of the [backoff](Self::backoff), and those behind it wait. After its attempts the
    /// follower [pauses](crate::App::paused) and skips nothing: it tries again when the application runs the next time.
    ///
    /// ```
    /// use catga::{App, Event, Expect, Place, Streams, Tx, sqlite::Sqlite};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Clone, Serialize, Deserialize)]
    /// #[catga(name = "account.paid-in")]
    /// struct PaidIn { cents: u64 }
    ///
    /// async fn total(event: PaidIn, mut tx: Tx<Sqlite>, place: Place) -> catga::Result<()> {
    ///     let sql = "INSERT INTO totals (account, cents) VALUES (?1, ?2)
    ///         ON CONFLICT (account) DO UPDATE SET cents = cents + excluded.cents";
    ///     tx.execute(sql, (place.stream.as_str(), event.cents))?;
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> catga::Result<()> {
    /// let table = "CREATE TABLE totals (account TEXT PRIMARY KEY, cents INTEGER NOT NULL)";
    /// let store = Sqlite::temporary().await?.migrate(&[table]).await?;
    /// let app = App::builder("bank").store(store.clone()).follow("totals", total).build().await?;
    /// store.append_events("account-7", Expect::Any, &[PaidIn { cents: 5 }, PaidIn { cents: 7 }]).await?;
    /// app.run_until_idle().await?;
    /// assert_eq!(store.read(|db| db.query_row("SELECT sum(cents) FROM totals", (), |row| row.get::<_, i64>(0)))?, 12);
    /// # Ok(())
    /// # }
    /// ```
    pub fn follow<M: Event + Wire, Kind>(self, name: &'static str, handler: impl IntoHandler<M, Kind> + Send) -> Self
    where
        L: Behaviors<M>,
    {
        self.follower(name, |follower| follower.on(handler))
    }

    /// Adds a follower of several events, which share its place and their order. Events that it has no handler for are
    /// passed over.
    pub fn follower(mut self, name: &'static str, add: impl FnOnce(ConsumerBuilder<L>) -> ConsumerBuilder<L>) -> Self {
        let follower = add(ConsumerBuilder { name, behaviors: self.behaviors, routes: Vec::new(), parks: false });
        self.behaviors = follower.behaviors;
        let problems = &mut self.parts.problems;
        if follower.routes.is_empty() {
            problems.push(format!("follower `{name}` takes no event: add one with `.on(…)`"));
        }
        if follower.parks {
            problems.push(format!("follower `{name}` parks, but it waits at an event that fails: it skips nothing"));
        }
        if self.parts.has_consumer(name) {
            let text = format!("there are two consumers or followers named `{name}`; a durable name belongs to one");
            self.parts.problems.push(text);
        }
        self.parts.followed.extend(follower.routes);
        self.parts.idle = None;
        self
    }
}

/// Where the event stands that a follower's handler is given: take it as a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Its place in the order of all streams, rising.
    pub position: u64,
    /// Its stream.
    pub stream: Str,
    /// Its version in the stream, from 1.
    pub version: u64,
}

/// The header that carries a [`Place`] from the follower to its handler; it is in no frame.
const PLACE: &str = "catga-place";

impl Place {
    fn write(event: &Recorded, envelope: &mut Envelope) -> Result<()> {
        let numbers = [event.position.to_le_bytes(), event.version.to_le_bytes()].concat();
        envelope.headers.push(PLACE, &[&numbers, event.stream.as_bytes()].concat())
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (position, rest) = bytes.split_first_chunk()?;
        let (version, stream) = rest.split_first_chunk()?;
        let stream = std::str::from_utf8(stream).ok()?.into();
        Some(Self { position: u64::from_le_bytes(*position), version: u64::from_le_bytes(*version), stream })
    }
}

impl FromCall for Place {
    type Prepared = ();

    fn prepare(_: &Resources, _: &mut Needs) -> Option<()> {
        Some(())
    }

    async fn from_call((): &(), call: &mut Call<'_>) -> Result<Self> {
        // The last one: what an event brought of that name is not ours.
        let headers = &call.context().headers;
        let place = headers.iter().filter(|(name, _)| *name == PLACE).last().and_then(|(_, bytes)| Self::read(bytes));
        place.ok_or_else(|| {
            Error::permanent("a handler that takes `Place` is given events by `.follow(…)` or `.follower(…)` only")
        })
    }
}

/// A follower that is ready to work.
pub(crate) struct Follower {
    pub(crate) consumer: Arc<Consumer>,
    /// Which of the application's stores it follows.
    store: usize,
    /// What it has handled or passed over, as far as this process knows.
    position: AtomicU64,
}

impl Follower {
    pub(crate) fn of(
        consumers: Vec<Arc<Consumer>>,
        stores: &[Arc<dyn AnyStore>],
        problems: &mut Vec<String>,
    ) -> Vec<Arc<Self>> {
        let follower = |consumer: Arc<Consumer>| {
            let found = match consumer.unit {
                Some(unit) => {
                    // `Any`, which every pointer is, has a method of that name, too.
                    let is_it = |store: &Arc<dyn AnyStore>| AnyStore::type_id(&**store) == unit;
                    stores.iter().position(|store| is_it(store) && store.has_streams())
                }
                None => stores.iter().position(|store| store.has_streams()),
            };
            if found.is_none() {
                let name = &consumer.name;
                let text =
                    "has no store with event streams to follow: add one with `.store(…)`, of the type of its `Tx`";
                problems.push(format!("follower `{name}` {text}"));
            }
            Some(Arc::new(Self { consumer, store: found?, position: AtomicU64::new(0) }))
        };
        consumers.into_iter().filter_map(follower).collect()
    }

    pub(crate) async fn is_behind(&self, stores: &[Arc<dyn AnyStore>]) -> Result<bool> {
        match stores.get(self.store) {
            Some(store) => store.has_events(self.position.load(Ordering::SeqCst)).await,
            None => Ok(false),
        }
    }

    pub(crate) fn start(self: Arc<Self>, core: Arc<Core>, stop: Stopped) -> Option<BoxFuture<'static, Result<()>>> {
        let store = core.stores.get(self.store)?.clone();
        // Before anything runs, so that nobody takes what the last run found for news.
        core.resumed(&self.consumer.name);
        Some(store.follow(Follow { core, follower: self, stop }))
    }
}

/// One follower and what it needs.
pub(crate) struct Follow {
    core: Arc<Core>,
    follower: Arc<Follower>,
    stop: Stopped,
}

impl Follow {
    async fn trouble(&self, what: &str, error: &Error, failures: u32) {
        let follower = &self.follower.consumer.name;
        tracing::warn!(%follower, error = format_args!("{error:#}"), failures, "{what}");
        self.stop.pause(TROUBLE.pause(failures)).await;
    }
}

/// Follows until the end is wanted; then finishes the batch at hand.
pub(crate) async fn run<S: UnitOfWork>(store: Arc<S>, streams: BoxStreams<S::Tx>, follow: Follow) -> Result<()> {
    let mut failures = 0;
    let mut follower = loop {
        let Some(loaded) = follow.stop.unless(streams.load(&follow.follower.consumer.name)).await else {
            return Ok(());
        };
        match loaded {
            Ok((position, fence)) => break Following::new(store, streams, follow, position, fence),
            Err(error) => {
                failures += 1;
                follow.trouble("its place is unknown", &error, failures).await;
            }
        }
    };
    failures = 0;
    while !follower.follow.stop.is_wanted() {
        match follower.step().await {
            Ok(Step::Went) => failures = 0,
            Ok(Step::Waits(pause)) => follower.follow.stop.pause(pause).await,
            Ok(Step::Paused(report)) => {
                let Follow { core, follower, stop } = &follower.follow;
                let name = &follower.consumer.name;
                tracing::error!(follower = %name, report, "the follower pauses");
                core.paused(name, report);
                core.worked();
                stop.wanted().await;
            }
            Err(error) => {
                failures += 1;
                follower.follow.trouble("a batch was undone; each of it comes again", &error, failures).await;
            }
        }
        // A handler that never waits must not starve the runtime's timers.
        tokio::task::yield_now().await;
    }
    follower.finish().await;
    Ok(())
}

struct Following<S: UnitOfWork> {
    store: Arc<S>,
    streams: BoxStreams<S::Tx>,
    follow: Follow,
    fence: Fence,
    /// How far it has come, and how far that is written down: events that are not for it cost no commit.
    at: u64,
    saved: u64,
    /// Up to here each event has a transaction of its own.
    alone: u64,
    /// The event that failed last, and how many of its tries count.
    failing: (u64, u32),
}

/// What came of a look at the streams.
enum Step {
    Went,
    /// An event failed and comes again after this pause.
    Waits(Duration),
    /// It does not go on in this run; why.
    Paused(String),
}

/// What stopped a batch.
enum Halt {
    /// The handler of the event at this position failed.
    Failed(u64, Error),
    /// This program cannot handle the next event.
    Unknown(String),
}

/// A batch of events, as far as it has come.
struct Batch<'a, S: UnitOfWork> {
    unit: Option<Box<Unit<S>>>,
    began: Instant,
    handled: Vec<&'a Route>,
    at: u64,
}

impl<S: UnitOfWork> Following<S> {
    fn new(store: Arc<S>, streams: BoxStreams<S::Tx>, follow: Follow, at: u64, fence: Fence) -> Self {
        follow.follower.position.store(at, Ordering::SeqCst);
        Self { store, streams, follow, fence, at, saved: at, alone: 0, failing: (0, 0) }
    }

    async fn step(&mut self) -> Result<Step> {
        let most = if self.at < self.alone { 1 } else { BATCH };
        let events = self.streams.read_all(self.at, most).await?;
        if events.is_empty() {
            let waited = self.follow.stop.unless(self.streams.wait(self.at, LOOK)).await;
            return waited.unwrap_or(Ok(())).map(|()| Step::Went);
        }
        let consumer = self.follow.follower.consumer.clone();
        let mut batch = Batch { unit: None, began: Instant::now(), handled: Vec::new(), at: self.at };
        let halt = self.handle(&consumer, &events, &mut batch).await?;
        let went = self.commit(batch).await;
        match went {
            // Whoever took over goes on where this one was; its effects since were undone.
            Err(error) if error.kind() == ErrorKind::Conflict => return Ok(Step::Paused(format!("{error:#}"))),
            went => went?,
        }
        Ok(match halt {
            None => Step::Went,
            Some(Halt::Unknown(report)) => Step::Paused(report),
            Some(Halt::Failed(position, error)) => self.failed(&consumer, position, &error),
        })
    }

    /// Handles events as long as one transaction lasts, and says what ended it early.
    async fn handle<'a>(
        &mut self,
        consumer: &'a Consumer,
        events: &[Recorded],
        batch: &mut Batch<'a, S>,
    ) -> Result<Option<Halt>> {
        for event in events {
            let mut envelope = match event.open() {
                Ok(envelope) => envelope,
                Err(error) => return Ok(Some(Halt::Unknown(format!("{}: {error:#}", about(event))))),
            };
            let Ok(route) = consumer.route(&envelope) else {
                batch.at = event.position;
                continue;
            };
            if envelope.version > route.version {
                let report = format!(
                    "{} is message {} `{}` of version {}, this program knows version {}: deploy the newer program; \
                     until then the event and what follows it wait",
                    about(event),
                    envelope.id,
                    envelope.name,
                    envelope.version,
                    route.version
                );
                return Ok(Some(Halt::Unknown(report)));
            }
            Place::write(event, &mut envelope)?;
            let attempt = if self.failing.0 == event.position { self.failing.1 + 1 } else { 1 };
            let answer = match consumer.unit {
                None => self.call(None, &envelope, consumer, route, attempt).await.1,
                Some(_) => {
                    let unit = match batch.unit.take() {
                        Some(unit) => unit,
                        None => Box::new(Unit::new(self.store.clone(), self.store.begin().await?)),
                    };
                    let (unit, answer) = self.in_savepoint(unit, &envelope, consumer, route, attempt).await?;
                    if unit.is_none() {
                        // The batch is undone. Those before this event go first the next time, each alone.
                        self.alone = event.position;
                        (batch.at, batch.handled) = (self.at, Vec::new());
                    }
                    batch.unit = unit;
                    answer
                }
            };
            if let Err(error) = answer {
                let error = error.context(format_args!("{}, handler `{}`", about(event), route.about.handler));
                return Ok(Some(Halt::Failed(event.position, error)));
            }
            batch.at = event.position;
            batch.handled.push(route);
            if batch.began.elapsed() >= BATCH_TIME {
                break;
            }
        }
        Ok(None)
    }

    /// Handles an event in a savepoint of the batch's transaction. No unit comes back where that transaction is lost.
    async fn in_savepoint(
        &self,
        mut unit: Box<Unit<S>>,
        envelope: &Envelope,
        consumer: &Consumer,
        route: &Route,
        attempt: u32,
    ) -> Result<(Option<Box<Unit<S>>>, Result<()>)> {
        let savepoint = self.store.savepoint(unit.tx().await?).await?;
        let (back, answer) = self.call(Some(unit), envelope, consumer, route, attempt).await;
        let Some(mut unit) = back else {
            let left = Error::new(ErrorKind::Handler, "its unit of work did not come back");
            return Ok((None, answer.and(Err(left))));
        };
        let released = match unit.tx().await {
            Ok(tx) => self.store.release(tx, savepoint, answer.is_ok()).await,
            Err(error) => Err(error),
        };
        Ok(match released {
            Ok(()) => (Some(unit), answer),
            Err(error) => (None, answer.and(Err(error))),
        })
    }

    /// Runs the handler; what it panics with is its error.
    async fn call(
        &self,
        unit: Option<Box<Unit<S>>>,
        envelope: &Envelope,
        consumer: &Consumer,
        route: &Route,
        attempt: u32,
    ) -> (Option<Box<Unit<S>>>, Result<()>) {
        let mut call = Call::delivered(&self.follow.core.resources, envelope, &consumer.name, attempt);
        if let Some(unit) = unit {
            call.lend(unit);
        }
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
        let unit = call.take_unit().and_then(|unit: Box<dyn AnyUnit>| (unit as Box<dyn Any>).downcast().ok());
        (unit, answer)
    }

    /// Commits what a batch did with how far it has come.
    async fn commit(&mut self, batch: Batch<'_, S>) -> Result<()> {
        if batch.at == self.at {
            return Ok(());
        }
        let name = &self.follow.follower.consumer.name;
        let must = !batch.handled.is_empty() || batch.at >= self.saved + PASSED;
        if must {
            let mut unit = match batch.unit {
                Some(unit) => unit,
                None => Box::new(Unit::new(self.store.clone(), self.store.begin().await?)),
            };
            self.streams.save_in(unit.tx().await?, name, batch.at, self.fence).await?;
            unit.commit().await?;
            self.saved = batch.at;
        }
        self.at = batch.at;
        self.follow.follower.position.store(self.at, Ordering::SeqCst);
        batch.handled.iter().for_each(|route| route.consumed.settled(None));
        self.follow.core.worked();
        Ok(())
    }

    /// What becomes of a follower whose next event failed.
    fn failed(&mut self, consumer: &Consumer, position: u64, error: &Error) -> Step {
        let Backoff { attempts, .. } = self.follow.core.backoff;
        let (kind, pause) = (error.kind(), error.pause());
        if self.failing.0 != position {
            self.failing = (position, 0);
        }
        let counts = !matches!(kind, ErrorKind::Unavailable | ErrorKind::Busy);
        self.failing.1 += u32::from(counts);
        let tries = self.failing.1;
        let name = &consumer.name;
        tracing::warn!(follower = %name, error = format_args!("{error:#}"), tries, "an event failed; those behind it wait");
        let permanent = matches!(
            kind,
            ErrorKind::Permanent
                | ErrorKind::NoHandler
                | ErrorKind::Codec
                | ErrorKind::Invalid
                | ErrorKind::Unsupported
        );
        if permanent || counts && tries >= attempts {
            return Step::Paused(format!(
                "{error:#}; tried {tries} times. The event and what follows it wait; the next run tries it again"
            ));
        }
        let backoff = &self.follow.core.backoff;
        Step::Waits(pause.unwrap_or_else(|| if counts { backoff.pause(tries) } else { UNREACHABLE }))
    }

    /// Writes down what was passed over since the last commit. Where that fails it is passed over again.
    async fn finish(self) {
        if self.at == self.saved {
            return;
        }
        let name = &self.follow.follower.consumer.name;
        let saved = async {
            let mut unit = Unit::new(self.store.clone(), self.store.begin().await?);
            self.streams.save_in(unit.tx().await?, name, self.at, self.fence).await?;
            unit.commit().await
        };
        if let Err(error) = saved.await {
            tracing::debug!(follower = %name, error = format_args!("{error:#}"), "its place is not the latest");
        }
    }
}

/// Which event, for an error.
fn about(event: &Recorded) -> String {
    format!("stream `{}`, version {}, position {}", event.stream, event.version, event.position)
}
