//! What the parent knows of its orders: how each attempt to place one ended. What must be in the store follows from
//! this journal alone.

use super::effects::{Effects, hash};
use catga_order_system::PlaceOrder;
use std::{collections::HashMap, sync::Arc};

/// Names an order in its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(usize);

/// Whether an order is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is.
    New(Ticket),
    /// The same order came before, on this line.
    Repeated(u64),
    /// Another order came before under this id, on this line.
    OtherContents(u64),
}

/// How things stand with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// No attempt was answered with ok or a refusal yet.
    Open,
    /// An attempt was answered with ok: its effects are expected.
    Ok,
    /// An attempt was refused, which the demo gives no reason for.
    Refused,
}

/// One order, without its contents: of those the journal keeps what tells them from others.
#[derive(Debug)]
struct Entry {
    line: u64,
    contents: u64,
    effects: Effects,
    standing: Standing,
    /// Attempts whose answer died with a worker.
    unknown: u64,
}

/// Every order that was issued and how its attempts ended.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: Vec<Entry>,
    by_id: HashMap<Arc<str>, Ticket>,
    counts: Counts,
}

/// How many attempts ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Orders that were answered with ok.
    pub(crate) ok: u64,
    /// Attempts that were answered with a failure.
    pub(crate) failed: u64,
    /// Attempts that were refused.
    pub(crate) refused: u64,
    /// Attempts of unknown end whose order turned out to stand.
    pub(crate) unknown_kept: u64,
    /// Attempts of unknown end that turned out to have left nothing.
    pub(crate) unknown_gone: u64,
    /// Orders that stood although every attempt before was answered with a failure.
    pub(crate) kept_after_failure: u64,
}

impl Journal {
    /// Takes an order in, unless its id is known. `line` is where it came from: any number that rises.
    pub(crate) fn admit(&mut self, order: &PlaceOrder, line: u64) -> Admission {
        let contents = hash((&order.customer, &order.items));
        if let Some(known) = self.by_id.get(order.id.as_str()) {
            let entry = &self.entries[known.0];
            return if entry.contents == contents {
                Admission::Repeated(entry.line)
            } else {
                Admission::OtherContents(entry.line)
            };
        }
        let ticket = Ticket(self.entries.len());
        let effects = Effects::of(order);
        self.entries.push(Entry { line, contents, effects, standing: Standing::Open, unknown: 0 });
        self.by_id.insert(order.id.as_str().into(), ticket);
        Admission::New(ticket)
    }

    /// An attempt was answered: the order stands, and stood before if `existed`.
    pub(crate) fn ok(&mut self, ticket: Ticket, existed: bool) {
        let entry = &mut self.entries[ticket.0];
        if entry.standing != Standing::Open {
            return;
        }
        entry.standing = Standing::Ok;
        self.counts.ok += 1;
        // An order is placed by one command. If it stood, one of those whose answer is unknown did it.
        let kept = u64::from(existed && entry.unknown > 0);
        self.counts.unknown_kept += kept;
        self.counts.unknown_gone += entry.unknown - kept;
        self.counts.kept_after_failure += u64::from(existed && entry.unknown == 0);
    }

    /// An attempt was answered with a failure: nothing of it may stay.
    pub(crate) fn fail(&mut self) {
        self.counts.failed += 1;
    }

    /// An attempt was refused.
    pub(crate) fn refuse(&mut self, ticket: Ticket) {
        self.entries[ticket.0].standing = Standing::Refused;
        self.counts.refused += 1;
    }

    /// An attempt may have happened or not.
    pub(crate) fn unknown(&mut self, ticket: Ticket) {
        self.entries[ticket.0].unknown += 1;
    }

    /// How the attempts ended.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// How many orders were issued.
    pub(crate) fn issued(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Orders of which nobody knows whether they stand, and that thus say nothing about the store.
    pub(crate) fn unresolved(&self) -> u64 {
        self.entries.iter().filter(|entry| Self::is_unresolved(entry)).count() as u64
    }

    fn is_unresolved(entry: &Entry) -> bool {
        entry.standing == Standing::Open && entry.unknown > 0
    }

    /// The place of the order of this id in what [`expected`](Self::expected) answers.
    pub(crate) fn place(&self, id: &str) -> Option<usize> {
        Some(self.by_id.get(id)?.0)
    }

    /// What must be found of each order: exactly these effects, none, or (`None`) it cannot be said.
    pub(crate) fn expected(&self) -> impl Iterator<Item = Option<Effects>> + '_ {
        self.entries.iter().map(|entry| match entry.standing {
            Standing::Ok => Some(entry.effects),
            _ if Self::is_unresolved(entry) => None,
            _ => Some(Effects::default()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::generate::Generator;

    fn journal() -> (Journal, Ticket) {
        let mut journal = Journal::default();
        let order = Generator::new(1).next().unwrap();
        let Admission::New(ticket) = journal.admit(&order, 3) else { panic!("it is new") };
        (journal, ticket)
    }

    #[test]
    fn an_id_comes_once() {
        let (mut journal, _) = journal();
        let order = Generator::new(1).next().unwrap();
        assert_eq!(journal.admit(&order, 9), Admission::Repeated(3));
        let mut other = order.clone();
        other.items[0].qty += 1;
        assert_eq!(journal.admit(&other, 9), Admission::OtherContents(3));
        let mut other = order;
        other.customer.push('x');
        assert_eq!(journal.admit(&other, 9), Admission::OtherContents(3));
        assert_eq!(journal.issued(), 1);
    }

    #[test]
    fn of_unknown_attempts_one_at_most_was_kept() {
        let (mut journal, ticket) = journal();
        journal.unknown(ticket);
        journal.unknown(ticket);
        assert_eq!((journal.unresolved(), journal.expected().next()), (1, Some(None)));
        journal.ok(ticket, true);
        assert_eq!(journal.counts(), Counts { ok: 1, unknown_kept: 1, unknown_gone: 1, ..Counts::default() });
        assert_eq!(journal.unresolved(), 0);
    }

    #[test]
    fn an_unknown_attempt_that_left_nothing_is_gone() {
        let (mut journal, ticket) = journal();
        journal.unknown(ticket);
        journal.ok(ticket, false);
        assert_eq!(journal.counts(), Counts { ok: 1, unknown_gone: 1, ..Counts::default() });
    }

    #[test]
    fn a_failed_attempt_must_not_stay() {
        let (mut journal, ticket) = journal();
        journal.fail();
        assert_eq!(journal.expected().next(), Some(Some(Effects::default())));
        journal.ok(ticket, true);
        assert_eq!(journal.counts(), Counts { ok: 1, failed: 1, kept_after_failure: 1, ..Counts::default() });
    }
}
