use crate::{BoxError, Call, Error, FromCall, Message, Needs, Resources, Result, holding};
use std::{any::type_name, future::Future};

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
    note = "a handler is `async fn(Message, …) -> Result<Reply, Error>`: the message first, then up to eight of `State<T>`, `Context`, `Tx<Store>`, and its future must be `Send`"
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
                let held = call.unit().map(|unit| unit.store());
                let answer = holding::scope(held, type_name::<F>(), self(message, $($value),*)).await;
                let answer = answer.map_err(|error| Error::from_boxed(error.into()));
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
