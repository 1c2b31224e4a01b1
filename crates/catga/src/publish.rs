//! Messages that leave this process without a transaction.

use crate::App;
use bytes::Bytes;
use catga_contract::{
    __private::check_subject, Codec, Envelope, Error, ErrorKind, Event, Message, MessageId, Outcome, Parcel,
    PublishOptions, Request, Result, Str, Transport, Wire,
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

    /// As [`publish`](Self::publish), with another key or subject, or with headers.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
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
        let mut frame = Vec::with_capacity(128 + <M::Codec as Codec<M>>::size_hint(message));
        envelope.encode_with(&mut frame, |out| <M::Codec as Codec<M>>::encode(message, out)).map_err(about)?;
        let parcel = [Parcel::new(subject, id, frame.into())];
        let mut outcomes = Vec::with_capacity(1);
        for _ in 0..TRIES {
            outcomes.clear();
            transport.publish(&parcel, &mut outcomes).await.map_err(about)?;
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
