//! One consumer's queue as this process sees it: how far it has read, what is ready, what comes again when.

use bytes::Bytes;
use catga_contract::Str;
use event_listener::{Event, EventListener};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How many deliveries are claimed at a time.
pub(crate) const CLAIM: usize = 64;
/// How many failed deliveries of one consumer may wait for their next try before no new ones are claimed.
pub(crate) const MAX_RETRIES: usize = 10_000;

pub(crate) struct Queue {
    /// The consumer's number in the file.
    pub(crate) id: i64,
    /// Its durable name.
    pub(crate) name: Str,
    /// Whether a subscription reads it; one at a time, because what is claimed stands in memory.
    taken: AtomicBool,
    state: Mutex<State>,
    event: Event,
}

#[derive(Default)]
struct State {
    /// Every row up to here was claimed.
    read: i64,
    /// Whether there may be rows behind `read`.
    more: bool,
    /// Claimed, durable, and not handed out yet.
    ready: VecDeque<Ready>,
    /// What was tried and not settled for good, by row.
    retries: BTreeMap<i64, Retry>,
    /// When those are due that are not handed out.
    due: BTreeSet<(u64, i64)>,
}

/// A delivery as it is handed out.
pub(crate) struct Ready {
    pub(crate) seq: i64,
    pub(crate) frame: Bytes,
    /// How many tries were counted before.
    pub(crate) started: u32,
    /// Handed out in a batch of its own.
    pub(crate) alone: bool,
}

/// A row of `catga_retry`.
#[derive(Clone, Copy)]
pub(crate) struct Retry {
    pub(crate) attempts: u32,
    pub(crate) due: u64,
    pub(crate) alone: bool,
    /// The try that is going on was counted when it started.
    pub(crate) counted: bool,
}

/// What a subscription does next.
pub(crate) enum Plan {
    /// These are ready.
    Take(Vec<Ready>),
    /// Count a try of this row and start it alone.
    Alone(i64),
    /// Read these rows, which are due again.
    Again(Vec<i64>),
    /// Claim new rows.
    Claim,
    /// Nothing to do until the event, or until that time.
    Wait(Option<u64>),
}

impl Queue {
    pub(crate) fn new(id: i64, name: Str) -> Self {
        Self { id, name, taken: AtomicBool::new(false), state: Mutex::default(), event: Event::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the queue for one subscription; `false` where another one has it.
    pub(crate) fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::SeqCst)
    }

    pub(crate) fn give_back(&self) {
        self.taken.store(false, Ordering::SeqCst);
    }

    /// Begins anew with what the file says: everything unsettled comes again.
    pub(crate) fn reset(&self, retries: BTreeMap<i64, Retry>) {
        let due = retries.iter().map(|(seq, retry)| (retry.due, *seq)).collect();
        *self.state() = State { read: 0, more: true, ready: VecDeque::new(), retries, due };
    }

    pub(crate) fn listen(&self) -> EventListener {
        self.event.listen()
    }

    pub(crate) fn wake(&self) {
        self.event.notify(usize::MAX);
    }

    pub(crate) fn plan(&self, most: usize) -> Plan {
        let mut state = self.state();
        if let Some(first) = state.ready.front() {
            let many = if first.alone { 1 } else { most.min(state.ready.len()) };
            let together = state.ready.iter().take(many).take_while(|ready| ready.alone == first.alone).count();
            return Plan::Take(state.ready.drain(..together).collect());
        }
        let now = now();
        let mut again = Vec::new();
        for (_, seq) in state.due.range(..=(now, i64::MAX)).take(most) {
            if state.retries.get(seq).is_some_and(|retry| retry.alone) {
                if again.is_empty() {
                    return Plan::Alone(*seq);
                }
                break;
            }
            again.push(*seq);
        }
        if !again.is_empty() {
            return Plan::Again(again);
        }
        if state.more && state.retries.len() < MAX_RETRIES {
            return Plan::Claim;
        }
        Plan::Wait(state.due.first().map(|(due, _)| *due))
    }

    /// Hands out rows that are due again; those that are gone meanwhile are forgotten.
    pub(crate) fn hand_out(&self, wanted: &[i64], rows: Vec<(i64, Bytes)>) -> Vec<Ready> {
        let mut state = self.state();
        for seq in wanted {
            if let Some(retry) = state.retries.get_mut(seq) {
                retry.counted = false;
                let key = (retry.due, *seq);
                state.due.remove(&key);
            }
        }
        for seq in wanted.iter().filter(|seq| !rows.iter().any(|(found, _)| found == *seq)) {
            state.retries.remove(seq);
        }
        let started = |seq: &i64| state.retries.get(seq).map_or(0, |retry| retry.attempts);
        rows.into_iter().map(|(seq, frame)| Ready { started: started(&seq), seq, frame, alone: false }).collect()
    }

    /// Where the next claim reads on, and whether one more is worth it after a settlement.
    pub(crate) fn position(&self) -> (i64, bool) {
        let state = self.state();
        let quiet = state.ready.is_empty() && state.retries.len() < MAX_RETRIES;
        (state.read, state.more && quiet)
    }

    /// The next row to be tried alone, where nothing else is ready.
    pub(crate) fn next_alone(&self) -> Option<i64> {
        let state = self.state();
        let (due, seq) = state.due.first().copied().filter(|(due, _)| *due <= now())?;
        let alone = state.retries.get(&seq).is_some_and(|retry| retry.alone && retry.due == due);
        (alone && state.ready.is_empty()).then_some(seq)
    }

    pub(crate) fn retry(&self, seq: i64) -> Option<Retry> {
        self.state().retries.get(&seq).copied()
    }

    /// Rows were written and are durable.
    pub(crate) fn written(&self) {
        self.state().more = true;
        self.wake();
    }

    /// A claim is durable.
    pub(crate) fn claimed(&self, rows: Vec<(i64, Bytes)>) {
        let mut state = self.state();
        // A claim that filled its measure leaves the question open; so does one that raced with a write, because the
        // write rings after its own commit.
        state.more = rows.len() >= CLAIM;
        for (seq, frame) in rows {
            state.read = state.read.max(seq);
            if !state.retries.contains_key(&seq) {
                state.ready.push_back(Ready { seq, frame, started: 0, alone: false });
            }
        }
        drop(state);
        self.wake();
    }

    /// The count of a lonely try is durable.
    pub(crate) fn counted(&self, seq: i64, frame: Bytes) {
        let mut state = self.state();
        let Some(retry) = state.retries.get_mut(&seq) else { return };
        let (key, started) = ((retry.due, seq), retry.attempts);
        retry.attempts += 1;
        retry.counted = true;
        state.due.remove(&key);
        state.ready.push_front(Ready { seq, frame, started, alone: true });
    }

    /// A settlement is durable.
    pub(crate) fn settled(&self, seq: i64, again: Option<Retry>) {
        let mut state = self.state();
        if let Some(before) = state.retries.remove(&seq) {
            state.due.remove(&(before.due, seq));
        }
        if let Some(retry) = again {
            state.retries.insert(seq, retry);
            state.due.insert((retry.due, seq));
            drop(state);
            self.wake();
        }
    }
}

impl Retry {
    /// How a delivery that looked like `before` comes again after `pause`. A lonely try was counted when it started,
    /// so it is not counted twice, and is taken back where it does not count.
    pub(crate) fn after(before: Option<Self>, pause: Duration, counts: bool) -> Self {
        let (attempts, counted) = before.map_or((0, false), |retry| (retry.attempts, retry.counted));
        let attempts = match (counts, counted) {
            (true, false) => attempts + 1,
            (false, true) => attempts - 1,
            _ => attempts,
        };
        Self { attempts, due: now().saturating_add(micros(pause)), alone: false, counted: false }
    }
}

/// A duration in microseconds; one beyond all measure is 292,000 years.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(i64::MAX as u64)
}

/// Microseconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros)
}
