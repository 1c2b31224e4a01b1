use catga::{Event, Request};

#[derive(Clone, Request, Event)]
#[catga(name = "orders.place", local)]
struct PlaceOrder;

fn main() {}
