//! What follows from an order: the rows that its handler and the three consumers write.

use catga_order_system::{PlaceOrder, total_cents};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A kind of effect: one table of the order system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The order's row, one an order.
    Order,
    /// Its lines, one an item.
    Item,
    /// What `billing` writes, one an order.
    Invoice,
    /// What `stock` writes, one an item.
    Move,
    /// What `mail` writes, one an order.
    Mail,
}

impl Kind {
    /// Every kind, in the order in which [`Effects`] keeps them.
    pub(crate) const ALL: [Self; 5] = [Self::Order, Self::Item, Self::Invoice, Self::Move, Self::Mail];

    /// Its name in the plural.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Order => "orders",
            Self::Item => "order items",
            Self::Invoice => "invoices",
            Self::Move => "stock moves",
            Self::Mail => "mails",
        }
    }
}

/// How many rows of a kind one order has, and what they say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// How many.
    pub(crate) rows: u32,
    /// The hashes of their contents, added up: equal sets of rows have equal sums in any order.
    pub(crate) sum: u64,
}

/// The effects of one order: one tally a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects([Tally; 5]);

impl Effects {
    /// What must follow from an order that was answered with ok. It knows nothing of the store: it is computed from
    /// the order alone.
    pub(crate) fn of(order: &PlaceOrder) -> Self {
        let total = total_cents(&order.items);
        let customer = order.customer.as_str();
        let mut effects = Self::default();
        effects.add(Kind::Order, (customer, total));
        effects.add(Kind::Invoice, (customer, total));
        effects.add(Kind::Mail, (customer, total));
        for (line, item) in (1_i64..).zip(&order.items) {
            let (sku, qty) = (item.sku.as_str(), i64::from(item.qty));
            effects.add(Kind::Item, (line, sku, qty, i64::from(item.price_cents)));
            effects.add(Kind::Move, (sku, -qty));
        }
        effects
    }

    /// Adds a row of `kind` with these contents.
    pub(crate) fn add(&mut self, kind: Kind, contents: impl Hash) {
        let tally = &mut self.0[kind as usize];
        tally.rows += 1;
        tally.sum = tally.sum.wrapping_add(hash(contents));
    }

    /// The tally of `kind`.
    pub(crate) fn tally(&self, kind: Kind) -> Tally {
        self.0[kind as usize]
    }
}

/// A hash that is equal for equal contents within this process.
pub(crate) fn hash(contents: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    contents.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::generate::Generator;

    #[test]
    fn an_order_has_three_effects_and_two_an_item() {
        for order in Generator::new(1).take(50) {
            let effects = Effects::of(&order);
            let rows = Kind::ALL.map(|kind| effects.tally(kind).rows);
            let items = order.items.len() as u32;
            assert_eq!(rows, [1, items, 1, items, 1]);
        }
    }

    #[test]
    fn other_contents_have_other_sums_and_another_order_of_rows_has_not() {
        let (mut one, mut two, mut three) = (Effects::default(), Effects::default(), Effects::default());
        one.add(Kind::Move, ("a", 1));
        one.add(Kind::Move, ("b", 2));
        two.add(Kind::Move, ("b", 2));
        two.add(Kind::Move, ("a", 1));
        three.add(Kind::Move, ("a", 2));
        three.add(Kind::Move, ("b", 1));
        assert_eq!(one, two);
        assert_ne!(one, three);
    }
}
