#[catga::handler]
async fn ping(_: char) -> catga::Result<()> {
    Ok(())
}

fn main() {}
