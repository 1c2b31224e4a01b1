use crate::{
    app::{App, Core},
    backoff::Backoff,
    handlers::{Consumer, Handlers, Pending, PendingRoute},
    store::{AnyStore, Stored},
};
use catga_contract::{
    Behaviors, BoxTransport, Error, ErrorKind, Event, IntoHandler, Message, Registration, Request, Resources, Result,
    Str, Transport, UnitOfWork, Wire,
};
use std::{any::type_name, collections::HashSet, sync::Arc, time::Duration};

/// Puts an application together. [`build`](Self::build) reports every mistake at once.
///
/// `L` is the stack of behaviors that the handlers added next are compiled with.
#[must_use = "an application is made by `.build().await`"]
pub struct Builder<L = ()> {
    behaviors: L,
    parts: Parts,
}

/// Everything but the behaviors.
struct Parts {
    name: String,
    prefix: Str,
    additions: Vec<Add>,
    stores: Vec<Arc<dyn AnyStore>>,
    transport: Option<BoxTransport>,
    handlers: Vec<Pending>,
    routes: Vec<PendingRoute>,
    /// The behavior that was added last, until a handler is added behind it.
    idle: Option<&'static str>,
    problems: Vec<String>,
    backoff: Backoff,
    drain: Duration,
    #[cfg(feature = "sabotage")]
    fault: Option<catga_contract::Fault>,
}

/// Adds a state or store to the resources; answers the problem where there is one of that type.
type Add = Box<dyn FnOnce(&mut Resources) -> Option<String> + Send>;

impl Builder {
    pub(crate) fn new(name: String) -> Self {
        let parts = Parts {
            name,
            prefix: Str::from_static("catga"),
            additions: Vec::new(),
            stores: Vec::new(),
            transport: None,
            handlers: Vec::new(),
            routes: Vec::new(),
            idle: None,
            problems: Vec::new(),
            backoff: Backoff::default(),
            drain: Duration::from_secs(30),
            #[cfg(feature = "sabotage")]
            fault: None,
        };
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
        let consumer = add(ConsumerBuilder { name, behaviors: self.behaviors, routes: Vec::new() });
        self.behaviors = consumer.behaviors;
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

    /// Asks for a deliberate defect: the demo's checker must find it.
    #[cfg(feature = "sabotage")]
    #[doc(hidden)]
    pub fn sabotage(mut self, fault: catga_contract::Fault) -> Self {
        self.parts.fault = Some(fault);
        self
    }

    /// Checks everything, takes the stores for this process, and registers the consumers durably.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] with every mistake on a line of its own: missing states and stores, two handlers of one
    /// request, one consumer twice, two transactions in one signature, a behavior behind the last handler, names out
    /// of bounds. [`ErrorKind::Busy`] where another process works on a store.
    pub async fn build(self) -> Result<App> {
        self.parts.build().await
    }
}

/// Adds the messages of one consumer; see [`Builder::consumer`].
pub struct ConsumerBuilder<L> {
    name: &'static str,
    behaviors: L,
    routes: Vec<PendingRoute>,
}

impl<L> ConsumerBuilder<L> {
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

impl Parts {
    fn end_of_behaviors(&mut self) {
        if let Some(behavior) = self.idle.take() {
            self.problems.push(format!(
                "the behavior `{behavior}` has no handler behind it: a behavior wraps the handlers that are added after it"
            ));
        }
    }

    async fn build(mut self) -> Result<App> {
        self.end_of_behaviors();
        let Self { name, prefix, additions, stores, transport, handlers, routes, mut problems, backoff, drain, .. } =
            self;
        problems.extend(name_problem("application", &name, NAME_MAX));
        problems.extend(backoff.problem().map(|problem| format!("there is {problem}")));
        let mut resources = Resources::new(prefix);
        problems.extend(additions.into_iter().filter_map(|add| add(&mut resources)));
        #[cfg(feature = "sabotage")]
        if let Some(fault) = self.fault {
            resources.sabotage(fault);
        }
        let about = handlers.iter().map(|pending| pending.about.clone()).collect();
        let handlers = prepare_handlers(handlers, &resources, &mut problems);
        let consumers = prepare_consumers(routes, &name, &resources, &mut problems);
        let transport = transport.or_else(|| stores.iter().find_map(|store| store.queue()));
        if !consumers.is_empty() {
            if stores.is_empty() {
                problems
                    .push("there are consumers but no store for their dead letters: add one with `.store(…)`".into());
            } else if transport.is_none() {
                problems.push(
                    "there are consumers but no transport, and no store brings a queue: add `.transport(…)`".into(),
                );
            }
        }
        if !problems.is_empty() {
            let text = format!("application `{name}` cannot be built:\n  - {}", problems.join("\n  - "));
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        for store in &stores {
            store.attach().await.map_err(|error| error.context(format_args!("application `{name}`")))?;
        }
        if let Some(transport) = &transport {
            transport.register(&registrations(&consumers, &resources)).await?;
        }
        let work = tokio::sync::watch::Sender::new(0);
        let paused = Default::default();
        let core =
            Core { name, resources, handlers, about, consumers, stores, transport, backoff, drain, work, paused };
        let app = App::new(core);
        #[cfg(feature = "json")]
        for store in &app.0.stores {
            store.keep_description(&app.0.name, &app.describe().to_json().to_string()).await?;
        }
        Ok(app)
    }
}

fn prepare_handlers(pending: Vec<Pending>, resources: &Resources, problems: &mut Vec<String>) -> Handlers {
    let (mut handlers, mut types, mut names) = (Handlers::default(), HashSet::new(), HashSet::new());
    for handler in pending {
        let about = &handler.about;
        problems.extend(name_problem("message", about.message, MESSAGE_MAX));
        if let Some(request) = handler.request {
            if !types.insert(request) {
                let (message, second) = (about.message, about.handler);
                problems.push(format!("`{message}` has two handlers, the second is `{second}`; a request has one"));
            } else if !names.insert(about.message) {
                problems.push(format!("two requests are named `{}`; a name belongs to one type", about.message));
            }
        }
        handler.prepare(resources, &mut handlers, problems);
    }
    handlers
}

fn prepare_consumers(
    pending: Vec<PendingRoute>,
    application: &str,
    resources: &Resources,
    problems: &mut Vec<String>,
) -> Vec<Arc<Consumer>> {
    let mut consumers: Vec<Consumer> = Vec::new();
    for route in pending {
        problems.extend(name_problem("message", route.about.message, MESSAGE_MAX));
        let name: Str = format!("{application}.{}", route.consumer).into();
        if consumers.last().is_none_or(|last| last.name != name) {
            problems.extend(name_problem("consumer", route.consumer, NAME_MAX));
            consumers.push(Consumer { name: name.clone(), routes: Vec::new(), unit: None });
        }
        let Some(consumer) = consumers.last_mut() else { continue };
        let message = route.about.message;
        if consumer.routes.iter().any(|other| other.about.message == message) {
            problems.push(format!("consumer `{name}` takes `{message}` twice; each message has one handler there"));
        }
        let (route, unit) = route.prepare(resources, problems);
        if consumer.unit.is_some() && unit.is_some() && consumer.unit != unit {
            problems.push(format!("consumer `{name}` works in two stores; give each its own consumer"));
        }
        consumer.unit = consumer.unit.or(unit);
        consumer.routes.extend(route);
    }
    consumers.into_iter().map(Arc::new).collect()
}

fn registrations(consumers: &[Arc<Consumer>], resources: &Resources) -> Vec<Registration> {
    let registration = |consumer: &Arc<Consumer>| {
        let names = consumer.routes.iter().flat_map(|route| std::iter::once(&route.about.message).chain(route.aliases));
        Registration::new(consumer.name.clone(), names.map(|name| resources.subject(name)).collect())
    };
    consumers.iter().map(registration).collect()
}

/// What is wrong with a transport's URL. A password in it is not repeated.
fn transport_problem(url: &str) -> Option<String> {
    let (scheme, _) = url.split_once(':').unwrap_or((url, ""));
    (!matches!(scheme, "" | "store")).then(|| {
        format!("CATGA_URL asks for the transport `{scheme}:…`; this program has the store's own queue only (`store:`)")
    })
}

/// The longest names of applications and consumers: a durable name is made of both.
const NAME_MAX: usize = 100;
/// The longest name of a message; with its prefix it is a subject of at most 255 bytes.
const MESSAGE_MAX: usize = 255;

/// Names are parts of subjects and of durable names, so they are kept simple.
fn name_problem(what: &str, name: &str, most: usize) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let fine = (1..=most).contains(&name.len()) && name.bytes().all(plain) && !name.split('.').any(str::is_empty);
    (!fine).then(|| {
        format!(
            "the {what} name `{name}` is not of 1 to {most} letters, digits, `_`, `-`, with single dots between them"
        )
    })
}

impl<L> std::fmt::Debug for Builder<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let consumers: Vec<_> = self.parts.routes.iter().map(|route| route.consumer).collect();
        f.debug_struct("Builder").field("name", &self.parts.name).field("consumers", &consumers).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_that_this_program_lacks_is_a_problem() {
        assert_eq!(transport_problem(""), None);
        assert_eq!(transport_problem("store:"), None);
        let problem = transport_problem("nats://user:secret@host:4222").unwrap();
        assert!(problem.contains("`nats:…`") && !problem.contains("secret"), "{problem}");
        assert!(transport_problem("nonsense").is_some());
    }
}
