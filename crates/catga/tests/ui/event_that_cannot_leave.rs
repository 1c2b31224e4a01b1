use catga::{App, Event};

#[derive(Event, Clone)]
#[catga(name = "rang", local)]
struct Rang;

async fn ring(_: Rang) -> catga::Result<()> {
    Ok(())
}

fn main() {
    let _ = App::builder("bell").on("ring", ring);
}
