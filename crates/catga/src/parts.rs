//! What a builder has gathered, and how it becomes an application.

use crate::{
    app::{App, Core},
    backoff::Backoff,
    bus::Place,
    handlers::{Consumer, Handlers, Pending, PendingRoute, Takes},
    metrics::Consumed,
    registry::TypeRegistry,
    store::AnyStore,
};
use catga_contract::{
    BoxTransport, Error, ErrorKind, Order, Patience, Registration, Resources, Result, Str, Transport,
};
use std::{collections::HashSet, ops::RangeInclusive, sync::Arc, time::Duration};

/// Everything but the behaviors.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) prefix: Str,
    pub(crate) additions: Vec<Add>,
    pub(crate) stores: Vec<Arc<dyn AnyStore>>,
    pub(crate) transport: Option<BoxTransport>,
    pub(crate) handlers: Vec<Pending>,
    pub(crate) routes: Vec<PendingRoute>,
    pub(crate) types: TypeRegistry,
    /// The behavior that was added last, until a handler is added behind it.
    pub(crate) idle: Option<&'static str>,
    pub(crate) problems: Vec<String>,
    pub(crate) backoff: Backoff,
    pub(crate) drain: Duration,
    pub(crate) patience: Duration,
    #[cfg(feature = "sabotage")]
    pub(crate) fault: Option<catga_contract::Fault>,
}

/// Adds a state or store to the resources; answers the problem where there is one of that type.
pub(crate) type Add = Box<dyn FnOnce(&mut Resources) -> Option<String> + Send>;

impl Parts {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            prefix: Str::from_static("catga"),
            additions: Vec::new(),
            stores: Vec::new(),
            transport: None,
            handlers: Vec::new(),
            routes: Vec::new(),
            types: TypeRegistry::default(),
            idle: None,
            problems: Vec::new(),
            backoff: Backoff::default(),
            drain: Duration::from_secs(30),
            patience: Duration::from_millis(10),
            #[cfg(feature = "sabotage")]
            fault: None,
        }
    }

    /// Asks for a deliberate defect.
    #[cfg(feature = "sabotage")]
    pub(crate) fn sabotage(&mut self, fault: catga_contract::Fault) {
        self.fault = Some(fault);
    }

    /// Reports a behavior that has no handler behind it.
    pub(crate) fn end_of_behaviors(&mut self) {
        if let Some(behavior) = self.idle.take() {
            self.problems.push(format!(
                "the behavior `{behavior}` has no handler behind it: a behavior wraps the handlers that are added after it"
            ));
        }
    }

    pub(crate) async fn build(mut self) -> Result<App> {
        self.end_of_behaviors();
        let Self {
            name,
            prefix,
            additions,
            stores,
            transport,
            handlers,
            routes,
            mut types,
            mut problems,
            backoff,
            drain,
            ..
        } = self;
        problems.extend(name_problem("application", &name, NAME_MAX));
        problems.extend(backoff.problem().map(|problem| format!("there is {problem}")));
        let mut resources = Resources::new(prefix);
        if !PATIENCE.contains(&self.patience) {
            problems.push(format!("there is a patience of {:?}; 1 ms to 20 s", self.patience));
        }
        resources.set_patience(Patience { limit: self.patience, sleep: |time| Box::pin(tokio::time::sleep(time)) });
        let bus = Arc::new(Place::default());
        resources.add_state(bus.clone());
        problems.extend(additions.into_iter().filter_map(|add| add(&mut resources)));
        #[cfg(feature = "sabotage")]
        if let Some(fault) = self.fault {
            resources.sabotage(fault);
        }
        let about = handlers.iter().map(|pending| pending.about.clone()).collect();
        let handlers = prepare_handlers(handlers, &resources, &mut problems);
        routes.iter().for_each(|route| (route.register)(&mut types));
        let consumers = prepare_consumers(routes, &name, &resources, &mut problems);
        let transport = transport.or_else(|| stores.iter().find_map(|store| store.queue()));
        let keeps_order = |transport: &BoxTransport| transport.capabilities().order == Order::Key;
        if let Some(consumer) = consumers.iter().find(|consumer| consumer.parks)
            && !transport.as_ref().is_some_and(keeps_order)
        {
            problems.push(format!(
                "consumer `{}` parks, but its transport keeps no order by key for it to keep",
                consumer.name
            ));
        }
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
        let (paused, client) = Default::default();
        let core = Core {
            name,
            resources,
            handlers,
            types,
            about,
            consumers,
            stores,
            transport,
            backoff,
            drain,
            work,
            paused,
            client,
        };
        let app = App::new(core);
        bus.set(&app);
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
            consumers.push(Consumer {
                name: name.clone(),
                routes: Vec::new(),
                parks: route.parks,
                unit: None,
                takes: Takes::Nothing,
                unknown: Consumed::default(),
            });
        }
        let Some(consumer) = consumers.last_mut() else { continue };
        let message = route.about.message;
        if consumer.routes.iter().any(|other| other.about.message == message) {
            problems.push(format!("consumer `{name}` takes `{message}` twice; each message has one handler there"));
        }
        let (route, unit, takes) = route.prepare(resources, problems);
        if consumer.unit.is_some() && unit.is_some() && consumer.unit != unit {
            problems.push(format!("consumer `{name}` works in two stores; give each its own consumer"));
        }
        consumer.unit = consumer.unit.or(unit);
        consumer.takes = consumer.takes.max(takes);
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

/// Who waits for its turn to write gives up after 30 s, so nobody may hold the writer for so long.
const PATIENCE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(20);

/// What is wrong with a transport's URL. A password in it is not repeated.
pub(crate) fn transport_problem(url: &str) -> Option<String> {
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
