use crate::metrics::error_type;
use catga_contract::{Behavior, Call, Handler, Message, Result};
use std::time::Instant;
use tracing::{Instrument, Level, Span, field::Empty};

/// Records a span for each call, by the names of OpenTelemetry's semantic conventions for messaging.
///
/// The span is called `process` and stands at level INFO in the target `catga::process`. Its fields:
///
/// | field | value |
/// |---|---|
/// | `otel.name` | `process {destination}`, the name that exporters give the span |
/// | `otel.kind` | `consumer` for a delivery, `internal` for a call within this process |
/// | `messaging.operation.name`, `messaging.operation.type` | `process` |
/// | `messaging.system` | what [`system`](Self::system) said, else absent |
/// | `messaging.destination.name` | the message's subject, such as `catga.orders.placed` |
/// | `messaging.consumer.group.name` | the consumer's durable name; absent in a direct call |
/// | `messaging.message.id`, `messaging.message.conversation_id` | ids of message and conversation |
/// | `messaging.process.duration` | seconds, at the end |
/// | `error.type` | on failure the kind of the error, such as `timeout`; `panic`; `dropped` where nobody waited any more |
/// | `otel.status_code`, `otel.status_description` | on failure `ERROR`, and the error with all its causes |
///
/// Where nobody listens to these spans it costs one comparison: no id, no clock, no allocation.
///
/// ```
/// use catga::{App, Request, behavior::{CatchPanic, Trace}};
///
/// #[derive(Request)]
/// #[catga(name = "ping", local)]
/// struct Ping;
///
/// async fn ping(_: Ping) -> catga::Result<()> {
///     assert_eq!(tracing::Span::current().metadata().map(|span| span.name()), Some("process"));
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> catga::Result<()> {
/// let _guard = tracing::subscriber::set_default(tracing_subscriber::fmt().finish());
/// let app = App::builder("shop").with(Trace::default()).with(CatchPanic).handle(ping).build().await?;
/// app.send(Ping).await
/// # }
/// ```
///
/// # Cancel safety
///
/// A dropped call ends its span and says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trace {
    system: Option<&'static str>,
}

impl Trace {
    /// Names the messaging system for `messaging.system`: `nats`, `redis`, `catga_sqlite`, `catga_memory`.
    pub fn system(system: &'static str) -> Self {
        Self { system: Some(system) }
    }

    fn span<M: Message>(self, call: &mut Call<'_>) -> Span {
        let destination = call.resources().subject(M::NAME);
        let context = call.context();
        let consumer = (!context.consumer.is_empty()).then(|| context.consumer.as_str());
        tracing::info_span!(
            target: "catga::process",
            "process",
            otel.name = format_args!("process {destination}"),
            otel.kind = if consumer.is_some() { "consumer" } else { "internal" },
            otel.status_code = Empty,
            otel.status_description = Empty,
            messaging.system = self.system,
            messaging.operation.name = "process",
            messaging.operation.r#type = "process",
            messaging.destination.name = destination.as_str(),
            messaging.consumer.group.name = consumer,
            messaging.message.id = %context.id,
            messaging.message.conversation_id = %context.correlation,
            messaging.process.duration = Empty,
            error.r#type = Empty,
        )
    }
}

impl<M: Message> Behavior<M> for Trace {
    async fn around<H: Handler<M>>(&self, call: &mut Call<'_>, message: M, next: &H) -> Result<M::Reply> {
        if !tracing::span_enabled!(target: "catga::process", Level::INFO) {
            return next.handle(call, message).await;
        }
        let mut end = End { span: self.span::<M>(call), began: Instant::now(), answered: false };
        let answer = next.handle(call, message).instrument(end.span.clone()).await;
        end.answered = true;
        if let Err(error) = &answer {
            end.span.record("error.type", error_type(error.kind()));
            end.span.record("otel.status_code", "ERROR");
            end.span.record("otel.status_description", format_args!("{error:#}"));
        }
        answer
    }
}

/// Records how a call ended, also where it never answered.
struct End {
    span: Span,
    began: Instant,
    answered: bool,
}

impl Drop for End {
    fn drop(&mut self) {
        self.span.record("messaging.process.duration", self.began.elapsed().as_secs_f64());
        if !self.answered {
            self.span.record("error.type", if std::thread::panicking() { "panic" } else { "dropped" });
            self.span.record("otel.status_code", "ERROR");
        }
    }
}
