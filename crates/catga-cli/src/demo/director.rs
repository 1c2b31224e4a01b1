//! The parent's loop. It issues orders, keeps the journal, kills the worker and starts the next. It is never killed
//! itself, and it believes nothing but answers.

mod deaths;

use super::{
    WorkerArgs,
    deliveries::{Deliveries, Key},
    feed::{Feed, Next},
    input::Line,
    journal::{Admission, Journal, Ticket},
    kills::Kills,
    progress::Progress,
    protocol::{Answer, Report, Step},
    worker_link::Worker,
};
use anyhow::{Context as _, Result};
use catga_order_system::PlaceOrder;
use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

/// How many orders are open at a time. More would place them no faster: commits would only become larger, and commands
/// would outrun the consumers.
const OPEN: usize = 16;
/// How many orders are open while a kill is overdue: deliveries that were started before come first after a kill, and
/// a slow feed lets the consumers get to new ones.
const OPEN_FOR_A_KILL: usize = 1;
/// A kill is overdue so many orders after it fell due.
const LATE: u64 = 64;
/// How long nothing may happen.
const STUCK: Duration = Duration::from_secs(30);
/// How often a worker may end by itself.
const CRASHES: u64 = 3;

/// What the loop waits for.
#[derive(Debug)]
pub(crate) enum Event {
    /// The worker said something, or something that is no report.
    Report(Result<Report, String>),
    /// The worker's pipe is empty, and its other end is closed.
    WorkerEnded,
    /// A line of the input; `None` at its end.
    Line(io::Result<Option<Line>>),
    /// The user wants it to end.
    Interrupted,
}

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Plan {
    /// How many orders to make up; without a meaning for an input.
    pub(crate) orders: u64,
    /// After which time no more orders are issued.
    pub(crate) time: Option<Duration>,
    /// What workers are told.
    pub(crate) worker: WorkerArgs,
}

/// What the loop counted beside the journal.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Lines that are no order.
    pub(crate) rejected: u64,
    /// Lines with an order that came before.
    pub(crate) repeated: u64,
    /// Parcels that were handed over twice.
    pub(crate) duplicates: u64,
    /// Memory of the first worker when it was ready and of the last one when it ended, in bytes.
    pub(crate) rss_start: u64,
    /// See `rss_start`.
    pub(crate) rss_end: u64,
    /// From the first worker's readiness until nothing waited any more.
    pub(crate) time: Duration,
    /// The longest time from the start of a killed worker's successor to its first commit.
    pub(crate) resumed: Duration,
    /// Workers that ended by themselves.
    pub(crate) crashes: u64,
    /// What went wrong with the run itself.
    pub(crate) problems: Vec<String>,
}

/// The parent at work.
pub(crate) struct Director<'a> {
    pub(crate) plan: Plan,
    pub(crate) feed: Feed,
    pub(crate) kills: Kills,
    pub(crate) journal: Journal,
    pub(crate) deliveries: Deliveries,
    pub(crate) totals: Totals,
    progress: &'a mut Progress,
    runtime: &'a tokio::runtime::Runtime,
    events: Receiver<Event>,
    sender: Sender<Event>,
    worker: Worker,
    /// How many workers were started.
    workers: u64,
    ready: bool,
    /// Attempts without an answer, and orders to send again.
    open: HashMap<u64, (Ticket, PlaceOrder)>,
    again: VecDeque<(Ticket, PlaceOrder)>,
    attempts: u64,
    /// Whether the worker was asked to say when nothing waits any more, and whether it did.
    asked_for_idle: bool,
    idle: bool,
    interrupted: bool,
    began: Option<Instant>,
    /// When the last order stood or the last effect was committed.
    moved: Instant,
    /// When the successor of a killed worker was started, until its first commit.
    resuming: Option<Instant>,
}

impl<'a> Director<'a> {
    /// Starts the first worker.
    pub(crate) fn start(
        plan: Plan,
        feed: Feed,
        kills: Kills,
        (sender, events): (Sender<Event>, Receiver<Event>),
        progress: &'a mut Progress,
        runtime: &'a tokio::runtime::Runtime,
    ) -> Result<Self> {
        let worker = Worker::spawn(&plan.worker, sender.clone()).context("starting the worker")?;
        Ok(Self {
            plan,
            feed,
            kills,
            journal: Journal::default(),
            deliveries: Deliveries::new(),
            totals: Totals::default(),
            progress,
            runtime,
            events,
            sender,
            worker,
            workers: 1,
            ready: false,
            open: HashMap::new(),
            again: VecDeque::new(),
            attempts: 0,
            asked_for_idle: false,
            idle: false,
            interrupted: false,
            began: None,
            moved: Instant::now(),
            resuming: None,
        })
    }

    /// Runs until everything that was issued is answered and nothing waits any more, or until it is stuck.
    pub(crate) fn run(&mut self) -> Result<()> {
        while !self.idle {
            if self.ready && self.issue() && !self.asked_for_idle {
                self.asked_for_idle = true;
                self.moved = Instant::now();
                self.worker.await_idle();
            }
            match self.events.recv_timeout(Duration::from_millis(200)) {
                Ok(Event::WorkerEnded) => {
                    if !self.crashed()? {
                        return Ok(());
                    }
                }
                Ok(event) => {
                    if self.take(event)? && self.strikes() {
                        self.kill()?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("this side holds a sender"),
            }
            if self.is_stuck() {
                return self.give_up();
            }
        }
        self.totals.time = self.began.map(|began| began.elapsed()).unwrap_or_default();
        if self.kills.missing() > 0 {
            let (hit, wanted) = (self.kills.per_kill().len(), self.kills.wanted());
            self.totals.problems.push(format!("only {hit} of {wanted} kills hit started work; give it more orders"));
        }
        self.end_worker()
    }

    /// Takes the progress bar away.
    pub(crate) fn end(&self) {
        self.progress.finish();
    }

    /// Issues what may be issued. Answers whether there is nothing left to issue and nothing open.
    fn issue(&mut self) -> bool {
        let mut exhausted = false;
        while self.open.len() < self.window() {
            if let Some((ticket, order)) = self.again.pop_front() {
                self.send(ticket, order);
                continue;
            }
            if !self.may_issue() {
                exhausted = true;
                break;
            }
            match self.feed.next() {
                Next::Line(line) => self.admit(line),
                Next::Wait => {
                    if self.open.is_empty() {
                        // Whoever writes the input takes their time.
                        self.moved = Instant::now();
                    }
                    break;
                }
                Next::End => {
                    exhausted = true;
                    break;
                }
            }
        }
        exhausted && self.open.is_empty()
    }

    /// How many orders may be open now.
    fn window(&self) -> usize {
        if self.is_kill_due(LATE) { OPEN_FOR_A_KILL } else { OPEN }
    }

    /// Whether more orders may be issued: where a kill is missing at the end, twice as many as were asked for.
    fn may_issue(&self) -> bool {
        if self.interrupted {
            return false;
        }
        let time_is_up = self.is_time_up();
        if self.feed.is_input() {
            return !time_is_up;
        }
        let issued = self.journal.issued();
        let done = self.journal.counts().ok >= issued && (issued >= self.plan.orders || time_is_up);
        (issued < self.plan.orders && !time_is_up)
            || (done && self.kills.missing() > 0 && issued < self.plan.orders.saturating_mul(2))
    }

    fn is_time_up(&self) -> bool {
        self.plan.time.zip(self.began).is_some_and(|(time, began)| began.elapsed() >= time)
    }

    fn admit(&mut self, Line { number, order }: Line) {
        let order = match order {
            Ok(order) => order,
            Err(reason) => {
                self.totals.rejected += 1;
                return self.progress.warn(&format!("line {number}: rejected: {reason}"));
            }
        };
        match self.journal.admit(&order, number) {
            Admission::New(ticket) => self.send(ticket, order),
            Admission::Repeated(first) => {
                self.totals.repeated += 1;
                self.progress.warn(&format!("line {number}: repeated: order {:?} stands on line {first}", order.id));
            }
            Admission::OtherContents(first) => {
                self.totals.rejected += 1;
                self.progress.warn(&format!(
                    "line {number}: rejected: order {:?} has other contents than on line {first}",
                    order.id
                ));
            }
        }
    }

    fn send(&mut self, ticket: Ticket, order: PlaceOrder) {
        self.attempts += 1;
        self.worker.place(self.attempts, &order);
        self.open.insert(self.attempts, (ticket, order));
    }

    /// Takes an event in. Answers whether a delivery was started for the first time.
    fn take(&mut self, event: Event) -> Result<bool> {
        match event {
            Event::Report(Ok(report)) => return self.hear(report),
            Event::Report(Err(nonsense)) => self.totals.problems.push(format!("the worker said {nonsense}")),
            Event::Line(line) => {
                let line = line.context("reading the input");
                self.feed.take(line?);
            }
            Event::Interrupted if self.interrupted => anyhow::bail!("interrupted"),
            Event::Interrupted => {
                self.interrupted = true;
                self.progress.warn("interrupted: finishing what is open; once more ends it at once");
            }
            Event::WorkerEnded => unreachable!("whoever waits for the end takes it"),
        }
        Ok(false)
    }

    fn hear(&mut self, report: Report) -> Result<bool> {
        match report {
            Report::Ready { rss } => {
                self.ready = true;
                self.moved = Instant::now();
                if self.began.is_none() {
                    self.began = Some(self.moved);
                    self.totals.rss_start = rss;
                }
            }
            Report::Answer { attempt, at, answer } => self.answered(attempt, at, answer)?,
            Report::Delivery { consumer, id, at, step, .. } => {
                let id = id.parse().map_err(|error| anyhow::anyhow!("a delivery's id: {error}"))?;
                if step == Step::Committed {
                    self.moved = Instant::now();
                    if let Some(started) = self.resuming.take() {
                        self.totals.resumed = self.totals.resumed.max(started.elapsed());
                    }
                }
                return Ok(self.deliveries.step(Key { consumer, id }, step, at));
            }
            Report::Twice { .. } => self.totals.duplicates += 1,
            Report::Idle => self.idle = self.asked_for_idle,
            Report::End { rss } => self.totals.rss_end = rss,
        }
        Ok(false)
    }

    fn answered(&mut self, attempt: u64, at: u64, answer: Answer) -> Result<()> {
        let Some((ticket, order)) = self.open.remove(&attempt) else {
            self.totals.problems.push(format!("the worker answered attempt {attempt}, which is not open"));
            return Ok(());
        };
        match answer {
            Answer::Ok { existed, event } => {
                self.moved = Instant::now();
                self.journal.ok(ticket, existed);
                if let Some(event) = event {
                    let event = event.parse().map_err(|error| anyhow::anyhow!("an event's id: {error}"))?;
                    self.deliveries.ordered(event, at);
                }
                self.progress.orders(self.journal.counts().ok);
            }
            Answer::Refused(reason) => {
                self.journal.refuse(ticket);
                self.totals.problems.push(format!("order {:?} was refused: {reason}", order.id));
            }
            Answer::Failed(_) => {
                self.journal.fail();
                self.again.push_back((ticket, order));
            }
            Answer::Unknown(_) => {
                self.journal.unknown(ticket);
                self.again.push_back((ticket, order));
            }
        }
        Ok(())
    }

    /// Whether a kill should have fallen so many orders ago.
    fn is_kill_due(&self, ago: u64) -> bool {
        let Totals { rejected, repeated, .. } = self.totals;
        let done = self.journal.counts().ok;
        let due = match &self.feed {
            Feed::Generated { .. } => self.kills.due(done, ago, Some(self.plan.orders)),
            Feed::Input(_) => self.kills.due(done + rejected + repeated, ago, self.feed.lines()),
        };
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let by_time = self.plan.time.zip(self.began);
        due || by_time.is_some_and(|(time, began)| self.kills.due(millis(began.elapsed()), ago, Some(millis(time))))
    }

    /// A delivery was started for the first time: whether to kill now. One that was killed before is no reason to
    /// kill again, because a message whose process dies each time is buried, as it should be.
    fn strikes(&mut self) -> bool {
        let last_chance = self.asked_for_idle || self.window() == OPEN_FOR_A_KILL;
        self.is_kill_due(0) && self.deliveries.any_running() && (self.kills.strikes() || last_chance)
    }

    fn is_stuck(&self) -> bool {
        self.moved.elapsed() >= STUCK
    }
}

/// `catga::Error` is no `std::error::Error`, as anyhow's is none.
pub(crate) fn plain(error: catga::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}
