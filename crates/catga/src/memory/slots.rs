//! Where messages lie from their publishing until they are settled for good.

use bytes::Bytes;
use std::time::SystemTime;
use tokio::time::Instant;

/// Slots and generations have so many bits in a token.
pub(super) const BITS: u32 = 24;
const MASK: u32 = (1 << BITS) - 1;
/// No slot.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// The free ones, linked; one more than the first of them.
    free: u32,
    live: usize,
}

struct Slot {
    message: Option<Message>,
    /// Rises whenever the message comes back or leaves: older tokens are stale.
    generation: u32,
    /// The next slot of a lane, or one more than the next free one.
    next: u32,
}

pub(super) struct Message {
    frame: Bytes,
    pub(super) key: Option<u64>,
    /// Its place in the order.
    pub(super) number: u64,
    /// The slot's generation when the message came into it.
    born: u32,
    pub(super) started: u32,
    pub(super) first: Option<SystemTime>,
    pub(super) place: Place,
}

#[derive(Clone, Copy)]
pub(super) enum Place {
    /// In line to be handed out.
    Ready,
    /// Published for later: it takes its place in the order when it is due.
    Delayed,
    /// Without a key: it comes again when it is due.
    Again,
    /// In its key's lane, not before that time.
    Held(Option<Instant>),
    /// With a member since then, whose subscription parks or not.
    Out { member: u64, parks: bool, since: SystemTime },
}

/// A message as it is handed out.
pub(super) struct Taken {
    pub(super) slot: u32,
    pub(super) generation: u32,
    pub(super) frame: Bytes,
    pub(super) key: Option<u64>,
    pub(super) started: u32,
    pub(super) first: Option<SystemTime>,
}

/// Who takes, and how much.
pub(super) struct Taker<'a> {
    pub(super) member: u64,
    pub(super) parks: bool,
    pub(super) most: usize,
    pub(super) taken: &'a mut Vec<Taken>,
}

impl Slots {
    /// How many messages there are.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn put(&mut self, frame: Bytes, key: Option<u64>, number: u64, place: Place) -> u32 {
        self.live += 1;
        let message = Message { frame, key, number, born: 0, started: 0, first: None, place };
        match self.free.checked_sub(1) {
            Some(slot) => {
                let kept = &mut self.slots[slot as usize];
                self.free = kept.next;
                kept.message = Some(Message { born: kept.generation, ..message });
                slot
            }
            None => {
                self.slots.push(Slot { message: Some(message), generation: 0, next: NONE });
                (self.slots.len() - 1) as u32
            }
        }
    }

    /// Takes the message out and makes its tokens stale. The slot can be filled again after [`free`](Self::free).
    pub(super) fn remove(&mut self, slot: u32) -> Option<Message> {
        let kept = self.slots.get_mut(slot as usize)?;
        let message = kept.message.take()?;
        kept.bump();
        self.live -= 1;
        Some(message)
    }

    pub(super) fn free(&mut self, slot: u32) {
        self.set_next(slot, self.free);
        self.free = slot + 1;
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Message> {
        self.slots.get(slot as usize)?.message.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Message> {
        self.slots.get_mut(slot as usize)?.message.as_mut()
    }

    pub(super) fn number(&self, slot: u32) -> u64 {
        self.get(slot).map_or(0, |message| message.number)
    }

    pub(super) fn next(&self, slot: u32) -> u32 {
        self.slots.get(slot as usize).map_or(NONE, |kept| kept.next)
    }

    pub(super) fn set_next(&mut self, slot: u32, next: u32) {
        if let Some(kept) = self.slots.get_mut(slot as usize) {
            kept.next = next;
        }
    }

    pub(super) fn set_place(&mut self, slot: u32, place: Place) {
        if let Some(message) = self.get_mut(slot) {
            message.place = place;
        }
    }

    /// Makes the tokens of a message that comes back stale.
    pub(super) fn recall(&mut self, slot: u32) -> Option<&mut Message> {
        let kept = self.slots.get_mut(slot as usize)?;
        kept.bump();
        kept.message.as_mut()
    }

    pub(super) fn hand_out(&mut self, slot: u32, since: SystemTime, taker: &mut Taker<'_>) {
        let Some(Slot { message: Some(message), generation, .. }) = self.slots.get_mut(slot as usize) else { return };
        message.place = Place::Out { member: taker.member, parks: taker.parks, since };
        taker.taken.push(Taken {
            slot,
            generation: *generation,
            frame: message.frame.clone(),
            key: message.key,
            started: message.started,
            first: message.first,
        });
    }

    /// Whether that message still waits to be handed out.
    pub(super) fn is_ready(&self, slot: u32, number: u64) -> bool {
        self.get(slot).is_some_and(|message| message.number == number && matches!(message.place, Place::Ready))
    }

    /// Whether that delivery is still with whom it was handed to.
    pub(super) fn is_out(&self, slot: u32, generation: u32) -> bool {
        let Some(kept) = self.slots.get(slot as usize) else { return false };
        let out = |message: &Message| matches!(message.place, Place::Out { .. });
        kept.generation == generation && kept.message.as_ref().is_some_and(out)
    }

    /// Whether the message of that delivery is still here, wherever it has gone meanwhile.
    pub(super) fn knows(&self, slot: u32, generation: u32) -> bool {
        let Some(kept) = self.slots.get(slot as usize) else { return false };
        let since = |born: u32, generation: u32| generation.wrapping_sub(born) & MASK;
        let known = |message: &Message| since(message.born, generation) <= since(message.born, kept.generation);
        kept.message.as_ref().is_some_and(known)
    }

    /// What is with that member, by number and slot.
    pub(super) fn with(&self, member: u64) -> impl Iterator<Item = (u64, u32)> {
        (0..).zip(&self.slots).filter_map(move |(slot, kept)| {
            let message = kept.message.as_ref()?;
            matches!(message.place, Place::Out { member: other, .. } if other == member)
                .then_some((message.number, slot))
        })
    }
}

impl Slot {
    fn bump(&mut self) {
        self.generation = (self.generation + 1) & MASK;
    }
}
