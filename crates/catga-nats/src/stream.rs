//! Streams as this program wants them: made where they are missing, compared where they are there, never changed.

use crate::{
    Nats,
    error::{STREAM_NOT_FOUND, code, fault, unavailable},
};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use catga_contract::{ErrorKind, Result};
use std::time::Duration;

/// A stream and its bounds. A stream that is there already is never changed; where it differs, that is reported.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StreamOptions {
    /// Its name. Default: `CATGA_STREAM`, as .NET Catga names it.
    pub name: String,
    /// What it keeps. Default: `catga.>`.
    pub subjects: Vec<String>,
    /// How long a message is kept, handled or not. Default: 7 days.
    pub max_age: Duration,
    /// How many bytes are kept; the oldest messages go first, handled or not. Default: 1 GiB.
    pub max_bytes: i64,
    /// How long the server remembers an id: a publish that is repeated within it is stored once. It must be at least
    /// twice the time for which a publish is repeated. Default: 2 minutes.
    pub duplicate_window: Duration,
    /// Copies in a cluster, 1 to 5. Default: 1.
    pub replicas: usize,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            name: "CATGA_STREAM".into(),
            subjects: vec!["catga.>".into()],
            max_age: Duration::from_secs(7 * 24 * 3_600),
            max_bytes: 1 << 30,
            duplicate_window: Duration::from_secs(120),
            replicas: 1,
        }
    }
}

impl StreamOptions {
    pub(crate) fn config(&self) -> Config {
        Config {
            name: self.name.clone(),
            subjects: self.subjects.clone(),
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            max_age: self.max_age,
            max_bytes: self.max_bytes,
            duplicate_window: self.duplicate_window,
            num_replicas: self.replicas,
            allow_direct: true,
            max_messages: -1,
            max_messages_per_subject: -1,
            max_consumers: -1,
            ..Default::default()
        }
    }
}

/// A stream, and where it differs from what this program wants.
pub(crate) async fn ensure(nats: &Nats, wanted: Config) -> Result<(Stream, Vec<String>)> {
    let name = wanted.name.clone();
    match nats.context.get_stream(&name).await {
        Ok(stream) => {
            let drift = drift(&wanted, &stream.cached_info().config);
            Ok((stream, drift))
        }
        Err(error) if code(&error) == Some(STREAM_NOT_FOUND) => {
            tracing::info!(stream = name, subjects = ?wanted.subjects, "the stream does not exist; it is made");
            match nats.context.create_stream(wanted).await {
                Ok(stream) => Ok((stream, Vec::new())),
                Err(error) => {
                    let kind = if code(&error).is_some() { ErrorKind::Invalid } else { ErrorKind::Unavailable };
                    Err(fault(kind, error, format_args!("making stream `{name}`")))
                }
            }
        }
        Err(error) => Err(unavailable(error, format_args!("asking for stream `{name}`"))),
    }
}

/// Each difference that matters, in words.
fn drift(wanted: &Config, found: &Config) -> Vec<String> {
    let mut drift = Vec::new();
    let mut compare = |what: &str, wants: String, has: String| {
        if wants != has {
            drift.push(format!("stream `{}`: {what} is {has}, this program wants {wants}", wanted.name));
        }
    };
    compare("subjects", format!("{:?}", wanted.subjects), format!("{:?}", found.subjects));
    compare("retention", format!("{:?}", wanted.retention), format!("{:?}", found.retention));
    compare("storage", format!("{:?}", wanted.storage), format!("{:?}", found.storage));
    compare("replicas", wanted.num_replicas.to_string(), found.num_replicas.max(1).to_string());
    compare("the age limit", format!("{:?}", wanted.max_age), format!("{:?}", found.max_age));
    compare("the byte limit", wanted.max_bytes.to_string(), found.max_bytes.to_string());
    compare("the duplicate window", format!("{:?}", wanted.duplicate_window), format!("{:?}", found.duplicate_window));
    if wanted.allow_direct && !found.allow_direct {
        drift.push(format!("stream `{}` allows no direct reads, which are faster", wanted.name));
    }
    drift
}
