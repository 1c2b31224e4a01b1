//! Places a few orders, waits until everything has followed from them, and prints what that was.
#![forbid(unsafe_code)]

use catga::{App, Result, sqlite::Sqlite};
use catga_order_system::{Item, MIGRATIONS, Mishaps, PlaceOrder, wire};

#[tokio::main]
async fn main() -> Result<()> {
    // `CATGA_STORE=shop.db` keeps the shop in that file; without it all goes when the program ends.
    let store = Sqlite::from_env().await?.migrate(MIGRATIONS).await?;
    let app = wire(App::builder("shop").store(store.clone()), Mishaps::never()).build().await?;

    // The second order comes twice, as after a lost answer.
    for id in ["o-1", "o-2", "o-2", "o-3"] {
        let items = vec![
            Item { sku: "A-1".to_owned(), qty: 2, price_cents: 1250 },
            Item { sku: "B-7".to_owned(), qty: 1, price_cents: 499 },
        ];
        let answer = app.send(PlaceOrder { id: id.to_owned(), customer: "c-17".to_owned(), items }).await?;
        println!("{id}: {answer:?}");
    }
    app.run_until_idle().await?;

    let counts = store.read(|db| {
        ["orders", "order_items", "invoices", "stock_moves", "mails"]
            .iter()
            .map(|table| db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)))
            .collect::<Result<Vec<i64>, _>>()
    })?;
    println!("orders, items, invoices, stock moves, mails: {counts:?}");
    assert_eq!(counts, [3, 6, 3, 6, 3]);
    Ok(())
}
