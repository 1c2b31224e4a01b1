use crate::{Key, MessageId, Result, Subject};
use bytes::Bytes;
use std::{future::Future, time::Duration};

/// A message to be kept for sending.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The message's id.
    pub id: MessageId,
    /// Where it goes.
    pub subject: &'a Subject,
    /// Its frame, as [`Envelope::encode`](crate::Envelope::encode) makes it.
    pub frame: &'a [u8],
    /// Its partition key.
    pub key: Option<&'a Key>,
}

/// Messages that shall leave, kept until they have left. They are written by [`UnitOfWork::put`](crate::UnitOfWork::put)
/// and read by a relay.
pub trait Outbox: Send + Sync + 'static {
    /// The next waiting rows in commit order, at most `most`; without those of partitions whose first row failed and
    /// is not due again yet.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    fn pending(&self, most: usize) -> impl Future<Output = Result<Vec<Row>>> + Send;

    /// Removes rows that have left.
    ///
    /// # Errors
    ///
    /// Where the store fails; the rows are sent again then, under the same ids.
    fn sent(&self, rows: &[u64]) -> impl Future<Output = Result<()>> + Send;

    /// Keeps a row that could not be sent for another try after `pause`; the later rows of its partition wait for it.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    fn failed(&self, row: u64, reason: &str, pause: Duration) -> impl Future<Output = Result<()>> + Send;

    /// How many rows wait.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    fn unsent(&self) -> impl Future<Output = Result<u64>> + Send;

    /// Returns when [`pending`](Self::pending) may answer rows: at once for what was committed since it answered.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    fn written(&self) -> impl Future<Output = ()> + Send;
}

/// A message that waits in an outbox.
#[derive(Debug)]
#[non_exhaustive]
pub struct Row {
    /// Names the row towards its outbox; rises in commit order.
    pub number: u64,
    /// The message's id.
    pub id: MessageId,
    /// Where it goes.
    pub subject: Subject,
    /// Its frame.
    pub frame: Bytes,
    /// Its [partition](crate::partition), 0 to 63.
    pub partition: u8,
    /// How often it was tried.
    pub attempts: u32,
}

impl Row {
    /// A row that was not tried yet.
    pub fn new(number: u64, id: MessageId, subject: Subject, frame: Bytes, partition: u8) -> Self {
        Self { number, id, subject, frame, partition, attempts: 0 }
    }
}
