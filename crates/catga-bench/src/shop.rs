//! What is measured: a small command, an event, their handlers, and behaviors that do nothing.

use catga::{
    App, Behavior, Behaviors, Builder, Call, Context, Event, Handler, Message, Request, Resources, Result, State,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Takes an order: 48 bytes, nothing on the heap.
#[derive(Clone, Copy, Debug, Request)]
#[catga(name = "bench.place", reply = u64, local)]
pub struct Place {
    /// Who orders.
    pub customer: u64,
    /// What is ordered.
    pub sku: [u8; 16],
    /// How many.
    pub quantity: u64,
    /// The price of one.
    pub price: u64,
    /// The order's number.
    pub number: u64,
}

impl Place {
    /// Some order.
    pub const SOME: Self = Self { customer: 42, sku: *b"SKU-000000000017", quantity: 2, price: 1_250, number: 7 };
}

/// The same order for a handler that does not ask for its `Context`.
#[derive(Clone, Copy, Debug, Request)]
#[catga(name = "bench.place-plainly", reply = u64, local)]
pub struct PlacePlainly(pub Place);

/// The same order for a handler that takes nothing else.
#[derive(Clone, Copy, Debug, Request)]
#[catga(name = "bench.place-barely", reply = u64, local)]
pub struct PlaceBarely(pub Place);

/// An order was taken: 48 bytes, nothing on the heap, so that a clone allocates nothing.
#[derive(Clone, Copy, Debug, Event)]
#[catga(name = "bench.placed", local)]
pub struct Placed(pub Place);

/// A customer wrote something: one block on the heap, so that a clone allocates once.
#[derive(Clone, Debug, Event)]
#[catga(name = "bench.noted", local)]
pub struct Noted(pub String);

/// What handlers work on.
#[derive(Debug, Default)]
pub struct Repo {
    sold: AtomicU64,
}

impl Repo {
    /// The work of all handlers and baselines alike; never inlined, so that no candidate folds it away.
    #[inline(never)]
    pub fn take(&self, order: &Place, attempt: u32) -> u64 {
        let sum = order.quantity.wrapping_mul(order.price).wrapping_add(u64::from(order.sku[15]) ^ order.customer);
        self.sold.fetch_add(sum, Relaxed).wrapping_add(u64::from(attempt))
    }
}

/// The handler as most users write it.
///
/// # Errors
///
/// None.
pub async fn place(order: Place, State(repo): State<Repo>, context: Context) -> Result<u64> {
    Ok(repo.take(&order, context.attempt))
}

/// The same without a `Context`.
///
/// # Errors
///
/// None.
pub async fn place_plainly(PlacePlainly(order): PlacePlainly, State(repo): State<Repo>) -> Result<u64> {
    Ok(repo.take(&order, 1))
}

/// Takes an order with nothing at hand.
///
/// # Errors
///
/// None.
pub async fn place_barely(PlaceBarely(order): PlaceBarely) -> Result<u64> {
    Ok(std::hint::black_box(&order).customer)
}

/// Hears of an order.
///
/// # Errors
///
/// None.
pub async fn hear(Placed(order): Placed, State(repo): State<Repo>) -> Result<()> {
    repo.take(&order, 1);
    Ok(())
}

/// Hears of a note.
///
/// # Errors
///
/// None.
pub async fn hear_note(Noted(text): Noted) -> Result<()> {
    drop(std::hint::black_box(text));
    Ok(())
}

/// A handler on a type of one's own, for the static call.
#[derive(Debug, Default)]
pub struct Shop {
    /// What it works on.
    pub repo: Repo,
}

impl Handler<Place> for Shop {
    async fn handle(&self, _: &mut Call<'_>, order: Place) -> Result<u64> {
        Ok(self.repo.take(&order, 1))
    }
}

/// A behavior that calls the next one and does nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Noop;

impl<M: Message> Behavior<M> for Noop {
    async fn around<H: Handler<M>>(&self, call: &mut Call<'_>, message: M, next: &H) -> Result<M::Reply> {
        next.handle(call, message).await
    }
}

/// A handler with three behaviors around it that do nothing.
pub fn through_three<M: Message, H: Handler<M>>(handler: H) -> impl Handler<M> {
    ((((), Noop), Noop), Noop).around(handler)
}

/// An application that takes orders and has three who hear of them.
///
/// # Errors
///
/// None, unless this crate wires it wrongly.
pub fn app() -> Result<App> {
    build(App::builder("bench").state(Repo::default()))
}

/// The same with three behaviors around each handler that do nothing.
///
/// # Errors
///
/// As [`app`].
pub fn app_through_three() -> Result<App> {
    build(App::builder("bench").state(Repo::default()).with(Noop).with(Noop).with(Noop))
}

fn build<L>(builder: Builder<L>) -> Result<App>
where
    L: Behaviors<Place> + Behaviors<PlacePlainly> + Behaviors<PlaceBarely> + Behaviors<Placed> + Behaviors<Noted>,
{
    let builder = builder.handle(place).handle(place_plainly).handle(place_barely);
    let builder = builder.hear(hear).hear(hear).hear(hear).hear(hear_note).hear(hear_note).hear(hear_note);
    crate::ready(builder.build())
}

/// A context such as a call from within the process gets: made with the clock and a random source.
pub fn fresh_context() -> Context {
    Call::direct(Resources::none()).context().clone()
}

/// What a direct call without Catga would be given: the state, and a context that somebody made before.
#[derive(Debug)]
pub struct Given {
    /// The state.
    pub state: State<Repo>,
    /// The context.
    pub context: Context,
}

impl Given {
    /// New ones.
    pub fn new() -> Self {
        Self { state: State(Arc::default()), context: fresh_context() }
    }
}

impl Default for Given {
    fn default() -> Self {
        Self::new()
    }
}
