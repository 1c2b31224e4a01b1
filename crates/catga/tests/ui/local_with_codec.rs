use catga::Request;

#[derive(Request)]
#[catga(name = "orders.place", codec = catga::Json, local)]
struct PlaceOrder;

fn main() {}
