use super::Problem;
use crate::Result;
use ::axum::{
    http::StatusCode,
    routing::{MethodRouter, get},
};
use futures_util::future::BoxFuture;
use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The answer of `/health`: the process is up.
#[expect(clippy::unused_async, reason = "axum's handlers are async")]
pub async fn health() -> &'static str {
    "ok\n"
}

/// The answer of `/ready`: whether this process wants requests. Its clones share one answer.
///
/// ```
/// use axum::{Router, routing::get};
/// use catga::axum::{Readiness, health};
///
/// let ready = Readiness::new(|| async { Ok(()) }); // ask a store or a server here
/// let router: Router = Router::new().route("/health", get(health)).route("/ready", ready.route());
/// ready.close(); // from here on `/ready` is 503
/// ```
#[derive(Clone)]
pub struct Readiness(Arc<Inner>);

struct Inner {
    closed: AtomicBool,
    check: Box<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>,
}

impl Readiness {
    /// Ready while `check` answers `Ok`, until it is closed.
    pub fn new<F>(check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        Self(Arc::new(Inner { closed: AtomicBool::new(false), check: Box::new(move || Box::pin(check())) }))
    }

    /// Not ready any more, for good.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
    }

    /// Closes it at `signal` and returns `notice` later, so that a load balancer that asks `/ready` turns away before
    /// the listener closes: the future for axum's `with_graceful_shutdown`.
    pub fn close_at<S: Future + Send>(
        &self,
        signal: S,
        notice: Duration,
    ) -> impl Future<Output = ()> + Send + use<S> {
        let ready = self.clone();
        async move {
            signal.await;
            ready.close();
            tokio::time::sleep(notice).await;
        }
    }

    /// Answers `GET` with 200, or with a [`Problem`] of 503.
    pub fn route<S: Clone + Send + Sync + 'static>(&self) -> MethodRouter<S> {
        let ready = self.clone();
        get(async move || {
            let unready = |detail| Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail(detail);
            if ready.0.closed.load(Ordering::Acquire) {
                return Err(unready("shutting down"));
            }
            (ready.0.check)().await.map(|()| "ready\n").map_err(|error| {
                tracing::warn!("not ready: {error:#}");
                unready("what it needs cannot be reached")
            })
        })
    }
}

impl Default for Readiness {
    /// Ready until it is closed.
    fn default() -> Self {
        Self::new(|| std::future::ready(Ok(())))
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").field("closed", &self.0.closed).finish_non_exhaustive()
    }
}

/// Returns at Ctrl-C and, on Unix, at SIGTERM. It listens from the call on, before it is awaited.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> catga::Result<()> {
/// let app = catga::App::builder("shop").build().await?;
/// let shutdown = catga::axum::shutdown_signal();
/// # let shutdown = async { tokio::select! { () = shutdown => {}, () = std::future::ready(()) => {} } };
/// app.run(shutdown).await
/// # }
/// ```
///
/// # Panics
///
/// Outside of a tokio runtime with IO.
pub fn shutdown_signal() -> impl Future<Output = ()> + Send + 'static {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{Signal, SignalKind, signal};
        // A signal that cannot be listened to keeps its usual effect: it ends the process.
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt()).ok(), signal(SignalKind::terminate()).ok());
        async move {
            let of = async |signal: &mut Option<Signal>| match signal {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            };
            tokio::select! { _ = of(&mut interrupt) => {}, _ = of(&mut terminate) => {} }
        }
    }
    #[cfg(not(unix))]
    async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
