use crate::{Invoiced, Item, Mishaps, OrderPlaced, PlaceOrder, Placed, Refusal, total_cents};
use catga::{Result, State, Tx, sqlite::Sqlite};

/// Writes the order and announces it: both or neither.
pub(crate) async fn place(
    order: PlaceOrder,
    mut tx: Tx<Sqlite>,
    mishaps: State<Mishaps>,
) -> Result<Result<Placed, Refusal>> {
    // A file has one writer at a time, and from here on it is this call: nobody places the order after we looked.
    if let Some(earlier) = find(&order.id, &mut tx)? {
        if earlier != order {
            return Ok(Err(Refusal::OtherContents));
        }
        return Ok(Ok(Placed { order: order.id, existed: true, event: None }));
    }
    let PlaceOrder { id, customer, items } = order;
    tx.execute(
        "INSERT INTO orders (id, customer, total_cents) VALUES (?1, ?2, ?3)",
        (&id, &customer, total_cents(&items)),
    )?;
    mishaps.after_first_write()?;
    for (line, item) in (1_i64..).zip(&items) {
        tx.execute(
            "INSERT INTO order_items (order_id, line, sku, qty, price_cents) VALUES (?1, ?2, ?3, ?4, ?5)",
            (&id, line, &item.sku, item.qty, item.price_cents),
        )?;
    }
    let event = tx.publish(OrderPlaced { order: id.clone(), customer, items })?;
    mishaps.before_answer()?;
    Ok(Ok(Placed { order: id, existed: false, event: Some(event.to_string()) }))
}

/// The order that stands under this id.
fn find(id: &str, tx: &mut Tx<Sqlite>) -> Result<Option<PlaceOrder>> {
    let customers = tx.query_map("SELECT customer FROM orders WHERE id = ?1", [id], |row| row.get::<_, String>(0))?;
    let Some(customer) = customers.into_iter().next() else { return Ok(None) };
    let items =
        tx.query_map("SELECT sku, qty, price_cents FROM order_items WHERE order_id = ?1 ORDER BY line", [id], |row| {
            Ok(Item { sku: row.get(0)?, qty: row.get(1)?, price_cents: row.get(2)? })
        })?;
    Ok(Some(PlaceOrder { id: id.to_owned(), customer, items }))
}

/// Writes the invoice of an order and announces it.
pub(crate) async fn bill(event: OrderPlaced, mut tx: Tx<Sqlite>, mishaps: State<Mishaps>) -> Result<()> {
    let OrderPlaced { order, customer, items } = event;
    let amount_cents = total_cents(&items);
    tx.execute(
        "INSERT INTO invoices (order_id, customer, amount_cents) VALUES (?1, ?2, ?3)",
        (&order, &customer, amount_cents),
    )?;
    mishaps.after_first_write()?;
    tx.publish(Invoiced { order, customer, amount_cents })?;
    mishaps.before_answer()?;
    Ok(())
}

/// Takes the goods of an order out of the stock, one move an item.
pub(crate) async fn move_stock(event: OrderPlaced, mut tx: Tx<Sqlite>, mishaps: State<Mishaps>) -> Result<()> {
    for (number, Item { sku, qty, .. }) in event.items.iter().enumerate() {
        tx.execute(
            "INSERT INTO stock_moves (order_id, sku, qty) VALUES (?1, ?2, ?3)",
            (&event.order, sku, -i64::from(*qty)),
        )?;
        if number == 0 {
            mishaps.after_first_write()?;
        }
    }
    mishaps.before_answer()?;
    Ok(())
}

/// Writes the mail that goes out with an invoice.
pub(crate) async fn mail(event: Invoiced, mut tx: Tx<Sqlite>, mishaps: State<Mishaps>) -> Result<()> {
    tx.execute(
        "INSERT INTO mails (order_id, customer, amount_cents) VALUES (?1, ?2, ?3)",
        (&event.order, &event.customer, event.amount_cents),
    )?;
    mishaps.after_first_write()?;
    mishaps.before_answer()?;
    Ok(())
}
