use catga::Request;

#[derive(Request)]
#[catga(name = "ping", local)]
struct Ping;

#[catga::handler]
async fn ping(_: Ping) -> catga::Result<()> {
    let here = std::rc::Rc::new(1);
    std::future::ready(()).await;
    drop(here);
    Ok(())
}

fn main() {}
