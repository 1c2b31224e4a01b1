//! An order, a mail, and a refusal that undoes its writes.
use catga::{App, Event, Request, Tx, sqlite::Sqlite};
use serde::{Deserialize, Serialize};

const SCHEMA: &[&str] = &["
    CREATE TABLE orders (id INTEGER PRIMARY KEY, sku TEXT NOT NULL, qty INTEGER NOT NULL);
    CREATE TABLE mails (order_id INTEGER NOT NULL, text TEXT NOT NULL);
"];

#[derive(Request, Serialize, Deserialize)]
#[catga(name = "orders.place", reply = Result<i64, String>)]
struct PlaceOrder {
    sku: String,
    qty: u32,
}

#[derive(Event, Clone, Serialize, Deserialize)]
#[catga(name = "orders.placed", key = id)]
struct OrderPlaced {
    id: i64,
    sku: String,
}

async fn place(order: PlaceOrder, mut tx: Tx<Sqlite>) -> catga::Result<Result<i64, String>> {
    tx.execute("INSERT INTO orders (sku, qty) VALUES (?1, ?2)", (&order.sku, order.qty))?; // business write
    let id = tx.last_insert_rowid();
    tx.publish(OrderPlaced { id, sku: order.sku })?; // same transaction
    if order.qty == 0 {
        return Ok(Err("nothing was ordered".into())); // a refusal undoes both and answers
    }
    Ok(Ok(id)) // commits here
}

async fn mail(event: OrderPlaced, mut tx: Tx<Sqlite>) -> catga::Result<()> {
    let text = format!("Your {} is on its way.", event.sku);
    tx.execute("INSERT INTO mails (order_id, text) VALUES (?1, ?2)", (event.id, text))?;
    Ok(())
}

#[tokio::main]
async fn main() -> catga::Result<()> {
    let store = Sqlite::from_env().await?.migrate(SCHEMA).await?; // a file by CATGA_STORE, else a temporary one
    let app = App::builder("shop").store(store.clone()).handle(place).on("mail", mail).build().await?;
    let id = app.send(PlaceOrder { sku: "A-1".into(), qty: 2 }).await?;
    let refused = app.send(PlaceOrder { sku: "A-1".into(), qty: 0 }).await?;
    app.run_until_idle().await?; // a service calls app.run(shutdown) instead
    let mails = "SELECT count(*) FROM mails WHERE order_id = ?1";
    let mails: i64 = store.read(|db| db.query_row(mails, [id.clone().unwrap_or(0)], |row| row.get(0)))?;
    assert_eq!((id.is_ok(), refused.is_err(), mails), (true, true, 1));
    Ok(())
}
