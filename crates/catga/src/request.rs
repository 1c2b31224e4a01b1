//! Requests by type: how `App::send` finds its handler.

use catga_contract::{BoxError, Call, HandlerFn, Needs, Request, Resources, Result};
use futures_util::future::BoxFuture;
use std::{any::Any, any::TypeId, collections::HashMap, marker::PhantomData};

/// A handler of `M` whose own type is forgotten.
pub(crate) trait DynHandler<M: Request>: Send + Sync {
    fn handle<'a>(&'a self, call: &'a mut Call<'_>, message: M) -> BoxFuture<'a, Result<M::Reply>>;
    fn name(&self) -> &'static str;
}

struct Prepared<F, M, A, P> {
    function: F,
    prepared: P,
    types: PhantomData<fn(M) -> A>,
}

impl<M: Request, A: 'static, F: HandlerFn<M, A>> DynHandler<M> for Prepared<F, M, A, F::Prepared> {
    fn handle<'a>(&'a self, call: &'a mut Call<'_>, message: M) -> BoxFuture<'a, Result<M::Reply>> {
        Box::pin(self.function.call(&self.prepared, call, message))
    }

    fn name(&self) -> &'static str {
        std::any::type_name::<F>()
    }
}

/// The table of handlers: by the request's type, a `Box<dyn DynHandler<M>>`.
#[derive(Default)]
pub(crate) struct Requests(HashMap<TypeId, Box<dyn Any + Send + Sync>>);

impl Requests {
    pub(crate) fn get<M: Request>(&self) -> Option<&dyn DynHandler<M>> {
        let handler = self.0.get(&TypeId::of::<M>())?.downcast_ref::<Box<dyn DynHandler<M>>>()?;
        Some(handler.as_ref())
    }
}

/// A handler that waits for the application's state and stores to be complete.
pub(crate) struct PendingRequest {
    pub(crate) message: &'static str,
    pub(crate) type_id: TypeId,
    prepare: Prepare,
    pub(crate) handler: &'static str,
}

/// Answers a `Box<dyn DynHandler<M>>`.
type Prepare = Box<dyn FnOnce(&Resources, &mut Needs) -> Option<Box<dyn Any + Send + Sync>> + Send>;

impl PendingRequest {
    pub(crate) fn new<M: Request, A: 'static>(function: impl HandlerFn<M, A>) -> Self {
        let handler = std::any::type_name_of_val(&function);
        let prepare = move |resources: &Resources, needs: &mut Needs| {
            let prepared = prepare(resources, needs, &function)?;
            let handler: Box<dyn DynHandler<M>> = Box::new(Prepared { function, prepared, types: PhantomData });
            Some(Box::new(handler) as Box<dyn Any + Send + Sync>)
        };
        Self { message: M::NAME, type_id: TypeId::of::<M>(), prepare: Box::new(prepare), handler }
    }

    pub(crate) fn prepare(self, resources: &Resources, requests: &mut Requests, problems: &mut Vec<String>) {
        let mut needs = Needs::new(format!("handler `{}` of `{}`", self.handler, self.message));
        let prepared = (self.prepare)(resources, &mut needs);
        problems.extend_from_slice(needs.problems());
        if let Some(prepared) = prepared {
            requests.0.insert(self.type_id, prepared);
        }
    }
}

/// Prepares a function without naming its type.
fn prepare<M: Request, A, F: HandlerFn<M, A>>(resources: &Resources, needs: &mut Needs, _: &F) -> Option<F::Prepared> {
    F::prepare(resources, needs)
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> BoxError {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("with a value that is no text")).into()
}
