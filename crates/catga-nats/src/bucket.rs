//! A key-value bucket, as every tool of NATS knows them: a stream with one message for each key.
//!
//! It is made as a plain stream: async-nats's own way asks for the account first, and nats-server 2.9.10 answers that in
//! a form that it cannot read.

use crate::{
    Nats,
    error::{code, fault, unavailable},
    stream::{ensure, handle},
};
use async_nats::{
    HeaderMap,
    jetstream::{
        context::PublishErrorKind,
        message::PublishMessage,
        stream::{Config, DiscardPolicy, LastRawMessageErrorKind, StorageType, Stream},
    },
};
use bytes::Bytes;
use catga_contract::{Error, ErrorKind, Result};
use std::time::Duration;

const OPERATION: &str = "KV-Operation";

#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    nats: Nats,
    stream: Stream<()>,
    prefix: String,
}

/// A key's value and its revision.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) value: Bytes,
    pub(crate) revision: u64,
    /// Whether it was deleted; the value is empty then.
    pub(crate) gone: bool,
}

impl Bucket {
    /// Opens a bucket, and makes it where it is missing. Values go `age` after they were written.
    pub(crate) async fn open(nats: &Nats, name: &str, age: Duration, replicas: usize) -> Result<Self> {
        let prefix = format!("$KV.{name}.");
        let config = Config {
            name: format!("KV_{name}"),
            subjects: vec![format!("{prefix}>")],
            max_messages_per_subject: 1,
            max_messages: -1,
            max_bytes: -1,
            max_consumers: -1,
            max_age: age,
            discard: DiscardPolicy::New,
            storage: StorageType::File,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: true,
            num_replicas: replicas,
            duplicate_window: Duration::from_secs(120).min(if age.is_zero() { Duration::MAX } else { age }),
            ..Default::default()
        };
        ensure(nats, config).await?.drift.iter().for_each(|drift| tracing::warn!("{drift}"));
        let stream = handle(nats, &format!("KV_{name}")).await?;
        Ok(Self { nats: nats.clone(), stream, prefix })
    }

    /// Reads a key from the server that leads the stream: what was written is read.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Held>> {
        let subject = format!("{}{key}", self.prefix);
        match self.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => {
                let gone = message.headers.get(OPERATION).is_some();
                Ok(Some(Held { value: message.payload, revision: message.sequence, gone }))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unavailable(error, format_args!("reading `{subject}`"))),
        }
    }

    /// Writes a key; answers its revision.
    pub(crate) async fn put(&self, key: &str, value: Bytes) -> Result<u64> {
        self.write(key, value, None, false).await
    }

    /// Writes a key whose revision is `revision`, 0 where there is none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] where it is another one.
    pub(crate) async fn swap(&self, key: &str, value: Bytes, revision: u64) -> Result<u64> {
        self.write(key, value, Some(revision), false).await
    }

    /// Deletes a key, where its revision is `revision` if there is one given.
    pub(crate) async fn delete(&self, key: &str, revision: Option<u64>) -> Result<u64> {
        self.write(key, Bytes::new(), revision, true).await
    }

    async fn write(&self, key: &str, value: Bytes, revision: Option<u64>, gone: bool) -> Result<u64> {
        let subject = format!("{}{key}", self.prefix);
        let mut message = PublishMessage::build().payload(value);
        if gone {
            let mut headers = HeaderMap::new();
            headers.insert(OPERATION, "DEL");
            message = message.headers(headers);
        }
        if let Some(revision) = revision {
            message = message.expected_last_subject_sequence(revision);
        }
        let doing = || format!("writing `{subject}`");
        let asked = async { self.nats.context.send_publish(subject.clone(), message).await?.await };
        match tokio::time::timeout(self.nats.request_timeout, asked).await {
            Ok(Ok(ack)) => Ok(ack.sequence),
            Ok(Err(error)) => Err(match error.kind() {
                PublishErrorKind::WrongLastSequence => fault(ErrorKind::Conflict, error, doing()),
                PublishErrorKind::MaxPayloadExceeded => fault(ErrorKind::Invalid, error, doing()),
                PublishErrorKind::Other if code(&error).is_none() => fault(ErrorKind::Invalid, error, doing()),
                _ => unavailable(error, doing()),
            }),
            Err(_) => Err(Error::new(ErrorKind::Unavailable, "no answer").context(doing())),
        }
    }
}
