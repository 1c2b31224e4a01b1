//! Consumers: a name, a message, a handler that is run with the message's envelope.

use catga_contract::{Call, Envelope, Event, HandlerFn, Needs, Resources, Result, Str, Wire};
use futures_util::future::BoxFuture;
use std::{any::TypeId, marker::PhantomData};

/// A consumer that is ready to work.
pub(crate) struct Consumer {
    /// Durable name, `{application}.{consumer}`.
    pub(crate) name: Str,
    pub(crate) subject: Str,
    pub(crate) message: &'static str,
    pub(crate) handler: &'static str,
    /// The store in whose transaction the handler works, if it takes a `Tx`.
    pub(crate) unit: Option<TypeId>,
    run: Box<dyn Run>,
}

impl Consumer {
    /// Decodes the message and runs the handler.
    pub(crate) fn run<'a>(&'a self, call: &'a mut Call<'_>, envelope: &'a Envelope) -> BoxFuture<'a, Result<()>> {
        self.run.run(call, envelope)
    }
}

trait Run: Send + Sync {
    fn run<'a>(&'a self, call: &'a mut Call<'_>, envelope: &'a Envelope) -> BoxFuture<'a, Result<()>>;
}

struct Prepared<F, M, A, P> {
    function: F,
    prepared: P,
    types: PhantomData<fn(M) -> A>,
}

impl<M: Event + Wire, A: 'static, F: HandlerFn<M, A>> Run for Prepared<F, M, A, F::Prepared> {
    fn run<'a>(&'a self, call: &'a mut Call<'_>, envelope: &'a Envelope) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let message = M::open(envelope)?;
            self.function.call(&self.prepared, call, message).await
        })
    }
}

/// A consumer that waits for the application's state and stores to be complete.
pub(crate) struct PendingConsumer {
    pub(crate) name: &'static str,
    message: &'static str,
    handler: &'static str,
    prepare: Prepare,
}

type Prepare = Box<dyn FnOnce(&Resources, &mut Needs) -> Option<Box<dyn Run>> + Send>;

impl PendingConsumer {
    pub(crate) fn new<M: Event + Wire, A: 'static, F: HandlerFn<M, A>>(name: &'static str, function: F) -> Self {
        let prepare = move |resources: &Resources, needs: &mut Needs| {
            let prepared = F::prepare(resources, needs)?;
            Some(Box::new(Prepared { function, prepared, types: PhantomData::<fn(M) -> A> }) as Box<dyn Run>)
        };
        Self { name, message: M::NAME, handler: std::any::type_name::<F>(), prepare: Box::new(prepare) }
    }

    pub(crate) fn prepare(
        self,
        application: &str,
        resources: &Resources,
        problems: &mut Vec<String>,
    ) -> Option<Consumer> {
        let Self { name, message, handler, prepare } = self;
        let mut needs = Needs::new(format!("consumer `{name}`, handler `{handler}` of `{message}`,"));
        let run = prepare(resources, &mut needs);
        problems.extend_from_slice(needs.problems());
        let name = format!("{application}.{name}").into();
        Some(Consumer { name, subject: resources.subject(message), message, handler, unit: needs.unit(), run: run? })
    }
}
