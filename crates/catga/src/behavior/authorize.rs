use catga_contract::{Behavior, Call, Context, Error, Handler, Message, Result, Str};
use std::{fmt, future::Future};

/// Decides who may have a message handled.
///
/// A closure `|context: &Context, message: &M| -> bool` is one. What must look something up implements the trait on a
/// type of its own, for one message or for all (`impl<M: Message> Authorizer<M> for …`).
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not decide about `{M}`",
    note = "a rule is a closure `|context: &Context, message: &{M}| -> bool`, or a type that implements `Authorizer<{M}>`"
)]
pub trait Authorizer<M>: Clone + Send + Sync + 'static {
    /// Whether the message may be handled.
    ///
    /// # Errors
    ///
    /// Where it cannot be found out; the call ends with that error then.
    fn allows(&self, context: &Context, message: &M) -> impl Future<Output = Result<bool>> + Send;
}

impl<M: Sync, F: Fn(&Context, &M) -> bool + Clone + Send + Sync + 'static> Authorizer<M> for F {
    async fn allows(&self, context: &Context, message: &M) -> Result<bool> {
        Ok(self(context, message))
    }
}

/// Lets a rule decide whether a message is handled at all.
///
/// A refusal is an error of kind [`ErrorKind::Permanent`](crate::ErrorKind::Permanent), because no retry helps, with
/// [`Forbidden`] as its [source](Error::source): what answers over HTTP looks for that and says 403, or 401 where
/// there is no principal.
///
/// The principal is what the caller of `send_with` said. A delivery has none: a rule for a consumer decides by
/// message, headers and consumer, and what it refuses is buried at once.
///
/// ```
/// use catga::behavior::{Authorize, Forbidden};
/// use catga::{App, Context, ErrorKind, Request, SendOptions};
///
/// #[derive(Request)]
/// #[catga(name = "orders.cancel", local)]
/// struct CancelOrder { owner: String }
///
/// async fn cancel(_: CancelOrder) -> catga::Result<()> {
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> catga::Result<()> {
/// let owner = Authorize::by(|cx: &Context, order: &CancelOrder| cx.principal.as_deref() == Some(&*order.owner));
/// let app = App::builder("shop").with(owner).handle(cancel).build().await?;
/// let by = |principal: &str| SendOptions { principal: Some(principal.into()), ..Default::default() };
/// app.send_with(CancelOrder { owner: "ann".into() }, by("ann")).await?;
/// let error = app.send_with(CancelOrder { owner: "ann".into() }, by("bob")).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Permanent);
/// assert_eq!(error.source().downcast_ref::<Forbidden>().unwrap().principal().unwrap(), "bob");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Authorize<A>(A);

impl<A> Authorize<A> {
    /// By that rule.
    pub fn by(rule: A) -> Self {
        Self(rule)
    }
}

impl<M: Message, A: Authorizer<M>> Behavior<M> for Authorize<A> {
    async fn around<H: Handler<M>>(&self, call: &mut Call<'_>, message: M, next: &H) -> Result<M::Reply> {
        if !self.0.allows(call.context(), &message).await? {
            let principal = call.context().principal.clone();
            return Err(Error::permanent(Forbidden { principal, message: M::NAME }));
        }
        next.handle(call, message).await
    }
}

/// Why a call was refused: its principal may not have that message handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    principal: Option<Str>,
    message: &'static str,
}

impl Forbidden {
    /// Who asked; `None` where nobody said.
    pub fn principal(&self) -> Option<&Str> {
        self.principal.as_ref()
    }

    /// The name of the message that was asked for.
    pub fn message(&self) -> &'static str {
        self.message
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.principal {
            Some(principal) => write!(f, "`{principal}` may not ask for `{}`", self.message),
            None => write!(f, "`{}` may not be asked for without a principal", self.message),
        }
    }
}

impl std::error::Error for Forbidden {}
