use crate::{Error, ErrorKind, MessageId};
use ::axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// What went wrong, as `application/problem+json` (RFC 9457): `type`, `title`, `status`, `detail`, `instance`, and of
/// ours `kind`, the [`ErrorKind`]'s name, and `retry_after_ms` beside the header `Retry-After`.
///
/// By `?` it is made of a [`catga::Error`](Error) and of every `std::error::Error`:
///
/// | kind | status | |
/// |---|---|---|
/// | `Invalid`, `Permanent` | 422 | |
/// | `NotFound` | 404 | |
/// | `Conflict` | 409 | |
/// | `Busy` | 503 | 409 from [`Command::send`](super::Command::send) under an idempotency key |
/// | `Unavailable`, `Closed`, and `Handler` with a pause | 503 | |
/// | `Timeout` | 504 | it may have happened nevertheless |
/// | `NoHandler`, `Unsupported` | 501 | |
/// | `Handler`, `Codec` | 500 | a body that cannot be read never came so far: [`Command`](super::Command) answers 400 |
///
/// Below 500, `detail` is the error's [source](Error::source), so what a handler says by these kinds is said to the
/// client; contexts, which name handlers, are not. From 500 on the text stays here: it is logged at `error` with an id
/// that the client finds in `instance`.
///
/// ```
/// use axum::http::StatusCode;
/// use catga::{Error, axum::Problem};
///
/// let gone: Problem = Error::permanent("order 7 was sent already").into();
/// assert_eq!(gone.status(), StatusCode::UNPROCESSABLE_ENTITY);
/// assert_eq!(gone.get("detail").unwrap(), "order 7 was sent already");
///
/// let secret: Problem = std::io::Error::other("password for db1 is wrong").into();
/// assert_eq!(secret.status(), StatusCode::INTERNAL_SERVER_ERROR);
/// assert!(secret.get("detail").is_none() && secret.get("instance").is_some());
///
/// let own = Problem::new(StatusCode::PAYMENT_REQUIRED).detail("your card has expired").member("card", 4242);
/// assert_eq!(own.get("title").unwrap(), "Payment Required");
/// ```
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    members: Map<String, Value>,
    pause: Option<Duration>,
}

impl Problem {
    /// A problem that its status alone describes: `type` is `about:blank`, `title` the status's phrase.
    pub fn new(status: StatusCode) -> Self {
        let problem = Self { status, members: Map::new(), pause: None };
        let title = status.canonical_reason().unwrap_or("Unknown");
        problem.member("type", "about:blank").member("title", title).member("status", status.as_u16())
    }

    /// Says what happened, to the client.
    #[must_use]
    pub fn detail(self, text: impl Into<String>) -> Self {
        self.member("detail", text.into())
    }

    /// Adds or replaces a member: `type` and `title` of one's own, or an extension. One that cannot be JSON is `null`.
    #[must_use]
    pub fn member(mut self, name: &str, value: impl Serialize) -> Self {
        self.members.insert(name.to_owned(), serde_json::to_value(value).unwrap_or_default());
        self
    }

    /// When to ask again: `Retry-After` in whole seconds, and the member `retry_after_ms`.
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.pause = Some(pause);
        self.member("retry_after_ms", u64::try_from(pause.as_millis()).unwrap_or(u64::MAX))
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The member of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    pub(super) fn kind(self, kind: ErrorKind) -> Self {
        self.member("kind", format!("{kind:?}"))
    }

    pub(super) fn of(status: StatusCode, error: Error) -> Self {
        let mut problem = Self::new(status).kind(error.kind());
        if status.is_server_error() {
            let id = MessageId::new();
            tracing::error!(%id, status = status.as_u16(), "a request failed: {error:#}");
            problem = problem.member("instance", format!("urn:uuid:{id}"));
        } else {
            problem = problem.detail(error.source().to_string());
        }
        let again = matches!(error.kind(), ErrorKind::Busy | ErrorKind::Unavailable).then_some(Duration::from_secs(1));
        match error.pause().or(again) {
            Some(pause) => problem.retry_after(pause),
            None => problem,
        }
    }
}

impl<E: Into<Error>> From<E> for Problem {
    fn from(error: E) -> Self {
        let error = error.into();
        let status = match error.kind() {
            ErrorKind::Invalid | ErrorKind::Permanent => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::Closed => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Handler if error.pause().is_some() => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            ErrorKind::NoHandler | ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::of(status, error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Value::Object(self.members).to_string();
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Some(pause) = self.pause {
            let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
