use crate::{
    Nats, NatsInbox, NatsTransport,
    log::{Log, foreign},
    names::token,
};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use catga_contract::{
    DeadLetters, Envelope, Error, ErrorKind, InboxKey, Letter, LetterId, MessageId, NewLetter, Outcome, Parcel, Result,
    Str, Transport,
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Dead letters in a stream of their own, one message each; a letter's id is its number there. They are kept until
/// somebody replays or removes them.
#[derive(Clone, Debug)]
pub struct NatsLetters {
    log: Log,
    prefix: String,
    transport: NatsTransport,
    inbox: Option<NatsInbox>,
}

impl NatsLetters {
    /// Opens the stream `name`, and makes it where it is missing. Letters are replayed through `transport`; their marks
    /// in `inbox`, if there is one, are taken away then.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] where the server does not answer, [`ErrorKind::Invalid`] where it refuses the stream.
    pub async fn open(nats: &Nats, name: &str, transport: &NatsTransport, inbox: Option<NatsInbox>) -> Result<Self> {
        let prefix = format!("{}.letter", token(name));
        let log = Log::open(nats, name, format!("{prefix}.>"), 1).await?;
        Ok(Self { log, prefix, transport: transport.clone(), inbox })
    }
}

impl DeadLetters for NatsLetters {
    async fn bury(&self, letter: &NewLetter<'_>) -> Result<LetterId> {
        let subject = format!("{}.{}", self.prefix, token(letter.consumer));
        // Under an id of its own, so that a lost answer buries nothing twice.
        let message = PublishMessage::build().payload(encode(letter)).message_id(MessageId::new().to_string());
        let mut tries = 0;
        loop {
            let asked = async { self.log.nats.context.send_publish(subject.clone(), message.clone()).await?.await };
            match crate::error::within(self.log.nats.request_timeout, "burying", asked).await {
                Ok(ack) => return Ok(LetterId(ack.sequence)),
                Err(error) => {
                    tries += 1;
                    if tries == 3 {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn list(&self, after: LetterId, most: usize) -> Result<Vec<Letter>> {
        let state = self.log.info().await?.state;
        let from = (after.0 + 1).max(state.first_sequence).max(1);
        let found = self.log.range(from, state.last_sequence, most).await?;
        found.iter().map(|message| decode(message).ok_or_else(|| foreign(message))).collect()
    }

    async fn replay(&self, id: LetterId) -> Result<bool> {
        let Some(message) = self.log.get(id.0).await? else { return Ok(false) };
        let letter = decode(&message).ok_or_else(|| foreign(&message))?;
        let envelope = letter.open().ok();
        let name = envelope.as_ref().map(|envelope: &Envelope| envelope.name.clone());
        let Some(subject) = self.transport.subject_of(&letter.consumer, name.as_ref()).await? else {
            let text = format!("letter {} is of consumer `{}`, which takes nothing any more", id.0, letter.consumer);
            return Err(Error::new(ErrorKind::NotFound, text));
        };
        if let (Some(inbox), Some(envelope)) = (&self.inbox, &envelope) {
            inbox.forget(InboxKey { consumer: &letter.consumer, key: &envelope.id.to_bytes() }).await?;
        }
        let message = envelope.map_or_else(MessageId::new, |envelope| envelope.id);
        let mut parcel = Parcel::new(subject, message, letter.frame);
        parcel.to = Some(letter.consumer);
        let mut outcomes = Vec::new();
        self.transport.publish(&[parcel], &mut outcomes).await?;
        match outcomes.pop() {
            Some(Outcome::Stored | Outcome::Duplicate) => {}
            Some(Outcome::Refused(error)) => return Err(error),
            // It may come twice then, and is handled once where there is a mark.
            Some(Outcome::Unknown) | None => {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "no answer; the letter stays, and may have been replayed",
                ));
            }
        }
        self.log.remove(id.0).await.map(|_| true)
    }

    async fn remove(&self, id: LetterId) -> Result<bool> {
        self.log.remove(id.0).await
    }
}

fn encode(letter: &NewLetter<'_>) -> Bytes {
    let mut bytes = BytesMut::with_capacity(128 + letter.frame.len() + letter.reason.len());
    let micros = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    bytes.put_u32(letter.attempts);
    bytes.put_u64(micros(letter.first));
    bytes.put_u64(micros(letter.last));
    bytes.put_u8(letter.parks.is_some().into());
    bytes.put_u64(letter.parks.unwrap_or(0));
    let texts = [letter.consumer, letter.handler, letter.node, letter.reason].map(str::as_bytes);
    for part in texts.into_iter().chain([letter.frame]) {
        // The server's largest message is far below 4 GiB.
        bytes.put_u32(part.len() as u32);
        bytes.put_slice(part);
    }
    bytes.freeze()
}

fn decode(message: &StreamMessage) -> Option<Letter> {
    let mut bytes = message.payload.clone();
    if bytes.len() < 29 {
        return None;
    }
    let time = |micros| UNIX_EPOCH + Duration::from_micros(micros);
    let (attempts, first, last) = (bytes.get_u32(), time(bytes.get_u64()), time(bytes.get_u64()));
    let (parked, key) = (bytes.get_u8() != 0, bytes.get_u64());
    let mut part = || {
        let length = if bytes.len() >= 4 { bytes.get_u32() as usize } else { return None };
        (length <= bytes.len()).then(|| bytes.split_to(length))
    };
    let mut text = || Str::from_shared(part()?).ok();
    let (consumer, handler, node, reason) = (text()?, text()?, text()?, text()?);
    let frame = part()?;
    let parks = parked.then_some(key);
    let id = LetterId(message.sequence);
    Some(Letter { id, consumer, handler, frame, reason: reason.to_string(), attempts, node, first, last, parks })
}
