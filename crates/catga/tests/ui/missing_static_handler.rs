use catga::{Request, send_to};

#[derive(Request)]
#[catga(name = "ping", local)]
struct Ping;

struct Table;

fn main() {
    let _ = send_to(&Table, Ping);
}
