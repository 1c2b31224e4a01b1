use catga::{App, Request};

#[derive(Request)]
#[catga(name = "ping", local)]
struct Ping;

async fn ping(_: Ping, _: u32) -> catga::Result<()> {
    Ok(())
}

fn main() {
    let _ = App::builder("shop").handle(ping);
}
