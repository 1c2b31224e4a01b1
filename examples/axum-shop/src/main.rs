//! Serves the shop on the address it is given, else `127.0.0.1:3000`, until Ctrl-C or SIGTERM. Its rows lie in the file that `CATGA_STORE` names.
//!
//! ```console
//! $ cargo run -p catga-axum-shop
//! $ curl -i localhost:3000/orders -H 'Idempotency-Key: a1' --json '{"sku": "A-1", "qty": 2}'
//! $ curl -i localhost:3000/orders/1
//! ```
#![forbid(unsafe_code)]

use catga::{
    axum::{Readiness, shutdown_signal},
    sqlite::Sqlite,
};
use catga_axum_shop::Shop;
use std::time::Duration;
use tokio::net::TcpListener;

/// For how long `/ready` says no before the listener closes: longer than a load balancer takes to notice.
const NOTICE: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> catga::Result<()> {
    let shop = Shop::build(Sqlite::from_env().await?).await?;
    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:3000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let ready = Readiness::default();
    let (closing, signal) = (ready.clone(), shutdown_signal());
    let stop = async move {
        signal.await;
        closing.close();
        tokio::time::sleep(NOTICE).await;
    };
    shop.serve(listener, &ready, stop).await
}
