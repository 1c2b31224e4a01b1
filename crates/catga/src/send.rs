//! Requests and events inside this process.

use crate::{App, handlers::Named};
use catga_contract::{Call, Error, ErrorKind, Event, Handler, Message, Request, Resources, Result, SendOptions};
use futures_util::{FutureExt, Stream, StreamExt, stream};
use std::{fmt, time::SystemTime};

impl App {
    /// Answers a request in this process: finds its handler by type and calls it. Where the handler took a `Tx`, its
    /// writes and messages are durable when this returns `Ok`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoHandler`] where nobody handles the request, [`ErrorKind::Busy`] where its turn to write did not
    /// come, and what the handler answers. After an error nothing of the call stays, with one exception: an error of
    /// kind [`ErrorKind::Timeout`] says that it is unknown.
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves nothing behind, unless its commit had begun: that one goes on.
    pub async fn send<R: Request>(&self, request: R) -> Result<R::Reply> {
        let handler = self.handler::<R>()?;
        answer(handler, &mut Call::direct(&self.0.resources), request).await
    }

    /// As [`send`](Self::send), with a deadline, a conversation, headers, a principal, a key for idempotency.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and [`ErrorKind::Timeout`] where the deadline passes before the handler answers.
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    pub async fn send_with<R: Request>(&self, request: R, options: SendOptions) -> Result<R::Reply> {
        let handler = self.handler::<R>()?;
        let deadline = options.deadline;
        let mut call = Call::direct_with(&self.0.resources, options);
        let answer = answer(handler, &mut call, request);
        let Some(deadline) = deadline else { return answer.await };
        let left = deadline.duration_since(SystemTime::now()).unwrap_or_default();
        let late = || Error::new(ErrorKind::Timeout, format!("`{}` was not answered before its deadline", R::NAME));
        tokio::time::timeout(left, answer).await.unwrap_or_else(|_| Err(late()))
    }

    /// Answers many requests, at most `limit` at a time (at least 1), in the order in which they were given. One that
    /// fails leaves the others alone.
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send), for each of them.
    pub async fn send_batch<R: Request>(
        &self,
        requests: impl IntoIterator<Item = R>,
        limit: usize,
    ) -> Vec<Result<R::Reply>> {
        let calls: Vec<_> = requests.into_iter().map(|request| self.send(request)).collect();
        stream::iter(calls).buffered(limit.max(1)).collect().await
    }

    /// Answers the requests of a stream, at most `limit` at a time (at least 1), in the order in which they came. No
    /// more are taken from the stream than are being answered.
    pub fn send_stream<R: Request>(
        &self,
        requests: impl Stream<Item = R> + Send,
        limit: usize,
    ) -> impl Stream<Item = Result<R::Reply>> + Send {
        let app = self.clone();
        let call = move |request| {
            let app = app.clone();
            async move { app.send(request).await }.boxed()
        };
        requests.map(call).buffered(limit.max(1))
    }

    /// Lets everybody in this process hear an event: calls the handlers that were added with
    /// [`hear`](crate::Builder::hear), one after the other, each in a unit of work of its own. Nothing is kept or
    /// carried: an event that must not be lost is published with a `Tx`.
    ///
    /// # Errors
    ///
    /// All errors of all handlers; one that fails keeps none from hearing it.
    ///
    /// # Cancel safety
    ///
    /// The handlers after the one at hand do not hear it.
    pub async fn notify<E: Event>(&self, event: E) -> Result<(), Failures> {
        let hearers = self.0.handlers.hearers::<E>();
        let mut failures = Vec::new();
        let Some((last, others)) = hearers.split_last() else { return Ok(()) };
        for handler in others {
            failures.extend(answer(handler, &mut Call::direct(&self.0.resources), event.clone()).await.err());
        }
        failures.extend(answer(last, &mut Call::direct(&self.0.resources), event).await.err());
        if failures.is_empty() { Ok(()) } else { Err(Failures(failures)) }
    }

    pub(crate) fn handler<R: Request>(&self) -> Result<&Named<R>> {
        self.0.handlers.request::<R>().ok_or_else(|| {
            let text =
                format!("application `{}` has no handler for `{}`: add it with `.handle(…)`", self.0.name, R::NAME);
            Error::new(ErrorKind::NoHandler, text)
        })
    }
}

/// One call: the handler, then the commit of what it wrote.
pub(crate) async fn answer<M: Message>(named: &Named<M>, call: &mut Call<'_>, message: M) -> Result<M::Reply> {
    let answer = within(named, call, message).await;
    if !call.has_unit() {
        return answer;
    }
    finish::<M>(call, answer).await.map_err(|error| about(named, error))
}

/// A call within another one's unit of work, which is committed there or not at all.
pub(crate) async fn within<M: Message>(named: &Named<M>, call: &mut Call<'_>, message: M) -> Result<M::Reply> {
    named.handler.handle(call, message).await.map_err(|error| about(named, error))
}

fn about<M: Message>(named: &Named<M>, error: Error) -> Error {
    error.context(format_args!("handler `{}` of `{}`", named.name, M::NAME))
}

/// Commits what a call wrote where its answer keeps it; undoes it elsewhere.
async fn finish<M: Message>(call: &mut Call<'_>, answer: Result<M::Reply>) -> Result<M::Reply> {
    if let Some(unit) = call.take_unit()
        && (answer.as_ref().is_ok_and(|reply| M::keep(reply) || call.commits_anyway()) || unit.leaks())
    {
        unit.commit().await?;
    }
    answer
}

/// Answers a request with a handler of one's own, statically: it costs a function call, allocates nothing, and a
/// missing handler is a compile error.
///
/// ```
/// use catga::{Call, Handler, Request, Resources, Result, send_to};
///
/// #[derive(Request)]
/// #[catga(name = "add", reply = u32, local)]
/// struct Add(u32, u32);
///
/// struct Calculator;
/// impl Handler<Add> for Calculator {
///     async fn handle(&self, _: &mut Call<'_>, Add(a, b): Add) -> Result<u32> {
///         Ok(a + b)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// assert_eq!(send_to(&Calculator, Add(2, 3)).await?, 5);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// What the handler answers.
///
/// # Cancel safety
///
/// As [`App::send`].
pub async fn send_to<M: Message, H: Handler<M>>(handler: &H, message: M) -> Result<M::Reply> {
    let mut call = Call::direct(Resources::none());
    let answer = handler.handle(&mut call, message).await;
    if !call.has_unit() {
        return answer;
    }
    finish::<M>(&mut call, answer).await
}

/// The errors of those who heard an event; at least one.
#[derive(Debug)]
pub struct Failures(Vec<Error>);

impl Failures {
    /// The errors, in the order of the handlers.
    pub fn iter(&self) -> impl Iterator<Item = &Error> {
        self.0.iter()
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} handlers failed", self.0.len())?;
        self.0.iter().try_for_each(|error| write!(f, "; {error:#}"))
    }
}

impl std::error::Error for Failures {}
