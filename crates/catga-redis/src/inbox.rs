//! Marks and claims: one key each, which the server forgets after its time.

use crate::{args::Arg, error::strange, scripts::SCRIPTS, store::Redis};
use bytes::Bytes;
use catga_contract::{Entered, Error, ErrorKind, Inbox, InboxKey, Result};
use redis::Value;
use std::time::Duration;

/// A claim on a key, fenced by the server's clock. Dropped, it ends with its lease;
/// [`leave`](catga_contract::Inbox::leave) ends it at once.
pub struct RedisClaim {
    key: Vec<u8>,
    fence: String,
}

impl std::fmt::Debug for RedisClaim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisClaim").field("fence", &self.fence).finish_non_exhaustive()
    }
}

/// A key behind the name of its consumer. A name has no zero byte.
pub(crate) fn mark(key: InboxKey<'_>) -> Vec<u8> {
    [key.consumer.as_bytes(), &[0], key.key].concat()
}

impl Inbox for Redis {
    type Claim = RedisClaim;

    async fn claim(&self, key: InboxKey<'_>, lease: Duration) -> Result<Entered<RedisClaim>> {
        let key = mark(key);
        let lease = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX).clamp(1, 1 << 42);
        let args = [Arg::from(&key[..]), Arg::from(lease)];
        let (state, value): (u8, Vec<u8>) = self.run(&SCRIPTS.claim, &args, "claiming a key").await?;
        let digits = || String::from_utf8(value.clone()).map_err(|_| strange("claiming a key"));
        Ok(match state {
            0 => Entered::New(RedisClaim { fence: digits()?, key }),
            1 => {
                let micros = digits()?.parse().map_err(|_| strange("claiming a key"))?;
                Entered::Busy { retry_after: Duration::from_micros(micros) }
            }
            _ => Entered::Done(Bytes::from(value)),
        })
    }

    async fn finish(&self, claim: &RedisClaim, answer: &[u8]) -> Result<()> {
        if self.end(claim, "finish", answer).await? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, "the claim is stale: somebody else has the key, or has finished it"))
    }

    async fn leave(&self, claim: RedisClaim) -> Result<()> {
        self.end(&claim, "leave", &[]).await.map(drop)
    }
}

impl Redis {
    async fn end(&self, claim: &RedisClaim, how: &str, answer: &[u8]) -> Result<bool> {
        let keep = self.inner.options.marks.as_millis() as i64;
        let args =
            [Arg::from(&claim.key[..]), Arg::from(&*claim.fence), Arg::from(how), Arg::from(answer), Arg::from(keep)];
        self.run(&SCRIPTS.finish, &args, "ending a claim").await
    }
}

/// What a key's value says.
pub(crate) enum Mark {
    Free,
    /// Somebody is at it, or was within the last day.
    Claimed,
    Done(Bytes),
}

impl Mark {
    pub(crate) fn read(value: Value) -> Self {
        match value {
            Value::BulkString(mut kept) if kept.first() == Some(&b'D') => Self::Done(Bytes::from(kept.split_off(1))),
            Value::BulkString(_) => Self::Claimed,
            _ => Self::Free,
        }
    }
}
