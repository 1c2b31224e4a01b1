//! One consumer's queue as this process sees it: how far it has read, what is ready, what comes again when.

use crate::lines::State;
use bytes::Bytes;
use catga_contract::Str;
use event_listener::{Event, EventListener};
use std::{
    collections::HashSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How many deliveries are claimed at a time.
pub(crate) const CLAIM: usize = 64;
/// How many rows a claim looks at: it passes over those of keys that are held up.
pub(crate) const SCAN: usize = 1_024;
/// How many deliveries of one consumer may wait for their next try before no new ones are claimed. Of a key that is
/// one, however many wait behind it.
pub(crate) const MAX_RETRIES: usize = 10_000;

pub(crate) struct Queue {
    /// The consumer's number in the file.
    pub(crate) id: i64,
    /// Its durable name.
    pub(crate) name: Str,
    /// Whether a subscription reads it; one at a time, because what is claimed stands in memory.
    taken: AtomicBool,
    /// Whether the later messages of a key wait when one is buried.
    parks: AtomicBool,
    /// Whether those that wait for a letter are left out of the count: not before a subscription has said that they do.
    leaves_out: AtomicBool,
    state: Mutex<State>,
    event: Event,
}

/// A delivery as it is handed out.
pub(crate) struct Ready {
    pub(crate) seq: i64,
    pub(crate) key: Option<u64>,
    pub(crate) frame: Bytes,
    /// How many tries were counted before.
    pub(crate) started: u32,
    /// When the first of them started, in microseconds since 1970; 0 where there was none.
    pub(crate) first: u64,
    /// Handed out in a batch of its own.
    pub(crate) alone: bool,
    /// It has a row in `catga_retry`, and comes before those of its key that have none.
    pub(crate) led: bool,
}

/// A row of `catga_retry`.
#[derive(Clone, Copy)]
pub(crate) struct Retry {
    pub(crate) attempts: u32,
    pub(crate) due: u64,
    pub(crate) alone: bool,
    /// The try that is going on was counted when it started.
    pub(crate) counted: bool,
    /// When the first try that counts started; 0 where none has.
    pub(crate) first: u64,
    /// The key of its message.
    pub(crate) key: Option<u64>,
}

/// What a subscription does next.
pub(crate) enum Plan {
    /// These are ready.
    Take(Vec<Ready>),
    /// Look into the file for what another process did with letters.
    Look,
    /// Messages that were published for later are due.
    Promote,
    /// Count a try of this row and start it alone.
    Alone(i64),
    /// Read these rows, which are due again.
    Again(Vec<i64>),
    /// Claim the rows behind of these keys.
    Advance(Vec<u64>),
    /// Claim new rows.
    Claim,
    /// Nothing to do until the event, or until that time.
    Wait(Option<u64>),
}

/// A row that a claim has read; without its frame where its key is held up.
pub(crate) struct Claimed {
    pub(crate) seq: i64,
    pub(crate) key: Option<u64>,
    pub(crate) frame: Option<Bytes>,
}

impl Queue {
    pub(crate) fn new(id: i64, name: Str) -> Self {
        let [taken, parks, leaves_out] = std::array::from_fn(|_| AtomicBool::new(false));
        Self { id, name, taken, parks, leaves_out, state: Mutex::default(), event: Event::new() }
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

    pub(crate) fn set_parks(&self, parks: bool) {
        self.parks.store(parks, Ordering::SeqCst);
        self.leaves_out.store(parks, Ordering::SeqCst);
    }

    /// Somebody will subscribe who has not said yet whether it parks.
    pub(crate) fn registered(&self) {
        self.leaves_out.store(false, Ordering::SeqCst);
    }

    pub(crate) fn leaves_out(&self) -> bool {
        self.leaves_out.load(Ordering::SeqCst)
    }

    pub(crate) fn parks(&self) -> bool {
        self.parks.load(Ordering::SeqCst)
    }

    /// Begins anew with what the file says: everything unsettled comes again.
    pub(crate) fn reset(&self, state: State) {
        *self.state() = state;
    }

    pub(crate) fn listen(&self) -> EventListener {
        self.event.listen()
    }

    pub(crate) fn wake(&self) {
        self.event.notify(usize::MAX);
    }

    /// Changes what is known, and wakes who waits for it.
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.wake();
    }

    pub(crate) fn plan(&self, most: usize) -> Plan {
        let (mut state, now) = (self.state(), now());
        let is_due = state.due.first().is_some_and(|(due, _)| *due <= now);
        let alone = state.ready.front().is_some_and(|ready| ready.alone);
        if !state.ready.is_empty() && (alone || !is_due || !state.took_new) {
            state.took_new = !alone;
            return Plan::Take(state.take(most));
        }
        if state.look {
            return Plan::Look;
        }
        if state.later.is_some_and(|due| due <= now) {
            return Plan::Promote;
        }
        let mut again = Vec::new();
        for (_, seq) in state.due.range(..=(now, i64::MAX)).take(most) {
            if state.retries.get(seq).is_some_and(|retry| retry.alone) {
                if again.is_empty() {
                    let seq = *seq;
                    state.took_new = false;
                    return Plan::Alone(seq);
                }
                break;
            }
            again.push(*seq);
        }
        if !again.is_empty() {
            state.took_new = false;
            return Plan::Again(again);
        }
        let lagging = state.lagging(CLAIM);
        if !lagging.is_empty() {
            return Plan::Advance(lagging);
        }
        if state.more && state.retries.len() < MAX_RETRIES {
            return Plan::Claim;
        }
        let due = state.due.first().map(|(due, _)| *due);
        Plan::Wait(due.into_iter().chain(state.later).min())
    }

    /// Hands out rows that are due again; those that are gone meanwhile are forgotten.
    pub(crate) fn hand_out(&self, wanted: &[i64], mut rows: Vec<(i64, Bytes)>) -> Vec<Ready> {
        let handed = self.state().hand_out(wanted, |seq| rows.iter().any(|(found, _)| *found == seq));
        let ready = |(seq, retry): (i64, Retry)| {
            let at = rows.iter().position(|(found, _)| *found == seq)?;
            let (_, frame) = rows.swap_remove(at);
            Some(retry.ready(seq, frame))
        };
        handed.into_iter().filter_map(ready).collect()
    }

    /// Where the next claim reads on, and whether one more is worth it after a settlement.
    pub(crate) fn position(&self) -> (i64, bool) {
        let state = self.state();
        let quiet = state.ready.is_empty() && state.retries.len() < MAX_RETRIES;
        (state.read, state.more && quiet)
    }

    /// Whether a new row of that key must wait.
    pub(crate) fn is_blocked(&self, key: u64) -> bool {
        self.state().is_blocked(key)
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

    /// The keys whose rows behind come next when these rows are settled so: `true` is for good.
    pub(crate) fn freed(&self, settled: &[(i64, bool)]) -> Vec<u64> {
        self.state().freed(settled)
    }

    /// How a delivery comes again after `pause`. A lonely try was counted when it started, so it is not counted twice,
    /// and is taken back where it does not count.
    pub(crate) fn again(&self, seq: i64, pause: Duration, counts: bool) -> Retry {
        let state = self.state();
        let before = state.retries.get(&seq);
        let (attempts, counted, first) =
            before.map_or((0, false, 0), |retry| (retry.attempts, retry.counted, retry.first));
        let attempts = match (counts, counted) {
            (true, false) => attempts + 1,
            (false, true) => attempts - 1,
            _ => attempts,
        };
        let first = match attempts {
            0 => 0,
            _ if first == 0 => state.handed,
            _ => first,
        };
        let key = state.key_of(seq).or(before.and_then(|before| before.key));
        Retry { attempts, due: now().saturating_add(micros(pause)), alone: false, counted: false, first, key }
    }

    /// Rows were written and are durable.
    pub(crate) fn written(&self) {
        self.change(|state| state.more = true);
    }

    /// Another process has written.
    pub(crate) fn look_again(&self) {
        self.change(|state| (state.more, state.look) = (true, true));
    }

    /// What a look has shown is as durable as what it was read with.
    pub(crate) fn looked(&self, parked: &HashSet<u64>, replayed: Vec<(i64, Retry)>) {
        self.change(|state| {
            state.look = false;
            state.looked(parked, replayed);
        });
    }

    /// A message that is due later is durable.
    pub(crate) fn later(&self, due: u64) {
        self.change(|state| state.later = Some(state.later.map_or(due, |later| later.min(due))));
    }

    /// Messages moved into the queue, and the next one is due then.
    pub(crate) fn promoted(&self, next: Option<u64>) {
        self.change(|state| (state.more, state.later) = (true, next));
    }

    /// A claim is durable; it has read up to `read`, and there may be `more`.
    pub(crate) fn claimed(&self, rows: Vec<Claimed>, read: i64, more: bool) {
        self.change(|state| {
            // A claim that filled its measure leaves the question open; so does one that raced with a write, because
            // the write rings after its own commit.
            state.more = more;
            for Claimed { seq, key, frame } in rows {
                // Two claims of one transaction read the same rows.
                if seq <= state.read || state.retries.contains_key(&seq) {
                    continue;
                }
                match (key, frame) {
                    (Some(key), None) => state.pass_over(key),
                    (Some(key), Some(_)) if state.is_blocked(key) => state.pass_over(key),
                    (_, Some(frame)) => {
                        let (started, first, alone, led) = (0, 0, false, false);
                        state.ready.push_back(Ready { seq, key, frame, started, first, alone, led });
                    }
                    (None, None) => {}
                }
            }
            state.read = state.read.max(read);
        });
    }

    /// Rows that lay behind are claimed, durably.
    pub(crate) fn advanced(&self, key: u64, rows: Vec<(Retry, Ready)>, more: bool) {
        self.change(|state| state.advanced(key, rows, more));
    }

    /// A row comes again, or for the first time before others.
    pub(crate) fn take_back(&self, seq: i64, retry: Retry) {
        self.change(|state| state.take_back(seq, retry));
    }

    /// The count of a lonely try is durable.
    pub(crate) fn counted(&self, seq: i64, frame: Bytes) {
        self.change(|state| {
            let Some(retry) = state.retries.get_mut(&seq) else { return };
            let due = (retry.due, seq);
            let ready = Ready { alone: true, ..retry.ready(seq, frame) };
            if retry.first == 0 {
                retry.first = now();
            }
            retry.attempts += 1;
            retry.counted = true;
            state.due.remove(&due);
            state.lead(ready);
        });
    }

    /// A settlement is durable.
    pub(crate) fn settled(&self, seq: i64, again: Option<Retry>) {
        let mut state = self.state();
        let keyed = state.key_of(seq).is_some();
        state.settled(seq, again);
        drop(state);
        if again.is_some() || keyed {
            self.wake();
        }
    }

    /// A letter waits for a human, durably, and the later messages of its key with it.
    pub(crate) fn park(&self, key: u64) {
        if self.parks() {
            self.change(|state| state.park(key));
        }
    }

    /// It does not any more.
    pub(crate) fn unpark(&self, key: u64) {
        self.change(|state| state.unpark(key));
    }
}

impl Retry {
    pub(crate) fn ready(&self, seq: i64, frame: Bytes) -> Ready {
        let Self { attempts: started, first, key, .. } = *self;
        Ready { seq, key, frame, started, first, alone: false, led: true }
    }
}

/// A duration in microseconds; one beyond all measure is 292,000 years.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(i64::MAX as u64)
}

/// Microseconds since 1970 of a point in time; 0 of one before.
pub(crate) fn since_1970(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, micros)
}

/// Microseconds since 1970.
pub(crate) fn now() -> u64 {
    since_1970(SystemTime::now())
}
