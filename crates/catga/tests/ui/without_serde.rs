use catga::Request;

#[derive(Request)]
#[catga(name = "orders.place")]
struct PlaceOrder;

fn main() {}
