use catga::Request;

#[derive(Request)]
#[catga(name = "orders.place", local)]
struct PlaceOrder<'a> {
    item: &'a str,
}

fn main() {}
