//! The one connection that writes, the thread that begins and commits, and the turns in between.
//!
//! Long because connection, thread and turns are one state machine, and its invariants hold for all of it.
//!
//! Invariants: the connection is at home (`State::home`), with the thread, or in exactly one [`Turn`]. While a
//! transaction is open (`State::group`) each turn in it has a savepoint. A turn ends by [`Shared::end`], also when it
//! is dropped. What a transaction makes true in memory ([`Effect`]) is applied after its commit, in the order of its
//! turns. No SQL and no waker runs under the lock of `State`.

use crate::{
    error::{Lost, fault, is_fatal},
    guard::Guard,
    hub::{Effect, Hub},
    queue::now,
};
use catga_contract::{Error, ErrorKind, Result};
use futures_channel::oneshot;
use rusqlite::Connection;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A transaction takes no new turn after so many, or after so long.
const GROUP_TURNS: u32 = 64;
const GROUP_TIME: Duration = Duration::from_millis(20);
/// How long somebody waits for a turn before the answer is `Busy`.
pub(crate) const TURN_WAIT: Duration = Duration::from_secs(30);
/// How often the file is asked whether another process, such as a tool that replays a dead letter, has written to it.
const LOOK: Duration = Duration::from_secs(1);
/// How long a connection may stay away after its handler ended before it is written off.
const COME_HOME: Duration = Duration::from_secs(1);

/// The writing connection with what watches it.
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) guard: Guard,
}

/// Opens a connection that may write, again where one was written off.
pub(crate) type Open = Box<dyn Fn() -> Result<Link> + Send>;

/// Work that the thread does between transactions.
type Job = Box<dyn FnOnce(&mut Link) + Send>;

pub(crate) struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    pub(crate) hub: Hub,
}

#[derive(Default)]
struct State {
    home: Option<Box<Link>>,
    group: Option<Group>,
    waiting: VecDeque<(Instant, oneshot::Sender<Result<Turn>>)>,
    jobs: VecDeque<Job>,
    /// The number of the turn that is out, and since when it has been asked home.
    out: Option<(u64, Option<Instant>)>,
    turns: u64,
    alarms: BTreeMap<Alarm, u64>,
    /// When to ask next whether another process has written, and SQLite's number of what was seen; only where this
    /// process works on the file.
    watch: Option<(Instant, i64)>,
    /// Why the file is not written any more: a disk that failed once is not trusted again.
    broken: Option<String>,
    closing: bool,
}

/// What rings at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    Outbox,
    Events,
    Queue(i64),
}

/// An open transaction.
struct Group {
    began: Instant,
    turns: u32,
    outcomes: Vec<oneshot::Sender<Result<(), Lost>>>,
    effects: Vec<Effect>,
}

/// The connection on loan. Dropped without [`Turn::commit`], what was written in it is undone.
pub(crate) struct Turn {
    link: Option<Box<Link>>,
    number: u64,
    shared: Arc<Shared>,
    /// Why nothing of the transaction can be committed any more.
    pub(crate) lost: Option<Lost>,
}

/// How a turn ended.
enum End {
    /// Its writes stay.
    Keep(Vec<Effect>),
    /// Its writes are undone.
    Undo,
    /// Nothing of the transaction can be committed.
    Lost(Lost),
}

impl Turn {
    pub(crate) fn link(&self) -> &Link {
        let Some(link) = &self.link else { unreachable!("a turn has its connection until it ends") };
        link
    }

    /// Whether this turn was lent by `shared` and is still the one that is out.
    pub(crate) fn is_current(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared) && shared.lock().out.is_some_and(|(number, _)| number == self.number)
    }

    /// Ends the turn and waits until what it wrote is durable.
    pub(crate) async fn commit(mut self, effects: Vec<Effect>) -> Result<()> {
        let end = self.lost.take().map_or(End::Keep(effects), End::Lost);
        let outcome = self.finish(end);
        drop(self);
        match outcome.await {
            Ok(committed) => committed.map_err(|lost| lost.error()),
            Err(oneshot::Canceled) => {
                Err(Error::new(ErrorKind::Timeout, "the store closed while it committed: the outcome is unknown"))
            }
        }
    }

    fn finish(&mut self, end: End) -> oneshot::Receiver<Result<(), Lost>> {
        let (sender, outcome) = oneshot::channel();
        if let Some(link) = self.link.take() {
            self.shared.clone().end(link, self.number, end, sender);
        }
        outcome
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.link.is_some() {
            let end = self.lost.take().map_or(End::Undo, End::Lost);
            drop(self.finish(end));
        }
    }
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), wake: Condvar::new(), hub: Hub::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn. Dropped while it waits, the turn goes to the next.
    pub(crate) async fn turn(&self) -> Result<Turn> {
        let (sender, turn) = oneshot::channel();
        {
            let mut state = self.lock();
            if let Some(why) = &state.broken {
                return Err(broken(why));
            }
            if state.closing {
                return Err(closed());
            }
            state.waiting.push_back((Instant::now() + TURN_WAIT, sender));
        }
        self.wake.notify_one();
        turn.await.unwrap_or_else(|oneshot::Canceled| Err(closed()))
    }

    /// Runs `work` on the thread, outside any transaction.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Link) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, answer) = oneshot::channel();
        {
            let mut state = self.lock();
            if let Some(why) = &state.broken {
                return Err(broken(why));
            }
            state.jobs.push_back(Box::new(move |link| {
                // Nobody waits any more where this fails.
                let _ = sender.send(work(link));
            }));
        }
        self.wake.notify_one();
        answer.await.unwrap_or_else(|oneshot::Canceled| Err(closed()))
    }

    /// Rings at `due`, in microseconds since 1970; there is one alarm of each kind.
    pub(crate) fn set_alarm(&self, alarm: Alarm, due: u64) {
        self.lock().alarms.insert(alarm, due);
        self.wake.notify_one();
    }

    /// As [`set_alarm`](Self::set_alarm), unless it rings earlier already.
    pub(crate) fn set_alarm_by(&self, alarm: Alarm, due: u64) {
        self.lock().alarms.entry(alarm).and_modify(|earlier| *earlier = due.min(*earlier)).or_insert(due);
        self.wake.notify_one();
    }

    /// Begins to look for what other processes write.
    pub(crate) fn watch(&self) {
        self.lock().watch.get_or_insert((Instant::now(), 0));
        self.wake.notify_one();
    }

    /// Asks for the turn that is out: where its connection does not come home in time, another one is opened.
    pub(crate) fn revoke(&self) {
        if let Some((_, since)) = &mut self.lock().out {
            since.get_or_insert_with(Instant::now);
        }
        self.wake.notify_one();
    }

    /// Lets the thread end when nobody waits any more.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.revoke();
    }

    /// Takes a connection home, and lends it to the next in line where the transaction has room.
    fn end(self: Arc<Self>, link: Box<Link>, number: u64, end: End, outcome: oneshot::Sender<Result<(), Lost>>) {
        let (kept, lost) = match end {
            End::Lost(lost) => (None, Some(lost)),
            _ if link.connection.is_autocommit() => (None, Some(ended_by_itself())),
            End::Keep(effects) => match link.connection.execute_batch("RELEASE turn") {
                Ok(()) => (Some(effects), None),
                Err(error) => (None, Some(Lost::new(&error, "ending a turn"))),
            },
            End::Undo => match link.connection.execute_batch("ROLLBACK TO turn; RELEASE turn") {
                Ok(()) => (None, None),
                Err(error) => (None, Some(Lost::new(&error, "undoing a turn"))),
            },
        };
        let rolled_back = lost.is_none() || roll_back(&link.connection);
        let mut state = self.lock();
        if state.out.is_none_or(|(out, _)| out != number) {
            // It was written off: the transaction it held is gone with it.
            drop(state);
            drop(link);
            drop(outcome);
            self.wake.notify_one();
            return;
        }
        if !rolled_back {
            state.broken = Some("a transaction could not be rolled back".into());
        }
        let mut lost_outcomes = Vec::new();
        if let Some(group) = state.group.as_mut().filter(|_| lost.is_none()) {
            if let Some(effects) = kept {
                group.effects.extend(effects);
                group.outcomes.push(outcome);
            }
        } else {
            lost_outcomes = state.group.take().map_or_else(Vec::new, |group| group.outcomes);
            lost_outcomes.push(outcome);
        }
        let next = match &mut state.group {
            Some(group) if group.has_room() => state.next(),
            _ => None,
        };
        match next {
            Some(waiter) => {
                // Still out, until the next turn's number stands there: else a closing thread would not wait for it.
                state.out = Some((number, None));
                drop(state);
                self.lend(link, waiter);
            }
            None => {
                state.out = None;
                state.home = Some(link);
                drop(state);
                self.wake.notify_one();
            }
        }
        if let Some(lost) = lost {
            // Those who shared the transaction are not to blame for it.
            let lost = Lost { kind: ErrorKind::Unavailable, ..lost };
            for outcome in lost_outcomes {
                // Nobody waits any more where this fails.
                let _ = outcome.send(Err(lost.clone()));
            }
        }
    }

    /// Opens a savepoint and hands the connection to a waiter, in the open transaction.
    fn lend(self: &Arc<Self>, link: Box<Link>, waiter: oneshot::Sender<Result<Turn>>) {
        if let Err(error) = link.connection.execute_batch("SAVEPOINT turn") {
            let lost = Lost::new(&error, "beginning a turn");
            let _ = waiter.send(Err(lost.error()));
            let group = self.lock().group.take();
            roll_back(&link.connection);
            {
                let mut state = self.lock();
                state.out = None;
                state.home = Some(link);
            }
            self.wake.notify_one();
            for outcome in group.map_or_else(Vec::new, |group| group.outcomes) {
                let _ = outcome.send(Err(lost.clone()));
            }
            return;
        }
        let number = {
            let mut state = self.lock();
            state.turns += 1;
            state.out = Some((state.turns, None));
            if let Some(group) = &mut state.group {
                group.turns += 1;
            }
            state.turns
        };
        // A waiter that is gone drops the turn, which takes the connection to the next in line.
        drop(waiter.send(Ok(Turn { link: Some(link), number, shared: self.clone(), lost: None })));
    }

    /// The thread: begins, commits, runs jobs, rings, until the store is closed and nobody waits.
    pub(crate) fn serve(self: Arc<Self>, first: Link, open: &Open, at_end: impl FnOnce(&mut Link)) {
        let mut state = self.lock();
        state.home = Some(Box::new(first));
        loop {
            state = self.ring(state);
            state = self.expire(state, open);
            let Some(mut link) = state.home.take() else {
                if state.closing && state.out.is_none() {
                    break;
                }
                state = self.sleep(state);
                continue;
            };
            let idle = state.waiting.is_empty();
            if let Some(group) = state.group.take_if(|group| idle || !group.has_room()) {
                drop(state);
                let committed = self.commit(&link.connection, group);
                state = self.lock();
                state.home = Some(link);
                if let Err(why) = committed {
                    state.broken = Some(why);
                }
            } else if let Some(why) = &state.broken {
                let why = why.clone();
                let (waiting, jobs) = (std::mem::take(&mut state.waiting), std::mem::take(&mut state.jobs));
                state.home = Some(link);
                drop(state);
                drop(jobs);
                for (_, waiter) in waiting {
                    let _ = waiter.send(Err(broken(&why)));
                }
                state = self.lock();
                if state.closing {
                    break;
                }
                if state.waiting.is_empty() && state.jobs.is_empty() {
                    state = self.sleep(state);
                }
            } else if let Some(job) = state.group.is_none().then(|| state.jobs.pop_front()).flatten() {
                drop(state);
                job(&mut link);
                state = self.lock();
                state.home = Some(link);
            } else if state.group.is_none() && state.watch.is_some_and(|(next, _)| next <= Instant::now()) {
                let seen = state.watch.map_or(0, |(_, seen)| seen);
                drop(state);
                let now = link.connection.pragma_query_value(None, "data_version", |row| row.get(0)).unwrap_or(seen);
                if now != seen {
                    self.hub.look_again();
                }
                state = self.lock();
                state.watch = Some((Instant::now() + LOOK, now));
                state.home = Some(link);
            } else if let Some(waiter) = state.next() {
                let begun = state.group.is_some();
                drop(state);
                self.begin(link, begun, waiter);
                state = self.lock();
            } else if state.closing {
                drop(state);
                at_end(&mut link);
                return;
            } else {
                state.home = Some(link);
                state = self.sleep(state);
            }
        }
    }

    fn begin(self: &Arc<Self>, link: Box<Link>, begun: bool, waiter: oneshot::Sender<Result<Turn>>) {
        if !begun {
            if let Err(error) = link.connection.execute_batch("BEGIN IMMEDIATE") {
                let _ = waiter.send(Err(fault(error, "waiting for the right to write")));
                self.lock().home = Some(link);
                return;
            }
            let group = Group { began: Instant::now(), turns: 0, outcomes: Vec::new(), effects: Vec::new() };
            self.lock().group = Some(group);
        }
        self.lend(link, waiter);
    }

    /// Commits, tells those who wait for it, and makes true in memory what is durable now. An error means that the
    /// file must not be written any more.
    fn commit(&self, connection: &Connection, group: Group) -> Result<(), String> {
        if group.outcomes.is_empty() {
            return match roll_back(connection) {
                true => Ok(()),
                false => Err("a transaction could not be rolled back".into()),
            };
        }
        let result = connection.execute_batch("COMMIT");
        let broken = match &result {
            // A failed fsync says nothing about what reached the disk, and a second one that succeeds says less.
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::SystemIoFailure) => {
                Some(error.to_string())
            }
            Err(_) if !roll_back(connection) => Some("a transaction could not be rolled back".into()),
            _ => None,
        };
        let outcome = result.map_err(|error| Lost::new(&error, "committing"));
        if outcome.is_ok() {
            for effect in group.effects {
                effect.apply(&self.hub);
            }
        }
        for waiter in group.outcomes {
            // Nobody waits any more where this fails; the commit stands.
            let _ = waiter.send(outcome.clone());
        }
        broken.map_or(Ok(()), Err)
    }

    fn ring<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if state.alarms.is_empty() {
            return state;
        }
        let now = now();
        let due: Vec<Alarm> = state.alarms.iter().filter(|(_, due)| **due <= now).map(|(alarm, _)| *alarm).collect();
        if due.is_empty() {
            return state;
        }
        state.alarms.retain(|alarm, _| !due.contains(alarm));
        drop(state);
        for alarm in due {
            match alarm {
                Alarm::Outbox => self.hub.outbox.ring(),
                Alarm::Events => self.hub.events.ring(),
                Alarm::Queue(id) => {
                    if let Some(queue) = self.hub.queue_by_id(id) {
                        queue.wake();
                    }
                }
            }
        }
        self.lock()
    }

    /// Answers those who waited too long, and replaces a connection that did not come home.
    fn expire<'a>(&'a self, mut state: MutexGuard<'a, State>, open: &Open) -> MutexGuard<'a, State> {
        let now = Instant::now();
        let late = state.waiting.iter().take_while(|(deadline, _)| *deadline <= now).count();
        if late > 0 {
            let expired: Vec<_> = state.waiting.drain(..late).collect();
            drop(state);
            for (_, waiter) in expired {
                let text = format!("no turn to write came in {TURN_WAIT:?}: somebody holds the transaction");
                let _ = waiter.send(Err(Error::new(ErrorKind::Busy, text)));
            }
            state = self.lock();
        }
        if let Some((_, Some(since))) = state.out
            && since.elapsed() >= COME_HOME
        {
            tracing::error!("a transaction did not come home after its handler ended; its connection is written off");
            state.out = None;
            let group = state.group.take();
            drop(state);
            let lost = Lost { kind: ErrorKind::Unavailable, why: "its connection was written off".into() };
            for outcome in group.map_or_else(Vec::new, |group| group.outcomes) {
                let _ = outcome.send(Err(lost.clone()));
            }
            let opened = open();
            state = self.lock();
            match opened {
                Ok(link) => state.home = Some(Box::new(link)),
                Err(error) => state.broken = Some(format!("no new connection: {error:#}")),
            }
        }
        state
    }

    fn sleep<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let now_instant = Instant::now();
        let mut until: Option<Duration> = None;
        let mut sooner = |wait: Duration| until = Some(until.map_or(wait, |until| until.min(wait)));
        if let Some((deadline, _)) = state.waiting.front() {
            sooner(deadline.saturating_duration_since(now_instant));
        }
        if let Some((_, Some(since))) = state.out {
            sooner(COME_HOME.saturating_sub(since.elapsed()));
        }
        // While the connection is out nobody can look: its coming home wakes us.
        if let Some((next, _)) = state.watch.filter(|_| state.home.is_some()) {
            sooner(next.saturating_duration_since(now_instant));
        }
        if let Some(due) = state.alarms.values().min() {
            sooner(Duration::from_micros(due.saturating_sub(now())));
        }
        match until {
            Some(wait) => self.wake.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
            None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl State {
    /// The next in line who still waits.
    fn next(&mut self) -> Option<oneshot::Sender<Result<Turn>>> {
        std::iter::from_fn(|| self.waiting.pop_front()).map(|(_, waiter)| waiter).find(|waiter| !waiter.is_canceled())
    }
}

impl Group {
    fn has_room(&self) -> bool {
        self.turns < GROUP_TURNS && self.began.elapsed() < GROUP_TIME
    }
}

/// Ends an open transaction without its writes; `false` where even that fails.
fn roll_back(connection: &Connection) -> bool {
    connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok() || connection.is_autocommit()
}

pub(crate) fn ended_by_itself() -> Lost {
    let why = "SQLite ended the transaction by itself (a full disk, or a statement with `ON CONFLICT ROLLBACK`)";
    Lost { kind: ErrorKind::Handler, why: why.into() }
}

fn broken(why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the file is not written any more, restart the process: {why}"))
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store is closed")
}

/// Whether a failed statement leaves the transaction unusable.
pub(crate) fn ends_transaction(connection: &Connection, error: &rusqlite::Error) -> Option<Lost> {
    if is_fatal(error) {
        return Some(Lost::new(error, "writing"));
    }
    connection.is_autocommit().then(ended_by_itself)
}
