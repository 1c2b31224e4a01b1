//! `wire`: a message's bytes taken apart, read, and made.

use crate::TypeRegistry;
use bytes::Bytes;
use catga_contract::{Envelope, Error, ErrorKind, Key, MessageId, Result};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    io::{self, Read, Write},
    ops::Range,
    path::PathBuf,
    process::ExitCode,
    time::UNIX_EPOCH,
};

/// A message's bytes taken apart, read, and made: the verb `wire` of the `catga` program and of an application's own
/// binary, which knows its messages' types.
#[derive(Debug, Subcommand)]
pub enum Wire {
    /// Say which bytes of a frame are which field
    Explain(Source),
    /// Print a frame's message as JSON, its payload included where it can be read
    Decode(Source),
    /// Print the frame, in hex, of a message that is given as JSON
    Encode {
        /// The message's name
        name: String,
        /// What it says, as JSON; `-` reads it from standard input
        json: String,
        /// Its partition key
        #[arg(long)]
        key: Option<String>,
    },
}

/// Where a frame comes from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Source {
    /// The frame in hexadecimal digits; spaces between them do not matter
    #[arg(long)]
    hex: Option<String>,
    /// The file that has its bytes; `-` is standard input
    file: Option<PathBuf>,
}

impl Wire {
    /// Does what the verb asks for; answers the exit code: 0 done, 1 the bytes are no frame or nobody knows the message,
    /// 2 input or output.
    pub fn run(&self, types: &TypeRegistry, out: &mut impl Write) -> ExitCode {
        let (code, error) = match self.text(types) {
            Ok(text) => match out.write_all(text.as_bytes()) {
                Ok(()) => return ExitCode::SUCCESS,
                Err(error) => (2, Error::from(error)),
            },
            Err((code, error)) => (code, error),
        };
        eprintln!("wire: {error:#}");
        ExitCode::from(code)
    }

    fn text(&self, types: &TypeRegistry) -> std::result::Result<String, (u8, Error)> {
        let found = |error| (1, error);
        match self {
            Self::Explain(source) => explain(&source.frame().map_err(|error| (2, error))?, types).map_err(found),
            Self::Decode(source) => decode(&source.frame().map_err(|error| (2, error))?, types).map_err(found),
            Self::Encode { name, json, key } => {
                let json = match json.as_str() {
                    "-" => io::read_to_string(io::stdin()).map_err(|error| (2, error.into()))?,
                    json => json.to_owned(),
                };
                encode(name, &json, key.as_deref(), types).map_err(found)
            }
        }
    }
}

impl Source {
    fn frame(&self) -> Result<Bytes> {
        if let Some(hex) = &self.hex {
            return from_hex(hex);
        }
        let mut bytes = Vec::new();
        match &self.file {
            Some(file) if file.as_os_str() != "-" => {
                let about = |error: io::Error| Error::from(error).context(format_args!("reading {}", file.display()));
                bytes = std::fs::read(file).map_err(about)?;
            }
            _ => {
                io::stdin().read_to_end(&mut bytes)?;
            }
        }
        Ok(bytes.into())
    }
}

fn from_hex(text: &str) -> Result<Bytes> {
    let digit = |(at, c): (usize, char)| {
        let value = c.to_digit(16).map(|value| value as u8);
        value.ok_or_else(|| Error::new(ErrorKind::Invalid, format!("`{c}` at {at} is no hexadecimal digit")))
    };
    let digits = text.char_indices().filter(|(_, c)| !c.is_whitespace()).map(digit).collect::<Result<Vec<u8>>>()?;
    let (pairs, odd) = digits.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, format!("{} hexadecimal digits; an even number", digits.len())));
    }
    Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A field of a frame.
struct Piece {
    at: Range<usize>,
    field: &'static str,
    value: String,
}

/// The fields in their order, as `docs/frame.md` lays them out.
fn pieces(frame: &Bytes, message: &Envelope, payload: String) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut put = |length: usize, field, value: String| {
        let start = pieces.last().map_or(0, |piece| piece.at.end);
        pieces.push(Piece { at: start..start + length, field, value });
    };
    put(2, "magic", String::new());
    put(1, "version", frame[2].to_string());
    put(1, "flags", flags(frame[3]));
    put(4, "checksum", format!("{:08x}", u32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]])));
    put(16, "id", message.id.to_string());
    put(2, "message version", message.version.to_string());
    put(1, "name length", message.name.len().to_string());
    put(1, "codec length", message.codec.len().to_string());
    put(message.name.len(), "name", message.name.to_string());
    put(message.codec.len(), "codec", message.codec.to_string());
    if let Some(key) = &message.key {
        put(1, "key length", key.as_bytes().len().to_string());
        put(key.as_bytes().len(), "key", String::from_utf8_lossy(key.as_bytes()).into_owned());
    }
    let has = |flag: u8| frame[3] & flag != 0;
    if has(FLAGS[1].0) {
        put(8, "deadline", format!("{} µs since 1970", micros(message).unwrap_or_default()));
    }
    if let Some(trace) = &message.trace {
        put(trace.len(), "trace", String::from_utf8_lossy(trace).into_owned());
    }
    if has(FLAGS[3].0) {
        let size: usize = message.headers.iter().map(|(name, value)| 3 + name.len() + value.len()).sum();
        put(4, "headers length", size.to_string());
        for (name, value) in message.headers.iter() {
            put(1 + name.len(), "header name", name.to_owned());
            put(2 + value.len(), "header value", String::from_utf8_lossy(value).into_owned());
        }
    }
    if has(FLAGS[4].0) {
        put(16, "correlation", message.correlation.to_string());
    }
    if has(FLAGS[5].0) {
        put(16, "causation", message.causation.to_string());
    }
    put(message.payload.len(), "payload", payload);
    pieces
}

/// The flags by their bits.
const FLAGS: [(u8, &str); 6] =
    [(1, "key"), (2, "deadline"), (4, "trace"), (8, "headers"), (16, "correlation"), (32, "causation")];

fn flags(flags: u8) -> String {
    let set: Vec<&str> = FLAGS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect();
    if set.is_empty() { "none".into() } else { set.join(", ") }
}

fn micros(message: &Envelope) -> Option<i64> {
    let deadline = message.deadline?;
    let after = deadline.duration_since(UNIX_EPOCH).map(|since| i64::try_from(since.as_micros()));
    let before = |error: std::time::SystemTimeError| i64::try_from(error.duration().as_micros()).map(|micros| -micros);
    after.unwrap_or_else(before).ok()
}

/// How many bytes stand on a line.
const ROW: usize = 16;

fn explain(frame: &Bytes, types: &TypeRegistry) -> Result<String> {
    let message = Envelope::decode(frame)?;
    let said = payload(&message, types);
    let said = said.map_or_else(|error| format!("{error:#}"), |json| json.to_string());
    let pieces = pieces(frame, &message, said);
    let mut text = String::new();
    for Piece { at, field, value } in pieces {
        let rows: Vec<_> = frame[at.clone()].chunks(ROW).collect();
        let first = rows.first().copied().unwrap_or_default();
        let line = format!("{:>6}  {:<32}  {field:<15}  {value}", at.start, to_hex(first));
        text.push_str(line.trim_end());
        text.push('\n');
        for (row, bytes) in rows.iter().enumerate().skip(1) {
            let _ = writeln!(text, "{:>6}  {}", at.start + row * ROW, to_hex(bytes));
        }
    }
    Ok(text)
}

/// The payload as JSON: as it stands where it is JSON, else by its type.
fn payload(message: &Envelope, types: &TypeRegistry) -> Result<Value> {
    if message.codec == "json" {
        return serde_json::from_slice(&message.payload)
            .map_err(|cause| Error::new(ErrorKind::Codec, cause).context("a payload that is no JSON"));
    }
    let text = types.to_json(message).map_err(|error| {
        let Envelope { codec, payload, .. } = message;
        let what = format!("{} bytes of `{codec}`: the application's own binary can read them", payload.len());
        error.context(what)
    })?;
    Ok(serde_json::from_str(&text)?)
}

fn decode(frame: &Bytes, types: &TypeRegistry) -> Result<String> {
    let message = Envelope::decode(frame)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<Value> = message.headers.iter().map(|(name, value)| json!([name, text(value)])).collect();
    let said = json!({
        "id": message.id.to_string(),
        "correlation": message.correlation.to_string(),
        "causation": message.causation.to_string(),
        "name": message.name.as_str(),
        "codec": message.codec.as_str(),
        "version": message.version,
        "key": message.key.as_ref().map(|key| text(key.as_bytes())),
        "deadline_us": micros(&message),
        "trace": message.trace.as_ref().map(|trace| text(trace)),
        "headers": headers,
        "payload": payload(&message, types)?,
    });
    Ok(format!("{said}\n"))
}

fn encode(name: &str, json: &str, key: Option<&str>, types: &TypeRegistry) -> Result<String> {
    let (codec, version, payload) = match types.form_of(name) {
        Some((codec, version)) => (codec, version, types.from_json(name, json)?),
        None => {
            // Whoever sends it must know whether that is what its consumers read.
            let value: Value = serde_json::from_str(json).map_err(|cause| Error::new(ErrorKind::Codec, cause))?;
            ("json", 1, value.to_string().into_bytes())
        }
    };
    let mut message = Envelope::new(MessageId::new(), name.into(), codec.into(), payload.into());
    message.version = version;
    message.key = key.map(|key| Key::new(key.to_owned()));
    Ok(format!("{}\n", to_hex(&message.encode()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn full() -> Envelope {
        let mut message =
            Envelope::new(MessageId(9), "orders.placed".into(), "json".into(), Bytes::from_static(br#"{"id":7}"#));
        (message.correlation, message.causation, message.version) = (MessageId(7), MessageId(8), 3);
        message.key = Some(Key::new("c-17"));
        message.deadline = Some(UNIX_EPOCH + Duration::from_micros(1_500));
        message.trace = Some(*b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        message.headers.push("tenant", b"acme").unwrap();
        message.headers.push("tenant", b"").unwrap();
        message
    }

    #[test]
    fn every_byte_of_a_frame_belongs_to_one_field() {
        for message in [full(), Envelope::new(MessageId(1), "a".into(), "json".into(), Bytes::new())] {
            let frame = Bytes::from(message.encode().unwrap());
            let pieces = pieces(&frame, &message, String::new());
            assert_eq!(pieces.last().unwrap().at.end, frame.len());
            let of = |field| frame[pieces.iter().find(|piece| piece.field == field).unwrap().at.clone()].to_vec();
            assert_eq!(of("name"), message.name.as_bytes());
            assert_eq!(of("payload"), message.payload);
            assert_eq!(of("id"), message.id.to_bytes());
        }
        let frame = Bytes::from(full().encode().unwrap());
        let text = explain(&frame, &TypeRegistry::default()).unwrap();
        for line in [
            "key              c-17",
            "deadline         1500 µs since 1970",
            "header value     acme",
            "causation",
            "payload          {\"id\":7}",
        ] {
            assert!(text.contains(line), "{line}\nnot in\n{text}");
        }
        assert!(text.contains("flags            key, deadline, trace, headers, correlation, causation"), "{text}");
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let types = TypeRegistry::default();
        let hex = encode("orders.placed", r#" {"id": 7} "#, Some("c-1"), &types).unwrap();
        let frame = from_hex(&format!("{}\n {}", &hex[..7], &hex[7..])).unwrap();
        let said: Value = serde_json::from_str(&decode(&frame, &types).unwrap()).unwrap();
        assert_eq!(
            (&said["payload"], &said["name"], &said["key"]),
            (&json!({"id": 7}), &json!("orders.placed"), &json!("c-1"))
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let types = TypeRegistry::default();
        assert_eq!(from_hex("ca7").unwrap_err().to_string(), "3 hexadecimal digits; an even number");
        assert_eq!(from_hex("cx").unwrap_err().to_string(), "`x` at 1 is no hexadecimal digit");
        assert!(
            explain(&Bytes::from_static(b"no frame"), &types).unwrap_err().to_string().contains("do not begin like")
        );
        let mut message = full();
        message.codec = "memorypack".into();
        let frame = Bytes::from(message.encode().unwrap());
        assert!(decode(&frame, &types).is_err());
        let text = explain(&frame, &types).unwrap();
        assert!(text.contains("8 bytes of `memorypack`: the application's own binary can read them"), "{text}");
    }
}
