use catga::Event;

#[derive(Clone, Event)]
#[catga(name = "orders.placed", key = costumer, local)]
struct OrderPlaced {
    id: u64,
    customer: u64,
}

#[derive(Clone, Event)]
#[catga(name = "orders.changed", key = id, local)]
enum OrderChanged {
    Placed { id: u64 },
}

fn main() {}
