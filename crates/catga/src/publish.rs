//! Messages that leave this process without a transaction.

use crate::{App, app::Core, metrics::error_type};
use bytes::Bytes;
use catga_contract::{
    __private::check_subject, BoxTransport, Codec, Envelope, Error, ErrorKind, Event, Key, Message, MessageId, Outcome,
    Parcel, PublishOptions, Request, Result, Str, Transport, Wire,
};
use std::time::Instant;
use tracing::{
    Instrument, Level, Span,
    field::{self, Empty},
};

/// How often a publish whose answer was lost is repeated, under the same id.
const TRIES: u32 = 5;

impl App {
    /// Hands an event to the transport, outside any transaction; answers its id when the transport has kept it. Inside
    /// a handler that writes, `Tx::publish` is the one that cannot be lost or invented.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] where the application has no transport, [`ErrorKind::Codec`] where the event cannot
    /// be encoded, [`ErrorKind::Invalid`] where it is beyond a bound, [`ErrorKind::Timeout`] where it is unknown
    /// whether it was kept, and what the transport answers.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is unknown whether the event was kept.
    pub async fn publish<E: Event + Wire>(&self, event: E) -> Result<MessageId> {
        self.hand_over(&event, PublishOptions::default()).await
    }

    /// As [`publish`](Self::publish), with another key or subject, with headers, or for later.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish); also [`ErrorKind::Unsupported`] where it is due later and the transport cannot
    /// delay.
    ///
    /// # Cancel safety
    ///
    /// As [`publish`](Self::publish).
    pub async fn publish_with<E: Event + Wire>(&self, event: E, options: PublishOptions) -> Result<MessageId> {
        self.hand_over(&event, options).await
    }

    /// Hands a command to the transport for the consumer that takes it; nobody waits for its answer.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    ///
    /// # Cancel safety
    ///
    /// As [`publish`](Self::publish).
    pub async fn enqueue<C: Request + Wire>(&self, command: C) -> Result<MessageId> {
        self.hand_over(&command, PublishOptions::default()).await
    }

    async fn hand_over<M: Message + Wire>(&self, message: &M, options: PublishOptions) -> Result<MessageId> {
        let about = |error: Error| error.context(format_args!("publishing `{}`", M::NAME));
        let Some(transport) = &self.0.transport else {
            let text = "the application has no transport: add `.transport(…)`, or a store that brings a queue";
            return Err(about(Error::new(ErrorKind::Unsupported, text)));
        };
        let subject = options.subject.unwrap_or_else(|| self.0.resources.subject(M::NAME));
        check_subject(&subject).map_err(about)?;
        let id = MessageId::new();
        let codec = Str::from_static(<M::Codec as Codec<M>>::NAME);
        let mut envelope = Envelope::new(id, Str::from_static(M::NAME), codec, Bytes::new());
        envelope.version = M::VERSION;
        envelope.key = options.key.or_else(|| message.key());
        envelope.headers = options.headers;
        envelope.trace = options.trace;
        let mut frame = Vec::with_capacity(128 + <M::Codec as Codec<M>>::size_hint(message));
        envelope.encode_with(&mut frame, |out| <M::Codec as Codec<M>>::encode(message, out)).map_err(about)?;
        let mut parcel = Parcel::new(subject, id, frame.into());
        (parcel.key, parcel.due) = (envelope.key.as_ref().map(Key::digest), options.due);
        let parcel = [parcel];
        let mut outcomes = Vec::with_capacity(1);
        for _ in 0..TRIES {
            outcomes.clear();
            self.0.send(transport, &parcel, &mut outcomes).await.map_err(about)?;
            match outcomes.pop() {
                Some(Outcome::Stored | Outcome::Duplicate) => return Ok(id),
                Some(Outcome::Refused(error)) => return Err(about(error)),
                Some(Outcome::Unknown) => {}
                None => {
                    let text = "the transport said nothing of the message, which is a fault of the transport";
                    return Err(about(Error::new(ErrorKind::Timeout, text)));
                }
            }
        }
        let text = format!("message {id}: no answer to {TRIES} tries; it is unknown whether it was kept");
        Err(about(Error::new(ErrorKind::Timeout, text)))
    }
}

impl Core {
    /// Hands a batch to the transport, in a span by the names of OpenTelemetry's semantic conventions for messaging,
    /// and counts what became of it.
    pub(crate) async fn send(
        &self,
        transport: &BoxTransport,
        parcels: &[Parcel],
        outcomes: &mut Vec<Outcome>,
    ) -> Result<()> {
        let (span, began) = (span(transport.capabilities().system, parcels), Instant::now());
        let sent = transport.publish(parcels, outcomes).instrument(span.clone()).await;
        if let Some(error) = self.client.sent(parcels, &sent, outcomes, began.elapsed()) {
            span.record("error.type", error_type(error));
            span.record("otel.status_code", "ERROR");
        }
        sent
    }
}

/// The span of a batch: what differs from message to message is absent, unless there is one message only.
fn span(system: &'static str, parcels: &[Parcel]) -> Span {
    if !tracing::span_enabled!(target: "catga::send", Level::INFO) {
        return Span::none();
    }
    let subject = parcels.first().map_or("", |parcel| parcel.subject.as_str());
    let destination = parcels.iter().all(|parcel| parcel.subject == *subject).then_some(subject);
    let one = if let [parcel] = parcels { Envelope::decode(&parcel.frame).ok() } else { None };
    let name = destination.map_or("send".into(), |destination| format!("send {destination}"));
    tracing::info_span!(
        target: "catga::send",
        "send",
        otel.name = name,
        otel.kind = "producer",
        otel.status_code = Empty,
        messaging.system = system,
        messaging.operation.name = "send",
        messaging.operation.r#type = "send",
        messaging.destination.name = destination,
        messaging.message.id = one.as_ref().map(|message| field::display(message.id)),
        messaging.message.conversation_id = one.as_ref().map(|message| field::display(message.correlation)),
        messaging.batch.message_count = (parcels.len() > 1).then_some(parcels.len()),
        error.r#type = Empty,
    )
}
