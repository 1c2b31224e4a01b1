#[catga::handler]
async fn ping(_: String) -> catga::Result<()> {
    Ok(())
}

fn main() {}
