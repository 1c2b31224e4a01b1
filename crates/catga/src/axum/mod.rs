//! Commands over HTTP, with axum 0.8; `examples/axum-shop` shows all of it in a service.
//!
//! ```
//! use axum::{Router, routing::post};
//! use catga::{App, Request, axum::command};
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
//! let router: Router = Router::new().route("/halve", post(command::<Halve>)).with_state(app);
//! # drop(router); // {"number": 8} is answered with 200 and 4, {"number": 7} with 422 and a problem
//! # Ok(())
//! # }
//! ```
mod life;
mod problem;

pub use self::{
    life::{Readiness, shutdown_signal},
    problem::Problem,
};

use crate::{App, ErrorKind, Request, SendOptions, describe::short};
use ::axum::{
    Json,
    extract::{FromRequest, Request as HttpRequest, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, from_slice};

/// The handler of a command's route. The router's state is the [`App`], or what an `App` is made of by axum's `FromRef`.
///
/// `POST` the command as JSON. The reply is JSON with 200, or 204 where that is `null`, as of `()`; of a `Result` it is
/// what is in `Ok`, while `Err` is a [`Problem`] with 422, the kind `Refused` and the member `refusal`. Errors are
/// problems; `Busy` under an idempotency key is 409: the first caller with it is still at work.
///
/// # Cancel safety
///
/// As [`App::send`]: a client that goes away leaves nothing behind, unless the commit had begun.
pub async fn command<R>(State(app): State<App>, command: Command<R>) -> Result<Response, Problem>
where
    R: Request + DeserializeOwned,
    R::Reply: Serialize,
{
    let keyed = command.options.idempotency_key.is_some();
    let sent = app.send_with(command.message, command.options).await;
    let reply = sent.map_err(|error| match error.kind() {
        ErrorKind::Busy if keyed => Problem::of(StatusCode::CONFLICT, &error),
        _ => error.into(),
    })?;
    let json = serde_json::to_vec(&reply)?;
    // JSON alone cannot tell a `Result` from a map that holds an `Ok`.
    let result = short(std::any::type_name::<R::Reply>()).starts_with("Result<");
    let inside = |name: &[u8]| json.strip_prefix(name).filter(|_| result)?.strip_suffix(b"}");
    if let Some(refusal) = inside(br#"{"Err":"#) {
        let refused = Problem::new(StatusCode::UNPROCESSABLE_ENTITY).member("kind", "Refused");
        return Err(refused.member("refusal", from_slice::<Value>(refusal)?));
    }
    match inside(br#"{"Ok":"#).unwrap_or(&json) {
        b"null" => Ok(StatusCode::NO_CONTENT.into_response()),
        json => Ok(([(header::CONTENT_TYPE, "application/json")], json.to_vec()).into_response()),
    }
}

/// A command out of a request's JSON body and headers, for a handler of one's own: it may name the principal before it
/// gives both to [`App::send_with`].
///
/// `Idempotency-Key`, bare or in quotes, becomes [`SendOptions::idempotency_key`]; callers choose it, so tell them
/// apart by [`SendOptions::principal`]. `traceparent` becomes [`SendOptions::trace`].
///
/// # Errors
///
/// A [`Problem`] with the status and text of axum's `JsonRejection`: 415 where the body is not called JSON, 413 where
/// it is too large, 400 where it is no JSON, 422 where it is no `M`. 400 where the key is not of 1 to 255 visible
/// characters or comes twice.
#[derive(Clone, Debug)]
pub struct Command<M> {
    /// The body.
    pub message: M,
    /// What the headers say.
    pub options: SendOptions,
}

impl<M: DeserializeOwned, S: Send + Sync> FromRequest<S> for Command<M> {
    type Rejection = Problem;

    async fn from_request(request: HttpRequest, state: &S) -> Result<Self, Problem> {
        let options = options(request.headers())?;
        match Json::from_request(request, state).await {
            Ok(Json(message)) => Ok(Self { message, options }),
            Err(refused) => Err(Problem::new(refused.status()).detail(refused.body_text())),
        }
    }
}

fn options(headers: &HeaderMap) -> Result<SendOptions, Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default().trim());
    let mut options = SendOptions::default();
    if let Some(key) = text("idempotency-key") {
        let key = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key);
        if !(1..=255).contains(&key.len()) || headers.get_all("idempotency-key").iter().count() > 1 {
            let detail = "at most one `Idempotency-Key`, of 1 to 255 visible characters";
            return Err(Problem::new(StatusCode::BAD_REQUEST).detail(detail));
        }
        options.idempotency_key = Some(key.into());
    }
    let trace = text("traceparent").filter(|parent| parent.starts_with("00-"));
    options.trace = trace.and_then(|parent| parent.as_bytes().try_into().ok());
    Ok(options)
}
