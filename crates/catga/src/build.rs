use crate::{
    app::{App, Core},
    backoff::Backoff,
    consumer::{Consumer, PendingConsumer},
    request::{PendingRequest, Requests},
    store::{AnyStore, Stored},
};
use catga_contract::{
    BoxTransport, Error, ErrorKind, Event, HandlerFn, Registration, Request, Resources, Result, Str, Transport,
    UnitOfWork, Wire,
};
use std::{any::type_name, collections::HashSet, sync::Arc, time::Duration};

/// Puts an application together. [`build`](Self::build) reports every mistake at once.
#[must_use = "an application is made by `.build().await`"]
pub struct Builder {
    name: String,
    prefix: Str,
    states: Vec<Add>,
    stores: Vec<Arc<dyn AnyStore>>,
    transport: Option<BoxTransport>,
    requests: Vec<PendingRequest>,
    consumers: Vec<PendingConsumer>,
    backoff: Backoff,
    drain: Duration,
    #[cfg(feature = "sabotage")]
    fault: Option<catga_contract::Fault>,
}

/// Adds a state or store to the resources; answers the problem where there is one of that type.
type Add = Box<dyn FnOnce(&mut Resources) -> Option<String> + Send>;

impl Builder {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            prefix: Str::from_static("catga"),
            states: Vec::new(),
            stores: Vec::new(),
            transport: None,
            requests: Vec::new(),
            consumers: Vec::new(),
            backoff: Backoff::default(),
            drain: Duration::from_secs(30),
            #[cfg(feature = "sabotage")]
            fault: None,
        }
    }

    /// The first part of every subject, default `catga`: messages named `orders.placed` go to `catga.orders.placed`.
    /// Empty means that the name alone is the subject.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into().into();
        self
    }

    /// Adds what handlers take as `State<T>`; one of each type.
    pub fn state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        self.states.push(Box::new(move |resources| {
            let twice = || format!("there are two states of type `{}`; make them two types", type_name::<T>());
            (!resources.add_state(Arc::new(state))).then(twice)
        }));
        self
    }

    /// Adds the store whose transaction handlers take as `Tx<S>`; one of each type. Its own queue, where it has one,
    /// is the transport unless [`transport`](Self::transport) names another.
    pub fn store<S: UnitOfWork>(mut self, store: S) -> Self {
        let store = Arc::new(store);
        self.stores.push(Arc::new(Stored(store.clone())));
        self.states.push(Box::new(move |resources| {
            let twice = || format!("there are two stores of type `{}`; a `Tx` could mean either", type_name::<S>());
            (!resources.add_store(store)).then(twice)
        }));
        self
    }

    /// Carries events by this transport.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transport = Some(BoxTransport::new(transport));
        self
    }

    /// Adds the handler of a request.
    pub fn handle<M: Request, A: 'static>(mut self, handler: impl HandlerFn<M, A>) -> Self {
        self.requests.push(PendingRequest::new::<M, A>(handler));
        self
    }

    /// Adds a consumer of an event under its own name. With the application's name it is durable: `shop.mail`
    /// receives what is published from its first start on, running or not, until it is removed.
    pub fn on<M: Event + Wire, A: 'static>(mut self, consumer: &'static str, handler: impl HandlerFn<M, A>) -> Self {
        self.consumers.push(PendingConsumer::new(consumer, handler));
        self
    }

    /// How long and how often failed deliveries are tried again; see [`Backoff`] for the defaults.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How long [`App::run`] waits at its end for what is at hand, default 30 s.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Asks for a deliberate defect: the demo's checker must find it.
    #[cfg(feature = "sabotage")]
    #[doc(hidden)]
    pub fn sabotage(mut self, fault: catga_contract::Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// Checks everything, takes the stores for this process, and registers the consumers durably.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] with every mistake on a line of its own: missing states and stores, two handlers of one
    /// request, one consumer twice, two transactions in one signature, names out of bounds. [`ErrorKind::Busy`] where
    /// another process works on a store.
    pub async fn build(self) -> Result<App> {
        let Self { name, prefix, states, stores, transport, requests, consumers, backoff, drain, .. } = self;
        let mut problems = Vec::new();
        problems.extend(name_problem("application", &name));
        problems.extend(backoff.problem().map(|problem| format!("there is {problem}")));
        let mut resources = Resources::new(prefix);
        problems.extend(states.into_iter().filter_map(|add| add(&mut resources)));
        #[cfg(feature = "sabotage")]
        if let Some(fault) = self.fault {
            resources.sabotage(fault);
        }
        let requests = prepare_requests(requests, &resources, &mut problems);
        let consumers = prepare_consumers(consumers, &name, &resources, &mut problems);
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
            let registration =
                |consumer: &Arc<Consumer>| Registration::new(consumer.name.clone(), consumer.subject.clone());
            let registrations: Vec<_> = consumers.iter().map(registration).collect();
            transport.register(&registrations).await?;
        }
        let work = tokio::sync::watch::Sender::new(0);
        Ok(App::new(Core { name, resources, requests, consumers, stores, transport, backoff, drain, work }))
    }
}

fn prepare_requests(pending: Vec<PendingRequest>, resources: &Resources, problems: &mut Vec<String>) -> Requests {
    let (mut requests, mut types, mut names) = (Requests::default(), HashSet::new(), HashSet::new());
    for request in pending {
        problems.extend(name_problem("message", request.message));
        if !types.insert(request.type_id) {
            problems.push(format!(
                "`{}` has two handlers, the second is `{}`; a request has one",
                request.message, request.handler
            ));
        } else if !names.insert(request.message) {
            problems.push(format!("two requests are named `{}`; a name belongs to one type", request.message));
        }
        request.prepare(resources, &mut requests, problems);
    }
    requests
}

fn prepare_consumers(
    pending: Vec<PendingConsumer>,
    application: &str,
    resources: &Resources,
    problems: &mut Vec<String>,
) -> Vec<Arc<Consumer>> {
    let (mut consumers, mut names) = (Vec::new(), HashSet::new());
    for consumer in pending {
        problems.extend(name_problem("consumer", consumer.name));
        if !names.insert(consumer.name) {
            problems.push(format!("there are two consumers named `{}`; a durable name belongs to one", consumer.name));
        }
        if let Some(consumer) = consumer.prepare(application, resources, problems) {
            problems.extend(name_problem("message", consumer.message));
            consumers.push(Arc::new(consumer));
        }
    }
    consumers
}

/// Names are parts of subjects and of durable names, so they are kept simple.
fn name_problem(what: &str, name: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let fine = (1..=100).contains(&name.len()) && name.bytes().all(plain) && !name.split('.').any(str::is_empty);
    (!fine).then(|| {
        format!("the {what} name `{name}` is not of 1 to 100 letters, digits, `_`, `-`, with single dots between them")
    })
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let consumers: Vec<_> = self.consumers.iter().map(|consumer| consumer.name).collect();
        f.debug_struct("Builder").field("name", &self.name).field("consumers", &consumers).finish_non_exhaustive()
    }
}
