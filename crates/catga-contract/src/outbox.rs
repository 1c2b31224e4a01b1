use crate::{Headers, Key, MessageId, Result, Subject};
use bytes::Bytes;
use std::{
    future::Future,
    time::{Duration, SystemTime},
};

/// What the publisher of a message may say beside it.
///
/// ```
/// use catga_contract::{Key, PublishOptions};
///
/// let options = PublishOptions { key: Some(Key::new("customer-17")), ..Default::default() };
/// assert!(options.subject.is_none());
/// ```
#[derive(Clone, Debug, Default)]
pub struct PublishOptions {
    /// The partition key instead of the message's own.
    pub key: Option<Key>,
    /// The subject instead of `{prefix}.{name}`, at most 255 bytes.
    pub subject: Option<Subject>,
    /// Headers for the consumers.
    pub headers: Headers,
    /// Not to be delivered before then; a time that has passed is now. It takes its place in its key's order when it is
    /// due, not when it was published.
    pub due: Option<SystemTime>,
    /// The W3C trace context, instead of that of the message being handled.
    pub trace: Option<[u8; 55]>,
}

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
    /// When it may leave; `None` is at once.
    pub due: Option<SystemTime>,
}

/// Messages that shall leave, kept until they have left. They are written by
/// [`UnitOfWork::put`](crate::UnitOfWork::put) and read by relays.
///
/// Rows are leased by [partition](crate::partition), so that the order of each key holds with any number of relays:
/// one relay has a partition at a time, and a row that did not leave keeps back those behind it in its partition.
///
/// It has more required methods than the house likes: they are the steps of a relay's round, and each store does each
/// of them in its own way.
pub trait Outbox: Send + Sync + 'static {
    /// Leases partitions that no other relay has, and renews those that this one has, for `time`.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    fn lease(&self, time: Duration) -> impl Future<Output = Result<Lease>> + Send;

    /// The next waiting rows of leased partitions in commit order, at most `most`; without those of partitions whose
    /// first row failed and is not due again yet, and without those that are [due](Outgoing::due) later, which hold
    /// nobody up.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    fn pending(&self, lease: &Lease, most: usize) -> impl Future<Output = Result<Vec<Row>>> + Send;

    /// Removes rows that have left.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) where the lease is stale. Here and where the store fails the
    /// rows are sent again, under the same ids.
    fn sent(&self, lease: &Lease, rows: &[u64]) -> impl Future<Output = Result<()>> + Send;

    /// Keeps a row that could not be sent for another try after `pause`; the later rows of its partition wait for it.
    ///
    /// # Errors
    ///
    /// As [`sent`](Self::sent).
    fn failed(&self, lease: &Lease, row: u64, reason: &str, pause: Duration)
    -> impl Future<Output = Result<()>> + Send;

    /// How many rows wait, in all partitions.
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

/// The partitions that a relay has for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// One bit for each of the 64 partitions.
    pub partitions: u64,
    /// Rises whenever a partition changes hands.
    pub fence: Fence,
}

impl Lease {
    /// All partitions.
    pub const ALL: u64 = u64::MAX;

    /// Whether the partition is among them.
    pub fn has(&self, partition: u8) -> bool {
        self.partitions >> (partition & 63) & 1 == 1
    }
}

/// Rises with every claim: what comes with a stale one changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(pub u64);

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
    /// Its key's [digest](Key::digest).
    pub key: Option<u64>,
    /// How often it was tried.
    pub attempts: u32,
}

impl Row {
    /// A row that was not tried yet.
    pub fn new(number: u64, id: MessageId, subject: Subject, frame: Bytes, partition: u8) -> Self {
        Self { number, id, subject, frame, partition, key: None, attempts: 0 }
    }
}
