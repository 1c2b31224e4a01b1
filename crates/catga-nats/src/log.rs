//! A stream that is read by its numbers: what events and dead letters have in common.

use crate::{
    Nats,
    error::{unavailable, within},
    stream::{self, ensure, handle},
};
use async_nats::jetstream::{
    message::StreamMessage,
    stream::{Config, DirectGetErrorKind, RawMessageErrorKind, Stream},
};
use catga_contract::{Error, ErrorKind, Result};
use futures_util::{StreamExt, stream as streams};

/// How many reads are under way at a time.
const READS: usize = 64;

#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) nats: Nats,
    pub(crate) stream: Stream<()>,
    pub(crate) name: String,
}

impl Log {
    /// Opens a stream that keeps everything, and makes it where it is missing.
    pub(crate) async fn open(nats: &Nats, name: &str, subjects: String, replicas: usize) -> Result<Self> {
        let config = Config {
            name: name.to_owned(),
            subjects: vec![subjects],
            max_messages: -1,
            max_bytes: -1,
            max_messages_per_subject: -1,
            max_consumers: -1,
            num_replicas: replicas,
            allow_direct: true,
            ..Default::default()
        };
        ensure(nats, config).await?.drift.iter().for_each(|drift| tracing::warn!("{drift}; it is left as it is"));
        Ok(Self { nats: nats.clone(), stream: handle(nats, name).await?, name: name.to_owned() })
    }

    pub(crate) async fn info(&self) -> Result<stream::Info> {
        let missing = || unavailable("it is gone", format_args!("stream `{}`", self.name));
        stream::info(&self.nats, &self.name).await?.ok_or_else(missing)
    }

    /// The message of that number, if there is one. A copy that lags behind may not have it yet, so that "none" is asked
    /// of the leader.
    pub(crate) async fn get(&self, sequence: u64) -> Result<Option<StreamMessage>> {
        let doing = || format!("reading message {sequence} of `{}`", self.name);
        match self.stream.direct_get(sequence).await {
            Ok(message) => return Ok(Some(message)),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => {}
            Err(error) => return Err(unavailable(error, doing())),
        }
        match self.stream.get_raw_message(sequence).await {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unavailable(error, doing())),
        }
    }

    /// The messages with numbers from `from` to `last`, at most `most`, in their order.
    pub(crate) async fn range(&self, from: u64, last: u64, most: usize) -> Result<Vec<StreamMessage>> {
        let mut found = Vec::new();
        let mut reads = streams::iter(from..=last).map(|sequence| self.get(sequence)).buffered(READS.min(most.max(1)));
        while found.len() < most
            && let Some(message) = reads.next().await
        {
            found.extend(message?);
        }
        Ok(found)
    }

    /// The first message on `subject` from number `from` on.
    pub(crate) async fn next_on(&self, subject: &str, from: u64) -> Result<Option<StreamMessage>> {
        match self.stream.raw_message_builder().sequence(from.max(1)).next_by_subject(subject).send().await {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unavailable(error, format_args!("reading `{subject}`"))),
        }
    }

    /// Removes a message; `false` where there is none.
    pub(crate) async fn remove(&self, sequence: u64) -> Result<bool> {
        if self.get(sequence).await?.is_none() {
            return Ok(false);
        }
        let doing = format!("removing message {sequence} of `{}`", self.name);
        within(self.nats.request_timeout, doing, self.stream.delete_message(sequence)).await
    }
}

/// What a stored message that we did not write is.
pub(crate) fn foreign(message: &StreamMessage) -> Error {
    let text = format!("message {} on `{}` is none of Catga's", message.sequence, message.subject);
    Error::new(ErrorKind::Codec, text)
}
