use super::line::Line;
use catga_contract::{Behavior, Call, Error, ErrorKind, Handler, Message, Result};
use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::Instant};

/// Lets at most so many calls begin in a time; further ones wait in the order in which they came.
///
/// The measure is that of a leaky bucket (GCRA, by the crate `governor`): a burst passes at once, then one call each
/// `per / calls`. At most 1,024 calls wait, each at most 5 s; who finds the line full, or whose time passes, is answered
/// with [`ErrorKind::Busy`] and the pause after which to ask again. With a [`patience`](Self::patience) of zero nobody
/// waits. A delivery whose consumer writes holds the store's writer, so it never waits: it is refused and comes again
/// after that pause, which counts as no attempt.
///
/// Clones share the bucket: put on the builder, it is one limit for all handlers.
///
/// ```
/// use catga::{App, ErrorKind, Request, behavior::RateLimit};
/// use std::time::Duration;
///
/// #[derive(Request)]
/// #[catga(name = "texts.send", local)]
/// struct SendText;
///
/// async fn send(_: SendText) -> catga::Result<()> {
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> catga::Result<()> {
/// let limit = RateLimit::new(2, Duration::from_secs(1)).patience(Duration::ZERO);
/// let app = App::builder("texts").with(limit).handle(send).build().await?;
/// app.send(SendText).await?;
/// app.send(SendText).await?;
/// let error = app.send(SendText).await.unwrap_err();
/// assert_eq!((error.kind(), error.pause()), (ErrorKind::Busy, Some(Duration::from_millis(500))));
/// tokio::time::sleep(Duration::from_millis(500)).await;
/// app.send(SendText).await
/// # }
/// ```
///
/// # Cancel safety
///
/// A dropped call gives its place in the line up. Once begun, it counts.
#[derive(Clone)]
pub struct RateLimit {
    bucket: Arc<Bucket>,
    /// How often one call may begin.
    each: Duration,
    line: Line,
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>;

struct Bucket {
    limiter: Limiter,
    clock: TokioClock,
    /// Who waits first.
    first: Semaphore,
}

impl RateLimit {
    /// At most `calls` in each `per`, all of them at once if they come so. 0 calls count as 1, less than a nanosecond
    /// for each as a nanosecond.
    pub fn new(calls: u32, per: Duration) -> Self {
        let calls = NonZeroU32::new(calls).unwrap_or(NonZeroU32::MIN);
        let each = (per / calls.get()).max(Duration::from_nanos(1));
        Self { bucket: Bucket::new(each, calls), each, line: Line::default() }
    }

    /// How many calls pass at once after a quiet time, default as many as in [`new`](Self::new); 0 counts as 1. Say it
    /// before the limit is cloned.
    #[must_use]
    pub fn burst(self, calls: u32) -> Self {
        Self { bucket: Bucket::new(self.each, NonZeroU32::new(calls).unwrap_or(NonZeroU32::MIN)), ..self }
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

impl Bucket {
    fn new(each: Duration, burst: NonZeroU32) -> Arc<Self> {
        // A bucket that takes longer than 146 years to fill is beyond the crate's numbers.
        let each = each.min(Duration::from_nanos(u64::MAX / 4 / u64::from(burst.get())));
        // `each` is at least a nanosecond; only zero is refused.
        let quota = Quota::with_period(each).unwrap_or_else(|| Quota::per_second(burst)).allow_burst(burst);
        let clock = TokioClock(Instant::now());
        Arc::new(Self { limiter: RateLimiter::direct_with_clock(quota, clock), clock, first: Semaphore::new(1) })
    }

    /// Takes a turn now, or answers when there is one.
    fn take(&self) -> Result<(), Duration> {
        self.limiter.check().map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Waits for a turn behind those who wait already.
    async fn turn(&self) {
        let _first = self.first.acquire().await;
        while let Err(pause) = self.take() {
            tokio::time::sleep(pause).await;
        }
    }
}

impl<M: Message> Behavior<M> for RateLimit {
    async fn around<H: Handler<M>>(&self, call: &mut Call<'_>, message: M, next: &H) -> Result<M::Reply> {
        let waits = self.line.takes(call);
        // Who may wait does not pass those who do.
        let behind = waits && self.bucket.first.available_permits() == 0;
        let turn = if behind { Err(self.each) } else { self.bucket.take() };
        if let Err(pause) = turn
            && (!waits || self.line.wait(self.bucket.turn()).await.is_none())
        {
            let text = format!("`{}` may begin once each {:?}, and others came first", M::NAME, self.each);
            return Err(Error::new(ErrorKind::Busy, text).with_pause(pause));
        }
        next.handle(call, message).await
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("each", &self.each).field("line", &self.line).finish_non_exhaustive()
    }
}

/// Tokio's clock, so that a test that pauses time pauses the limit.
#[derive(Clone, Copy, Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}
