use catga::{App, Request};

#[derive(Request)]
#[catga(name = "ping", reply = u32, local)]
struct Ping;

async fn ping(_: Ping) -> catga::Result<String> {
    Ok("pong".into())
}

fn main() {
    let _ = App::builder("shop").handle(ping);
}
