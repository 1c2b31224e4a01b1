use catga::Event;

#[derive(Event)]
#[catga(name = "orders.placed", local)]
struct OrderPlaced;

fn main() {}
