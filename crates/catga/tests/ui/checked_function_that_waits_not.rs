#[catga::handler]
fn ping(_: String) -> catga::Result<()> {
    Ok(())
}

fn main() {}
