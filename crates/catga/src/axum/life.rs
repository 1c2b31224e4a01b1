use super::Problem;
use crate::{App, Result};
use ::axum::{
    extract::{FromRef, State},
    http::StatusCode,
    routing::{MethodRouter, get},
};
use std::sync::{Arc, OnceLock};

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
pub struct Readiness(Arc<OnceLock<()>>);

impl Readiness {
    /// Not ready any more, for good. Close it some seconds before the listener, so that load balancers notice first.
    pub fn close(&self) {
        let _ = self.0.set(());
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
            if closed.get().is_some() {
                return Err(unready.detail("shutting down"));
            }
            if let Some((consumer, _)) = app.paused().first() {
                return Err(unready.detail(format!("consumer `{consumer}` waits for a newer program")));
            }
            check().await.map_err(|error| Problem::of(StatusCode::SERVICE_UNAVAILABLE, &error))
        })
    }
}

/// Returns at Ctrl-C and, on Unix, at SIGTERM, for which it listens from the call on; it needs a tokio runtime with IO.
pub fn shutdown_signal() -> impl Future<Output = ()> + Send + 'static {
    #[cfg(unix)]
    let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    async {
        #[cfg(unix)]
        if let Ok(mut terminate) = terminate {
            tokio::select! { _ = terminate.recv() => return, Ok(()) = tokio::signal::ctrl_c() => return }
        }
        // One that cannot be listened to keeps its usual effect: it ends the process.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
