//! Streams as this program wants them: made where they are missing, compared where they are there, never changed.

use crate::{
    Nats,
    error::{STREAM_NOT_FOUND, fault, unavailable},
};
pub(crate) use async_nats::jetstream::stream::Info;
use async_nats::jetstream::{
    context::CreateStreamErrorKind,
    response::Response,
    stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream},
};
use catga_contract::{ErrorKind, Result};
use std::{collections::BTreeMap, time::Duration};

/// An empty request: `{}`, which every request of the API accepts; some refuse `null`.
pub(crate) static NOTHING: BTreeMap<String, String> = BTreeMap::new();

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

/// What the server knows of a stream; `None` where there is none.
pub(crate) async fn info(nats: &Nats, name: &str) -> Result<Option<Info>> {
    let doing = || format!("asking for stream `{name}`");
    let asked = nats.context.request(format!("STREAM.INFO.{name}"), &NOTHING);
    match asked.await.map_err(|error| unavailable(error, doing()))? {
        Response::Ok(info) => Ok(Some(info)),
        Response::Err { error } if error.error_code().0 == STREAM_NOT_FOUND => Ok(None),
        Response::Err { error } => Err(unavailable(error, doing())),
    }
}

/// Makes a stream where it is missing; answers where it differs from what this program wants.
pub(crate) async fn ensure(nats: &Nats, wanted: Config) -> Result<Ensured> {
    let name = wanted.name.clone();
    if let Some(found) = info(nats, &name).await? {
        let drift = drift(&wanted, &found.config);
        return Ok(Ensured { drift, window: found.config.duplicate_window, made: false });
    }
    tracing::info!(stream = name, subjects = ?wanted.subjects, "the stream does not exist; it is made");
    match nats.context.create_stream(wanted).await {
        Ok(stream) => {
            let window = stream.cached_info().config.duplicate_window;
            Ok(Ensured { drift: Vec::new(), window, made: true })
        }
        Err(error) => {
            let kind = match error.kind() {
                CreateStreamErrorKind::TimedOut | CreateStreamErrorKind::JetStreamUnavailable => ErrorKind::Unavailable,
                _ => ErrorKind::Invalid,
            };
            Err(fault(kind, error, format_args!("making stream `{name}`")))
        }
    }
}

/// A stream that is there.
pub(crate) struct Ensured {
    pub(crate) drift: Vec<String>,
    pub(crate) window: Duration,
    /// Whether it was missing.
    pub(crate) made: bool,
}

/// A handle on a stream, which asks the server nothing.
pub(crate) async fn handle(nats: &Nats, name: &str) -> Result<Stream<()>> {
    let doing = || format!("opening stream `{name}`");
    nats.context.get_stream_no_info(name).await.map_err(|error| fault(ErrorKind::Invalid, error, doing()))
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
