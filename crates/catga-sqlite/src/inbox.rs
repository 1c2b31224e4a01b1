//! The inbox for work outside a delivery. Marks and answers lie in the file; claims lie in memory, because one
//! process works on a file and its claims end with it.

use crate::{Sqlite, writer::Shared};
use bytes::Bytes;
use catga_contract::{Entered, Entry, Error, ErrorKind, Fault, Inbox, InboxKey, Result, UnitOfWork};
use rusqlite::OptionalExtension;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Expired claims are swept when there are more than this.
const SWEEP: usize = 1_024;

/// Who is at what, by consumer and key.
#[derive(Default)]
pub(crate) struct Claims(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    by_key: HashMap<(String, Vec<u8>), Held>,
    fence: u64,
}

struct Held {
    fence: u64,
    until: Instant,
}

impl Claims {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fence of a new claim, or how long the other one's lasts.
    fn take(&self, key: (String, Vec<u8>), lease: Duration) -> Result<u64, Duration> {
        let (mut inner, now) = (self.inner(), Instant::now());
        if let Some(held) = inner.by_key.get(&key)
            && held.until > now
        {
            return Err(held.until - now);
        }
        if inner.by_key.len() > SWEEP {
            inner.by_key.retain(|_, held| held.until > now);
        }
        inner.fence += 1;
        let fence = inner.fence;
        inner.by_key.insert(key, Held { fence, until: now + lease });
        Ok(fence)
    }

    fn holds(&self, claim: &SqliteClaim) -> bool {
        self.inner().by_key.get(&claim.key).is_some_and(|held| held.fence == claim.fence)
    }
}

/// A claim on a key in this process; dropped, it is given up at once.
pub struct SqliteClaim {
    key: (String, Vec<u8>),
    fence: u64,
    shared: Arc<Shared>,
}

impl SqliteClaim {
    fn key(&self) -> InboxKey<'_> {
        InboxKey { consumer: &self.key.0, key: &self.key.1 }
    }
}

impl Drop for SqliteClaim {
    fn drop(&mut self) {
        let mut inner = self.shared.hub.claims.inner();
        // One that ran out may be somebody else's by now.
        if inner.by_key.get(&self.key).is_some_and(|held| held.fence == self.fence) {
            inner.by_key.remove(&self.key);
        }
    }
}

impl std::fmt::Debug for SqliteClaim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteClaim").field("consumer", &self.key.0).field("fence", &self.fence).finish_non_exhaustive()
    }
}

impl Inbox for Sqlite {
    type Claim = SqliteClaim;

    async fn claim(&self, key: InboxKey<'_>, lease: Duration) -> Result<Entered<SqliteClaim>> {
        self.own().await?;
        let shared = &self.inner.shared;
        let owned = (key.consumer.to_owned(), key.key.to_vec());
        // Claimed before the marks are read: who finishes in between is found there.
        let fence = match shared.hub.claims.take(owned.clone(), lease) {
            Ok(fence) => fence,
            Err(retry_after) => {
                return Ok(self.answer(key)?.map_or(Entered::Busy { retry_after }, Entered::Done));
            }
        };
        let claim = SqliteClaim { key: owned, fence, shared: shared.clone() };
        Ok(self.answer(key)?.map_or(Entered::New(claim), Entered::Done))
    }

    async fn finish(&self, claim: &SqliteClaim, answer: &[u8]) -> Result<()> {
        let stale = || {
            let text = format!("the claim of `{}` is stale: somebody else has the key", claim.key.0);
            Error::new(ErrorKind::Conflict, text)
        };
        let mut tx = self.open_tx().await?;
        if !self.inner.shared.hub.claims.holds(claim) && !self.sabotaged(Fault::NoFence) {
            return Err(stale());
        }
        match self.enter(&mut tx, claim.key()).await? {
            Entry::New => {}
            Entry::Busy { .. } | Entry::Done(_) => return Err(stale()),
        }
        UnitOfWork::finish(self, &mut tx, claim.key(), answer).await?;
        self.commit(tx).await
    }

    async fn leave(&self, claim: SqliteClaim) -> Result<()> {
        if self.sabotaged(Fault::FailureIsDone) {
            return Inbox::finish(self, &claim, b"").await;
        }
        drop(claim);
        Ok(())
    }
}

impl Sqlite {
    /// What was answered, where the key is done.
    fn answer(&self, key: InboxKey<'_>) -> Result<Option<Bytes>> {
        self.read(|db| {
            let sql = "SELECT answer FROM catga_inbox JOIN catga_consumer AS named ON named.id = consumer
                WHERE named.name = ?1 AND catga_inbox.id = ?2";
            let mut select = db.prepare_cached(sql)?;
            let answer = select.query_row((key.consumer, key.key), |row| row.get::<_, Option<Vec<u8>>>(0));
            Ok(answer.optional()?.map(|answer| Bytes::from(answer.unwrap_or_default())))
        })
    }
}
