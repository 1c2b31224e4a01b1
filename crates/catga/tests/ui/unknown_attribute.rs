use catga::Request;

// One look shows all that is wrong.
#[derive(Request)]
#[catga(nam = "orders.place", reply = "Receipt", local = true, codec = catga::Json)]
#[catga(codec = catga::Json)]
struct PlaceOrder {
    #[catga(key)]
    id: u64,
}

fn main() {}
