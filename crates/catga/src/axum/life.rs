use super::Problem;
use crate::{App, Result};
use ::axum::{
    extract::{FromRef, State},
    http::StatusCode,
    routing::{MethodRouter, get},
};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The answer of `/ready`: whether this process wants requests. Its clones share it.
///
/// ```
/// use catga::axum::Readiness;
///
/// let ready = Readiness::default();
/// // The closure asks what the application cannot work without, such as a store or a server.
/// let router: axum::Router<catga::App> = axum::Router::new().route("/ready", ready.route(async || Ok(())));
/// ready.close(); // `/ready` is 503 from here on
/// ```
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Not ready any more, for good.
    pub fn close(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Closes it at `signal` and returns `notice` later, for axum's `with_graceful_shutdown`: load balancers that ask
    /// `/ready` turn away before the listener closes.
    pub fn close_at<S: Future + Send>(&self, signal: S, notice: Duration) -> impl Future<Output = ()> + Send + use<S> {
        let ready = self.clone();
        async move {
            signal.await;
            ready.close();
            tokio::time::sleep(notice).await;
        }
    }

    /// Answers `GET` with 200 while it is not closed, no consumer [waits](App::paused) for a newer program, and `check`
    /// answers `Ok`; else with a [`Problem`] of 503.
    pub fn route<S, C, F>(&self, check: C) -> MethodRouter<S>
    where
        App: FromRef<S>,
        S: Clone + Send + Sync + 'static,
        C: Fn() -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<()>> + Send,
    {
        let Self(closed) = self.clone();
        get(async move |State(app): State<App>| {
            let unready = Problem::new(StatusCode::SERVICE_UNAVAILABLE);
            if closed.load(Ordering::Acquire) {
                return Err(unready.detail("shutting down"));
            }
            if let Some((consumer, _)) = app.paused().first() {
                return Err(unready.detail(format!("consumer `{consumer}` waits for a newer program")));
            }
            check().await.map_err(|error| Problem::of(StatusCode::SERVICE_UNAVAILABLE, &error))
        })
    }
}

/// Returns at Ctrl-C and, on Unix, at SIGTERM; it listens from the call on, which needs a tokio runtime with IO.
pub fn shutdown_signal() -> impl Future<Output = ()> + Send + 'static {
    #[cfg(unix)]
    let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    #[cfg(unix)]
    let interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt());
    async {
        // One that cannot be listened to keeps its usual effect: it ends the process.
        #[cfg(unix)]
        if let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) {
            tokio::select! { _ = terminate.recv() => return, _ = interrupt.recv() => return }
        }
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
