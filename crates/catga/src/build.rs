use crate::{
    app::App,
    backoff::Backoff,
    handlers::{Pending, PendingRoute},
    parts::{Parts, transport_problem},
    store::Stored,
};
use catga_contract::{
    Behaviors, BoxTransport, Event, IntoHandler, Message, Request, Result, Transport, UnitOfWork, Wire,
};
use std::{any::type_name, sync::Arc, time::Duration};

/// Puts an application together. [`build`](Self::build) reports every mistake at once.
///
/// `L` is the stack of behaviors that the handlers added next are compiled with.
#[must_use = "an application is made by `.build().await`"]
pub struct Builder<L = ()> {
    behaviors: L,
    parts: Parts,
}

impl Builder {
    pub(crate) fn new(name: String) -> Self {
        let parts = Parts::new(name);
        Self { behaviors: (), parts }
    }
}

impl<L> Builder<L> {
    /// The first part of every subject, default `catga`: messages named `orders.placed` go to `catga.orders.placed`.
    /// Empty means that the name alone is the subject.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.parts.prefix = prefix.into().into();
        self
    }

    /// Adds what handlers take as `State<T>`; one of each type.
    pub fn state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        self.parts.additions.push(Box::new(move |resources| {
            let twice = || format!("there are two states of type `{}`; make them two types", type_name::<T>());
            (!resources.add_state(Arc::new(state))).then(twice)
        }));
        self
    }

    /// Adds the store whose transaction handlers take as `Tx<S>`; one of each type. Its own queue, where it has one,
    /// is the transport unless [`transport`](Self::transport) names another.
    pub fn store<S: UnitOfWork>(mut self, store: S) -> Self {
        let store = Arc::new(store);
        self.parts.stores.push(Arc::new(Stored(store.clone())));
        self.parts.additions.push(Box::new(move |resources| {
            let twice = || format!("there are two stores of type `{}`; a `Tx` could mean either", type_name::<S>());
            (!resources.add_store(store)).then(twice)
        }));
        self
    }

    /// Carries events and commands by this transport.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.parts.transport = Some(BoxTransport::new(transport));
        self
    }

    /// Carries events and commands by the transport that the environment variable `CATGA_URL` names: unset, empty or
    /// `store:` is the store's own queue. Any other one is a mistake that `build()` reports, with what this program has.
    pub fn transport_from_env(mut self) -> Self {
        let url = std::env::var("CATGA_URL").unwrap_or_default();
        self.parts.problems.extend(transport_problem(&url));
        self
    }

    /// Puts a behavior around every handler that is added after it; the first one is the outermost. One that does not
    /// fit a message is a compile error where that message's handler is added: such a one goes on its handler alone,
    /// `.handle(place.with(behavior))`, or into a [`module`](Self::module).
    pub fn with<B: Clone + Send + Sync + 'static>(mut self, behavior: B) -> Builder<(L, B)> {
        self.parts.idle = Some(type_name::<B>());
        Builder { behaviors: (self.behaviors, behavior), parts: self.parts }
    }

    /// Adds what a function adds. Behaviors that it adds end with it; those of this builder reach its handlers.
    ///
    /// ```
    /// use catga::{App, Behaviors, Builder, Request};
    ///
    /// #[derive(Request)]
    /// #[catga(name = "ping", local)]
    /// struct Ping;
    ///
    /// async fn ping(_: Ping) -> catga::Result<()> {
    ///     Ok(())
    /// }
    ///
    /// fn pings<L: Behaviors<Ping>>(builder: Builder<L>) -> Builder<L> {
    ///     builder.handle(ping)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> catga::Result<()> {
    /// let app = App::builder("shop").module(pings).build().await?;
    /// app.send(Ping).await
    /// # }
    /// ```
    pub fn module<L2>(self, add: impl FnOnce(Self) -> Builder<L2>) -> Self
    where
        L: Clone,
    {
        let behaviors = self.behaviors.clone();
        let mut parts = add(self).parts;
        parts.end_of_behaviors();
        Self { behaviors, parts }
    }

    /// Adds the handler of a request.
    pub fn handle<M: Request, Kind>(mut self, handler: impl IntoHandler<M, Kind> + Send) -> Self
    where
        L: Behaviors<M>,
    {
        let behaviors = self.behaviors.clone();
        let wrap = move |handler| Box::new(behaviors.around(handler)) as _;
        self.parts.handlers.push(Pending::request::<M, Kind, _>(handler, names::<M, L>(), wrap));
        self.parts.idle = None;
        self
    }

    /// Adds a handler that hears an event in this process, by [`App::notify`].
    pub fn hear<M: Event, Kind>(mut self, handler: impl IntoHandler<M, Kind> + Send) -> Self
    where
        L: Behaviors<M>,
    {
        let behaviors = self.behaviors.clone();
        let wrap = move |handler| Box::new(behaviors.around(handler)) as _;
        self.parts.handlers.push(Pending::hearer::<M, Kind, _>(handler, names::<M, L>(), wrap));
        self.parts.idle = None;
        self
    }

    /// Adds a consumer of an event, or of a command that was [enqueued](App::enqueue), under its own name. With the
    /// application's name it is durable: `shop.mail` receives what is published from its first start on, running or
    /// not, until it is removed from the store.
    pub fn on<M: Message + Wire, Kind>(self, consumer: &'static str, handler: impl IntoHandler<M, Kind> + Send) -> Self
    where
        L: Behaviors<M>,
    {
        self.consumer(consumer, |consumer| consumer.on(handler))
    }

    /// Adds a consumer of several messages, which share its name and their order.
    ///
    /// ```
    /// use catga::{App, Event, Request, sqlite::Sqlite};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Clone, Serialize, Deserialize)]
    /// #[catga(name = "orders.placed")]
    /// struct Placed(u64);
    ///
    /// #[derive(Event, Clone, Serialize, Deserialize)]
    /// #[catga(name = "orders.cancelled")]
    /// struct Cancelled(u64);
    ///
    /// async fn placed(Placed(_): Placed) -> catga::Result<()> { Ok(()) }
    /// async fn cancelled(Cancelled(_): Cancelled) -> catga::Result<()> { Ok(()) }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> catga::Result<()> {
    /// let store = Sqlite::temporary().await?;
    /// let app = App::builder("shop").store(store).consumer("mail", |mail| mail.on(placed).on(cancelled)).build().await?;
    /// # app.run_until_idle().await
    /// # }
    /// ```
    pub fn consumer(mut self, name: &'static str, add: impl FnOnce(ConsumerBuilder<L>) -> ConsumerBuilder<L>) -> Self {
        let mut consumer = add(ConsumerBuilder { name, behaviors: self.behaviors, routes: Vec::new(), parks: false });
        self.behaviors = consumer.behaviors;
        consumer.routes.iter_mut().for_each(|route| route.parks = consumer.parks);
        if consumer.routes.is_empty() {
            self.parts.problems.push(format!("consumer `{name}` takes no message: add one with `.on(…)`"));
        }
        if self.parts.routes.iter().any(|route| route.consumer == name) {
            let text = format!("there are two consumers named `{name}`; a durable name belongs to one");
            self.parts.problems.push(text);
        }
        self.parts.routes.extend(consumer.routes);
        self.parts.idle = None;
        self
    }

    /// Adds a message to those that tools can name at run time ([`App::types`]): for messages that this application
    /// publishes and does not consume.
    pub fn knows<M: Wire>(mut self) -> Self {
        self.parts.types.add::<M>();
        self
    }

    /// How long and how often failed deliveries are tried again; see [`Backoff`] for the defaults.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.parts.backoff = backoff;
        self
    }

    /// How long [`App::run`] waits at its end for what is at hand, default 30 s.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.parts.drain = drain;
        self
    }

    /// How long a handler may wait for something else while it holds a `Tx`, all its waiting together: 1 ms to 20 s,
    /// default 10 ms. A file has one writer, so everybody waits with it. A handler that waits longer is dropped and
    /// undone: a request is answered with [`ErrorKind::Timeout`](crate::ErrorKind::Timeout), a delivery comes again
    /// and is buried after its attempts. Statements of the `Tx` do not count: they never wait.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.parts.patience = patience;
        self
    }

    /// Asks for a deliberate defect: the demo's checker must find it.
    #[cfg(feature = "sabotage")]
    #[doc(hidden)]
    pub fn sabotage(mut self, fault: catga_contract::Fault) -> Self {
        self.parts.sabotage(fault);
        self
    }

    /// Checks everything, takes the stores for this process, and registers the consumers durably.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) with every mistake on a line of its own: missing states and stores, two handlers of one
    /// request, one consumer twice, two transactions in one signature, a behavior behind the last handler, names out
    /// of bounds. [`Busy`](crate::ErrorKind::Busy) where another process works on a store.
    pub async fn build(self) -> Result<App> {
        self.parts.build().await
    }
}

/// Adds the messages of one consumer; see [`Builder::consumer`].
pub struct ConsumerBuilder<L> {
    name: &'static str,
    behaviors: L,
    routes: Vec<PendingRoute>,
    parks: bool,
}

impl<L> ConsumerBuilder<L> {
    /// When a message of this consumer is buried, the later ones of its key wait until it is replayed and done, or its
    /// letter is removed. Without this they pass. Messages without a key, and other keys, are not held up.
    #[must_use]
    pub fn park(mut self) -> Self {
        self.parks = true;
        self
    }

    /// Adds the handler of a message that the consumer takes.
    pub fn on<M: Message + Wire, Kind>(mut self, handler: impl IntoHandler<M, Kind> + Send) -> Self
    where
        L: Behaviors<M>,
    {
        let behaviors = self.behaviors.clone();
        let wrap = move |handler| behaviors.around(handler);
        self.routes.push(PendingRoute::new::<M, Kind, _, _>(self.name, handler, names::<M, L>(), wrap));
        self
    }
}

impl<L> std::fmt::Debug for ConsumerBuilder<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let messages: Vec<_> = self.routes.iter().map(|route| route.about.message).collect();
        f.debug_struct("ConsumerBuilder").field("name", &self.name).field("messages", &messages).finish_non_exhaustive()
    }
}

fn names<M: Message, L: Behaviors<M>>() -> Vec<&'static str> {
    let mut names = Vec::new();
    L::names(&mut names);
    names
}

impl<L> std::fmt::Debug for Builder<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let consumers: Vec<_> = self.parts.routes.iter().map(|route| route.consumer).collect();
        f.debug_struct("Builder").field("name", &self.parts.name).field("consumers", &consumers).finish_non_exhaustive()
    }
}
