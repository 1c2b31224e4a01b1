use catga::Request;

#[derive(Request)]
struct PlaceOrder;

fn main() {}
