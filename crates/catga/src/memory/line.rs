//! Who waits, first come first served.

use std::{collections::VecDeque, task::Waker};

pub(super) struct Line<T> {
    waiting: VecDeque<Waiting<T>>,
    tickets: u64,
}

struct Waiting<T> {
    ticket: u64,
    /// Gone when it was woken and has not looked since.
    waker: Option<Waker>,
    wants: T,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), tickets: 0 }
    }
}

impl<T> Line<T> {
    /// Joins at the end; who stands there already renews its waker.
    pub(super) fn join(&mut self, ticket: &mut Option<u64>, waker: &Waker, wants: T) {
        let known = ticket.and_then(|ticket| self.waiting.iter_mut().find(|waiting| waiting.ticket == ticket));
        if let Some(waiting) = known {
            waiting.waker = Some(waker.clone());
            return;
        }
        self.tickets += 1;
        *ticket = Some(self.tickets);
        self.waiting.push_back(Waiting { ticket: self.tickets, waker: Some(waker.clone()), wants });
    }

    pub(super) fn leave(&mut self, ticket: u64) {
        self.waiting.retain(|waiting| waiting.ticket != ticket);
    }

    /// Whether nobody stands before the one with that ticket, or before a newcomer.
    pub(super) fn is_free_for(&self, ticket: Option<u64>) -> bool {
        self.waiting.front().is_none_or(|first| Some(first.ticket) == ticket)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Who wakes the first one, unless it is awake, where what it wants will do.
    pub(super) fn first(&mut self, will_do: impl FnOnce(&T) -> bool) -> Option<Waker> {
        self.waiting.front_mut().filter(|first| will_do(&first.wants))?.waker.take()
    }

    /// Who wakes the first one, which leaves the line with that.
    pub(super) fn pop(&mut self) -> Option<Waker> {
        self.waiting.pop_front()?.waker
    }

    /// Everybody's wakers; all leave the line.
    pub(super) fn drain(&mut self) -> Vec<Waker> {
        self.waiting.drain(..).filter_map(|waiting| waiting.waker).collect()
    }
}
