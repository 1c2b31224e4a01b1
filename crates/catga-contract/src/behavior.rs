use crate::{Call, Handler, Message, Result};
use std::{any::type_name, future::Future};

/// Wraps a handler: calls `next` once, several times, or not at all.
///
/// One generic method with one impl serves requests, commands and consumed events alike, and composes statically: a
/// behavior costs a function call and no allocation. State that its clones share lies in an `Arc` inside it.
///
/// ```
/// use catga_contract::{Behavior, Call, Handler, Message, Result};
///
/// /// Says what is handled.
/// #[derive(Clone)]
/// struct Announce;
///
/// impl<M: Message> Behavior<M> for Announce {
///     async fn around<H: Handler<M>>(&self, call: &mut Call<'_>, message: M, next: &H) -> Result<M::Reply> {
///         println!("handling {}", M::NAME);
///         next.handle(call, message).await
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "the behavior `{Self}` does not fit the message `{M}`",
    note = "a behavior on the builder wraps every handler that is added after it; put one that fits a single message on its handler: `.handle(place.with(behavior))`"
)]
pub trait Behavior<M: Message>: Send + Sync + 'static {
    /// Answers the message, with or without `next`.
    ///
    /// # Errors
    ///
    /// What `next` answers, or the behavior's own.
    fn around<H: Handler<M>>(
        &self,
        call: &mut Call<'_>,
        message: M,
        next: &H,
    ) -> impl Future<Output = Result<M::Reply>> + Send;
}

/// A stack of behaviors as a type: `()`, or `(outer, inner)`. It is composed around each handler when that is added.
/// Only these two forms exist.
#[diagnostic::on_unimplemented(
    message = "a behavior in `{Self}` does not fit the message `{M}`",
    note = "a behavior on the builder wraps every handler that is added after it; put one that fits a single message on its handler: `.handle(place.with(behavior))`"
)]
pub trait Behaviors<M: Message>: Clone + Send + Sync + 'static + sealed::Sealed {
    /// A handler with all of them around it.
    type Around<H: Handler<M>>: Handler<M>;

    /// Wraps a handler.
    fn around<H: Handler<M>>(self, handler: H) -> Self::Around<H>;

    /// The behaviors' names, the outermost first.
    fn names(names: &mut Vec<&'static str>);
}

impl<M: Message> Behaviors<M> for () {
    type Around<H: Handler<M>> = H;

    fn around<H: Handler<M>>(self, handler: H) -> H {
        handler
    }

    fn names(_: &mut Vec<&'static str>) {}
}

impl<M: Message, L: Behaviors<M>, B: Behavior<M> + Clone> Behaviors<M> for (L, B) {
    type Around<H: Handler<M>> = L::Around<With<H, B>>;

    fn around<H: Handler<M>>(self, handler: H) -> Self::Around<H> {
        self.0.around(With { next: handler, behavior: self.1 })
    }

    fn names(names: &mut Vec<&'static str>) {
        L::names(names);
        names.push(type_name::<B>());
    }
}

/// A handler with one behavior around it.
#[derive(Clone, Copy, Debug)]
pub struct With<H, B> {
    next: H,
    behavior: B,
}

impl<M: Message, H: Handler<M>, B: Behavior<M>> Handler<M> for With<H, B> {
    fn handle(&self, call: &mut Call<'_>, message: M) -> impl Future<Output = Result<M::Reply>> + Send {
        self.behavior.around(call, message, &self.next)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for () {}
    impl<L, B> Sealed for (L, B) {}
}
