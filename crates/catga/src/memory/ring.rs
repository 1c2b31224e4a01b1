//! What waits for one consumer: pure state, without locks or wakers.
//!
//! What has no key goes from the fresh ones to a member and is gone. What has a key goes by its key's [`Lane`] while
//! anything before it is unsettled; lanes link their messages through the slots, so that nothing is allocated for a
//! message, and none is looked at more than once before it is handed out.

use super::{
    lane::{FIRST, Lane},
    later,
    slots::{Message, Place, Slots, Taker},
};
use bytes::Bytes;
use catga_contract::Settle;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque, hash_map::Entry},
    time::SystemTime,
};
use tokio::time::Instant;

#[derive(Default)]
pub(super) struct Ring {
    slots: Slots,
    /// Published and not looked at yet, by slot and number.
    fresh: VecDeque<(u32, u64)>,
    /// What is older than those.
    urgent: VecDeque<Work>,
    lanes: HashMap<u64, Lane>,
    /// What comes at a time, by number and slot; entries whose message has gone elsewhere are passed over.
    due: BinaryHeap<Reverse<(Instant, u64, u32)>>,
    published: u64,
    replayed: u64,
    takes: u64,
    /// How many lanes park.
    parked: usize,
    /// Whether the urgent ones get the larger half of the take at hand.
    favours: bool,
}

enum Work {
    One(u32, u64),
    Lane(u64),
}

impl Ring {
    /// How many messages there are, wherever they are.
    pub(super) fn live(&self) -> usize {
        self.slots.live()
    }

    /// Whether a take may find something without waiting for a time.
    pub(super) fn is_ready(&self) -> bool {
        !self.fresh.is_empty() || !self.urgent.is_empty()
    }

    /// When the next waiting message is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((due, ..))| *due)
    }

    /// Those that wait or are with members, but for those that wait for a human.
    pub(super) fn unsettled(&self) -> usize {
        if self.parked == 0 {
            return self.live();
        }
        let parks = |key: u64| self.lanes.get(&key).is_some_and(|lane| lane.parked > 0);
        let held: usize = self.lanes.values().map(|lane| lane.waits_for_a_human(&self.slots)).sum();
        let fresh = self.fresh.iter().filter(|(slot, number)| {
            let key = self.slots.get(*slot).and_then(|message| message.key);
            self.slots.is_ready(*slot, *number) && key.is_some_and(parks)
        });
        self.live() - held - fresh.count()
    }

    pub(super) fn push(&mut self, frame: Bytes, key: Option<u64>, due: Option<Instant>) {
        let number = self.next_number();
        match due {
            None => {
                let slot = self.slots.put(frame, key, number, Place::Ready);
                self.fresh.push_back((slot, number));
            }
            Some(due) => {
                let slot = self.slots.put(frame, key, number, Place::Delayed);
                self.due.push(Reverse((due, number, slot)));
            }
        }
    }

    fn next_number(&mut self) -> u64 {
        self.published += 1;
        FIRST + self.published
    }

    /// Puts a message before all others of its key, and ends one parking of its lane: it stands in for the buried one.
    pub(super) fn replay(&mut self, frame: Bytes, key: Option<u64>) {
        self.replayed += 1;
        let number = self.replayed;
        match key {
            None => {
                let slot = self.slots.put(frame, None, number, Place::Ready);
                self.urgent.push_back(Work::One(slot, number));
            }
            Some(key) => {
                let slot = self.slots.put(frame, Some(key), number, Place::Held(None));
                self.lanes.entry(key).or_insert_with(Lane::empty).hold(&mut self.slots, slot);
                self.unpark(key);
            }
        }
    }

    /// Ends one parking of the key's lane.
    pub(super) fn unpark(&mut self, key: u64) {
        if let Some(lane) = self.lanes.get_mut(&key).filter(|lane| lane.parked > 0) {
            lane.parked -= 1;
            self.parked -= usize::from(lane.parked == 0);
        }
        self.look(key);
    }

    /// Hands out what is ready: half of it the older ones, half the fresh ones, so that neither holds the other up, and
    /// of either kind as much as there is.
    pub(super) fn take(&mut self, mut taker: Taker<'_>) {
        if !self.due.is_empty() {
            self.fall_due(Instant::now());
        }
        if !self.is_ready() {
            return;
        }
        self.takes += 1;
        self.favours = !self.favours;
        let (since, most) = (SystemTime::now(), taker.most);
        self.take_urgent((most + usize::from(self.favours)) / 2, since, &mut taker);
        self.take_fresh(since, &mut taker);
        self.take_urgent(most, since, &mut taker);
    }

    fn take_urgent(&mut self, most: usize, since: SystemTime, taker: &mut Taker<'_>) {
        while taker.taken.len() < most {
            match self.urgent.front() {
                None => break,
                Some(Work::One(slot, number)) => {
                    if self.slots.is_ready(*slot, *number) {
                        self.slots.hand_out(*slot, since, taker);
                    }
                    self.urgent.pop_front();
                }
                Some(Work::Lane(key)) => {
                    let key = *key;
                    if !self.take_lane(key, most, since, taker) {
                        self.urgent.pop_front();
                    }
                }
            }
        }
    }

    /// Hands out of a lane; answers whether more of it may go with this take.
    fn take_lane(&mut self, key: u64, most: usize, since: SystemTime, taker: &mut Taker<'_>) -> bool {
        let Self { lanes, slots, takes, .. } = self;
        let Some(lane) = lanes.get_mut(&key) else { return false };
        if lane.out == 0 || lane.take == *takes {
            while lane.is_open(slots) {
                if taker.taken.len() >= most {
                    return true;
                }
                let slot = lane.pop(slots);
                (lane.out, lane.take) = (lane.out + 1, *takes);
                slots.hand_out(slot, since, taker);
            }
        }
        lane.queued = false;
        if lane.is_idle() {
            lanes.remove(&key);
        }
        false
    }

    fn take_fresh(&mut self, since: SystemTime, taker: &mut Taker<'_>) {
        while taker.taken.len() < taker.most {
            let Some((slot, number)) = self.fresh.pop_front() else { break };
            if !self.slots.is_ready(slot, number) {
                continue;
            }
            if let Some(key) = self.slots.get(slot).and_then(|message| message.key) {
                match self.lanes.entry(key) {
                    Entry::Vacant(place) => {
                        place.insert(Lane::begun(self.takes));
                    }
                    Entry::Occupied(mut lane) if lane.get().passes(self.takes) => lane.get_mut().out += 1,
                    Entry::Occupied(mut lane) => {
                        self.slots.set_place(slot, Place::Held(None));
                        lane.get_mut().hold(&mut self.slots, slot);
                        continue;
                    }
                }
            }
            self.slots.hand_out(slot, since, taker);
        }
    }

    /// Gives what is due its place.
    fn fall_due(&mut self, now: Instant) {
        while let Some(Reverse((due, number, slot))) = self.due.peek()
            && *due <= now
        {
            let (number, slot) = (*number, *slot);
            self.due.pop();
            let Some(Message { place, key, .. }) = self.slots.get(slot).filter(|message| message.number == number)
            else {
                continue;
            };
            match (*place, *key) {
                (Place::Delayed, _) => {
                    let number = self.next_number();
                    if let Some(message) = self.slots.get_mut(slot) {
                        (message.number, message.place) = (number, Place::Ready);
                    }
                    self.fresh.push_back((slot, number));
                }
                (Place::Again, _) => {
                    self.slots.set_place(slot, Place::Ready);
                    self.urgent.push_back(Work::One(slot, number));
                }
                (Place::Held(_), Some(key)) => self.look(key),
                // It came again sooner, after its member had gone.
                _ => {}
            }
        }
    }

    /// Whether the answer would be taken: `Done` always is, the others where the delivery is still with whom it was
    /// handed to.
    pub(super) fn accepts(&self, slot: u32, generation: u32, answer: Settle) -> bool {
        answer == Settle::Done || self.slots.is_out(slot, generation)
    }

    /// Settles a delivery; `false` where the answer is stale.
    pub(super) fn settle(&mut self, slot: u32, generation: u32, answer: Settle) -> bool {
        if !self.accepts(slot, generation, answer) {
            return false;
        }
        match answer {
            Settle::Done if self.slots.knows(slot, generation) => self.remove(slot, false),
            Settle::Done => {}
            Settle::Bury => self.remove(slot, true),
            Settle::Again { pause, counts } => {
                let due = (!pause.is_zero()).then(|| later(pause));
                self.come_again(slot, due, counts);
            }
        }
        true
    }

    /// Takes back what a member did not settle. Nobody knows whether it was started, so it does not count.
    pub(super) fn give_back(&mut self, member: u64) {
        let mut back: Vec<(u64, u32)> = self.slots.with(member).collect();
        // The last one first: each goes to the front then.
        back.sort_unstable_by_key(|(number, _)| Reverse(*number));
        for (number, slot) in back {
            match self.slots.get(slot).and_then(|message| message.key) {
                Some(_) => self.come_again(slot, None, false),
                None => {
                    if let Some(message) = self.slots.recall(slot) {
                        message.place = Place::Ready;
                    }
                    self.urgent.push_front(Work::One(slot, number));
                }
            }
        }
    }

    fn come_again(&mut self, slot: u32, due: Option<Instant>, counts: bool) {
        let Some(message) = self.slots.recall(slot) else { return };
        if let Place::Out { since, .. } = message.place
            && counts
        {
            message.started += 1;
            message.first.get_or_insert(since);
        }
        message.place = match (message.key, due) {
            (Some(_), due) => Place::Held(due),
            (None, Some(_)) => Place::Again,
            (None, None) => Place::Ready,
        };
        let (key, number) = (message.key, message.number);
        if let Some(due) = due {
            self.due.push(Reverse((due, number, slot)));
        }
        match key {
            Some(key) => {
                let lane = self.lanes.entry(key).or_insert_with(Lane::empty);
                lane.out = lane.out.saturating_sub(1);
                lane.hold(&mut self.slots, slot);
                self.look(key);
            }
            None if due.is_none() => self.urgent.push_back(Work::One(slot, number)),
            None => {}
        }
    }

    /// Takes a message out for good.
    fn remove(&mut self, slot: u32, buried: bool) {
        let Some(message) = self.slots.remove(slot) else { return };
        if let Some(key) = message.key {
            if let Some(lane) = self.lanes.get_mut(&key) {
                match message.place {
                    Place::Out { parks, .. } => {
                        lane.out = lane.out.saturating_sub(1);
                        if buried && parks {
                            self.parked += usize::from(lane.parked == 0);
                            lane.parked += 1;
                        }
                    }
                    Place::Held(_) => lane.unhold(&mut self.slots, slot),
                    Place::Ready | Place::Delayed | Place::Again => {}
                }
            }
            self.look(key);
        }
        self.slots.free(slot);
    }

    /// Queues a lane that has become open, and forgets one that holds nothing.
    fn look(&mut self, key: u64) {
        let Some(lane) = self.lanes.get_mut(&key).filter(|lane| lane.out == 0 && !lane.queued) else { return };
        if lane.is_open(&self.slots) {
            lane.queued = true;
            self.urgent.push_back(Work::Lane(key));
        } else if lane.is_idle() {
            self.lanes.remove(&key);
        }
    }
}
