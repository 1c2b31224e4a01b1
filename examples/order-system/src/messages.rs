use catga::{Event, Request};
use serde::{Deserialize, Serialize};

/// Asks for goods. The customer's side chose the id, so that an order whose answer was lost can be sent again: the
/// same id twice is one order.
#[derive(Request, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[catga(name = "orders.place", key = id, reply = Result<Placed, Refusal>)]
pub struct PlaceOrder {
    /// The order's id.
    pub id: String,
    /// Who orders.
    pub customer: String,
    /// What is ordered.
    pub items: Vec<Item>,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Item {
    /// Which goods.
    pub sku: String,
    /// How many.
    pub qty: u32,
    /// What one of them costs, in cents.
    pub price_cents: u32,
}

/// What all items cost together, in cents.
pub fn total_cents(items: &[Item]) -> i64 {
    items.iter().map(|item| i64::from(item.qty) * i64::from(item.price_cents)).sum()
}

/// The answer to an order that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The order's id.
    pub order: String,
    /// Whether it stood already, placed by an earlier command with the same contents.
    pub existed: bool,
    /// The id of the [`OrderPlaced`] that this command published; none where the order existed.
    pub event: Option<String>,
}

/// Why an order is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Another order stands under this id.
    OtherContents,
}

/// An order stands.
#[derive(Event, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[catga(name = "orders.placed", key = order)]
pub struct OrderPlaced {
    /// The order's id.
    pub order: String,
    /// Who ordered.
    pub customer: String,
    /// What was ordered.
    pub items: Vec<Item>,
}

/// An order has its invoice.
#[derive(Event, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[catga(name = "orders.invoiced", key = order)]
pub struct Invoiced {
    /// The order's id.
    pub order: String,
    /// Who pays.
    pub customer: String,
    /// How much, in cents.
    pub amount_cents: i64,
}
