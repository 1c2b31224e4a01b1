use crate::{
    Error, ErrorKind, MessageId, Result,
    behavior::{Forbidden, Problems},
};
use ::axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, Serializer, ser::Impossible};
use serde_json::{Map, Value, json};
use std::{fmt, time::Duration};

/// What went wrong, as `application/problem+json` (RFC 9457), with the [`ErrorKind`]'s name as `kind` and, where it
/// helps to ask again, `retry_after_ms` beside `Retry-After`. By `?` it is made of every error:
///
/// | kind | status |
/// |---|---|
/// | `Invalid`, `Permanent` | 422; 403 where the source is [`Forbidden`], 401 where nobody said who asks |
/// | `NotFound` | 404 |
/// | `Conflict` | 409 |
/// | `Busy` | 503; 409 from [`Command::send`](super::Command::send) under an idempotency key |
/// | `Unavailable`, `Closed`, `Handler` with a pause | 503 |
/// | `Timeout` | 504: it may have happened nevertheless |
/// | `NoHandler`, `Unsupported` | 501 |
/// | `Handler`, `Codec` | 500: a body that cannot be read never came so far |
///
/// Below 500, `detail` is the error's [source](Error::source), so these kinds speak to the client; contexts, which name
/// handlers, do not. The [`Problems`] of a validation become `errors`, each with `field` and `detail`. From 500 on the
/// text is logged instead, with the id that `instance` gives the client.
///
/// ```
/// use axum::http::StatusCode;
/// use catga::{Error, axum::Problem};
///
/// let sent: Problem = Error::permanent("order 7 was sent already").into();
/// assert_eq!((sent.status().as_u16(), sent.get("detail").unwrap().as_str()), (422, Some("order 7 was sent already")));
/// let secret: Problem = std::io::Error::other("the password of db1 is wrong").into();
/// assert!(secret.status() == 500 && secret.get("detail").is_none() && secret.get("instance").is_some());
/// let own = Problem::new(StatusCode::PAYMENT_REQUIRED).detail("your card has expired").member("card", 4242);
/// assert_eq!(own.get("title").unwrap(), "Payment Required");
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

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.0
    }

    /// The member of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.1.get(name)
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
        let pause = error.pause().or(again).and_then(|pause| u64::try_from(pause.as_millis()).ok());
        pause.into_iter().fold(problem, |problem, pause| problem.member("retry_after_ms", pause))
    }
}

impl<E: Into<Error>> From<E> for Problem {
    fn from(error: E) -> Self {
        let error = error.into();
        let forbidden = error.source().downcast_ref::<Forbidden>();
        let status = match error.kind() {
            ErrorKind::Permanent if forbidden.is_some_and(|forbidden| forbidden.principal().is_some()) => {
                StatusCode::FORBIDDEN
            }
            ErrorKind::Permanent if forbidden.is_some() => StatusCode::UNAUTHORIZED,
            ErrorKind::Invalid | ErrorKind::Permanent => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::Closed => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Handler if error.pause().is_some() => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            ErrorKind::NoHandler | ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::of(status, &error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let pause = self.get("retry_after_ms").and_then(Value::as_u64);
        let headers = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.0, headers, Value::Object(self.1).to_string()).into_response();
        let seconds = pause.map(|pause| (header::RETRY_AFTER, pause.div_ceil(1000).into()));
        response.headers_mut().extend(seconds);
        response
    }
}

/// A reply as an answer: JSON with 200, `()` as 204; of a `Result`, what is in `Ok`, while `Err` is a [`Problem`] with
/// 422, the kind `Refused` and the member `refusal`.
///
/// ```
/// use axum::response::IntoResponse;
/// use catga::axum::Reply;
///
/// assert_eq!(Reply(17).into_response().status(), 200);
/// assert_eq!(Reply(()).into_response().status(), 204);
/// assert_eq!(Reply(Err::<(), _>("sold out")).into_response().status(), 422);
/// ```
#[derive(Clone, Debug)]
pub struct Reply<T>(pub T);

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        answer(&self.0)
    }
}

fn answer<T: Serialize + ?Sized>(reply: &T) -> Response {
    let json = || serde_json::to_vec(reply).map(|json| ([(header::CONTENT_TYPE, "application/json")], json));
    reply.serialize(Special).unwrap_or_else(|_| json().map_err(Problem::from).into_response())
}

/// Answers `()` and `Result` and refuses all else: serde sees what they are where a type parameter cannot say it.
struct Special;

macro_rules! nothing_special {
    ($($name:ident$(<$T:ident>)?($($argument:ty),*) -> $answer:ident)*) => { $(
        fn $name$(<$T: Serialize + ?Sized>)?(self, $(_: $argument),*) -> Result<Self::$answer, fmt::Error> {
            Err(fmt::Error)
        }
    )* };
    ($($many:ident)*) => { $(type $many = Impossible<Response, fmt::Error>;)* };
}

impl Serializer for Special {
    type Ok = Response;
    type Error = fmt::Error;

    fn serialize_unit(self) -> Result<Response, fmt::Error> {
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    #[rustfmt::skip]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self, name: &'static str, _: u32, variant: &'static str, value: &T,
    ) -> Result<Response, fmt::Error> {
        let refused = || Problem::new(StatusCode::UNPROCESSABLE_ENTITY).member("kind", "Refused");
        match (name, variant) {
            ("Result", "Ok") => Ok(answer(value)),
            ("Result", "Err") => Ok(refused().member("refusal", value).into_response()),
            _ => Err(fmt::Error),
        }
    }

    nothing_special! { SerializeSeq SerializeTuple SerializeTupleStruct SerializeTupleVariant SerializeMap }
    nothing_special! { SerializeStruct SerializeStructVariant }
    nothing_special! {
        serialize_bool(bool) -> Ok serialize_i8(i8) -> Ok serialize_i16(i16) -> Ok serialize_i32(i32) -> Ok
        serialize_i64(i64) -> Ok serialize_u8(u8) -> Ok serialize_u16(u16) -> Ok serialize_u32(u32) -> Ok
        serialize_u64(u64) -> Ok serialize_f32(f32) -> Ok serialize_f64(f64) -> Ok serialize_char(char) -> Ok
        serialize_str(&str) -> Ok serialize_bytes(&[u8]) -> Ok serialize_none() -> Ok serialize_some<T>(&T) -> Ok
        serialize_unit_struct(&'static str) -> Ok serialize_unit_variant(&'static str, u32, &'static str) -> Ok
        serialize_newtype_struct<T>(&'static str, &T) -> Ok serialize_seq(Option<usize>) -> SerializeSeq
        serialize_tuple(usize) -> SerializeTuple serialize_map(Option<usize>) -> SerializeMap
        serialize_tuple_struct(&'static str, usize) -> SerializeTupleStruct
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> SerializeTupleVariant
        serialize_struct(&'static str, usize) -> SerializeStruct
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> SerializeStructVariant
    }
}
