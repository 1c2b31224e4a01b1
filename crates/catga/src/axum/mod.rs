//! Commands over HTTP, with axum 0.8.
//!
//! [`command`] is the handler of a command's whole route; [`Command`], [`Problem`] and [`Reply`] are its parts, for
//! handlers of one's own. [`Readiness`] answers `/ready`, and [`shutdown_signal`] says when to end. `examples/axum-shop`
//! shows all of it in a service.
//!
//! ```
//! use axum::{Router, routing::post};
//! use catga::{App, Request};
//!
//! #[derive(Request, serde::Deserialize)]
//! #[catga(name = "halve", reply = Result<u32, String>, local)]
//! struct Halve { number: u32 }
//!
//! async fn halve(Halve { number }: Halve) -> catga::Result<Result<u32, String>> {
//!     Ok(if number % 2 == 0 { Ok(number / 2) } else { Err("it is odd".into()) })
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> catga::Result<()> {
//! let app = App::builder("numbers").handle(halve).build().await?;
//! let router: Router = Router::new().route("/halve", post(catga::axum::command::<Halve>)).with_state(app);
//! # drop(router); // {"number": 8} is answered with 200 and 4, {"number": 7} with 422 and a problem
//! # Ok(())
//! # }
//! ```
mod answer;
mod life;

pub use self::{
    answer::{Problem, Reply},
    life::{Readiness, shutdown_signal},
};

use crate::{App, ErrorKind, Request, Result, SendOptions};
use ::axum::{
    body::Bytes,
    extract::{FromRequest, Request as HttpRequest, State},
    http::{HeaderMap, StatusCode},
};
use serde::{Serialize, de::DeserializeOwned};

/// The handler of a command's route: `POST` it as JSON, its [`Reply`] comes back. The router's state is the [`App`], or
/// something that an `App` is made of by axum's `FromRef`. See the [module](self).
///
/// # Errors
///
/// As [`Command`] and [`Command::send`].
///
/// # Cancel safety
///
/// As [`App::send`]: a client that goes away leaves nothing behind, unless the commit had begun.
pub async fn command<R>(State(app): State<App>, command: Command<R>) -> Result<Reply<R::Reply>, Problem>
where
    R: Request + DeserializeOwned,
    R::Reply: Serialize,
{
    command.send(&app).await.map(Reply)
}

/// A command out of a request's JSON body and headers, for a handler of one's own.
///
/// `Idempotency-Key`, bare or in quotes, becomes [`SendOptions::idempotency_key`]; callers choose it, so tell them
/// apart by [`SendOptions::principal`]. `traceparent` joins [`SendOptions::headers`]. HTTP has no header for deadlines.
///
/// ```
/// use axum::{extract::State, http::{HeaderMap, StatusCode}};
/// use catga::{App, Request, axum::{Command, Problem}};
///
/// #[derive(Request, serde::Deserialize)]
/// #[catga(name = "orders.cancel", local)]
/// struct Cancel { id: u64 }
///
/// async fn cancel(State(app): State<App>, who: HeaderMap, mut cancel: Command<Cancel>) -> Result<StatusCode, Problem> {
///     let user = who.get("x-user").and_then(|user| user.to_str().ok());
///     cancel.options.principal = Some(user.ok_or(Problem::new(StatusCode::UNAUTHORIZED))?.into());
///     cancel.send(&app).await?;
///     Ok(StatusCode::ACCEPTED)
/// }
/// # let _: axum::Router<App> = axum::Router::new().route("/", axum::routing::post(cancel));
/// ```
///
/// # Errors
///
/// A [`Problem`]: 415 where the body is not called JSON; 413 where it is larger than axum's `DefaultBodyLimit`, 2 MiB;
/// 400 where it does not read as an `M`, with `line`, `column` and, inside a value, `field`; 400 where the key is not
/// of 1 to 255 visible characters or comes twice.
#[derive(Clone, Debug)]
pub struct Command<M> {
    /// The body.
    pub message: M,
    /// What the headers say.
    pub options: SendOptions,
}

impl<R: Request> Command<R> {
    /// Sends it with its options.
    ///
    /// # Errors
    ///
    /// As [`App::send_with`], made a [`Problem`]. `Busy` under an idempotency key is 409: the first caller with it is
    /// still at work, and its answer may be had after `Retry-After`.
    ///
    /// # Cancel safety
    ///
    /// As [`App::send`].
    pub async fn send(self, app: &App) -> Result<R::Reply, Problem> {
        let keyed = self.options.idempotency_key.is_some();
        app.send_with(self.message, self.options).await.map_err(|error| match error.kind() {
            ErrorKind::Busy if keyed => Problem::of(StatusCode::CONFLICT, &error),
            _ => error.into(),
        })
    }
}

impl<M: DeserializeOwned, S: Send + Sync> FromRequest<S> for Command<M> {
    type Rejection = Problem;

    async fn from_request(request: HttpRequest, state: &S) -> Result<Self, Problem> {
        let options = options(request.headers())?;
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|refused| Problem::new(refused.status()).detail(refused.body_text()))?;
        Ok(Self { message: read(&body)?, options })
    }
}

fn options(headers: &HeaderMap) -> Result<SendOptions, Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default().trim());
    let kind = text("content-type").unwrap_or_default().to_ascii_lowercase();
    let kind = kind.split(';').next().unwrap_or_default().trim_end();
    if kind != "application/json" && !(kind.starts_with("application/") && kind.ends_with("+json")) {
        let detail = "the body must be JSON, with `Content-Type: application/json`";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE).detail(detail));
    }
    let mut options = SendOptions::default();
    if let Some(key) = text("idempotency-key") {
        let key = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key);
        if !(1..=255).contains(&key.len()) || headers.get_all("idempotency-key").iter().count() > 1 {
            let detail = "at most one `Idempotency-Key`, of 1 to 255 visible characters";
            return Err(Problem::new(StatusCode::BAD_REQUEST).detail(detail));
        }
        options.idempotency_key = Some(key.into());
    }
    if let Some(parent) = text("traceparent").filter(|parent| parent.len() == 55 && parent.starts_with("00-")) {
        options.headers.push("traceparent", parent.as_bytes())?;
    }
    Ok(options)
}

fn read<M: DeserializeOwned>(body: &[u8]) -> Result<M, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().iter().next().map(|_| error.path().to_string());
        (error.into_inner(), field)
    });
    read.and_then(|message| json.end().map(|()| message).map_err(|cause| (cause, None))).map_err(|(cause, field)| {
        let problem = Problem::new(StatusCode::BAD_REQUEST).member("kind", "Codec").detail(cause.to_string());
        let problem = problem.member("line", cause.line()).member("column", cause.column());
        field.into_iter().fold(problem, |problem, field| problem.member("field", field))
    })
}
