use crate::{Nats, bucket::Bucket, names::token};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use catga_contract::{Entered, Error, ErrorKind, Inbox, InboxKey, MessageId, Result};
use std::{
    collections::HashMap,
    fmt,
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// More foreign claims than that are not remembered; who is forgotten waits for a whole lease once more.
const SEEN: usize = 4_096;
const CLAIMED: u8 = 0;
const DONE: u8 = 1;
/// How often a write is tried whose answer was lost.
const TRIES: u32 = 3;

/// An inbox on a key-value bucket: a mark is fenced by its revision, which the server checks with each write.
///
/// There is no clock that all share. Whoever finds a claim waits until it has seen the same revision for the whole lease,
/// by a clock of its own, before it takes over; so a lease of somebody who died ends later here than elsewhere.
///
/// Effects are at least once: work and mark do not commit together. A key, its consumer's name and the answer together
/// are no larger than the server's largest message.
#[derive(Clone)]
pub struct NatsInbox {
    bucket: Bucket,
    seen: Arc<Mutex<HashMap<String, (u64, Instant)>>>,
}

/// A claim on a key; it ends with [`Inbox::leave`] or with its lease.
#[derive(Debug)]
pub struct NatsClaim {
    key: String,
    /// Tells this claim's writes from those of others.
    nonce: MessageId,
    revision: u64,
}

impl NatsInbox {
    /// Opens the bucket, and makes it where it is missing. Marks are kept for `age`, which must be longer than messages
    /// may take to come again: than the stream's duplicate window, a relay's retries and dead letters.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] where the server does not answer, [`ErrorKind::Invalid`] where it refuses the bucket.
    pub async fn open(nats: &Nats, bucket: &str, age: Duration) -> Result<Self> {
        Ok(Self { bucket: Bucket::open(nats, bucket, age, 1).await?, seen: Arc::default() })
    }

    /// Takes the mark of a message away, so that it is handled once more.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] where the server does not answer.
    pub async fn forget(&self, key: InboxKey<'_>) -> Result<()> {
        self.bucket.delete(&name(key), None).await.map(drop)
    }

    /// How long the claim of somebody else lasts at most, as far as this process has seen.
    fn remains(&self, key: &str, revision: u64, lease: Duration) -> Duration {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= SEEN {
            seen.clear();
        }
        let since = seen.entry(key.to_owned()).or_insert((revision, Instant::now()));
        if since.0 != revision {
            *since = (revision, Instant::now());
        }
        lease.saturating_sub(since.1.elapsed())
    }
}

impl Inbox for NatsInbox {
    type Claim = NatsClaim;

    async fn claim(&self, key: InboxKey<'_>, lease: Duration) -> Result<Entered<NatsClaim>> {
        let key = name(key);
        let nonce = MessageId::new();
        let mut tries = 0;
        loop {
            let held = self.bucket.get(&key).await?;
            let revision = held.as_ref().map_or(0, |held| held.revision);
            match held.filter(|held| !held.gone).and_then(|held| Mark::decode(held.value)) {
                Some(Mark::Done { answer, .. }) => return Ok(Entered::Done(answer)),
                Some(Mark::Claimed { nonce: found, .. }) if found == nonce => {
                    return Ok(Entered::New(NatsClaim { key, nonce, revision }));
                }
                Some(Mark::Claimed { lease, .. }) => {
                    let retry_after = self.remains(&key, revision, lease);
                    if !retry_after.is_zero() {
                        return Ok(Entered::Busy { retry_after });
                    }
                }
                None => {}
            }
            match self.bucket.swap(&key, Mark::Claimed { nonce, lease }.encode(), revision).await {
                Ok(revision) => return Ok(Entered::New(NatsClaim { key, nonce, revision })),
                // Somebody was quicker, or our own answer was lost: the next look tells.
                Err(error) => {
                    tries += 1;
                    if tries == TRIES {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn finish(&self, claim: &NatsClaim, answer: &[u8]) -> Result<()> {
        let done = Mark::Done { nonce: claim.nonce, answer: Bytes::copy_from_slice(answer) }.encode();
        let mut tries = 0;
        loop {
            let Err(error) = self.bucket.swap(&claim.key, done.clone(), claim.revision).await else { return Ok(()) };
            if error.kind() == ErrorKind::Conflict {
                let held = self.bucket.get(&claim.key).await?.filter(|held| !held.gone);
                return match held.and_then(|held| Mark::decode(held.value)) {
                    // Our own, whose answer was lost.
                    Some(Mark::Done { nonce, .. }) if nonce == claim.nonce => Ok(()),
                    _ => Err(Error::new(ErrorKind::Conflict, "the claim is stale: somebody else has the key")),
                };
            }
            tries += 1;
            if tries == TRIES || error.kind() != ErrorKind::Unavailable {
                return Err(error);
            }
        }
    }

    async fn leave(&self, claim: NatsClaim) -> Result<()> {
        match self.bucket.delete(&claim.key, Some(claim.revision)).await {
            // It is somebody else's by now, or done: there is nothing to give up.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            other => other.map(drop),
        }
    }
}

impl fmt::Debug for NatsInbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NatsInbox").field(&self.bucket).finish()
    }
}

fn name(key: InboxKey<'_>) -> String {
    let mut name = token(key.consumer);
    name.push('.');
    if key.key.is_empty() {
        name.push('=');
    }
    for byte in key.key {
        // Writing to a `String` cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

enum Mark {
    Claimed { nonce: MessageId, lease: Duration },
    Done { nonce: MessageId, answer: Bytes },
}

impl Mark {
    fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(32);
        match self {
            Self::Claimed { nonce, lease } => {
                bytes.put_u8(CLAIMED);
                bytes.put_u128(nonce.0);
                bytes.put_u64(u64::try_from(lease.as_micros()).unwrap_or(u64::MAX));
            }
            Self::Done { nonce, answer } => {
                bytes.put_u8(DONE);
                bytes.put_u128(nonce.0);
                bytes.put_slice(answer);
            }
        }
        bytes.freeze()
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.len() < 17 {
            return None;
        }
        let (kind, nonce) = (bytes.get_u8(), MessageId(bytes.get_u128()));
        match kind {
            CLAIMED if bytes.len() >= 8 => Some(Self::Claimed { nonce, lease: Duration::from_micros(bytes.get_u64()) }),
            DONE => Some(Self::Done { nonce, answer: bytes }),
            _ => None,
        }
    }
}
