//! What was done and what was answered, and who is at what.

use super::{
    Memory, Shared, owned,
    tx::{MemoryTx, Write},
};
use bytes::Bytes;
use catga_contract::{Entered, Entry, Error, ErrorKind, Inbox, InboxKey, Result, Str, UnitOfWork};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// How long marks stay unless somebody says otherwise: 7 days.
const KEEP: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How many marks of a consumer stay.
const MOST: usize = 1 << 20;
/// Claims that ended are swept when there are more than this.
const SWEEP: usize = 1_024;

/// A consumer and a key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Mark {
    consumer: Str,
    key: Key,
}

/// A message's id allocates nothing; a key of the user's does.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Id([u8; 16]),
    Other(Box<[u8]>),
}

impl Key {
    fn new(bytes: &[u8]) -> Self {
        bytes.try_into().map_or_else(|_| Self::Other(bytes.into()), Self::Id)
    }
}

impl Mark {
    fn is(&self, key: InboxKey<'_>) -> bool {
        let bytes = match &self.key {
            Key::Id(bytes) => &bytes[..],
            Key::Other(bytes) => bytes,
        };
        bytes == key.key && *self.consumer == *key.consumer
    }
}

pub(super) struct Inboxes {
    by_consumer: HashMap<Str, Marks>,
    claims: HashMap<Mark, Held>,
    fence: u64,
    keep: Duration,
    most: usize,
}

impl Default for Inboxes {
    fn default() -> Self {
        Self { by_consumer: HashMap::new(), claims: HashMap::new(), fence: 0, keep: KEEP, most: MOST }
    }
}

/// The marks of one consumer.
#[derive(Default)]
struct Marks {
    by_key: HashMap<Key, Done>,
    /// By age; entries whose mark has gone meanwhile are passed over.
    by_age: VecDeque<(u64, Instant, Key)>,
    made: u64,
}

struct Done {
    number: u64,
    answer: Bytes,
}

/// Who is at a key.
struct Held {
    fence: u64,
    until: Instant,
}

impl Inboxes {
    pub(super) fn keep(&mut self, time: Duration, most: usize) {
        (self.keep, self.most) = (time, most);
    }

    /// What was answered, where the key is done.
    pub(super) fn answer(&self, key: InboxKey<'_>) -> Option<Bytes> {
        let marks = self.by_consumer.get(key.consumer)?;
        marks.by_key.get(&Key::new(key.key)).map(|done| done.answer.clone())
    }

    /// The name of a consumer as it is kept here: clones of it allocate nothing.
    fn name(&self, consumer: &str) -> Str {
        self.by_consumer.get_key_value(consumer).map_or_else(|| owned(consumer), |(name, _)| name.clone())
    }

    pub(super) fn mark(&mut self, Mark { consumer, key }: Mark, now: Instant) {
        let (keep, most) = (self.keep, self.most);
        let marks = self.by_consumer.entry(consumer).or_default();
        while let Some((number, at, _)) = marks.by_age.front()
            && (marks.by_key.len() >= most || now.duration_since(*at) > keep || marks.is_gone(*number))
        {
            marks.drop_oldest();
        }
        marks.made += 1;
        let number = marks.made;
        marks.by_age.push_back((number, now, key.clone()));
        marks.by_key.insert(key, Done { number, answer: Bytes::new() });
    }

    pub(super) fn keep_answer(&mut self, Mark { consumer, key }: &Mark, answer: Bytes) {
        if let Some(done) = self.by_consumer.get_mut(consumer).and_then(|marks| marks.by_key.get_mut(key)) {
            done.answer = answer;
        }
    }

    pub(super) fn forget(&mut self, key: InboxKey<'_>) {
        if let Some(marks) = self.by_consumer.get_mut(key.consumer) {
            marks.by_key.remove(&Key::new(key.key));
        }
    }

    /// The fence of a new claim, or how long the other one's lasts.
    fn claim(&mut self, mark: &Mark, lease: Duration) -> Result<u64, Duration> {
        let now = Instant::now();
        if let Some(held) = self.claims.get(mark)
            && held.until > now
        {
            return Err(held.until - now);
        }
        if self.claims.len() > SWEEP {
            self.claims.retain(|_, held| held.until > now);
        }
        self.fence += 1;
        self.claims.insert(mark.clone(), Held { fence: self.fence, until: super::later(lease) });
        Ok(self.fence)
    }
}

impl Marks {
    fn is_gone(&self, number: u64) -> bool {
        self.by_age.front().is_some_and(|(first, _, key)| {
            *first == number && self.by_key.get(key).is_none_or(|done| done.number != number)
        })
    }

    fn drop_oldest(&mut self) {
        if let Some((number, _, key)) = self.by_age.pop_front()
            && self.by_key.get(&key).is_some_and(|done| done.number == number)
        {
            self.by_key.remove(&key);
        }
    }
}

impl MemoryTx {
    /// Marks a key, or says what was answered in this transaction or before it.
    pub(super) fn enter(&mut self, key: InboxKey<'_>) -> Entry {
        let mut answer = None;
        for write in &self.writes {
            match write {
                Write::Mark(mark) if mark.is(key) => answer = Some(Bytes::new()),
                Write::Answer(mark, kept) if mark.is(key) => answer = Some(kept.clone()),
                _ => {}
            }
        }
        let store = self.shared.store();
        if let Some(answer) = answer.or_else(|| store.inboxes.answer(key)) {
            return Entry::Done(answer);
        }
        let mark = Mark { consumer: store.inboxes.name(key.consumer), key: Key::new(key.key) };
        drop(store);
        self.writes.push(Write::Mark(mark));
        Entry::New
    }

    pub(super) fn keep_answer(&mut self, key: InboxKey<'_>, answer: &[u8]) {
        let mark = Mark { consumer: owned(key.consumer), key: Key::new(key.key) };
        self.writes.push(Write::Answer(mark, Bytes::copy_from_slice(answer)));
    }
}

/// A claim on a key; dropped, it is given up at once.
pub struct MemoryClaim {
    mark: Mark,
    fence: u64,
    shared: Arc<Shared>,
}

impl MemoryClaim {
    fn key(&self) -> InboxKey<'_> {
        let key = match &self.mark.key {
            Key::Id(bytes) => &bytes[..],
            Key::Other(bytes) => bytes,
        };
        InboxKey { consumer: &self.mark.consumer, key }
    }

    /// Whether nobody has taken the key over.
    fn holds(&self) -> bool {
        self.shared.store().inboxes.claims.get(&self.mark).is_some_and(|held| held.fence == self.fence)
    }

    fn stale(&self) -> Error {
        let text = format!("the claim of `{}` is stale: somebody else has the key", self.mark.consumer);
        Error::new(ErrorKind::Conflict, text)
    }
}

impl Drop for MemoryClaim {
    fn drop(&mut self) {
        let claims = &mut self.shared.store().inboxes.claims;
        // One that ran out may be somebody else's by now.
        if claims.get(&self.mark).is_some_and(|held| held.fence == self.fence) {
            claims.remove(&self.mark);
        }
    }
}

impl std::fmt::Debug for MemoryClaim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let consumer = &self.mark.consumer;
        f.debug_struct("MemoryClaim").field("consumer", consumer).field("fence", &self.fence).finish_non_exhaustive()
    }
}

impl Inbox for Memory {
    type Claim = MemoryClaim;

    async fn claim(&self, key: InboxKey<'_>, lease: Duration) -> Result<Entered<MemoryClaim>> {
        let mut store = self.store();
        if let Some(answer) = store.inboxes.answer(key) {
            return Ok(Entered::Done(answer));
        }
        let mark = Mark { consumer: store.inboxes.name(key.consumer), key: Key::new(key.key) };
        Ok(match store.inboxes.claim(&mark, lease) {
            Ok(fence) => Entered::New(MemoryClaim { mark, fence, shared: self.shared.clone() }),
            Err(retry_after) => Entered::Busy { retry_after },
        })
    }

    async fn finish(&self, claim: &MemoryClaim, answer: &[u8]) -> Result<()> {
        let mut tx = self.begin().await?;
        if !claim.holds() {
            return Err(claim.stale());
        }
        match tx.enter(claim.key()) {
            Entry::New => {}
            Entry::Busy { .. } | Entry::Done(_) => return Err(claim.stale()),
        }
        UnitOfWork::finish(self, &mut tx, claim.key(), answer).await?;
        self.commit(tx).await
    }

    async fn leave(&self, claim: MemoryClaim) -> Result<()> {
        drop(claim);
        Ok(())
    }
}
