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

    /// Hands a letter's message to its consumer once more, and to no other one: it is queued under a fresh transport
    /// id, the mark that it was done with is taken away, and the letter is removed. `false` where there is no such
    /// letter. It comes with its old message id and a fresh count of attempts, before the messages that wait for it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) where the consumer takes nothing any more; the letter stays
    /// then.
    fn replay(&self, id: LetterId) -> impl Future<Output = Result<bool>> + Send;

    /// Removes a letter; `false` where there is none. Messages that wait for it go on.
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
    /// When the first try started.
    pub first: SystemTime,
    /// When it gave up.
    pub last: SystemTime,
    /// The [digest](crate::Key::digest) of the message's key, where its later messages wait for this one
    /// ([`SubscribeOptions::park`](crate::SubscribeOptions::park)).
    pub parks: Option<u64>,
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
    /// When the first try started.
    pub first: SystemTime,
    /// When it gave up.
    pub last: SystemTime,
    /// The [digest](crate::Key::digest) of the key whose later messages wait for this one.
    pub parks: Option<u64>,
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
