use crate::{Envelope, Result, Str};
use bytes::Bytes;
use std::{future::Future, time::SystemTime};

/// Messages that a consumer could not handle, kept for a human. A letter belongs to one consumer and is replayed to
/// that one alone.
pub trait DeadLetters: Send + Sync + 'static {
    /// Keeps a letter in a commit of its own. A worker whose store has transactions uses
    /// [`UnitOfWork::bury`](crate::UnitOfWork::bury) instead.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    fn bury(&self, letter: &NewLetter<'_>) -> impl Future<Output = Result<LetterId>> + Send;

    /// The letters after `after`, in the order in which they were buried, at most `most`.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    fn list(&self, after: LetterId, most: usize) -> impl Future<Output = Result<Vec<Letter>>> + Send;

    /// Removes a letter; `false` where there is none.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    fn remove(&self, id: LetterId) -> impl Future<Output = Result<bool>> + Send;
}

/// Names a letter: given by the store, rising from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterId(pub u64);

/// A message that a consumer could not handle, as it is kept for a human.
#[derive(Clone, Copy, Debug)]
pub struct NewLetter<'a> {
    /// The consumer's durable name.
    pub consumer: &'a str,
    /// The handler's name.
    pub handler: &'a str,
    /// The original bytes.
    pub frame: &'a [u8],
    /// The whole chain of errors.
    pub reason: &'a str,
    /// How many tries were started.
    pub attempts: u32,
    /// Which process gave up.
    pub node: &'a str,
    /// When it gave up.
    pub at: SystemTime,
}

/// A letter as it was kept.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Names it.
    pub id: LetterId,
    /// The consumer's durable name.
    pub consumer: Str,
    /// The handler's name.
    pub handler: Str,
    /// The original bytes.
    pub frame: Bytes,
    /// The whole chain of errors.
    pub reason: String,
    /// How many tries were started.
    pub attempts: u32,
    /// Which process gave up.
    pub node: Str,
    /// When it gave up.
    pub at: SystemTime,
}

impl Letter {
    /// Reads the message.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) where its bytes are no frame, which may be why it was buried.
    pub fn open(&self) -> Result<Envelope> {
        Envelope::decode(&self.frame)
    }
}
