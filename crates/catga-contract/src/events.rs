use crate::{Envelope, Fence, MessageId, Result, Str, UnitOfWork};
use bytes::Bytes;
use std::{future::Future, time::Duration};

/// Append-only streams of events.
pub trait EventStore: Send + Sync + 'static {
    /// Appends all events or none under the expected version; answers the version of the last of them. It is repeated
    /// safely: where the stream has exactly these ids one behind the other already, nothing is appended, whatever was
    /// expected, and the answer is the same. No events are none: the answer is the stream's version.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) where the stream is of another version, naming both, or has
    /// some of the ids but not all of them; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the stream's name is
    /// empty or longer than 255 bytes, or an event is larger than the store keeps.
    fn append(&self, stream: &str, expect: Expect, events: &[NewEvent<'_>])
    -> impl Future<Output = Result<u64>> + Send;

    /// The events of a stream from version `from` on, at most `most`; versions begin at 1 and have no gaps.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    fn read(&self, stream: &str, from: u64, most: usize) -> impl Future<Output = Result<Vec<Recorded>>> + Send;

    /// The events of all streams after position `after`, at most `most`, in an order that no later commit slips into.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    fn read_all(&self, after: u64, most: usize) -> impl Future<Output = Result<Vec<Recorded>>> + Send;

    /// Returns when there are events after position `after`, at once if they were appended in this process, or after
    /// `time`.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    fn wait(&self, after: u64, time: Duration) -> impl Future<Output = Result<()>> + Send;
}

/// An event store whose events, and readers' positions, can be written in the transaction of a unit of work.
pub trait EventsInTx: EventStore + Checkpoints + UnitOfWork {
    /// As [`EventStore::append`], to be visible with the commit. Later appends of the transaction see it.
    ///
    /// # Errors
    ///
    /// As [`EventStore::append`]; the transaction can be used further.
    fn append_in(
        &self,
        tx: &mut Self::Tx,
        stream: &str,
        expect: Expect,
        events: &[NewEvent<'_>],
    ) -> impl Future<Output = Result<u64>> + Send;

    /// As [`EventStore::read`], with what this transaction and those that commit with it have appended.
    ///
    /// # Errors
    ///
    /// As [`EventStore::read`]; the transaction can be used further.
    fn read_in(
        &self,
        tx: &mut Self::Tx,
        stream: &str,
        from: u64,
        most: usize,
    ) -> impl Future<Output = Result<Vec<Recorded>>> + Send;

    /// As [`Checkpoints::save`], with the commit.
    ///
    /// # Errors
    ///
    /// As [`Checkpoints::save`].
    fn save_in(
        &self,
        tx: &mut Self::Tx,
        name: &str,
        position: u64,
        fence: Fence,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// An event to be appended.
#[derive(Clone, Copy, Debug)]
pub struct NewEvent<'a> {
    /// The event's id.
    pub id: MessageId,
    /// The event's name.
    pub name: &'a str,
    /// Its frame, as [`Envelope::encode`] makes it.
    pub frame: &'a [u8],
}

/// The version that a stream must have for an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Whichever.
    Any,
    /// None: the stream does not exist yet.
    Empty,
    /// This one; 0 is that of a stream that does not exist yet.
    Version(u64),
}

/// An event as it was appended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recorded {
    /// Its place in the order of all streams, rising.
    pub position: u64,
    /// Its stream.
    pub stream: Str,
    /// Its version in the stream, from 1.
    pub version: u64,
    /// Its bytes.
    pub frame: Bytes,
}

impl Recorded {
    /// An event at its place.
    pub fn new(position: u64, stream: Str, version: u64, frame: Bytes) -> Self {
        Self { position, stream, version, frame }
    }

    /// Reads the event.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) where its bytes are no frame.
    pub fn open(&self) -> Result<Envelope> {
        Envelope::decode(&self.frame)
    }
}

/// How far a reader has come; fenced, because two may think that they are the one.
pub trait Checkpoints: Send + Sync + 'static {
    /// Takes a reader's place over: answers its position and the fence to save under; earlier fences are stale then.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    fn load(&self, name: &str) -> impl Future<Output = Result<(u64, Fence)>> + Send;

    /// Saves a reader's position.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) where the fence is stale: somebody else has taken over.
    fn save(&self, name: &str, position: u64, fence: Fence) -> impl Future<Output = Result<()>> + Send;
}
