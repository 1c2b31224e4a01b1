//! Commands over HTTP: an extractor, a handler, problem+json, readiness and shutdown for axum 0.8.
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
use crate::{App, Error, ErrorKind, MessageId, Request, Result, SendOptions};
use ::axum::{
    body::Bytes,
    extract::{FromRequest, Request as HttpRequest, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use serde::{Serialize, Serializer, de::DeserializeOwned, ser::Impossible};
use serde_json::{Map, Value};
use std::{fmt, sync::Arc, sync::atomic::AtomicBool, sync::atomic::Ordering, time::Duration};

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

/// What went wrong, as `application/problem+json` (RFC 9457), with the [`ErrorKind`]'s name as `kind` and, where it
/// helps to ask again, `retry_after_ms` beside `Retry-After`. By `?` it is made of every error:
///
/// | kind | status |
/// |---|---|
/// | `Invalid`, `Permanent` | 422 |
/// | `NotFound` | 404 |
/// | `Conflict` | 409 |
/// | `Busy` | 503; 409 from [`Command::send`] under an idempotency key |
/// | `Unavailable`, `Closed`, `Handler` with a pause | 503 |
/// | `Timeout` | 504: it may have happened nevertheless |
/// | `NoHandler`, `Unsupported` | 501 |
/// | `Handler`, `Codec` | 500: a body that cannot be read never came so far |
///
/// Below 500, `detail` is the error's [source](Error::source), so these kinds speak to the client; contexts, which name
/// handlers, do not. From 500 on the text is logged at `error` instead, with the id that `instance` gives the client.
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

    fn of(status: StatusCode, error: &Error) -> Self {
        let mut problem = Self::new(status).member("kind", format!("{:?}", error.kind()));
        if status.is_server_error() {
            let id = MessageId::new();
            tracing::error!(%id, status = status.as_u16(), "a request failed: {error:#}");
            problem = problem.member("instance", format!("urn:uuid:{id}"));
        } else {
            problem = problem.detail(error.source().to_string());
        }
        let again = matches!(error.kind(), ErrorKind::Busy | ErrorKind::Unavailable).then_some(Duration::from_secs(1));
        let pause = error.pause().or(again).and_then(|pause| u64::try_from(pause.as_millis()).ok());
        pause.into_iter().fold(problem, |problem, pause| problem.member("retry_after_ms", pause))
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

/// The answer of `/ready`: whether this process wants requests. Its clones share it.
///
/// ```
/// use catga::axum::Readiness;
///
/// let ready = Readiness::default();
/// // The closure asks what the application cannot work without, such as a store or a server.
/// let router: axum::Router = axum::Router::new().route("/ready", ready.route(async || Ok(())));
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

    /// Answers `GET` with 200 while it is not closed and `check` answers `Ok`, else with a [`Problem`] of 503.
    pub fn route<S, C, F>(&self, check: C) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
        C: Fn() -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<()>> + Send,
    {
        let Self(closed) = self.clone();
        get(async move || match closed.load(Ordering::Acquire) {
            true => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail("shutting down")),
            false => check().await.map_err(|error| Problem::of(StatusCode::SERVICE_UNAVAILABLE, &error)),
        })
    }
}

/// Returns at Ctrl-C and, on Unix, at SIGTERM; it listens from the call on, which needs a tokio runtime with IO.
///
/// ```no_run
/// # async fn run(app: catga::App) -> catga::Result<()> {
/// app.run(catga::axum::shutdown_signal()).await
/// # }
/// ```
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
            std::future::pending().await
        }
    }
}
