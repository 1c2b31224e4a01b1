use super::circuit::{Circuit, Rule, Shared};
use catga_contract::{Behavior, Call, Error, ErrorKind, Handler, Message, Result};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Leaves alone for a while what keeps failing.
///
/// *Closed*, calls pass, and those that ended within the last 10 s are counted. Errors of kind `Unavailable`, `Timeout`
/// and `Handler` are failures, and so are panics; every other answer shows that somebody is there. When at least 20
/// were counted and half of them failed, it *opens*: calls end at once with [`ErrorKind::Unavailable`] and the pause
/// after which to ask again; a consumer's delivery comes again then, which counts as no attempt. After 5 s it is *half
/// open*: one call may try. If that succeeds the breaker closes, else it opens again. A try that does not end within
/// the open time gives its place to the next one.
///
/// Clones share the state: put on the builder, it is one breaker for all handlers, so it mostly belongs on one, or on
/// those that need the same server. A dropped call says nothing: a [`Timeout`](super::Timeout) belongs inside.
///
/// ```
/// use catga::{App, ErrorKind, Request, behavior::{Circuit, CircuitBreaker}};
/// use std::time::Duration;
///
/// #[derive(Request)]
/// #[catga(name = "rates.ask", local)]
/// struct AskRates;
///
/// async fn ask(_: AskRates) -> Result<(), &'static str> {
///     Err("connection refused")
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> catga::Result<()> {
/// let breaker = CircuitBreaker::new().calls(2).open_for(Duration::from_secs(3));
/// let app = App::builder("shop").with(breaker.clone()).handle(ask).build().await?;
/// for kind in [ErrorKind::Handler, ErrorKind::Handler, ErrorKind::Unavailable] {
///     assert_eq!(app.send(AskRates).await.unwrap_err().kind(), kind);
/// }
/// assert_eq!(breaker.state(), Circuit::Open);
/// tokio::time::sleep(Duration::from_secs(3)).await;
/// assert_eq!(breaker.state(), Circuit::HalfOpen);
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// A dropped call counts as nothing, and where it was the try of a half open breaker the next one tries.
#[derive(Clone, Debug)]
pub struct CircuitBreaker {
    rule: Rule,
    shared: Arc<Mutex<Shared>>,
}

impl CircuitBreaker {
    /// A closed breaker with the numbers above.
    pub fn new() -> Self {
        let (window, open) = (Duration::from_secs(10), Duration::from_secs(5));
        let rule = Rule { ratio: 0.5, calls: 20, window, open, probes: 1 };
        Self { rule, shared: Arc::new(Mutex::new(Shared::new(Instant::now()))) }
    }

    /// The share of failed calls that opens it, 0 to 1, default 0.5; at 0 the next failure does. The numbers are said
    /// before the breaker is cloned.
    #[must_use]
    pub fn ratio(mut self, ratio: f64) -> Self {
        self.rule.ratio = if ratio >= 0.0 { ratio.min(1.0) } else { 0.0 };
        self
    }

    /// How many calls must have been counted before it may open, at least 1, default 20.
    #[must_use]
    pub fn calls(mut self, calls: u32) -> Self {
        self.rule.calls = calls;
        self
    }

    /// How long a call is counted, to a tenth of it, default 10 s.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.rule.window = window;
        self
    }

    /// How long it stays open, at most a year, default 5 s.
    #[must_use]
    pub fn open_for(mut self, open: Duration) -> Self {
        self.rule.open = open.min(Duration::from_secs(365 * 86_400));
        self
    }

    /// How many calls try when it is half open, and must all succeed for it to close, at least 1, default 1.
    #[must_use]
    pub fn probes(mut self, probes: u32) -> Self {
        self.rule.probes = probes.max(1);
        self
    }

    /// How it stands.
    pub fn state(&self) -> Circuit {
        self.lock().circuit(Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Message> Behavior<M> for CircuitBreaker {
    async fn around<H: Handler<M>>(&self, call: &mut Call<'_>, message: M, next: &H) -> Result<M::Reply> {
        let admitted = self.lock().admit(self.rule, Instant::now());
        let term = admitted.map_err(|pause| {
            let text = format!("`{}` keeps failing and is left alone for a while", M::NAME);
            let error = Error::new(ErrorKind::Unavailable, text);
            match pause {
                Some(pause) => error.with_pause(pause),
                None => error,
            }
        })?;
        let mut ticket = Ticket { breaker: self, term, failed: None };
        let answer = next.handle(call, message).await;
        ticket.failed = Some(answer.as_ref().is_err_and(|error| {
            matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Handler)
        }));
        answer
    }
}

/// A call that passed; says at its end how it went.
struct Ticket<'a> {
    breaker: &'a CircuitBreaker,
    term: u64,
    /// `None` where it did not answer.
    failed: Option<bool>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let failed = self.failed.or_else(|| std::thread::panicking().then_some(true));
        let change = self.breaker.lock().settle(self.breaker.rule, self.term, failed, Instant::now());
        match change {
            Some(Circuit::Open) => tracing::warn!(target: "catga::breaker", "opened: too many calls failed"),
            Some(_) => tracing::info!(target: "catga::breaker", "closed again"),
            None => {}
        }
    }
}
