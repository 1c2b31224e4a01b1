use crate::{Behavior, Behaviors, BoxError, Call, Error, FromCall, Message, Needs, Resources, Result, holding};
use std::{any::type_name, future::Future, marker::PhantomData};

/// Answers messages of type `M`: requests, commands and events alike.
///
/// Implement it on a type of one's own for a static call, or write a plain `async fn` (see [`HandlerFn`]).
#[diagnostic::on_unimplemented(message = "`{Self}` does not handle `{M}`")]
pub trait Handler<M: Message>: Send + Sync + 'static {
    /// Answers the message.
    ///
    /// # Errors
    ///
    /// What the handler's work answers; its [kind](Error::kind) says what happens to a consumed message.
    fn handle(&self, call: &mut Call<'_>, message: M) -> impl Future<Output = Result<M::Reply>> + Send;
}

/// A plain `async fn(M, A1, …) -> Result<M::Reply, E>` of up to eight parameters after its message, each of which is
/// [`FromCall`], with `E: Into<BoxError>`; a `catga::Error` inside keeps its kind.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler of `{M}`",
    note = "a handler is `async fn(Message, …) -> Result<Reply, Error>`: the message first, then up to eight of `State<T>`, `Context`, `Bus`, `Tx<Store>`, and its future must be `Send`"
)]
pub trait HandlerFn<M: Message, Args>: Send + Sync + Sized + 'static {
    /// What the parameters looked up when the application was built.
    type Prepared: Send + Sync + 'static;

    /// Looks up what the parameters need; `None` where something is missing, which `needs` then knows.
    fn prepare(resources: &Resources, needs: &mut Needs) -> Option<Self::Prepared>;

    /// Runs the function with what its parameters make of the call.
    ///
    /// # Errors
    ///
    /// What a parameter or the function answers.
    fn call(
        &self,
        prepared: &Self::Prepared,
        call: &mut Call<'_>,
        message: M,
    ) -> impl Future<Output = Result<M::Reply>> + Send;
}

/// What can be added to an application as the handler of `M`: a plain `async fn` ([`HandlerFn`]), a type of one's own
/// that is a [`Handler`], or either of them [`with`](HandlerExt::with) behaviors around it. `Kind` says which.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be added as a handler",
    note = "a handler is `async fn(Message, …) -> Result<Reply, Error>`: the message first, then up to eight of `State<T>`, `Context`, `Bus`, `Tx<Store>`, and its future must be `Send`",
    note = "`#[catga::handler]` on the function says which parameter is wrong"
)]
pub trait IntoHandler<M: Message, Kind>: Sized + 'static {
    /// The handler that is ready to be called.
    type Handler: Handler<M>;

    /// Looks up what the handler needs; `None` where something is missing, which `needs` then knows.
    fn prepare(self, resources: &Resources, needs: &mut Needs) -> Option<Self::Handler>;

    /// The name that errors and descriptions give it.
    fn name(&self) -> &'static str;

    /// The names of the behaviors around it, the outermost first.
    fn behaviors(names: &mut Vec<&'static str>) {
        let _ = names;
    }
}

/// A plain function as a handler.
#[derive(Debug)]
pub struct FnHandler<M: Message, F: HandlerFn<M, Args>, Args> {
    function: F,
    prepared: F::Prepared,
    types: PhantomData<fn(M) -> Args>,
}

impl<M: Message, F: HandlerFn<M, Args>, Args: 'static> Handler<M> for FnHandler<M, F, Args> {
    fn handle(&self, call: &mut Call<'_>, message: M) -> impl Future<Output = Result<M::Reply>> + Send {
        self.function.call(&self.prepared, call, message)
    }
}

/// The kinds of what can be added as a handler; they only tell impls apart.
pub mod kind {
    /// A plain function with these parameters.
    #[derive(Debug)]
    pub struct Function<Args>(Args);
    /// A type that is a handler itself.
    #[derive(Debug)]
    pub struct Own(());
    /// One of the others with behaviors around it.
    #[derive(Debug)]
    pub struct Wrapped<Kind>(Kind);
}

impl<M: Message, F: HandlerFn<M, Args>, Args: 'static> IntoHandler<M, kind::Function<Args>> for F {
    type Handler = FnHandler<M, F, Args>;

    fn prepare(self, resources: &Resources, needs: &mut Needs) -> Option<Self::Handler> {
        let prepared = F::prepare(resources, needs)?;
        Some(FnHandler { function: self, prepared, types: PhantomData })
    }

    fn name(&self) -> &'static str {
        type_name::<F>()
    }
}

impl<M: Message, H: Handler<M>> IntoHandler<M, kind::Own> for H {
    type Handler = H;

    fn prepare(self, _: &Resources, _: &mut Needs) -> Option<H> {
        Some(self)
    }

    fn name(&self) -> &'static str {
        type_name::<H>()
    }
}

/// A handler with behaviors of its own, as [`HandlerExt::with`] makes it.
#[derive(Clone, Debug)]
pub struct Stacked<H, L> {
    handler: H,
    behaviors: L,
}

impl<H, L> Stacked<H, L> {
    /// Adds a behavior inside those that are there: the first one is the outermost.
    pub fn with<B>(self, behavior: B) -> Stacked<H, (L, B)> {
        Stacked { handler: self.handler, behaviors: (self.behaviors, behavior) }
    }
}

impl<M: Message, Kind, H: IntoHandler<M, Kind>, L: Behaviors<M>> IntoHandler<M, kind::Wrapped<Kind>> for Stacked<H, L> {
    type Handler = L::Around<H::Handler>;

    fn prepare(self, resources: &Resources, needs: &mut Needs) -> Option<Self::Handler> {
        Some(self.behaviors.around(self.handler.prepare(resources, needs)?))
    }

    fn name(&self) -> &'static str {
        self.handler.name()
    }

    fn behaviors(names: &mut Vec<&'static str>) {
        L::names(names);
        H::behaviors(names);
    }
}

/// Behaviors for one handler: `place.with(behavior)`.
pub trait HandlerExt<M: Message, Kind>: IntoHandler<M, Kind> {
    /// Puts a behavior around this handler alone, inside those of the builder.
    fn with<B: Behavior<M> + Clone>(self, behavior: B) -> Stacked<Self, ((), B)> {
        Stacked { handler: self, behaviors: ((), behavior) }
    }
}

impl<M: Message, Kind, H: IntoHandler<M, Kind>> HandlerExt<M, Kind> for H {}

macro_rules! handler_fn {
    ($($arg:ident $value:ident $index:tt),*; $($back:tt $back_arg:ident),*) => {
        impl<M, F, Fut, E, $($arg,)*> HandlerFn<M, ($($arg,)*)> for F
        where
            M: Message,
            F: Fn(M, $($arg),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = std::result::Result<M::Reply, E>> + Send,
            E: Into<BoxError> + Send,
            $($arg: FromCall,)*
        {
            type Prepared = ($($arg::Prepared,)*);

            #[allow(unused_variables, clippy::unused_unit)]
            fn prepare(resources: &Resources, needs: &mut Needs) -> Option<Self::Prepared> {
                // Each is asked before the first `None` counts, so that all problems are reported together.
                $(let $value = $arg::prepare(resources, needs);)*
                Some(($($value?,)*))
            }

            #[allow(unused_variables)]
            async fn call(&self, prepared: &Self::Prepared, call: &mut Call<'_>, message: M) -> Result<M::Reply> {
                $(let $value = $arg::from_call(&prepared.$index, call).await?;)*
                // Pinned here and lent, so that the future of this call holds that of the function once.
                let answer = match holding::Writer::of(call) {
                    None => Ok(self(message, $($value),*).await),
                    Some(writer) => {
                        let function = std::pin::pin!(self(message, $($value),*));
                        holding::bounded(writer, type_name::<F>(), call.resources().patience(), function).await
                    }
                };
                let answer = answer.and_then(|answer| answer.map_err(|error| Error::from_boxed(error.into())));
                let keep = answer.as_ref().is_ok_and(M::keep);
                $(let answer = after::<$back_arg, _>(&prepared.$back, call, keep, answer).await;)*
                answer
            }
        }
    };
}

/// Lets a parameter finish; its failure becomes the call's unless the handler failed itself.
async fn after<A: FromCall, R>(
    prepared: &A::Prepared,
    call: &mut Call<'_>,
    keep: bool,
    answer: Result<R>,
) -> Result<R> {
    match (A::after(prepared, call, keep).await, answer) {
        (Ok(()), answer) => answer,
        (Err(error), Ok(_)) => Err(error),
        (Err(second), Err(first)) => Err(first.context(format_args!("{second:#}; and before that"))),
    }
}

handler_fn!(;);
handler_fn!(A0 a0 0; 0 A0);
handler_fn!(A0 a0 0, A1 a1 1; 1 A1, 0 A0);
handler_fn!(A0 a0 0, A1 a1 1, A2 a2 2; 2 A2, 1 A1, 0 A0);
handler_fn!(A0 a0 0, A1 a1 1, A2 a2 2, A3 a3 3; 3 A3, 2 A2, 1 A1, 0 A0);
handler_fn!(A0 a0 0, A1 a1 1, A2 a2 2, A3 a3 3, A4 a4 4; 4 A4, 3 A3, 2 A2, 1 A1, 0 A0);
handler_fn!(A0 a0 0, A1 a1 1, A2 a2 2, A3 a3 3, A4 a4 4, A5 a5 5; 5 A5, 4 A4, 3 A3, 2 A2, 1 A1, 0 A0);
handler_fn!(A0 a0 0, A1 a1 1, A2 a2 2, A3 a3 3, A4 a4 4, A5 a5 5, A6 a6 6; 6 A6, 5 A5, 4 A4, 3 A3, 2 A2, 1 A1, 0 A0);
handler_fn!(A0 a0 0, A1 a1 1, A2 a2 2, A3 a3 3, A4 a4 4, A5 a5 5, A6 a6 6, A7 a7 7; 7 A7, 6 A6, 5 A5, 4 A4, 3 A3, 2 A2, 1 A1, 0 A0);
