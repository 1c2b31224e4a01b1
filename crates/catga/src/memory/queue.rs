//! One consumer's queue: its ring under one lock, and who waits for it.
//!
//! Nobody is woken under the lock. Who was woken and went away hands the wake on. Room is given in the order in which
//! publishers came. Whoever changed something leaves by [`Queue::leave`], which finds who must hear of it.

use super::{
    line::Line,
    ring::Ring,
    slots::{BITS, Taken, Taker},
};
use bytes::Bytes;
use catga_contract::{Settle, Str, Token};
use std::{
    future::poll_fn,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Poll,
};
use tokio::time::{Instant, Sleep, sleep_until};

pub(super) struct Queue {
    /// Its number in tokens.
    pub(super) id: u16,
    /// The consumer's durable name.
    pub(super) name: Str,
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    ring: Ring,
    /// Messages that are here, and room that is promised.
    used: usize,
    /// Publishers, with how much room each needs.
    room: Line<usize>,
    /// Members that found nothing.
    idle: Line<()>,
    /// Until when one of them sleeps.
    armed: Option<Instant>,
    members: usize,
    /// The consumer was removed.
    closed: bool,
}

/// The consumer was removed: its queue takes and gives nothing.
#[derive(Debug)]
pub(super) struct Closed;

impl Queue {
    pub(super) fn new(id: u16, name: Str, capacity: usize) -> Self {
        Self { id, name, capacity, state: Mutex::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn token(&self, taken: &Taken) -> Token {
        Token(u64::from(self.id) << (2 * BITS) | u64::from(taken.slot) << BITS | u64::from(taken.generation))
    }

    /// Waits its turn for room for so many messages and runs `then` with it. What is more than the whole capacity gets
    /// in when the queue is empty.
    ///
    /// Dropped while it waits, it leaves the line.
    pub(super) async fn admit<T>(&self, need: usize, then: impl FnOnce(&mut Ring) -> T) -> Result<T, Closed> {
        let mut then = Some(then);
        let mut place = Place { queue: self, ticket: None, line: InLine::Room };
        poll_fn(|context| {
            let mut state = self.lock();
            if state.closed {
                return Poll::Ready(Err(Closed));
            }
            if state.room.is_free_for(place.ticket) && state.used + need.min(self.capacity) <= self.capacity {
                if let Some(ticket) = place.ticket.take() {
                    state.room.leave(ticket);
                }
                state.used += need;
                let done = then.take().map(|then| then(&mut state.ring));
                self.leave(state);
                return Poll::Ready(done.ok_or(Closed));
            }
            state.room.join(&mut place.ticket, context.waker(), need);
            Poll::Pending
        })
        .await
    }

    /// Fills room that was promised.
    pub(super) fn fill(&self, room: usize, fill: impl FnOnce(&mut Ring)) {
        let mut state = self.lock();
        if !state.closed {
            let before = state.ring.live();
            fill(&mut state.ring);
            state.used = state.used + (state.ring.live() - before) - room;
        }
        self.leave(state);
    }

    /// Gives promised room back.
    pub(super) fn forgo(&self, room: usize) {
        let mut state = self.lock();
        state.used -= room.min(state.used);
        self.leave(state);
    }

    /// Waits until something is there for that member.
    ///
    /// Dropped, it has taken nothing.
    pub(super) async fn next(
        &self,
        member: u64,
        parks: bool,
        most: usize,
        taken: &mut Vec<Taken>,
    ) -> Result<(), Closed> {
        let mut place = Place { queue: self, ticket: None, line: InLine::Idle };
        let mut sleep = pin!(None::<Sleep>);
        poll_fn(|context| {
            loop {
                let mut state = self.lock();
                if let Some(ticket) = place.ticket.take() {
                    state.idle.leave(ticket);
                    state.armed = None;
                }
                if state.closed {
                    return Poll::Ready(Err(Closed));
                }
                state.ring.take(Taker { member, parks, most, taken });
                if !taken.is_empty() {
                    self.leave(state);
                    return Poll::Ready(Ok(()));
                }
                let due = state.ring.next_due();
                state.armed = due;
                state.idle.join(&mut place.ticket, context.waker(), ());
                drop(state);
                let Some(due) = due else {
                    sleep.set(None);
                    return Poll::Pending;
                };
                sleep.set(Some(sleep_until(due)));
                match sleep.as_mut().as_pin_mut().map(|sleep| sleep.poll(context)) {
                    Some(Poll::Ready(())) => {}
                    _ => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Answers deliveries; answers how many answers were stale.
    pub(super) fn settle(&self, answers: &[(Token, Settle)]) -> usize {
        let mut state = self.lock();
        let stale = answers.iter().filter(|(token, answer)| !state.settle(*token, *answer)).count();
        self.leave(state);
        stale
    }

    pub(super) fn unsettled(&self) -> usize {
        self.lock().ring.unsettled()
    }

    pub(super) fn join(&self) -> Result<(), Closed> {
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        state.members += 1;
        Ok(())
    }

    /// What the member did not settle comes again.
    pub(super) fn part(&self, member: u64) {
        let mut state = self.lock();
        state.members -= 1;
        state.ring.give_back(member);
        self.leave(state);
    }

    /// Closes the queue, unless it has members; answers how many messages went with it.
    pub(super) fn close(&self) -> Option<usize> {
        let mut state = self.lock();
        if state.members > 0 {
            return None;
        }
        state.closed = true;
        let gone = std::mem::take(&mut state.ring).live();
        let waiting = state.room.drain();
        drop(state);
        waiting.into_iter().for_each(std::task::Waker::wake);
        Some(gone)
    }

    /// Ends a change: wakes the member that may take, and the publisher that has room.
    pub(super) fn leave(&self, mut state: MutexGuard<'_, State>) {
        let State { ring, used, room, idle, armed, .. } = &mut *state;
        let sooner = || ring.next_due().is_some_and(|due| armed.is_none_or(|armed| due < armed));
        let member = if !idle.is_empty() && (ring.is_ready() || sooner()) { idle.pop() } else { None };
        let publisher = match room.is_empty() {
            true => None,
            false => room.first(|need| *used + (*need).min(self.capacity) <= self.capacity),
        };
        drop(state);
        for waker in [member, publisher].into_iter().flatten() {
            waker.wake();
        }
    }
}

impl State {
    /// Whether the answer is stale.
    pub(super) fn accepts(&self, token: Token, answer: Settle) -> bool {
        let (slot, generation) = split(token);
        self.ring.accepts(slot, generation, answer)
    }

    /// Settles one delivery; `false` where the answer is stale.
    pub(super) fn settle(&mut self, token: Token, answer: Settle) -> bool {
        let (slot, generation) = split(token);
        let before = self.ring.live();
        let settled = self.ring.settle(slot, generation, answer);
        self.used -= before - self.ring.live();
        settled
    }

    /// Puts a message before those that wait for it, whether there is room or not: they hold the room that it would
    /// wait for.
    pub(super) fn replay(&mut self, frame: Bytes, key: Option<u64>) {
        if !self.closed {
            self.ring.replay(frame, key);
            self.used += 1;
        }
    }

    /// Lets those go that wait for a letter of that key.
    pub(super) fn unpark(&mut self, key: u64) {
        self.ring.unpark(key);
    }
}

/// The number of the queue that a delivery is of.
pub(super) fn queue_of(token: Token) -> u16 {
    (token.0 >> (2 * BITS)) as u16
}

fn split(token: Token) -> (u32, u32) {
    let mask = (1 << BITS) - 1;
    ((token.0 >> BITS & mask) as u32, (token.0 & mask) as u32)
}

/// A place in one of a queue's lines, given up on drop.
struct Place<'a> {
    queue: &'a Queue,
    ticket: Option<u64>,
    line: InLine,
}

#[derive(Clone, Copy)]
enum InLine {
    Room,
    Idle,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = self.queue.lock();
        match self.line {
            InLine::Room => state.room.leave(ticket),
            InLine::Idle => {
                state.idle.leave(ticket);
                // The one that slept may be this one: then another has to.
                state.armed = None;
            }
        }
        // It may have been woken for something that it did not do.
        self.queue.leave(state);
    }
}
