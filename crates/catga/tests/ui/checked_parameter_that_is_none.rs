use catga::Request;

#[derive(Request)]
#[catga(name = "ping", local)]
struct Ping;

#[catga::handler]
async fn ping(_: Ping, _: u32) -> catga::Result<()> {
    Ok(())
}

fn main() {}
