use catga::Event;

#[derive(Clone, Event)]
#[catga(name = "orders.placed", reply = u64, local)]
struct OrderPlaced;

fn main() {}
