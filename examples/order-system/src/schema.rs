/// The tables, one entry a version: to change them, append an entry and leave the others alone.
///
/// Nothing here is unique, on purpose: a constraint would hide an effect that happened twice behind an error, and this
/// example wants it to be seen. That an order stands once is the work of `place`, which looks before it writes; that
/// each consumer's rows are written once is Catga's.
pub const MIGRATIONS: &[&str] = &["
    CREATE TABLE orders (id TEXT NOT NULL, customer TEXT NOT NULL, total_cents INTEGER NOT NULL);
    CREATE INDEX orders_by_id ON orders (id);

    CREATE TABLE order_items (
        order_id TEXT NOT NULL, line INTEGER NOT NULL,
        sku TEXT NOT NULL, qty INTEGER NOT NULL, price_cents INTEGER NOT NULL
    );
    CREATE INDEX order_items_by_order ON order_items (order_id);

    CREATE TABLE invoices (order_id TEXT NOT NULL, customer TEXT NOT NULL, amount_cents INTEGER NOT NULL);
    CREATE INDEX invoices_by_order ON invoices (order_id);

    CREATE TABLE stock_moves (order_id TEXT NOT NULL, sku TEXT NOT NULL, qty INTEGER NOT NULL);
    CREATE INDEX stock_moves_by_order ON stock_moves (order_id);

    CREATE TABLE mails (order_id TEXT NOT NULL, customer TEXT NOT NULL, amount_cents INTEGER NOT NULL);
    CREATE INDEX mails_by_order ON mails (order_id);
"];
