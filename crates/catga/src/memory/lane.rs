//! The messages of one key that wait for those before them, in their order.

use super::slots::{NONE, Place, Slots};
use tokio::time::Instant;

/// Numbers of published messages begin here; those below are of replays, which come before what waits for them.
pub(super) const FIRST: u64 = 1 << 32;

/// It stands while anything of its key is with a member, waits for its next try, or was buried and parks.
pub(super) struct Lane {
    first: u32,
    last: u32,
    held: usize,
    /// How many are with members, all handed out by one take.
    pub(super) out: usize,
    /// Which take that was.
    pub(super) take: u64,
    /// How many were buried and park the lane.
    pub(super) parked: usize,
    /// Whether it stands in line to be handed out from.
    pub(super) queued: bool,
}

impl Lane {
    pub(super) fn empty() -> Self {
        Self { first: NONE, last: NONE, held: 0, out: 0, take: 0, parked: 0, queued: false }
    }

    /// With its first message out.
    pub(super) fn begun(take: u64) -> Self {
        Self { out: 1, take, ..Self::empty() }
    }

    /// Whether nothing is left that anybody could wait for.
    pub(super) fn is_idle(&self) -> bool {
        self.held == 0 && self.out == 0 && self.parked == 0
    }

    /// Whether a fresh message may go with that take, behind those of its key that went with it.
    pub(super) fn passes(&self, take: u64) -> bool {
        self.held == 0 && self.parked == 0 && self.take == take
    }

    /// Whether its first message may go, but for those that are out.
    pub(super) fn is_open(&self, slots: &Slots) -> bool {
        let Some(message) = slots.get(self.first).filter(|_| self.held > 0) else { return false };
        let due = match message.place {
            Place::Held(Some(due)) => due <= Instant::now(),
            _ => true,
        };
        due && (self.parked == 0 || message.number < FIRST)
    }

    pub(super) fn pop(&mut self, slots: &Slots) -> u32 {
        let slot = self.first;
        self.first = slots.next(slot);
        self.held -= 1;
        slot
    }

    /// Puts a message into its place: what comes back is older than what waits, what is fresh is newer.
    pub(super) fn hold(&mut self, slots: &mut Slots, slot: u32) {
        let number = slots.number(slot);
        self.held += 1;
        if self.held == 1 {
            slots.set_next(slot, NONE);
            (self.first, self.last) = (slot, slot);
        } else if slots.number(self.last) < number {
            slots.set_next(slot, NONE);
            slots.set_next(self.last, slot);
            self.last = slot;
        } else {
            let (before, at) = self.find(slots, |at| slots.number(at) > number);
            slots.set_next(slot, at);
            self.link(slots, before, slot);
        }
    }

    /// Takes a message out that waits here.
    pub(super) fn unhold(&mut self, slots: &mut Slots, slot: u32) {
        let (before, _) = self.find(slots, |at| at == slot);
        self.held -= 1;
        let next = slots.next(slot);
        self.link(slots, before, next);
        if self.last == slot {
            self.last = before;
        }
    }

    /// How many wait for a human, because one before them was buried.
    pub(super) fn waits_for_a_human(&self, slots: &Slots) -> usize {
        if self.parked == 0 {
            return 0;
        }
        let chain = std::iter::successors(Some(self.first), |slot| Some(slots.next(*slot))).take(self.held);
        self.held - chain.take_while(|slot| slots.number(*slot) < FIRST).count()
    }

    /// The first slot that is meant, and the one before it.
    fn find(&self, slots: &Slots, is_meant: impl Fn(u32) -> bool) -> (u32, u32) {
        let (mut before, mut at) = (NONE, self.first);
        while at != NONE && !is_meant(at) {
            (before, at) = (at, slots.next(at));
        }
        (before, at)
    }

    fn link(&mut self, slots: &mut Slots, before: u32, slot: u32) {
        match before {
            NONE => self.first = slot,
            before => slots.set_next(before, slot),
        }
    }
}
