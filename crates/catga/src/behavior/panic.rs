use crate::panic;
use catga_contract::{Behavior, Call, Handler, Message, Result};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;

/// Turns a panic into an error of kind [`ErrorKind::Handler`](crate::ErrorKind::Handler) with the panic's text.
///
/// What the handler wrote with its `Tx` is undone. State that it shares with others is as the panic left it; a
/// `std::sync::Mutex` that it held is poisoned. Consumers need it only inside other behaviors, as the last one: a
/// worker catches by itself what reaches it. It cannot catch where panics abort the process.
///
/// ```
/// use catga::{App, ErrorKind, Request, behavior::CatchPanic};
///
/// #[derive(Request)]
/// #[catga(name = "divide", reply = u32, local)]
/// struct Divide(u32, u32);
///
/// async fn divide(Divide(a, b): Divide) -> catga::Result<u32> {
///     Ok(a / b)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> catga::Result<()> {
/// let app = App::builder("calculator").with(CatchPanic).handle(divide).build().await?;
/// let error = app.send(Divide(1, 0)).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Handler);
/// assert!(error.to_string().ends_with("the handler panicked: attempt to divide by zero"));
/// assert_eq!(app.send(Divide(6, 3)).await?, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CatchPanic;

impl<M: Message> Behavior<M> for CatchPanic {
    async fn around<H: Handler<M>>(&self, call: &mut Call<'_>, message: M, next: &H) -> Result<M::Reply> {
        // The block catches what panics before there is a future, too.
        let answer = AssertUnwindSafe(async { next.handle(call, message).await }).catch_unwind().await;
        answer.unwrap_or_else(|panic| Err(panic::error(&*panic)))
    }
}
