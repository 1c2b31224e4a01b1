//! The bytes of .NET Catga: the payload alone, as Base64 text, without id, correlation or trace.

use crate::{
    error::{fault, is_unknown},
    store::Redis,
    streams::{fits, too_large},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use catga_contract::{Envelope, MessageId, Outcome, Parcel, Result, Str};

/// The codec of what .NET sends.
const CODEC: &str = "memorypack";
/// For how long .NET remembers an id that shall leave once only, in seconds.
const WINDOW: u64 = 300;

/// The text that a message is on the wire.
pub(crate) fn text(parcel: &Parcel) -> Result<String> {
    Ok(BASE64_STANDARD.encode(&Envelope::decode(&parcel.frame)?.payload))
}

/// A frame around what .NET sent, under a fresh id, because it sends none. The message's name is the channel's without
/// its first part. What is no Base64 is handed on as it is, so that it is buried.
pub(crate) fn frame(channel: &str, text: &[u8]) -> Bytes {
    let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let name = channel.split_once('.').map_or(channel, |(_, name)| name);
    let framed = BASE64_STANDARD.decode(&text).ok().and_then(|payload| {
        Envelope::new(MessageId::new(), Str::from(name), Str::from_static(CODEC), payload.into()).encode().ok()
    });
    framed.unwrap_or(text).into()
}

/// The key by which .NET sends an id once only: without prefix, its number in the low 63 bits.
fn guard(id: MessageId) -> String {
    format!("dedup:{}", (id.0 as u64) & (i64::MAX as u64))
}

/// Which of these shall leave: all, or those whose ids were not seen for five minutes.
pub(crate) async fn unseen(redis: &Redis, dedupe: bool, parcels: &[Parcel]) -> Result<Vec<bool>> {
    if !dedupe {
        return Ok(vec![true; parcels.len()]);
    }
    let mut guards = redis::pipe();
    for parcel in parcels {
        guards.cmd("SET").arg(guard(parcel.id)).arg("1").arg("EX").arg(WINDOW).arg("NX");
    }
    let set: Vec<Option<String>> =
        guards.query_async(&mut redis.main()).await.map_err(|error| fault(error, "publishing once"))?;
    Ok(set.into_iter().map(|set| set.is_some()).collect())
}

/// Adds messages to the streams that .NET subscribers read, and trims those to their bound: .NET never says what it will
/// not read any more.
pub(crate) async fn add(redis: &Redis, dedupe: bool, parcels: &[Parcel], outcomes: &mut Vec<Outcome>) -> Result<()> {
    let fresh = unseen(redis, dedupe, parcels).await?;
    let (mut adds, mut told) = (redis::pipe(), Vec::with_capacity(parcels.len()));
    for (parcel, fresh) in parcels.iter().zip(fresh) {
        if !fresh {
            told.push(Outcome::Duplicate);
            continue;
        }
        let envelope = match Envelope::decode(&parcel.frame) {
            Ok(envelope) if fits(parcel) => envelope,
            Ok(_) => {
                told.push(Outcome::Refused(too_large(parcel)));
                continue;
            }
            Err(error) => {
                told.push(Outcome::Refused(error));
                continue;
            }
        };
        if let Some(error) = unsupported(parcel) {
            told.push(Outcome::Refused(error));
            continue;
        }
        let add = adds.cmd("XADD").arg(format!("stream:{}", parcel.subject));
        add.arg("MAXLEN").arg("~").arg(redis.inner.options.max_len).arg("*");
        add.arg("data").arg(BASE64_STANDARD.encode(&envelope.payload));
        if let Some(trace) = &envelope.trace {
            add.arg("traceparent").arg(&trace[..]);
        }
        told.push(Outcome::Stored);
    }
    if adds.cmd_iter().next().is_some() {
        match adds.query_async::<()>(&mut redis.main()).await {
            Ok(()) => {}
            Err(error) if is_unknown(&error) => {
                for outcome in told.iter_mut().filter(|outcome| matches!(outcome, Outcome::Stored)) {
                    *outcome = Outcome::Unknown;
                }
            }
            Err(error) => return Err(fault(error, "publishing to .NET")),
        }
    }
    outcomes.extend(told);
    Ok(())
}

/// Why a parcel cannot be carried by what keeps nothing.
pub(crate) fn unsupported(parcel: &Parcel) -> Option<catga_contract::Error> {
    let what = match (&parcel.due, &parcel.to) {
        (Some(due), _) if *due > std::time::SystemTime::now() => "is due later, and this transport cannot delay",
        (_, Some(_)) => "is for one consumer, and this transport reaches all",
        _ => return None,
    };
    let text = format!("the message {} for `{}` {what}", parcel.id, parcel.subject);
    Some(catga_contract::Error::new(catga_contract::ErrorKind::Unsupported, text))
}
