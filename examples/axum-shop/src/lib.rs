//! A shop behind an HTTP interface: orders are placed by `POST`, read by `GET`, and confirmed by a mail.
//!
//! ```text
//! POST /orders ──▶ PlaceOrder ──▶ orders ──▶ OrderPlaced ──▶ mail: mails
//!                                └───── one commit ────┘
//! GET /orders/{id} ──▶ orders, mails
//! ```
//!
//! The order and the event about it are one commit, and so are the mail and the mark that the event was handled: a
//! killed process loses neither and repeats neither. A client that does not know whether its order arrived sends it
//! again with the same `Idempotency-Key` and gets the first answer again.
#![forbid(unsafe_code)]

use axum::{
    Json, Router,
    extract::{FromRef, Path, State, rejection::PathRejection},
    http::StatusCode,
    routing::{get, post},
};
use catga::{
    App, Event, Request, Tx,
    axum::{Problem, Readiness, command},
    behavior::Idempotent,
    sqlite::Sqlite,
};
use serde::{Deserialize, Serialize};
use std::io;
use tokio::net::TcpListener;

const SCHEMA: &[&str] = &["
    CREATE TABLE orders (id INTEGER PRIMARY KEY, sku TEXT NOT NULL, qty INTEGER NOT NULL);
    CREATE TABLE mails (order_id INTEGER NOT NULL, text TEXT NOT NULL);
"];

/// Asks for an order; the answer is its number, or why there is none.
#[derive(Debug, Request, Serialize, Deserialize)]
#[catga(name = "orders.place", reply = Result<i64, Refusal>)]
pub struct PlaceOrder {
    sku: String,
    qty: u32,
}

/// Why an order was refused: the client's `refusal`, with status 422.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Refusal {
    /// It asks for nothing.
    Empty,
    /// It asks for more than the shop sells at a time.
    TooMany {
        /// The largest quantity.
        limit: u32,
    },
}

/// An order was placed.
#[derive(Clone, Debug, Event, Serialize, Deserialize)]
#[catga(name = "orders.placed", key = id)]
pub struct OrderPlaced {
    id: i64,
    sku: String,
}

async fn place(order: PlaceOrder, mut tx: Tx<Sqlite>) -> catga::Result<Result<i64, Refusal>> {
    match order.qty {
        0 => return Ok(Err(Refusal::Empty)),
        101.. => return Ok(Err(Refusal::TooMany { limit: 100 })),
        _ => {}
    }
    tx.execute("INSERT INTO orders (sku, qty) VALUES (?1, ?2)", (&order.sku, order.qty))?;
    let id = tx.last_insert_rowid();
    tx.publish(OrderPlaced { id, sku: order.sku })?; // leaves with the commit, or not at all
    Ok(Ok(id))
}

async fn mail(event: OrderPlaced, mut tx: Tx<Sqlite>) -> catga::Result<()> {
    let text = format!("Your {} is on its way.", event.sku);
    tx.execute("INSERT INTO mails (order_id, text) VALUES (?1, ?2)", (event.id, text))?;
    Ok(())
}

/// What the routes share. A command's route takes the [`App`] out of it.
#[derive(Clone, Debug, FromRef)]
pub struct Shop {
    app: App,
    store: Sqlite,
}

impl Shop {
    /// Wires the shop on a store.
    ///
    /// # Errors
    ///
    /// Where the tables cannot be made, or another process works on the store.
    pub async fn build(store: Sqlite) -> catga::Result<Self> {
        let store = store.migrate(SCHEMA).await?;
        let app = App::builder("shop").store(store.clone()).on("mail", mail);
        let app = app.with(Idempotent::new(store.clone())).handle(place).build().await?;
        Ok(Self { app, store })
    }

    /// The shop's routes. `/health` says that the process is up, `/ready` that it can work and wants to.
    pub fn router(self, ready: &Readiness) -> Router {
        let store = self.store.clone();
        let works = move || {
            let answer = store.read(|db| db.query_row("SELECT 1", (), |_| Ok(())));
            async { answer }
        };
        Router::new()
            .route("/orders", post(command::<PlaceOrder>))
            .route("/orders/{id}", get(order))
            .route("/health", get(async || "ok"))
            .route("/ready", ready.route(works))
            .fallback(async || Problem::new(StatusCode::NOT_FOUND))
            .method_not_allowed_fallback(async || Problem::new(StatusCode::METHOD_NOT_ALLOWED))
            .with_state(self)
    }

    /// Serves until `stop`: then takes no new connection, answers the requests at hand, lets the consumers finish what
    /// they have begun, and returns. What was not begun waits in the store for the next start.
    ///
    /// # Errors
    ///
    /// Where the listener fails, or a consumer cannot start or end.
    pub async fn serve(
        self,
        listener: TcpListener,
        ready: &Readiness,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> catga::Result<()> {
        let app = self.app.clone();
        let server = axum::serve(listener, self.router(ready)).with_graceful_shutdown(stop);
        let mut served: io::Result<()> = Ok(());
        app.run(async { served = server.await }).await?; // consumers work for as long as HTTP is served
        Ok(served?)
    }
}

/// An order as `GET /orders/{id}` shows it.
#[derive(Debug, Serialize)]
struct Order {
    id: i64,
    sku: String,
    qty: u32,
    mails: u32,
}

/// A query needs no message: it reads what was committed.
async fn order(State(store): State<Sqlite>, id: Result<Path<i64>, PathRejection>) -> Result<Json<Order>, Problem> {
    let Path(id) = id.map_err(|wrong| Problem::new(wrong.status()).detail(wrong.body_text()))?;
    let sql = "SELECT sku, qty, (SELECT count(*) FROM mails WHERE order_id = id) FROM orders WHERE id = ?1";
    let found = store.read(|db| {
        let mut orders = db.prepare_cached(sql)?;
        let mut orders = orders.query([id])?;
        let Some(row) = orders.next()? else { return Ok(None) };
        Ok(Some(Order { id, sku: row.get(0)?, qty: row.get(1)?, mails: row.get(2)? }))
    })?;
    found.map(Json).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND).detail(format!("there is no order {id}")))
}
