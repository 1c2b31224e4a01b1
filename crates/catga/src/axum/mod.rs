//! Commands over HTTP: an extractor, a handler, problem+json, readiness and shutdown for axum 0.8.
//!
//! `POST` a command as JSON. Its reply comes back as JSON with 200; `()` is 204; a reply that is a `Result` answers
//! what is in its `Ok`, and its `Err` as a [`Problem`] with 422 and the refusal. Any other failure is a problem, too.
//!
//! ```
//! use axum::{Router, routing::post};
//! use catga::{App, Request};
//! use serde::Deserialize;
//!
//! #[derive(Request, Deserialize)]
//! #[catga(name = "halve", reply = Result<u32, String>, local)]
//! struct Halve { number: u32 }
//!
//! async fn halve(Halve { number }: Halve) -> catga::Result<Result<u32, String>> {
//!     Ok(if number % 2 == 0 { Ok(number / 2) } else { Err("it is odd".into()) })
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> catga::Result<()> {
//! let app = App::builder("numbers").handle(halve).build().await?;
//! let router: Router = Router::new().route("/halve", post(catga::axum::command::<Halve>)).with_state(app);
//! # use axum::{body::to_bytes, extract::Request as Http, http::header::CONTENT_TYPE, routing::future::RouteFuture};
//! # let call = |json: &'static str| Http::post("/halve").header(CONTENT_TYPE, "application/json").body(json.into());
//! # let post = async |json| -> catga::Result<(u16, String)> {
//! #     let answer = tower::Service::call(&mut router.clone(), call(json)?).await?;
//! #     let (head, body) = answer.into_parts();
//! #     Ok((head.status.as_u16(), String::from_utf8(to_bytes(body, 999).await?.to_vec())?))
//! # };
//! assert_eq!(post(r#"{"number": 8}"#).await?, (200, "4".into()));
//! let (status, problem) = post(r#"{"number": 7}"#).await?;
//! assert!(status == 422 && problem.contains(r#""refusal":"it is odd""#));
//! # Ok(())
//! # }
//! ```
mod problem;
mod probe;
mod reply;

pub use self::{
    probe::{Readiness, health, shutdown_signal},
    problem::Problem,
    reply::Reply,
};

use crate::{App, ErrorKind, Headers, Request, SendOptions};
use ::axum::{
    body::Bytes,
    extract::{FromRequest, Request as HttpRequest, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
};
use serde::{Serialize, de::DeserializeOwned};

/// The handler of a command's route: takes the [`Command`], sends it, answers its [`Reply`]. The router's state is the
/// [`App`], or something that an `App` can be made of by axum's `FromRef`. The [module](self) has an example.
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

/// A command out of a request's JSON body and headers, for a handler of one's own: one that checks who asks, or answers
/// in its own way.
///
/// The header `Idempotency-Key` (bare or in quotes) becomes [`SendOptions::idempotency_key`]. Keys are the caller's to
/// choose, so tell callers apart by [`SendOptions::principal`], whose keys never meet. A valid `traceparent` and its
/// `tracestate` join [`SendOptions::headers`]. HTTP has no header for deadlines; set [`SendOptions::deadline`].
///
/// ```
/// use axum::{extract::State, http::HeaderMap, http::StatusCode};
/// use catga::{App, Request, axum::{Command, Problem}};
///
/// #[derive(Request, serde::Deserialize)]
/// #[catga(name = "orders.cancel", local)]
/// struct CancelOrder { id: u64 }
///
/// async fn cancel(
///     State(app): State<App>,
///     headers: HeaderMap,
///     mut command: Command<CancelOrder>,
/// ) -> Result<StatusCode, Problem> {
///     let user = headers.get("x-user").and_then(|user| user.to_str().ok());
///     command.options.principal = Some(user.ok_or(Problem::new(StatusCode::UNAUTHORIZED))?.into());
///     command.send(&app).await?;
///     Ok(StatusCode::ACCEPTED)
/// }
/// # let _: axum::Router<App> = axum::Router::new().route("/", axum::routing::post(cancel));
/// ```
///
/// # Errors
///
/// A [`Problem`]: 415 where the body is not called JSON, 413 where it is too large (2 MiB unless axum's
/// `DefaultBodyLimit` says otherwise), 400 where it does not read as an `M`, with members `line`, `column` and, inside
/// a value, `field`; 400 where the key is not of 1 to 255 visible characters or comes twice.
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
    /// still at work, and after `Retry-After` seconds its answer may be had.
    ///
    /// # Cancel safety
    ///
    /// As [`App::send`].
    pub async fn send(self, app: &App) -> Result<R::Reply, Problem> {
        let keyed = self.options.idempotency_key.is_some();
        app.send_with(self.message, self.options).await.map_err(|error| match error.kind() {
            ErrorKind::Busy if keyed => Problem::of(StatusCode::CONFLICT, error),
            _ => error.into(),
        })
    }
}

impl<M: DeserializeOwned, S: Send + Sync> FromRequest<S> for Command<M> {
    type Rejection = Problem;

    async fn from_request(request: HttpRequest, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let detail = "the body must be JSON, with `Content-Type: application/json`";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE).detail(detail));
        }
        let options = options(request.headers())?;
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|refused| Problem::new(refused.status()).detail(refused.body_text()))?;
        Ok(Self { message: read(&body)?, options })
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json")
}

fn read<M: DeserializeOwned>(body: &[u8]) -> Result<M, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let (cause, field) = match serde_path_to_error::deserialize(&mut json) {
        Ok(message) => match json.end() {
            Ok(()) => return Ok(message),
            Err(cause) => (cause, None),
        },
        Err(error) => {
            let field = error.path().iter().next().map(|_| error.path().to_string());
            (error.into_inner(), field)
        }
    };
    let problem = Problem::new(StatusCode::BAD_REQUEST).kind(ErrorKind::Codec).detail(cause.to_string());
    let problem = problem.member("line", cause.line()).member("column", cause.column());
    Err(match field {
        Some(field) => problem.member("field", field),
        None => problem,
    })
}

fn options(headers: &HeaderMap) -> Result<SendOptions, Problem> {
    let mut options = SendOptions::default();
    let mut keys = headers.get_all("idempotency-key").iter();
    if let Some(key) = keys.next() {
        let key = key.to_str().unwrap_or_default().trim();
        let key = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key);
        if !(1..=255).contains(&key.len()) || keys.next().is_some() {
            let detail = "one `Idempotency-Key` of 1 to 255 visible characters is allowed";
            return Err(Problem::new(StatusCode::BAD_REQUEST).kind(ErrorKind::Invalid).detail(detail));
        }
        options.idempotency_key = Some(key.into());
    }
    let parent = headers.get("traceparent").map(|parent| parent.as_bytes());
    if let Some(parent) = parent.filter(|parent| is_trace(parent)) {
        // Names and sizes are within the bounds of `Headers`, but for a state that is too long, which may be dropped.
        let mut keep = |name, value| Headers::push(&mut options.headers, name, value).is_ok();
        let state = headers.get("tracestate").filter(|_| keep("traceparent", parent));
        state.map(|state| keep("tracestate", state.as_bytes()));
    }
    Ok(options)
}

/// Whether it is a `traceparent` of version 00; others begin a new trace.
fn is_trace(text: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = text.split(|byte| *byte == b'-');
    let mut part = |length| parts.next().filter(|part| part.len() == length && hex(part));
    let named = |part: Option<&[u8]>| part.is_some_and(|part| part.iter().any(|byte| *byte != b'0'));
    part(2) == Some(b"00") && named(part(32)) && named(part(16)) && part(2).is_some() && parts.next().is_none()
}
