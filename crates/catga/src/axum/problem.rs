use crate::{
    Error, ErrorKind, MessageId,
    behavior::{Forbidden, Problems},
};
use ::axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// What went wrong, as `application/problem+json` (RFC 9457). By `?` it is made of every error, with the name of the
/// [`ErrorKind`] as `kind` and, where it helps to ask again, `retry_after_ms` beside the header `Retry-After`:
///
/// | kind | status |
/// |---|---|
/// | `Invalid`, `Permanent` | 422; 403 where the source is [`Forbidden`], 401 where nobody said who asks |
/// | `NotFound` | 404 |
/// | `Conflict` | 409 |
/// | `Busy` | 503; 409 from [`command`](super::command) under an idempotency key |
/// | `Unavailable`, `Closed`, `Handler` with a pause | 503 |
/// | `Timeout` | 504: it may have happened nevertheless |
/// | `NoHandler`, `Unsupported` | 501 |
/// | `Handler`, `Codec` | 500 |
///
/// Below 500, `detail` is the error's [source](Error::source), so these kinds speak to the client, and the [`Problems`]
/// of a validation become `errors`, each with `field` and `detail`. From 500 on the text is logged instead, with the id
/// that `instance` gives the client.
///
/// ```
/// use axum::{http::StatusCode, response::IntoResponse};
/// use catga::{Error, axum::Problem};
///
/// let sent: Problem = Error::permanent("order 7 was sent already").into();
/// assert_eq!(sent.into_response().status(), 422);
/// let own = Problem::new(StatusCode::PAYMENT_REQUIRED).detail("your card has expired").member("card", 4242);
/// assert_eq!(own.into_response().status(), 402);
/// ```
#[derive(Clone, Debug)]
pub struct Problem(StatusCode, Map<String, Value>);

impl Problem {
    /// A problem that its status describes: `type` is `about:blank`, `title` the status's phrase.
    pub fn new(status: StatusCode) -> Self {
        let problem = Self(status, Map::new()).member("type", "about:blank").member("status", status.as_u16());
        problem.member("title", status.canonical_reason())
    }

    /// Tells the client what happened.
    #[must_use]
    pub fn detail(self, text: impl Into<String>) -> Self {
        self.member("detail", text.into())
    }

    /// Adds or replaces a member: `type` and `title` of one's own, or an extension. What cannot be JSON is `null`.
    #[must_use]
    pub fn member(mut self, name: &str, value: impl Serialize) -> Self {
        self.1.insert(name.to_owned(), serde_json::to_value(value).unwrap_or_default());
        self
    }

    pub(super) fn of(status: StatusCode, error: &Error) -> Self {
        let mut problem = Self::new(status).member("kind", format!("{:?}", error.kind()));
        if status.is_server_error() {
            let id = MessageId::new();
            match error.kind() {
                // Under load there are many of them.
                ErrorKind::Busy => tracing::debug!(%id, status = status.as_u16(), "a request was refused: {error:#}"),
                _ => tracing::error!(%id, status = status.as_u16(), "a request failed: {error:#}"),
            }
            problem = problem.member("instance", format!("urn:uuid:{id}"));
        } else {
            problem = problem.detail(error.source().to_string());
        }
        if let Some(problems) = error.source().downcast_ref::<Problems>() {
            let errors = problems.iter().map(|(field, detail)| json!({ "field": field, "detail": detail }));
            problem = problem.member("errors", errors.collect::<Value>());
        }
        let again = matches!(error.kind(), ErrorKind::Busy | ErrorKind::Unavailable).then_some(Duration::from_secs(1));
        match error.pause().or(again).and_then(|pause| u64::try_from(pause.as_millis()).ok()) {
            Some(pause) => problem.member("retry_after_ms", pause),
            None => problem,
        }
    }
}

impl<E: Into<Error>> From<E> for Problem {
    fn from(error: E) -> Self {
        let error = error.into();
        let status = match (error.kind(), error.source().downcast_ref::<Forbidden>()) {
            (ErrorKind::Permanent, Some(forbidden)) if forbidden.principal().is_none() => StatusCode::UNAUTHORIZED,
            (ErrorKind::Permanent, Some(_)) => StatusCode::FORBIDDEN,
            (ErrorKind::Invalid | ErrorKind::Permanent, _) => StatusCode::UNPROCESSABLE_ENTITY,
            (ErrorKind::NotFound, _) => StatusCode::NOT_FOUND,
            (ErrorKind::Conflict, _) => StatusCode::CONFLICT,
            (ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::Closed, _) => StatusCode::SERVICE_UNAVAILABLE,
            (ErrorKind::Handler, _) if error.pause().is_some() => StatusCode::SERVICE_UNAVAILABLE,
            (ErrorKind::Timeout, _) => StatusCode::GATEWAY_TIMEOUT,
            (ErrorKind::NoHandler | ErrorKind::Unsupported, _) => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::of(status, &error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let pause = self.1.get("retry_after_ms").and_then(Value::as_u64);
        let headers = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.0, headers, Value::Object(self.1).to_string()).into_response();
        response.headers_mut().extend(pause.map(|pause| (header::RETRY_AFTER, pause.div_ceil(1000).into())));
        response
    }
}
