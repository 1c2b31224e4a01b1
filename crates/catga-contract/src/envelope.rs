//! The frame: one message as bytes, as `docs/frame.md` specifies it.
//!
//! Long because writer, reader and the vectors that hold them to the specification stand side by side.

use crate::{Error, ErrorKind, Key, MessageId, Result, Str};
use bytes::{Buf, Bytes};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A message as bytes with what the road must know. It is equal on every delivery; attempts are the delivery's.
///
/// ```
/// use catga_contract::{Envelope, MessageId, Str};
/// use bytes::Bytes;
///
/// let name = Str::from_static("orders.placed");
/// let message = Envelope::new(MessageId::new(), name, Str::from_static("json"), Bytes::from_static(b"{}"));
/// let frame = Bytes::from(message.encode()?);
/// let again = Envelope::decode(&frame)?;
/// assert_eq!(again, message);
/// assert_eq!(again.payload.as_ptr_range().end, frame.as_ptr_range().end); // shares the frame
/// # Ok::<(), catga_contract::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Envelope {
    /// Who this message is.
    pub id: MessageId,
    /// The conversation: the id of the message that began it. This message's own id where it begins one.
    pub correlation: MessageId,
    /// The message that was being handled when this one was published; [`MessageId::NIL`] where there was none.
    pub causation: MessageId,
    /// The message's name, 1 to 255 bytes.
    pub name: Str,
    /// The codec of the payload, 1 to 255 bytes.
    pub codec: Str,
    /// The version of the contract.
    pub version: u16,
    /// The partition key, at most 255 bytes.
    pub key: Option<Key>,
    /// When the answer is of no more use, in microseconds since 1970.
    pub deadline: Option<SystemTime>,
    /// W3C trace context, as it stands on the wire.
    pub trace: Option<[u8; 55]>,
    /// Everything else, undecoded until somebody asks.
    pub headers: Headers,
    /// The message itself, in `codec`.
    pub payload: Bytes,
}

const MAGIC: [u8; 2] = [0xCA, 0x7A];
const VERSION: u8 = 1;
/// Magic, version, flags, checksum, id, message version, two lengths.
const FIXED: usize = 28;
const TEXT_MAX: usize = 255;

mod flag {
    pub(super) const KEY: u8 = 1;
    pub(super) const DEADLINE: u8 = 2;
    pub(super) const TRACE: u8 = 4;
    pub(super) const HEADERS: u8 = 8;
    pub(super) const CORRELATION: u8 = 16;
    pub(super) const CAUSATION: u8 = 32;
    pub(super) const KNOWN: u8 = 63;
}

impl Envelope {
    /// An envelope of contract version 1 that begins a conversation and has nothing optional.
    pub fn new(id: MessageId, name: Str, codec: Str, payload: Bytes) -> Self {
        Self {
            id,
            correlation: id,
            causation: MessageId::NIL,
            name,
            codec,
            version: 1,
            key: None,
            deadline: None,
            trace: None,
            headers: Headers::default(),
            payload,
        }
    }

    /// The frame of this message.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] where a field is longer than its bound; the text names the field and both lengths.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut frame = Vec::with_capacity(FIXED + 160 + self.headers.0.len() + self.payload.len());
        self.encode_with(&mut frame, |out| {
            out.extend_from_slice(&self.payload);
            Ok(())
        })?;
        Ok(frame)
    }

    /// Appends the frame of this message to `out` with what `payload` writes in place of [`payload`](Self::payload),
    /// so that a value is encoded straight into its frame. Where anything fails `out` is as it was.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode), and what `payload` answers.
    pub fn encode_with(&self, out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        let start = out.len();
        let written = self.head(out).and_then(|()| payload(out));
        if written.is_err() {
            out.truncate(start);
            return written;
        }
        let sum = checksum(&out[start..]);
        out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
        Ok(())
    }

    fn head(&self, out: &mut Vec<u8>) -> Result<()> {
        let (name, codec) = (self.bounded("name", &self.name)?, self.bounded("codec", &self.codec)?);
        let mut flags = 0;
        let mut set = |bit, present: bool| flags |= if present { bit } else { 0 };
        set(flag::KEY, self.key.is_some());
        set(flag::DEADLINE, self.deadline.is_some());
        set(flag::TRACE, self.trace.is_some());
        set(flag::HEADERS, !self.headers.0.is_empty());
        set(flag::CORRELATION, self.correlation != self.id);
        set(flag::CAUSATION, self.causation != MessageId::NIL);

        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, flags]);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.id.to_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&[name, codec]);
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(self.codec.as_bytes());
        if let Some(key) = &self.key {
            let bytes = key.as_bytes();
            let length = u8::try_from(bytes.len())
                .map_err(|_| self.refuse(format!("a key of {} bytes; at most {}", bytes.len(), Key::MAX)))?;
            out.push(length);
            out.extend_from_slice(bytes);
        }
        if let Some(deadline) = self.deadline {
            out.extend_from_slice(&micros(deadline).to_le_bytes());
        }
        if let Some(trace) = &self.trace {
            out.extend_from_slice(trace);
        }
        if flags & flag::HEADERS != 0 {
            let length = self.headers.0.len();
            if length > Headers::MAX {
                return Err(self.refuse(format!("{length} bytes of headers; at most {}", Headers::MAX)));
            }
            // The bound above fits in 32 bits.
            out.extend_from_slice(&(length as u32).to_le_bytes());
            out.extend_from_slice(&self.headers.0);
        }
        if flags & flag::CORRELATION != 0 {
            out.extend_from_slice(&self.correlation.to_bytes());
        }
        if flags & flag::CAUSATION != 0 {
            out.extend_from_slice(&self.causation.to_bytes());
        }
        Ok(())
    }

    fn bounded(&self, what: &str, text: &str) -> Result<u8> {
        match u8::try_from(text.len()) {
            Ok(length) if length > 0 => Ok(length),
            _ => Err(self.refuse(format!("a {what} of {} bytes; 1 to {TEXT_MAX}", text.len()))),
        }
    }

    fn refuse(&self, text: String) -> Error {
        Error::new(ErrorKind::Invalid, format!("message {} `{}` has {text}", self.id, self.name))
    }

    /// Reads a frame. Every field shares its bytes; nothing is allocated.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] where the bytes are no frame, are cut or damaged, or are of a newer version.
    pub fn decode(frame: &Bytes) -> Result<Self> {
        if frame.len() < FIXED || frame[..2] != MAGIC {
            return Err(damaged(format!("{} bytes that do not begin like a frame", frame.len())));
        }
        let (version, flags) = (frame[2], frame[3]);
        if version != VERSION || flags & !flag::KNOWN != 0 {
            let text = format!(
                "frame version {version} with flags {flags:#04x} is newer than this program, which reads version {VERSION}"
            );
            return Err(damaged(text));
        }
        let (stated, found) = (u32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]]), checksum(frame));
        if stated != found {
            return Err(damaged(format!("checksum {found:#010x} where the frame says {stated:#010x}")));
        }
        let mut rest = frame.slice(8..);
        let id = MessageId(rest.get_u128());
        let contract = rest.get_u16_le();
        let (name, codec) = (usize::from(rest.get_u8()), usize::from(rest.get_u8()));
        let name = text(&mut rest, name, "name")?;
        let codec = text(&mut rest, codec, "codec")?;
        let has = |bit| flags & bit != 0;
        let key = match has(flag::KEY) {
            true => {
                let length = usize::from(take(&mut rest, 1, "key length")?[0]);
                Some(Key::new(take(&mut rest, length, "key")?))
            }
            false => None,
        };
        let deadline = match has(flag::DEADLINE) {
            true => Some(time(take(&mut rest, 8, "deadline")?.get_i64_le())?),
            false => None,
        };
        let trace = match has(flag::TRACE) {
            true => {
                let mut trace = [0; 55];
                trace.copy_from_slice(&take(&mut rest, 55, "trace")?);
                Some(trace)
            }
            false => None,
        };
        let headers = match has(flag::HEADERS) {
            true => {
                let length = take(&mut rest, 4, "headers length")?.get_u32_le() as usize;
                if length > Headers::MAX {
                    return Err(damaged(format!("{length} bytes of headers; at most {}", Headers::MAX)));
                }
                Headers::from_bytes(take(&mut rest, length, "headers")?)?
            }
            false => Headers::default(),
        };
        let correlation = match has(flag::CORRELATION) {
            true => MessageId(take(&mut rest, 16, "correlation")?.get_u128()),
            false => id,
        };
        let causation = match has(flag::CAUSATION) {
            true => MessageId(take(&mut rest, 16, "causation")?.get_u128()),
            false => MessageId::NIL,
        };
        let payload = rest;
        Ok(Self { id, correlation, causation, name, codec, version: contract, key, deadline, trace, headers, payload })
    }
}

/// CRC-32C over the frame without the four bytes that hold it.
fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[8..])
}

fn take(rest: &mut Bytes, length: usize, what: &str) -> Result<Bytes> {
    if rest.len() < length {
        return Err(damaged(format!("a frame that ends in its {what}: {length} bytes wanted, {} left", rest.len())));
    }
    Ok(rest.split_to(length))
}

fn text(rest: &mut Bytes, length: usize, what: &str) -> Result<Str> {
    if length == 0 {
        return Err(damaged(format!("an empty {what}")));
    }
    Str::from_shared(take(rest, length, what)?).map_err(|cause| damaged(format!("a {what} that is no UTF-8: {cause}")))
}

fn damaged(text: String) -> Error {
    Error::new(ErrorKind::Codec, format!("unreadable message: {text}"))
}

/// Microseconds since 1970; times out of range end at its ends.
fn micros(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    }
}

fn time(micros: i64) -> Result<SystemTime> {
    let distance = Duration::from_micros(micros.unsigned_abs());
    let time = if micros < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.ok_or_else(|| damaged(format!("a deadline of {micros} µs, which this system cannot express")))
}

/// Raw header bytes with an iterator; none cost nothing. Together at most 64 KiB.
///
/// ```
/// use catga_contract::Headers;
///
/// let mut headers = Headers::default();
/// headers.push("tenant", b"acme")?;
/// assert_eq!(headers.get("tenant"), Some(&b"acme"[..]));
/// assert_eq!(headers.iter().count(), 1);
/// # Ok::<(), catga_contract::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Bytes);

impl Headers {
    /// The largest size of all headers together, in bytes: 64 KiB.
    pub const MAX: usize = 64 * 1024;

    /// Adds a header; one of the same name stays beside it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] where the name is not of 1 to 255 bytes, the value longer than 65,535 bytes, or all
    /// together longer than [`MAX`](Self::MAX).
    pub fn push(&mut self, name: &str, value: &[u8]) -> Result<()> {
        let refuse = |text: String| Error::new(ErrorKind::Invalid, format!("header `{name}`: {text}"));
        let short = u8::try_from(name.len()).ok().filter(|length| *length > 0);
        let short = short.ok_or_else(|| refuse(format!("a name of {} bytes; 1 to 255", name.len())))?;
        let long = u16::try_from(value.len()).map_err(|_| refuse(format!("{} bytes; at most 65535", value.len())))?;
        let total = self.0.len() + 3 + name.len() + value.len();
        if total > Self::MAX {
            return Err(refuse(format!("{total} bytes of headers with it; at most {}", Self::MAX)));
        }
        let mut all = Vec::with_capacity(total);
        all.extend_from_slice(&self.0);
        all.push(short);
        all.extend_from_slice(name.as_bytes());
        all.extend_from_slice(&long.to_le_bytes());
        all.extend_from_slice(value);
        self.0 = all.into();
        Ok(())
    }

    /// The first value of that name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// All headers in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (name, value, tail) = split_header(rest)?;
            rest = tail;
            Some((name, value))
        })
    }

    /// Checks that the bytes are whole headers, so that the iterator never meets anything else.
    fn from_bytes(bytes: Bytes) -> Result<Self> {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (_, _, tail) = split_header(rest).ok_or_else(|| damaged("damaged headers".into()))?;
            rest = tail;
        }
        Ok(Self(bytes))
    }
}

fn split_header(bytes: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty())?;
    Some((name, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn full() -> Envelope {
        let mut headers = Headers::default();
        headers.push("tenant", b"acme").unwrap();
        headers.push("empty", b"").unwrap();
        Envelope {
            correlation: MessageId(7),
            causation: MessageId(8),
            version: 3,
            key: Some(Key::new("c-17")),
            deadline: Some(UNIX_EPOCH + Duration::from_micros(1_234_567)),
            trace: Some([b'a'; 55]),
            headers,
            ..Envelope::new(MessageId(9), "orders.placed".into(), "json".into(), Bytes::from_static(b"{\"id\":1}"))
        }
    }

    // The vectors of docs/frame.md: a change here is a change of the format.
    #[test]
    fn frames_are_those_of_the_specification() {
        let small = Envelope::new(MessageId(1), "a".into(), "json".into(), Bytes::from_static(b"1"));
        assert_eq!(
            hex(&small.encode().unwrap()),
            "ca7a01007eee45970000000000000000000000000000000101000104616a736f6e31"
        );
        let expected = "ca7a013f91b728190000000000000000000000000000000903000d046f72646572732e706c616365646a736f6e04632d313787d612000000000061616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161150000000674656e616e74040061636d6505656d707479000000000000000000000000000000000007000000000000000000000000000000087b226964223a317d";
        assert_eq!(hex(&full().encode().unwrap()), expected);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_field_beyond_its_bound_is_refused_and_leaves_nothing_behind() {
        let mut out = b"before".to_vec();
        let long = Envelope { key: Some(Key::new(vec![0; 256])), ..full() };
        let error = long.encode_with(&mut out, |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("a key of 256 bytes; at most 255"), "{error}");
        assert_eq!(out, b"before");
        let nameless = Envelope { name: Str::default(), ..full() };
        assert_eq!(nameless.encode().unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_found() {
        let frame = full().encode().unwrap();
        for length in 0..frame.len() {
            let cut = Bytes::copy_from_slice(&frame[..length]);
            assert_eq!(Envelope::decode(&cut).unwrap_err().kind(), ErrorKind::Codec, "cut at {length}");
        }
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Envelope::decode(&damaged.into()).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn decoding_never_panics(mut bytes: Vec<u8>, mend: bool) {
            // With the right magic and checksum the parser behind them is reached, too.
            if mend && bytes.len() >= FIXED {
                bytes[..3].copy_from_slice(&[MAGIC[0], MAGIC[1], VERSION]);
                let sum = checksum(&bytes);
                bytes[4..8].copy_from_slice(&sum.to_le_bytes());
            }
            if let Ok(envelope) = Envelope::decode(&Bytes::from(bytes)) {
                let again = Envelope::decode(&envelope.encode().unwrap().into()).unwrap();
                prop_assert_eq!(again, envelope);
            }
        }

        #[test]
        fn what_is_written_is_read(name in "[a-z.]{1,255}", key in proptest::option::of(proptest::collection::vec(0_u8.., 0..256)),
            correlation: u128, causation: u128, version: u16, deadline in proptest::option::of(0_u64..1 << 52), payload: Vec<u8>) {
            let envelope = Envelope {
                correlation: MessageId(correlation), causation: MessageId(causation), version, key: key.map(Key::new),
                deadline: deadline.map(|micros| UNIX_EPOCH + Duration::from_micros(micros)),
                ..Envelope::new(MessageId(5), name.as_str().into(), "json".into(), payload.into())
            };
            let frame = Bytes::from(envelope.encode().unwrap());
            prop_assert_eq!(Envelope::decode(&frame).unwrap(), envelope);
        }
    }
}
