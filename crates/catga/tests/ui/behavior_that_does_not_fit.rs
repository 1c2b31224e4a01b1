use catga::{App, Behavior, Call, Handler, Request};

#[derive(Request)]
#[catga(name = "ping", local)]
struct Ping;

#[derive(Request)]
#[catga(name = "pong", local)]
struct Pong;

#[derive(Clone)]
struct OnlyPing;

impl Behavior<Ping> for OnlyPing {
    async fn around<H: Handler<Ping>>(&self, call: &mut Call<'_>, ping: Ping, next: &H) -> catga::Result<()> {
        next.handle(call, ping).await
    }
}

async fn ping(_: Ping) -> catga::Result<()> {
    Ok(())
}

async fn pong(_: Pong) -> catga::Result<()> {
    Ok(())
}

fn main() {
    let _ = App::builder("table").with(OnlyPing).handle(ping).handle(pong);
}
