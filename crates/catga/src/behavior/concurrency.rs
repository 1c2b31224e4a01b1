use super::line::Line;
use catga_contract::{Behavior, Call, Error, ErrorKind, Handler, Message, Result};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// Lets at most so many calls run at a time; further ones wait in the order in which they came.
///
/// At most 1,024 wait, each at most 5 s; who finds the line full, or whose time passes, is answered with
/// [`ErrorKind::Busy`]. With a [`patience`](Self::patience) of zero nobody waits. A delivery whose consumer writes holds
/// the store's writer, so it never waits: it is refused and comes again after 100 ms, which counts as no attempt.
///
/// Clones share the places: put on the builder, it is one limit for all handlers. A handler that sends another request
/// under the same limit holds its place while that one waits.
///
/// ```
/// use catga::{App, ErrorKind, Request, behavior::ConcurrencyLimit};
/// use std::time::Duration;
///
/// #[derive(Request)]
/// #[catga(name = "reports.make", local)]
/// struct MakeReport;
///
/// async fn make(_: MakeReport) -> catga::Result<()> {
///     tokio::task::yield_now().await;
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> catga::Result<()> {
/// let one = ConcurrencyLimit::new(1).patience(Duration::ZERO);
/// let app = App::builder("reports").with(one).handle(make).build().await?;
/// let (first, second) = tokio::join!(app.send(MakeReport), app.send(MakeReport));
/// assert!(first.is_ok());
/// assert_eq!(second.unwrap_err().kind(), ErrorKind::Busy);
/// assert!(app.send(MakeReport).await.is_ok());
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// A dropped call gives its place up, in the line or at work.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit {
    running: Arc<Semaphore>,
    calls: usize,
    line: Line,
}

/// After how long a delivery that was refused comes again.
const PAUSE: Duration = Duration::from_millis(100);

impl ConcurrencyLimit {
    /// At most `calls` at a time; 0 counts as 1.
    pub fn new(calls: usize) -> Self {
        let calls = calls.clamp(1, Semaphore::MAX_PERMITS);
        Self { running: Arc::new(Semaphore::new(calls)), calls, line: Line::default() }
    }

    /// How many calls may wait, default 1,024. Say it before the limit is cloned.
    #[must_use]
    pub fn queue(self, calls: usize) -> Self {
        Self { line: self.line.places(calls), ..self }
    }

    /// How long a call waits at most, default 5 s; zero: it is refused at once.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { line: self.line.patience(patience), ..self }
    }
}

impl<M: Message> Behavior<M> for ConcurrencyLimit {
    async fn around<H: Handler<M>>(&self, call: &mut Call<'_>, message: M, next: &H) -> Result<M::Reply> {
        let place = match self.running.try_acquire() {
            Ok(place) => Some(place),
            Err(_) if self.line.takes(call) => self.line.wait(self.running.acquire()).await.and_then(Result::ok),
            Err(_) => None,
        };
        let Some(_place) = place else {
            let text = format!("`{}`: {} at a time is the limit, and as many are being handled", M::NAME, self.calls);
            return Err(Error::new(ErrorKind::Busy, text).with_pause(PAUSE));
        };
        next.handle(call, message).await
    }
}
