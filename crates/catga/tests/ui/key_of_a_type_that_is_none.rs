use catga::Event;

#[derive(Clone, Event)]
#[catga(name = "orders.placed", key = weight, local)]
struct OrderPlaced {
    weight: f64,
}

fn main() {}
