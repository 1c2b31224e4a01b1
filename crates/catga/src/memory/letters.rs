//! What consumers could not handle.

use super::{
    Memory, check_room, owned,
    tx::{MemoryTx, Write},
};
use bytes::Bytes;
use catga_contract::{
    DeadLetters, Envelope, Error, ErrorKind, InboxKey, Key, Letter, LetterId, NewLetter, Result, Str,
};
use std::{collections::BTreeMap, time::SystemTime};

/// How many letters a store holds.
const MOST: usize = 65_536;

#[derive(Default)]
pub(super) struct Letters {
    by_id: BTreeMap<LetterId, Letter>,
    last: u64,
}

/// A letter that has no id yet.
pub(super) struct Buried {
    consumer: Str,
    handler: Str,
    frame: Bytes,
    reason: String,
    attempts: u32,
    node: Str,
    first: SystemTime,
    last: SystemTime,
    parks: Option<u64>,
}

impl Buried {
    fn new(letter: &NewLetter<'_>) -> Self {
        let NewLetter { consumer, handler, frame, reason, attempts, node, first, last, parks } = *letter;
        Self {
            consumer: owned(consumer),
            handler: owned(handler),
            frame: Bytes::copy_from_slice(frame),
            reason: reason.to_owned(),
            attempts,
            node: owned(node),
            first,
            last,
            parks,
        }
    }
}

impl Letters {
    pub(super) fn bury(&mut self, buried: Buried) -> LetterId {
        let Buried { consumer, handler, frame, reason, attempts, node, first, last, parks } = buried;
        self.last += 1;
        let id = LetterId(self.last);
        let letter = Letter { id, consumer, handler, frame, reason, attempts, node, first, last, parks };
        self.by_id.insert(id, letter);
        id
    }
}

impl MemoryTx {
    pub(super) fn bury(&mut self, letter: &NewLetter<'_>) -> Result<()> {
        let buried = self.writes.iter().filter(|write| matches!(write, Write::Bury(_))).count();
        let kept = self.shared.store().letters.by_id.len();
        check_room("dead letters", kept + buried + 1, MOST)?;
        self.writes.push(Write::Bury(Box::new(Buried::new(letter))));
        Ok(())
    }
}

impl DeadLetters for Memory {
    async fn bury(&self, letter: &NewLetter<'_>) -> Result<LetterId> {
        let mut store = self.store();
        check_room("dead letters", store.letters.by_id.len() + 1, MOST)?;
        Ok(store.letters.bury(Buried::new(letter)))
    }

    async fn list(&self, after: LetterId, most: usize) -> Result<Vec<Letter>> {
        let behind = LetterId(after.0.saturating_add(1))..;
        Ok(self.store().letters.by_id.range(behind).take(most).map(|(_, letter)| letter.clone()).collect())
    }

    /// It does not wait for room: others may wait for this message.
    async fn replay(&self, id: LetterId) -> Result<bool> {
        let mut store = self.store();
        let Some(letter) = store.letters.by_id.get(&id) else { return Ok(false) };
        let queue = self.shared.hub.queue(&letter.consumer).filter(|_| self.shared.hub.takes(&letter.consumer));
        let Some(queue) = queue else {
            let text = format!("letter {} is of consumer `{}`, which takes nothing any more", id.0, letter.consumer);
            return Err(Error::new(ErrorKind::NotFound, text));
        };
        let Letter { consumer, frame, parks, .. } = letter.clone();
        store.letters.by_id.remove(&id);
        // What cannot be read has no mark, and no key but the one that it was published with.
        let envelope = Envelope::decode(&frame).ok();
        if let Some(envelope) = &envelope {
            store.inboxes.forget(InboxKey { consumer: &consumer, key: &envelope.id.to_bytes() });
        }
        let key = parks.or_else(|| envelope?.key.as_ref().map(Key::digest));
        let mut state = queue.lock();
        state.replay(frame, key);
        drop(store);
        queue.leave(state);
        Ok(true)
    }

    async fn remove(&self, id: LetterId) -> Result<bool> {
        let mut store = self.store();
        let Some(letter) = store.letters.by_id.remove(&id) else { return Ok(false) };
        if let Some(key) = letter.parks
            && let Some(queue) = self.shared.hub.queue(&letter.consumer)
        {
            let mut state = queue.lock();
            state.unpark(key);
            drop(store);
            queue.leave(state);
        }
        Ok(true)
    }
}
