use catga_contract::{Behavior, Call, Error, ErrorKind, Handler, Message, Result};
use std::time::Duration;

/// Ends a call that takes longer than this with [`ErrorKind::Timeout`].
///
/// What the handler wrote with its `Tx` is undone; what it did elsewhere may have happened. Waiting for the turn to
/// write counts, the commit afterwards does not. A handler that blocks its thread instead of waiting cannot be ended.
///
/// Inside a [`Retry`](super::Retry) each try has this time; around it all tries share it. A consumer that writes holds
/// the store's writer while it runs: keep its time short.
///
/// ```
/// use catga::{App, ErrorKind, Request, behavior::Timeout};
/// use std::time::Duration;
///
/// #[derive(Request)]
/// #[catga(name = "rates.ask", local)]
/// struct AskRates;
///
/// async fn ask(_: AskRates) -> catga::Result<()> {
///     std::future::pending().await // nobody answers
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> catga::Result<()> {
/// let app = App::builder("shop").with(Timeout(Duration::from_secs(2))).handle(ask).build().await?;
/// let error = app.send(AskRates).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Timeout);
/// assert!(error.to_string().ends_with("`rates.ask` was not answered within 2s"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Timeout(pub Duration);

impl<M: Message> Behavior<M> for Timeout {
    async fn around<H: Handler<M>>(&self, call: &mut Call<'_>, message: M, next: &H) -> Result<M::Reply> {
        match tokio::time::timeout(self.0, next.handle(call, message)).await {
            Ok(answer) => answer,
            Err(_) => {
                Err(Error::new(ErrorKind::Timeout, format!("`{}` was not answered within {:?}", M::NAME, self.0)))
            }
        }
    }
}
