use catga::{Event, Request};

#[derive(Request)]
#[catga(name = "orders/place", local)]
struct PlaceOrder;

#[derive(Clone, Event)]
#[catga(name = "orders..placed", local)]
struct OrderPlaced;

#[derive(Clone, Event)]
#[catga(name = OrderPlaced, local)]
struct OrderCancelled;

fn main() {}
