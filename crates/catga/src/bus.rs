use crate::{
    App,
    app::Core,
    send::{answer, within},
};
use catga_contract::{
    Call, Context, Error, ErrorKind, FromCall, MessageId, Needs, Nested, Request, Resources, Result, Tx, UnitOfWork,
};
use std::sync::{Arc, OnceLock, Weak};

/// The application, in a handler's hands: it sends further requests, which carry on the conversation, the principal, the
/// deadline and the trace of the message at hand.
///
/// ```
/// use catga::{App, Bus, Request, Tx, sqlite::Sqlite};
///
/// #[derive(Request)]
/// #[catga(name = "stock.reserve", local)]
/// struct Reserve(i64);
///
/// #[derive(Request)]
/// #[catga(name = "orders.place", local)]
/// struct Place(i64);
///
/// async fn reserve(Reserve(count): Reserve, mut tx: Tx<Sqlite>) -> catga::Result<()> {
///     tx.execute("UPDATE stock SET left = left - ?1", [count]).map(drop)
/// }
///
/// async fn place(Place(count): Place, mut tx: Tx<Sqlite>, bus: Bus) -> catga::Result<()> {
///     tx.execute("INSERT INTO orders (count) VALUES (?1)", [count])?;
///     bus.send_in(&mut tx, Reserve(count)).await // Both or none.
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> catga::Result<()> {
/// let schema = "CREATE TABLE orders (count INTEGER); CREATE TABLE stock (left INTEGER CHECK (left >= 0));
///     INSERT INTO stock VALUES (5);";
/// let store = Sqlite::temporary().await?.migrate(&[schema]).await?;
/// let app = App::builder("shop").store(store.clone()).handle(reserve).handle(place).build().await?;
/// app.send(Place(3)).await?;
/// assert!(app.send(Place(3)).await.is_err());
/// let orders: i64 = store.read(|db| db.query_row("SELECT count(*) FROM orders", (), |row| row.get(0)))?;
/// assert_eq!(orders, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Bus {
    app: App,
    context: Context,
    trace: Option<[u8; 55]>,
}

impl Bus {
    /// Sends a request that joins the transaction in the handler's hands: what its handler writes and publishes is
    /// undone when that handler fails or its answer is a refusal, and otherwise commits, or is undone, with the outer
    /// call. The handler behind it works in the same store or takes no transaction.
    ///
    /// # Errors
    ///
    /// As [`App::send`]. The outer transaction can be used further.
    ///
    /// # Cancel safety
    ///
    /// None: dropped before it has answered, the outer call fails and nothing of both is kept, because what the inner
    /// handler wrote cannot be told from what came after. A time limit belongs around the outer call.
    pub async fn send_in<S: UnitOfWork, R: Request>(&self, tx: &mut Tx<S>, request: R) -> Result<R::Reply> {
        let handler = self.app.handler::<R>()?;
        let mut nested = Nested::new(tx, &self.app.0.resources, self.child())?;
        let answer = within(handler, nested.call(), request).await;
        nested.end().await?;
        answer
    }

    /// Sends a request with a transaction of its own, or none. From a handler that holds a `Tx`, a request whose
    /// handler takes one of the same store is refused: it would wait for itself; that one goes by
    /// [`send_in`](Self::send_in).
    ///
    /// # Errors
    ///
    /// As [`App::send`].
    ///
    /// # Cancel safety
    ///
    /// As [`App::send`].
    pub async fn send<R: Request>(&self, request: R) -> Result<R::Reply> {
        let handler = self.app.handler::<R>()?;
        let mut context = self.child();
        (context.id, context.causation) = (MessageId::new(), self.context.id);
        answer(handler, &mut Call::within(&self.app.0.resources, context, self.trace), request).await
    }

    /// The application itself, whose calls begin conversations of their own.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// What a call from this one knows.
    fn child(&self) -> Context {
        let mut context = self.context.clone();
        (context.attempt, context.idempotency_key) = (1, None);
        context.consumer = Default::default();
        context.headers = Default::default();
        context
    }
}

/// Where `build` leaves the application for the handlers that take a [`Bus`].
#[derive(Default)]
pub(crate) struct Place(OnceLock<Weak<Core>>);

impl Place {
    pub(crate) fn set(&self, app: &App) {
        // Each application has a place of its own, which is set once.
        let _ = self.0.set(Arc::downgrade(&app.0));
    }
}

impl FromCall for Bus {
    type Prepared = Box<dyn Fn() -> Option<App> + Send + Sync>;

    fn prepare(resources: &Resources, needs: &mut Needs) -> Option<Self::Prepared> {
        let Some(place) = resources.state::<Place>() else {
            needs.problem("takes `Bus`, which only an application that was built has");
            return None;
        };
        Some(Box::new(move || place.0.get()?.upgrade().map(App)))
    }

    async fn from_call(app: &Self::Prepared, call: &mut Call<'_>) -> Result<Self> {
        let Some(app) = app() else {
            return Err(Error::new(ErrorKind::Closed, "the application of this handler is gone"));
        };
        Ok(Self { app, context: call.context().clone(), trace: call.trace() })
    }
}
