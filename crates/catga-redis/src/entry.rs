//! Entries of streams, as the server's answers tell of them.

use crate::{error::strange, member::EntryId};
use bytes::Bytes;
use catga_contract::Result;
use redis::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An entry that came.
pub(crate) struct Arrived {
    pub(crate) stream: StreamName,
    pub(crate) id: EntryId,
    pub(crate) frame: Bytes,
    /// The one consumer that it is for.
    pub(crate) to: Option<Vec<u8>>,
    pub(crate) started: u32,
    pub(crate) first: Option<SystemTime>,
    /// A member that died may have started it.
    pub(crate) alone: bool,
}

/// A stream, by its key or by what stands behind the base.
pub(crate) enum StreamName {
    Key(Vec<u8>),
    Suffix(Vec<u8>),
}

impl StreamName {
    pub(crate) fn is(&self, key: &str, base: &str) -> bool {
        match self {
            Self::Key(name) => name[..] == *key.as_bytes(),
            Self::Suffix(suffix) => key.as_bytes().get(base.len() + 1..).is_some_and(|rest| rest == &suffix[..]),
        }
    }
}

/// What `take.lua` answers.
pub(crate) struct Taken {
    /// How long until the next is due.
    pub(crate) pause: Option<Duration>,
    pub(crate) arrived: Vec<Arrived>,
    /// Members that left and hold nothing any more.
    pub(crate) empty: Vec<String>,
}

/// Reads the answer of `XREADGROUP`.
pub(crate) fn read_reply(value: Value) -> Vec<Arrived> {
    let Value::Array(streams) = value else { return Vec::new() };
    let mut arrived = Vec::new();
    for stream in streams {
        let Some([key, entries]) = array(stream) else { continue };
        let (Value::BulkString(key), Value::Array(entries)) = (key, entries) else { continue };
        for entry in entries {
            let Some([id, fields]) = array(entry) else { continue };
            arrived.extend(entry_of(StreamName::Key(key.clone()), id, fields));
        }
    }
    arrived
}

/// Reads the answer of `take.lua`.
pub(crate) fn taken_reply(value: Value) -> Result<Taken> {
    let odd = || strange("taking what is due");
    let [pause, entries, empty] = array(value).ok_or_else(odd)?;
    let pause: i64 = redis::from_redis_value(pause).map_err(|_| odd())?;
    let empty = redis::from_redis_value(empty).map_err(|_| odd())?;
    let Value::Array(entries) = entries else { return Err(odd()) };
    let mut arrived = Vec::with_capacity(entries.len());
    for entry in entries {
        let [kind, suffix, id, tries, fields] = array(entry).ok_or_else(odd)?;
        let (Value::BulkString(kind), Value::BulkString(suffix), Value::BulkString(tries)) = (kind, suffix, tries)
        else {
            return Err(odd());
        };
        let Some(mut entry) = entry_of(StreamName::Suffix(suffix), id, fields) else { continue };
        entry.alone = kind == b"d";
        let tries = String::from_utf8_lossy(&tries);
        if let Some((count, first)) = tries.split_once(':') {
            entry.started = count.parse::<i64>().map_or(0, |count| u32::try_from(count).unwrap_or(0));
            entry.first = first.parse().ok().and_then(|micros| UNIX_EPOCH.checked_add(Duration::from_micros(micros)));
        }
        arrived.push(entry);
    }
    Ok(Taken { pause: u64::try_from(pause).ok().map(Duration::from_micros), arrived, empty })
}

fn array<const N: usize>(value: Value) -> Option<[Value; N]> {
    let Value::Array(values) = value else { return None };
    values.try_into().ok()
}

/// An entry whose message stands in the field `f`. One without it is handed on with all that it has, so that it is buried
/// where a human sees it.
fn entry_of(stream: StreamName, id: Value, fields: Value) -> Option<Arrived> {
    let (Value::BulkString(id), Value::Array(fields)) = (id, fields) else { return None };
    let id = EntryId::parse(&id)?;
    let (mut frame, mut to, mut others) = (None, None, Vec::new());
    let mut fields = fields.into_iter();
    while let (Some(Value::BulkString(name)), Some(Value::BulkString(value))) = (fields.next(), fields.next()) {
        match &name[..] {
            b"f" => frame = Some(Bytes::from(value)),
            b"to" => to = Some(value),
            _ => {
                others.extend_from_slice(&name);
                others.push(b'=');
                others.extend_from_slice(&value);
                others.push(b'\n');
            }
        }
    }
    let frame = frame.unwrap_or_else(|| Bytes::from(others));
    Some(Arrived { stream, id, frame, to, started: 0, first: None, alone: false })
}
