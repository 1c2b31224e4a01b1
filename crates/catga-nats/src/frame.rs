//! How a message stands in a message of NATS.

use crate::{
    Dotnet, DotnetMessage, TransportOptions, dotnet,
    names::{escape, unescape},
};
use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use catga_contract::{Envelope, Error, ErrorKind, Key, MessageId, Parcel, Result, Str};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The consumer that a replay is for; reserved.
pub(crate) const TO: &str = "Catga-To";
const ID: &str = "Catga-Id";
const NAME: &str = "Catga-Name";
const CODEC: &str = "Catga-Codec";
const VERSION: &str = "Catga-Version";
const CORRELATION: &str = "Catga-Correlation";
const CAUSATION: &str = "Catga-Causation";
const KEY: &str = "Catga-Key";
const DEADLINE: &str = "Catga-Deadline";
const HEADER: &str = "Catga-Header";
const TRACE: &str = "traceparent";
/// A server takes 64 KiB of headers; an envelope with more goes inline.
const HEADERS_MAX: usize = 60 * 1_024;

/// Where a message's envelope goes. Readers understand every framing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// The payload is the frame, envelope included: the cheapest, and byte for byte what was published.
    #[default]
    Inline,
    /// The payload is the message's own, the envelope stands in headers that any tool of NATS shows: about three times
    /// the cost. An envelope with more than 60 KiB of headers goes inline, because a server takes no more than 64.
    Headers,
}

/// Payload and headers of a parcel, without its `Nats-Msg-Id`.
pub(crate) fn write(parcel: &Parcel, framing: Framing) -> (Bytes, HeaderMap) {
    let mut headers = replay(parcel);
    // What is no frame travels as it is: whoever receives it buries it with its bytes.
    let envelope = match framing {
        Framing::Inline => None,
        Framing::Headers => Envelope::decode(&parcel.frame).ok(),
    };
    let Some(envelope) = envelope else { return (parcel.frame.clone(), headers) };
    headers.insert(ID, envelope.id.to_string());
    headers.insert(NAME, escape(envelope.name.as_bytes()));
    headers.insert(CODEC, escape(envelope.codec.as_bytes()));
    headers.insert(VERSION, envelope.version.to_string());
    if envelope.correlation != envelope.id {
        headers.insert(CORRELATION, envelope.correlation.to_string());
    }
    if envelope.causation != MessageId::NIL {
        headers.insert(CAUSATION, envelope.causation.to_string());
    }
    if let Some(key) = &envelope.key {
        headers.insert(KEY, escape(key.as_bytes()));
    }
    if let Some(deadline) = envelope.deadline {
        headers.insert(DEADLINE, micros(deadline).to_string());
    }
    if let Some(trace) = &envelope.trace {
        headers.insert(TRACE, escape(trace));
    }
    for (name, value) in envelope.headers.iter() {
        headers.append(HEADER, format!("{}={}", escape(name.as_bytes()), escape(value)));
    }
    let size: usize = headers.iter().flat_map(|(_, values)| values).map(|value| value.as_str().len() + 32).sum();
    if size > HEADERS_MAX {
        return (parcel.frame.clone(), replay(parcel));
    }
    (envelope.payload, headers)
}

fn replay(parcel: &Parcel) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(to) = &parcel.to {
        headers.insert(TO, to.as_str());
    }
    headers
}

/// Where a parcel goes, if not to its subject, and what it is there.
pub(crate) fn address(parcel: &Parcel, options: &TransportOptions) -> Result<(Option<String>, Bytes, HeaderMap)> {
    let Some(dotnet) = &options.dotnet else {
        let (payload, headers) = write(parcel, options.framing);
        return Ok((None, payload, headers));
    };
    let envelope = Envelope::decode(&parcel.frame)?;
    if let Some(error) = dotnet::refuse(&envelope) {
        return Err(error);
    }
    let (message, extra) = dotnet.write(&parcel.subject, &envelope);
    let mut headers = HeaderMap::new();
    message.headers().into_iter().chain(extra).for_each(|(name, value)| headers.insert(name, value));
    if envelope.id.0 >> 64 != 0 {
        // Of an id that is no Snowflake .NET sees a part; the server keeps apart by the whole.
        headers.insert("Nats-Msg-Id", envelope.id.to_string());
    }
    if let Some(to) = &parcel.to {
        headers.insert(TO, to.as_str());
    }
    Ok((Some(message.subject), message.payload, headers))
}

/// The frame of a message that came; `otherwise` is the id of one that says none.
pub(crate) fn read(message: &Message, dotnet: Option<&Dotnet>, otherwise: MessageId) -> Bytes {
    if let Some(dotnet) = dotnet {
        let headers = message.headers.as_ref();
        let read = DotnetMessage::read(&message.subject, headers, message.payload.clone());
        return dotnet.read(&read, headers, otherwise).encode().map_or_else(|_| message.payload.clone(), Bytes::from);
    }
    let Some(headers) = message.headers.as_ref().filter(|headers| headers.get(ID).is_some()) else {
        return message.payload.clone();
    };
    match envelope(headers, &message.payload).and_then(|envelope| envelope.encode()) {
        Ok(frame) => frame.into(),
        Err(error) => {
            tracing::warn!(subject = %message.subject, %error, "headers that are no envelope; the payload is taken as the frame");
            message.payload.clone()
        }
    }
}

/// The consumer that a message is for, where it is a replay.
pub(crate) fn to(message: &Message) -> Option<&str> {
    Some(message.headers.as_ref()?.get(TO)?.as_str())
}

fn envelope(headers: &HeaderMap, payload: &Bytes) -> Result<Envelope> {
    let text = |name| headers.get(name).map(|value: &async_nats::HeaderValue| value.as_str());
    let wanted = |name| text(name).ok_or_else(|| broken(name));
    let string = |name| -> Result<Str> {
        let bytes = unescape(wanted(name)?).ok_or_else(|| broken(name))?;
        Ok(String::from_utf8(bytes).map_err(|_| broken(name))?.into())
    };
    let id: MessageId = wanted(ID)?.parse()?;
    let mut envelope = Envelope::new(id, string(NAME)?, string(CODEC)?, payload.clone());
    envelope.version = wanted(VERSION)?.parse().map_err(|_| broken(VERSION))?;
    if let Some(correlation) = text(CORRELATION) {
        envelope.correlation = correlation.parse()?;
    }
    if let Some(causation) = text(CAUSATION) {
        envelope.causation = causation.parse()?;
    }
    if let Some(key) = text(KEY) {
        envelope.key = Some(Key::new(unescape(key).ok_or_else(|| broken(KEY))?));
    }
    if let Some(deadline) = text(DEADLINE) {
        envelope.deadline = Some(time(deadline.parse().map_err(|_| broken(DEADLINE))?)?);
    }
    if let Some(trace) = text(TRACE) {
        let bytes = unescape(trace).ok_or_else(|| broken(TRACE))?;
        // A trace context of another length is of a version that we do not know: the message is none the worse.
        envelope.trace = bytes.try_into().ok();
    }
    for header in headers.get_all(HEADER) {
        let (name, value) = header.as_str().split_once('=').ok_or_else(|| broken(HEADER))?;
        let name = unescape(name).and_then(|name| String::from_utf8(name).ok()).ok_or_else(|| broken(HEADER))?;
        envelope.headers.push(&name, &unescape(value).ok_or_else(|| broken(HEADER))?)?;
    }
    Ok(envelope)
}

fn broken(header: &str) -> Error {
    Error::new(ErrorKind::Codec, format!("header `{header}` is missing or broken"))
}

fn micros(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    }
}

fn time(micros: i64) -> Result<SystemTime> {
    let distance = Duration::from_micros(micros.unsigned_abs());
    let time = if micros < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.ok_or_else(|| broken(DEADLINE))
}
