//! Handlers whose types are forgotten: how a message finds the function that answers it.

use crate::{metrics::Consumed, registry::TypeRegistry};
use catga_contract::{
    Call, Codec, Envelope, Error, ErrorKind, Event, Handler, IntoHandler, Message, Needs, Request, Resources, Result,
    Str, Wire,
};
use futures_util::future::BoxFuture;
use std::{
    any::{Any, TypeId},
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    marker::PhantomData,
};

/// A handler of `M` behind a pointer.
pub(crate) trait DynHandler<M: Message>: Send + Sync {
    fn handle<'a>(&'a self, call: &'a mut Call<'_>, message: M) -> BoxFuture<'a, Result<M::Reply>>;
}

impl<M: Message, H: Handler<M>> DynHandler<M> for H {
    fn handle<'a>(&'a self, call: &'a mut Call<'_>, message: M) -> BoxFuture<'a, Result<M::Reply>> {
        Box::pin(Handler::handle(self, call, message))
    }
}

/// A handler and its name, as the tables keep it.
pub(crate) struct Named<M> {
    pub(crate) handler: Box<dyn DynHandler<M>>,
    pub(crate) name: &'static str,
}

/// By the message's type, a `Named<M>` for requests and a `Vec<Named<M>>` for events heard in process.
#[derive(Default)]
pub(crate) struct Handlers {
    requests: ByType,
    hearers: ByType,
}

type ByType = HashMap<TypeId, Box<dyn Any + Send + Sync>, BuildHasherDefault<Pass>>;

/// A `TypeId` is a hash already: its bits are passed on.
#[derive(Default)]
struct Pass(u64);

impl Hasher for Pass {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, bits: u64) {
        self.0 = bits;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not how a `TypeId` hashes today; right all the same if it once does.
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }
}

impl Handlers {
    pub(crate) fn request<M: Request>(&self) -> Option<&Named<M>> {
        self.requests.get(&TypeId::of::<M>())?.downcast_ref()
    }

    pub(crate) fn hearers<M: Event>(&self) -> &[Named<M>] {
        let hearers = self.hearers.get(&TypeId::of::<M>()).and_then(|all| all.downcast_ref::<Vec<Named<M>>>());
        hearers.map_or(&[], Vec::as_slice)
    }
}

/// What `describe` and errors say of a handler.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) message: &'static str,
    pub(crate) handler: &'static str,
    pub(crate) behaviors: Vec<&'static str>,
}

impl About {
    fn new<M: Message, Kind, H: IntoHandler<M, Kind>>(handler: &H, mut behaviors: Vec<&'static str>) -> Self {
        H::behaviors(&mut behaviors);
        Self { message: M::NAME, handler: handler.name(), behaviors }
    }
}

/// A handler in process that waits for the application's state and stores to be complete.
pub(crate) struct Pending {
    pub(crate) about: About,
    /// Requests have one handler of each type.
    pub(crate) request: Option<TypeId>,
    prepare: Prepare,
}

/// Puts the prepared handler into its table; reports what is missing.
type Prepare = Box<dyn FnOnce(&Resources, &mut Needs, &mut Handlers) + Send>;

impl Pending {
    pub(crate) fn request<M: Request, Kind, H: IntoHandler<M, Kind> + Send>(
        handler: H,
        behaviors: Vec<&'static str>,
        wrap: impl FnOnce(H::Handler) -> Box<dyn DynHandler<M>> + Send + 'static,
    ) -> Self {
        let about = About::new::<M, Kind, H>(&handler, behaviors);
        let name = about.handler;
        let prepare: Prepare = Box::new(move |resources, needs, handlers| {
            if let Some(handler) = handler.prepare(resources, needs) {
                let named = Named { handler: wrap(handler), name };
                handlers.requests.insert(TypeId::of::<M>(), Box::new(named));
            }
        });
        Self { about, request: Some(TypeId::of::<M>()), prepare }
    }

    pub(crate) fn hearer<M: Event, Kind, H: IntoHandler<M, Kind> + Send>(
        handler: H,
        behaviors: Vec<&'static str>,
        wrap: impl FnOnce(H::Handler) -> Box<dyn DynHandler<M>> + Send + 'static,
    ) -> Self {
        let about = About::new::<M, Kind, H>(&handler, behaviors);
        let name = about.handler;
        let prepare: Prepare = Box::new(move |resources, needs, handlers| {
            if let Some(handler) = handler.prepare(resources, needs) {
                let all = handlers.hearers.entry(TypeId::of::<M>()).or_insert_with(|| Box::new(Vec::<Named<M>>::new()));
                if let Some(all) = all.downcast_mut::<Vec<Named<M>>>() {
                    all.push(Named { handler: wrap(handler), name });
                }
            }
        });
        Self { about, request: None, prepare }
    }

    pub(crate) fn prepare(self, resources: &Resources, handlers: &mut Handlers, problems: &mut Vec<String>) {
        let mut needs = Needs::new(format!("handler `{}` of `{}`", self.about.handler, self.about.message));
        (self.prepare)(resources, &mut needs, handlers);
        problems.extend_from_slice(needs.problems());
    }
}

/// A consumer that is ready to work.
pub(crate) struct Consumer {
    /// Durable name, `{application}.{consumer}`.
    pub(crate) name: Str,
    pub(crate) routes: Vec<Route>,
    /// Whether a buried message holds up the later ones of its key.
    pub(crate) parks: bool,
    /// The store in whose transaction its handlers work, if they take a `Tx`.
    pub(crate) unit: Option<TypeId>,
    /// What its handlers take of it.
    pub(crate) takes: Takes,
    /// What became of deliveries that no route takes.
    pub(crate) unknown: Consumed,
}

/// How a consumer's handlers come to a transaction. One that begins its own makes its whole consumer so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Takes {
    Nothing,
    Tx,
    Later,
}

/// One message that a consumer takes.
pub(crate) struct Route {
    pub(crate) about: About,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) version: u16,
    pub(crate) codec: &'static str,
    pub(crate) consumed: Consumed,
    run: Box<dyn Run>,
}

impl Consumer {
    /// The route of a message.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoHandler`] where the consumer does not take it.
    pub(crate) fn route(&self, envelope: &Envelope) -> Result<&Route> {
        let takes =
            |route: &&Route| envelope.name == route.about.message || route.aliases.contains(&envelope.name.as_str());
        self.routes.iter().find(takes).ok_or_else(|| {
            let text =
                format!("consumer `{}` has no handler for message {} `{}`", self.name, envelope.id, envelope.name);
            Error::new(ErrorKind::NoHandler, text)
        })
    }

    /// What takes the message, for a log or a dead letter.
    pub(crate) fn handler(&self, envelope: Option<&Envelope>) -> &'static str {
        envelope.and_then(|envelope| self.route(envelope).ok()).map_or("", |route| route.about.handler)
    }

    /// Where deliveries of that message are counted.
    pub(crate) fn consumed(&self, envelope: Option<&Envelope>) -> &Consumed {
        envelope.and_then(|envelope| self.route(envelope).ok()).map_or(&self.unknown, |route| &route.consumed)
    }
}

impl Route {
    /// Decodes the message and runs the handler; answers whether its work stays.
    pub(crate) fn run<'a>(&'a self, call: &'a mut Call<'_>, envelope: &'a Envelope) -> BoxFuture<'a, Result<()>> {
        self.run.run(call, envelope)
    }
}

trait Run: Send + Sync {
    fn run<'a>(&'a self, call: &'a mut Call<'_>, envelope: &'a Envelope) -> BoxFuture<'a, Result<()>>;
}

struct Decoded<M, H>(H, PhantomData<fn(M)>);

impl<M: Wire, H: Handler<M>> Run for Decoded<M, H> {
    fn run<'a>(&'a self, call: &'a mut Call<'_>, envelope: &'a Envelope) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let message = M::open(envelope)?;
            // A consumed command's answer has nobody to go to. A refusal undid its writes already.
            self.0.handle(call, message).await.map(drop)
        })
    }
}

/// A consumer's route that waits for the application's state and stores to be complete.
pub(crate) struct PendingRoute {
    pub(crate) consumer: &'static str,
    pub(crate) about: About,
    /// Whether its consumer parks.
    pub(crate) parks: bool,
    aliases: &'static [&'static str],
    version: u16,
    codec: &'static str,
    /// Adds the message to the registry.
    pub(crate) register: fn(&mut TypeRegistry),
    prepare: PrepareRun,
}

type PrepareRun = Box<dyn FnOnce(&Resources, &mut Needs) -> Option<Box<dyn Run>> + Send>;

impl PendingRoute {
    pub(crate) fn new<M: Wire, Kind, H: IntoHandler<M, Kind> + Send, W: Handler<M>>(
        consumer: &'static str,
        handler: H,
        behaviors: Vec<&'static str>,
        wrap: impl FnOnce(H::Handler) -> W + Send + 'static,
    ) -> Self {
        let about = About::new::<M, Kind, H>(&handler, behaviors);
        let prepare: PrepareRun = Box::new(move |resources, needs| {
            let handler = wrap(handler.prepare(resources, needs)?);
            Some(Box::new(Decoded(handler, PhantomData::<fn(M)>)))
        });
        let codec = <M::Codec as Codec<M>>::NAME;
        Self {
            consumer,
            about,
            parks: false,
            aliases: M::ALIASES,
            version: M::VERSION,
            codec,
            register: TypeRegistry::add::<M>,
            prepare,
        }
    }

    /// The route, and what it takes of which store.
    pub(crate) fn prepare(
        self,
        resources: &Resources,
        problems: &mut Vec<String>,
    ) -> (Option<Route>, Option<TypeId>, Takes) {
        let Self { consumer, about, aliases, version, codec, prepare, .. } = self;
        let mut needs =
            Needs::new(format!("consumer `{consumer}`, handler `{}` of `{}`,", about.handler, about.message));
        let run = prepare(resources, &mut needs);
        problems.extend_from_slice(needs.problems());
        let consumed = Consumed::default();
        let takes = match needs.unit() {
            _ if needs.is_late() => Takes::Later,
            Some(_) => Takes::Tx,
            None => Takes::Nothing,
        };
        (run.map(|run| Route { about, aliases, version, codec, consumed, run }), needs.unit(), takes)
    }
}
