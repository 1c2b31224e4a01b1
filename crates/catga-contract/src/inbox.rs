use crate::{InboxKey, Result};
use bytes::Bytes;
use std::{future::Future, time::Duration};

/// Remembers what was done and what was answered, for work that commits on its own or in a transaction of the same
/// store ([`UnitOfWork::enter`](crate::UnitOfWork::enter)).
///
/// Effects are at least once: who loses a claim while it works may have done its work nevertheless. A finished key is
/// not handled again, and a stale owner is fenced off.
pub trait Inbox: Send + Sync + 'static {
    /// A claim on a key. Dropped, it is given up: at once where the store can, else when its lease ends.
    type Claim: Send + Sync + 'static;

    /// Claims `key` for at most `lease`, or answers what was answered before.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    fn claim(&self, key: InboxKey<'_>, lease: Duration) -> impl Future<Output = Result<Entered<Self::Claim>>> + Send;

    /// Marks the key as done and keeps the answer, in a commit of its own.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) where the claim is stale: somebody else has the key, or has
    /// finished it.
    fn finish(&self, claim: &Self::Claim, answer: &[u8]) -> impl Future<Output = Result<()>> + Send;

    /// Gives a claim up; somebody else may try at once.
    ///
    /// # Errors
    ///
    /// Where the store fails; the claim ends with its lease then.
    fn leave(&self, claim: Self::Claim) -> impl Future<Output = Result<()>> + Send;
}

/// What [`Inbox::claim`] found.
#[derive(Debug)]
pub enum Entered<Claim> {
    /// Nobody was here: the key is claimed now.
    New(Claim),
    /// Somebody is at it; ask again later.
    Busy {
        /// When the other one's claim ends at the latest.
        retry_after: Duration,
    },
    /// It was done, with that answer.
    Done(Bytes),
}
