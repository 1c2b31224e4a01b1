//! What .NET Catga puts on the wire of NATS, and reads from it.

use async_nats::HeaderMap;
use bytes::Bytes;
use catga_contract::{Envelope, Error, ErrorKind, MessageId, Str};
use std::{
    collections::HashMap,
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const MESSAGE_ID: &str = "MessageId";
const MESSAGE_TYPE: &str = "MessageType";
const SENT_AT: &str = "SentAt";
const QOS: &str = "QoS";
const CORRELATION_ID: &str = "CorrelationId";
const TRACE_PARENT: &str = "traceparent";
const TRACE_STATE: &str = "tracestate";
const BAGGAGE: &str = "baggage";
/// The whole id, where it is no Snowflake; .NET passes it over.
const WHOLE_ID: &str = "Catga-Id";
const CODEC: &str = "memorypack";

/// A message as .NET Catga sends it: the payload is the message's own, and headers say the rest.
///
/// ```
/// use catga_nats::DotnetMessage;
///
/// let mut message = DotnetMessage::new("catga.OrderPlaced", "Shop.OrderPlaced", bytes::Bytes::new());
/// message.message_id = Some(7_000_000_000_001);
/// message.sent_at = "2026-01-17T07:06:11.1234567Z".into();
/// assert!(message.header_block().starts_with("NATS/1.0\r\nMessageId: 7000000000001\r\nMessageType: Shop.OrderPlaced\r\n"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DotnetMessage {
    /// Where it goes: `{prefix}.{short type name}`.
    pub subject: String,
    /// The id of the transport's context; .NET leaves the header empty where there is none.
    pub message_id: Option<i64>,
    /// The full name of the type.
    pub message_type: String,
    /// When it was sent, in .NET's round-trip form.
    pub sent_at: String,
    /// 0, 1 or 2. From 1 on it is published to the stream, with its id as `Nats-Msg-Id`.
    pub qos: u8,
    /// The correlation id of the transport's context.
    pub correlation_id: Option<i64>,
    /// W3C trace context.
    pub trace_parent: Option<String>,
    /// W3C trace state.
    pub trace_state: Option<String>,
    /// W3C baggage, which only an application sends that traces its NATS client.
    pub baggage: Option<String>,
    /// The message in MemoryPack.
    pub payload: Bytes,
}

impl DotnetMessage {
    /// A message of quality 0, sent now, without an id.
    pub fn new(subject: impl Into<String>, message_type: impl Into<String>, payload: Bytes) -> Self {
        Self {
            subject: subject.into(),
            message_id: None,
            message_type: message_type.into(),
            sent_at: round_trip(SystemTime::now()),
            qos: 0,
            correlation_id: None,
            trace_parent: None,
            trace_state: None,
            baggage: None,
            payload,
        }
    }

    /// The headers, in .NET's order.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let text = |id: Option<i64>| id.map(|id| id.to_string());
        let mut headers = vec![
            (MESSAGE_ID, text(self.message_id).unwrap_or_default()),
            (MESSAGE_TYPE, self.message_type.clone()),
            (SENT_AT, self.sent_at.clone()),
            (QOS, self.qos.to_string()),
        ];
        let transport_id = text(self.message_id).filter(|_| self.qos > 0);
        let optional = [
            (CORRELATION_ID, text(self.correlation_id)),
            (TRACE_PARENT, self.trace_parent.clone()),
            (TRACE_STATE, self.trace_state.clone()),
            ("Nats-Msg-Id", transport_id),
            (BAGGAGE, self.baggage.clone()),
        ];
        headers.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        headers
    }

    /// The headers as they stand on the wire. async-nats keeps its headers in a map, so that ours leave in any order,
    /// which no receiver minds.
    pub fn header_block(&self) -> String {
        let mut block = String::from("NATS/1.0\r\n");
        for (name, value) in self.headers() {
            block.push_str(name);
            block.push_str(": ");
            block.push_str(&value);
            block.push_str("\r\n");
        }
        block.push_str("\r\n");
        block
    }

    /// Reads a message. No header is needed, as .NET needs none; names are those of .NET in any case.
    pub fn read(subject: &str, headers: Option<&HeaderMap>, payload: Bytes) -> Self {
        let find = |wanted: &str| -> Option<String> {
            let (_, values) =
                headers?.iter().find(|(name, _)| AsRef::<str>::as_ref(*name).eq_ignore_ascii_case(wanted))?;
            Some(values.last()?.as_str().to_owned())
        };
        let number = |wanted| find(wanted).and_then(|text| text.parse().ok());
        Self {
            subject: subject.to_owned(),
            message_id: number(MESSAGE_ID),
            message_type: find(MESSAGE_TYPE).unwrap_or_default(),
            sent_at: find(SENT_AT).unwrap_or_default(),
            qos: find(QOS).and_then(|text| text.parse().ok()).unwrap_or(0),
            correlation_id: number(CORRELATION_ID),
            trace_parent: find(TRACE_PARENT),
            trace_state: find(TRACE_STATE),
            baggage: find(BAGGAGE),
            payload,
        }
    }
}

/// How this program speaks with .NET Catga: raw MemoryPack in the payload, .NET's headers and subjects. Messages go out
/// with quality 1 and a trace context, without which .NET counts them to the trace of the message before.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dotnet {
    /// The prefix of subjects. Default: `catga`.
    pub prefix: String,
    /// Our names to .NET's full names, and its short names back.
    full: HashMap<String, String>,
    ours: HashMap<String, String>,
}

impl Default for Dotnet {
    fn default() -> Self {
        Self { prefix: "catga".into(), full: HashMap::new(), ours: HashMap::new() }
    }
}

impl Dotnet {
    /// Our message `name` is .NET's type `full`, such as `Shop.OrderPlaced`. One that is not named here goes by its own
    /// name, as both.
    #[must_use]
    pub fn message(mut self, name: &str, full: &str) -> Self {
        self.ours.insert(short(full).to_owned(), name.to_owned());
        self.full.insert(name.to_owned(), full.to_owned());
        self
    }

    /// The subject for our subject `{prefix}.{name}`.
    pub(crate) fn subject(&self, subject: &str) -> String {
        let name = subject.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('.'));
        match name.and_then(|name| self.full.get(name)) {
            Some(full) => format!("{}.{}", self.prefix, short(full)),
            None => subject.to_owned(),
        }
    }

    /// The message of an envelope, with headers of our own that .NET passes over.
    pub(crate) fn write(&self, subject: &str, envelope: &Envelope) -> (DotnetMessage, Vec<(&'static str, String)>) {
        let full = self.full.get(&*envelope.name).map_or(&*envelope.name, String::as_str);
        let mut message = DotnetMessage::new(self.subject(subject), full, envelope.payload.clone());
        message.qos = 1;
        message.message_id = Some(low(envelope.id));
        message.correlation_id = Some(low(envelope.correlation)).filter(|_| envelope.correlation != envelope.id);
        let trace = envelope.trace.as_ref().and_then(|trace| std::str::from_utf8(trace).ok()).map(str::to_owned);
        message.trace_parent = Some(trace.unwrap_or_else(|| fresh_trace(envelope.id)));
        let whole = (envelope.id.0 >> 64 != 0).then(|| (WHOLE_ID, envelope.id.to_string()));
        (message, whole.into_iter().collect())
    }

    /// The envelope of a message; `otherwise` is its id where it says none.
    pub(crate) fn read(&self, message: &DotnetMessage, headers: Option<&HeaderMap>, otherwise: MessageId) -> Envelope {
        let tail = message.subject.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('.'));
        let tail = tail.unwrap_or(&message.subject);
        let name = self.ours.get(tail).map_or(tail, String::as_str);
        let whole = headers.and_then(|headers| headers.get(WHOLE_ID)).and_then(|id| id.as_str().parse().ok());
        let id = whole.or(message.message_id.map(widen)).unwrap_or(otherwise);
        let mut envelope = Envelope::new(id, Str::from(name), Str::from_static(CODEC), message.payload.clone());
        envelope.correlation = message.correlation_id.map_or(id, widen);
        envelope.trace = message.trace_parent.as_ref().and_then(|trace| trace.as_bytes().try_into().ok());
        envelope
    }
}

/// .NET's short name of a type: without namespace and without the type around it.
fn short(full: &str) -> &str {
    full.rsplit(['.', '+']).next().unwrap_or(full)
}

/// The id as .NET shows it: a Snowflake as it is, of any other id the low 63 bits.
fn low(id: MessageId) -> i64 {
    if id.0 >> 64 == 0 { id.0 as u64 as i64 } else { (id.0 as u64 & i64::MAX as u64) as i64 }
}

fn widen(id: i64) -> MessageId {
    MessageId(u128::from(id as u64))
}

/// A trace of its own for a message that belongs to none: .NET would count it to the message before it.
fn fresh_trace(id: MessageId) -> String {
    format!("00-{:032x}-{:016x}-00", id.0.max(1), (id.0 as u64).max(1))
}

/// A time in .NET's round-trip form, UTC, with seven digits.
fn round_trip(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, rest) = ((since.as_secs() / 86_400) as i64, since.as_secs() % 86_400);
    // Howard Hinnant's civil-from-days, on years that begin in March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let mut text = format!("{year:04}-{month:02}-{day:02}T");
    // Writing to a `String` cannot fail.
    let _ =
        write!(text, "{:02}:{:02}:{:02}.{:07}Z", rest / 3_600, rest / 60 % 60, rest % 60, since.subsec_nanos() / 100);
    text
}

/// Makes ids as .NET Catga does: 44 bits of milliseconds since 2024, 8 bits of worker, 11 bits of sequence. Each process
/// that makes ids for the same messages needs a worker number of its own.
///
/// ```
/// let ids = catga_nats::Snowflake::new(7);
/// let (first, second) = (ids.next_id(), ids.next_id());
/// assert!(first < second && second.0 < 1 << 63);
/// ```
#[derive(Debug)]
pub struct Snowflake {
    worker: u64,
    /// Milliseconds and sequence of the last id.
    last: AtomicU64,
}

/// 2024-01-01, in milliseconds since 1970.
const EPOCH: u64 = 1_704_067_200_000;
const SEQUENCE: u64 = 1 << 11;

impl Snowflake {
    /// Of this worker, 0 to 255.
    pub fn new(worker: u8) -> Self {
        Self { worker: worker.into(), last: AtomicU64::new(0) }
    }

    /// A fresh id, larger than all before it. Beyond 2,048 in a millisecond it borrows from the next one.
    pub fn next_id(&self) -> MessageId {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64;
        let fresh = now.saturating_sub(EPOCH) * SEQUENCE;
        let next = |last: u64| Some(fresh.max(last + 1));
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or(fresh);
        let this = fresh.max(last + 1);
        let (millis, sequence) = (this / SEQUENCE, this % SEQUENCE);
        MessageId(u128::from(millis << 19 | self.worker << 11 | sequence))
    }
}

/// Why an envelope cannot be shown to .NET.
pub(crate) fn refuse(envelope: &Envelope) -> Option<Error> {
    (envelope.codec != CODEC).then(|| {
        let text = format!("`{}` is in codec `{}`; .NET reads `{CODEC}`", envelope.name, envelope.codec);
        Error::new(ErrorKind::Unsupported, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_dotnets_form() {
        let time = UNIX_EPOCH + Duration::new(1_768_633_571, 123_456_789);
        assert_eq!(round_trip(time), "2026-01-17T07:06:11.1234567Z");
        assert_eq!(round_trip(UNIX_EPOCH + Duration::from_secs(951_782_400)), "2000-02-29T00:00:00.0000000Z");
    }

    #[test]
    fn snowflakes_are_laid_out_as_in_dotnet() {
        let id = Snowflake::new(9).next_id().0 as u64;
        let millis = (id >> 19) + EPOCH;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        assert!(now.abs_diff(millis) < 1_000 && id >> 11 & 0xFF == 9, "{id}");
        // One that .NET made at 2026-11-24T08:17:56.350Z.
        assert_eq!((47_941_459_037_788_160_u64 >> 19) + EPOCH, 1_795_508_276_350);
    }

    #[test]
    fn names_go_there_and_back() {
        let dotnet = Dotnet::default().message("orders.placed", "Shop.Outer+OrderPlaced");
        assert_eq!(dotnet.subject("catga.orders.placed"), "catga.OrderPlaced");
        assert_eq!(dotnet.subject("catga.StockLow"), "catga.StockLow");
        let envelope = Envelope::new(MessageId::new(), "orders.placed".into(), CODEC.into(), Bytes::from_static(b"x"));
        let (message, extra) = dotnet.write("catga.orders.placed", &envelope);
        let headers: HeaderMap = message
            .headers()
            .into_iter()
            .chain(extra)
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let read = DotnetMessage::read(&message.subject, Some(&headers), message.payload.clone());
        assert_eq!(read, message);
        let again = dotnet.read(&read, Some(&headers), MessageId::NIL);
        assert_eq!((again.id, &*again.name, &*again.codec), (envelope.id, "orders.placed", CODEC));
    }
}
