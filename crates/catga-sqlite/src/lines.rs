//! Order by key, as memory knows it: which keys are held up, and by what.
//!
//! A key without trouble has no line, or one that only counts what the worker has. Where a message of a key waits for
//! its next try, memory knows that one alone, the *head*; the later ones lie *behind* it in the file, however many they
//! are, and are read from there when it is done with. What a dead letter parks is not even that: only the key is known.
//!
//! In the file, rows of a key that were handed out and come again have a row in `catga_retry`, and they come before
//! those that were passed over and have none. So a successor knows what was never started: rows without one behind a
//! row with one.

use crate::queue::{Ready, Retry};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    ops::Bound,
};

/// What is known of a consumer's deliveries.
#[derive(Default)]
pub(crate) struct State {
    /// Every row up to here was claimed or passed over.
    pub(crate) read: i64,
    /// Whether there may be rows behind `read`.
    pub(crate) more: bool,
    /// Claimed, durable, and not handed out yet.
    pub(crate) ready: VecDeque<Ready>,
    /// What was tried and not settled for good, by row: heads, what has no key, and what is ready or handed out again.
    pub(crate) retries: BTreeMap<i64, Retry>,
    /// When those are due that nothing holds up.
    pub(crate) due: BTreeSet<(u64, i64)>,
    /// When the next message is due that was published for later.
    pub(crate) later: Option<u64>,
    /// Another process may have replayed or removed letters.
    pub(crate) look: bool,
    /// Retries and new ones take turns.
    pub(crate) took_new: bool,
    /// When the last batch was handed out.
    pub(crate) handed: u64,
    batch: u64,
    lines: HashMap<u64, Line>,
    /// The keys of rows that are handed out.
    out: HashMap<i64, u64>,
    /// Keys whose messages wait for a human.
    parked: HashSet<u64>,
    /// Keys with rows behind and nothing before them.
    lagging: BTreeSet<u64>,
    /// The lagging key that was served last, so that each has its turn.
    served: u64,
}

/// The rows of a key that are not settled.
#[derive(Default)]
struct Line {
    /// Comes again before all others.
    head: Option<i64>,
    /// How many are ready that come before what lies behind.
    led: usize,
    /// How many are handed out, and with which batch.
    out: usize,
    batch: u64,
    /// Whether there may be rows in the file that are none of these, and come after them.
    behind: bool,
}

impl State {
    /// Begins anew with what the file says: rows that come again, in their order, and the keys that letters park.
    pub(crate) fn new(retries: Vec<(i64, Retry)>, parked: HashSet<u64>, later: Option<u64>) -> Self {
        let mut state = Self { more: true, parked, later, ..Self::default() };
        retries.into_iter().for_each(|(seq, retry)| state.take_back(seq, retry));
        state
    }

    /// Whether a row of that key that was not claimed yet must wait.
    pub(crate) fn is_blocked(&self, key: u64) -> bool {
        let waits = |line: &Line| line.head.is_some() || line.behind || line.led > 0;
        self.parked.contains(&key) || self.lines.get(&key).is_some_and(waits)
    }

    /// A row of that key was passed over.
    pub(crate) fn pass_over(&mut self, key: u64) {
        if !self.parked.contains(&key) {
            self.lines.entry(key).or_default().behind = true;
            self.refresh(key);
        }
    }

    /// Hands out ready ones; those alone that may not wait for one another.
    pub(crate) fn take(&mut self, most: usize) -> Vec<Ready> {
        self.next_batch();
        let mut taken: Vec<Ready> = Vec::with_capacity(most.min(self.ready.len()));
        while let Some(next) = self.ready.front() {
            if taken.len() >= most || taken.first().is_some_and(|first| first.alone || next.alone) {
                break;
            }
            let Some(next) = self.ready.pop_front() else { break };
            let Some(key) = next.key else {
                taken.push(next);
                continue;
            };
            let parked = self.is_parked(next.seq, key);
            let line = self.lines.entry(key).or_default();
            let overtakes = line.out > 0 && line.batch != self.batch;
            if parked || overtakes || line.head.is_some() || (!next.led && (line.behind || line.led > 0)) {
                self.set_back(next.seq, key, next.led);
                continue;
            }
            line.led -= usize::from(next.led);
            (line.out, line.batch) = (line.out + 1, self.batch);
            self.out.insert(next.seq, key);
            taken.push(next);
        }
        taken
    }

    fn next_batch(&mut self) {
        self.batch += 1;
        self.handed = crate::queue::now();
    }

    fn is_parked(&self, seq: i64, key: u64) -> bool {
        // A replayed message is what the others wait for.
        seq >= 0 && self.parked.contains(&key)
    }

    /// Puts ready rows of a key behind what holds them up.
    fn set_back(&mut self, seq: i64, key: u64, led: bool) {
        let mut rows: Vec<i64> = led.then_some(seq).into_iter().collect();
        self.ready.retain(|ready| {
            let goes = ready.key == Some(key) && ready.seq >= 0;
            rows.extend((goes && ready.led).then_some(ready.seq));
            !goes
        });
        if let Some(line) = self.lines.get_mut(&key) {
            line.led -= rows.len().min(line.led);
        }
        for seq in rows {
            self.retries.remove(&seq);
        }
        match self.parked.contains(&key) {
            true => self.refresh(key),
            false => self.pass_over(key),
        }
    }

    /// A row comes again at its time: after those of its key that are before it, before those behind.
    pub(crate) fn take_back(&mut self, seq: i64, retry: Retry) {
        let Some(key) = retry.key else {
            self.due.insert((retry.due, seq));
            self.retries.insert(seq, retry);
            return;
        };
        if self.is_parked(seq, key) {
            return self.refresh(key);
        }
        let line = self.lines.entry(key).or_default();
        match line.head {
            Some(head) if head <= seq => line.behind = true,
            head => {
                line.head = Some(seq);
                line.behind |= head.is_some();
                self.retries.insert(seq, retry);
                if let Some(head) = head
                    && let Some(retry) = self.retries.remove(&head)
                {
                    self.due.remove(&(retry.due, head));
                }
            }
        }
        self.refresh(key);
    }

    /// A row is settled for good, or comes again so.
    pub(crate) fn settled(&mut self, seq: i64, again: Option<Retry>) {
        let before = self.retries.remove(&seq);
        if let Some(before) = before {
            self.due.remove(&(before.due, seq));
        }
        let out = self.out.remove(&seq);
        let key = out.or(before.and_then(|before| before.key));
        if let Some(line) = key.and_then(|key| self.lines.get_mut(&key)) {
            line.out -= usize::from(out.is_some() && line.out > 0);
            line.head = line.head.filter(|head| *head != seq);
        }
        match again {
            Some(retry) => self.take_back(seq, retry),
            None => key.into_iter().for_each(|key| self.refresh(key)),
        }
    }

    /// Decides what comes next of a key of which nothing is under way.
    fn refresh(&mut self, key: u64) {
        let Some(line) = self.lines.get(&key) else { return };
        if line.out > 0 || line.led > 0 {
            return;
        }
        let head = line.head.and_then(|head| self.retries.get(&head).map(|retry| (retry.due, head)));
        match head {
            Some(head) => {
                self.due.insert(head);
                self.lagging.remove(&key);
            }
            None if line.behind => {
                self.lagging.insert(key);
            }
            None => {
                self.lines.remove(&key);
                self.lagging.remove(&key);
            }
        }
    }

    /// The rows of `wanted` that may be handed out still, as they are now; those that are not `found` are gone.
    pub(crate) fn hand_out(&mut self, wanted: &[i64], found: impl Fn(i64) -> bool) -> Vec<(i64, Retry)> {
        self.next_batch();
        let mut handed = Vec::with_capacity(wanted.len());
        for seq in wanted {
            let Some(retry) = self.retries.get_mut(seq) else { continue };
            retry.counted = false;
            let retry = *retry;
            self.due.remove(&(retry.due, *seq));
            if !found(*seq) {
                self.settled(*seq, None);
                continue;
            }
            if let Some(key) = retry.key {
                let line = self.lines.entry(key).or_default();
                (line.head, line.out, line.batch) = (None, line.out + 1, self.batch);
                self.out.insert(*seq, key);
            }
            handed.push((*seq, retry));
        }
        handed
    }

    /// A head is ready to be tried.
    pub(crate) fn lead(&mut self, ready: Ready) {
        if let Some(key) = ready.key {
            let line = self.lines.entry(key).or_default();
            line.head = line.head.filter(|head| *head != ready.seq);
            line.led += 1;
        }
        // One that is tried alone was counted already: nothing else must come between.
        match ready.alone {
            true => self.ready.push_front(ready),
            false => self.ready.push_back(ready),
        }
    }

    /// Lagging keys, at most `most`, the one first that waits longest.
    pub(crate) fn lagging(&self, most: usize) -> Vec<u64> {
        let behind = self.lagging.range((Bound::Excluded(self.served), Bound::Unbounded));
        behind.chain(self.lagging.range(..=self.served)).take(most).copied().collect()
    }

    /// The keys whose rows behind come next when these rows are settled so: `true` is for good.
    pub(crate) fn freed(&self, settled: &[(i64, bool)]) -> Vec<u64> {
        let mut keys: Vec<(u64, usize)> = Vec::new();
        for (seq, for_good) in settled {
            let Some(key) = self.out.get(seq) else { continue };
            let count = if *for_good { 1 } else { usize::MAX };
            match keys.iter_mut().find(|(other, _)| other == key) {
                Some((_, sum)) => *sum = sum.saturating_add(count),
                None => keys.push((*key, count)),
            }
        }
        let free = |(key, settled): &(u64, usize)| {
            let waits = |line: &Line| line.behind && line.head.is_none() && line.led == 0 && line.out == *settled;
            !self.parked.contains(key) && self.lines.get(key).is_some_and(waits)
        };
        keys.retain(free);
        keys.into_iter().map(|(key, _)| key).collect()
    }

    /// The next rows of a lagging key are claimed; `more` lie behind them.
    pub(crate) fn advanced(&mut self, key: u64, rows: Vec<(Retry, Ready)>, more: bool) {
        self.lagging.remove(&key);
        self.served = key;
        let free = |line: &&mut Line| line.head.is_none() && line.led == 0 && line.out == 0;
        let Some(line) = self.lines.get_mut(&key).filter(free) else { return };
        if self.parked.contains(&key) {
            return;
        }
        line.behind = more;
        let now = crate::queue::now();
        for (retry, ready) in rows {
            if retry.alone || retry.due > now {
                self.take_back(ready.seq, retry);
            } else {
                self.retries.insert(ready.seq, retry);
                self.lead(ready);
            }
        }
        self.refresh(key);
    }

    /// Messages of a key wait for a human from here on.
    pub(crate) fn park(&mut self, key: u64) {
        if !self.parked.insert(key) {
            return;
        }
        self.lagging.remove(&key);
        let Some(line) = self.lines.get_mut(&key) else { return };
        line.behind = false;
        if let Some(head) = line.head.take_if(|head| *head >= 0)
            && let Some(retry) = self.retries.remove(&head)
        {
            self.due.remove(&(retry.due, head));
        }
        self.refresh(key);
    }

    /// They go on.
    pub(crate) fn unpark(&mut self, key: u64) {
        if self.parked.remove(&key) {
            self.pass_over(key);
        }
    }

    /// What a look into the file has shown: which keys are parked, and what was replayed.
    pub(crate) fn looked(&mut self, parked: &HashSet<u64>, replayed: Vec<(i64, Retry)>) {
        let gone: Vec<u64> = self.parked.difference(parked).copied().collect();
        gone.into_iter().for_each(|key| self.unpark(key));
        parked.iter().for_each(|key| self.park(*key));
        for (seq, retry) in replayed {
            if !self.retries.contains_key(&seq) {
                self.take_back(seq, retry);
            }
        }
    }

    /// The key of a row that is handed out.
    pub(crate) fn key_of(&self, seq: i64) -> Option<u64> {
        self.out.get(&seq).copied()
    }
}
