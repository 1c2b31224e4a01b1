//! Old marks go: with each commit a small slice of the inbox is looked through, until all of it was, then not for an
//! hour. No slice is long enough to be felt, and none needs an index of its own.

use crate::{Sqlite, queue::now, tx::SqliteTx};
use catga_contract::{Error, ErrorKind, Result};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How long marks are kept unless somebody says otherwise: 7 days.
const KEEP: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How many marks a commit looks at.
const SLICE: usize = 64;
/// How long nothing is looked at when all was.
const REST: Duration = Duration::from_secs(60 * 60);

/// How far the sweep has come.
pub(crate) struct Sweep {
    /// In microseconds.
    keep: AtomicU64,
    place: Mutex<Place>,
}

#[derive(Default)]
struct Place {
    /// The last mark that was looked at.
    after: (i64, Vec<u8>),
    /// Nothing is looked at before.
    rests_until: Option<Instant>,
}

impl Default for Sweep {
    fn default() -> Self {
        Self { keep: AtomicU64::new(KEEP.as_micros() as u64), place: Mutex::default() }
    }
}

impl Sweep {
    pub(crate) fn keeps(&self) -> Duration {
        Duration::from_micros(self.keep.load(Ordering::Relaxed))
    }
}

impl Sqlite {
    /// How long the marks of what was handled, and the answers that were kept with them, stay: an hour to ten years,
    /// default 7 days. A message that comes once more after that is handled once more, so it must be longer than any
    /// message can be under way, a dead letter's replay aside; `build()` refuses an application whose retries may take
    /// longer.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] where it is out of bounds.
    pub fn keep_marks(self, time: Duration) -> Result<Self> {
        let hour = 60 * 60;
        if !(hour..=10 * 366 * 24 * hour).contains(&time.as_secs()) {
            let text = format!("marks cannot be kept for {time:?}; an hour to ten years");
            return Err(self.about(Error::new(ErrorKind::Invalid, text)));
        }
        self.inner.sweep.keep.store(crate::queue::micros(time), Ordering::Relaxed);
        Ok(self)
    }

    /// Looks through the next slice of marks in this transaction, and removes those that are too old.
    pub(crate) fn sweep(&self, tx: &mut SqliteTx) -> Result<()> {
        let Sweep { keep, place } = &self.inner.sweep;
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.rests_until.is_some_and(|until| until > Instant::now()) {
            return Ok(());
        }
        let oldest = now().saturating_sub(keep.load(Ordering::Relaxed)) as i64;
        let (consumer, id) = &place.after;
        let last = tx.ours("sweeping marks", |db| {
            // The mark that ends the slice; none where fewer are left.
            let sql = "SELECT consumer, id FROM catga_inbox WHERE (consumer, id) > (?1, ?2)
                ORDER BY consumer, id LIMIT 1 OFFSET ?3";
            let mut select = db.prepare_cached(sql)?;
            let mut rows = select.query((consumer, id, SLICE - 1))?;
            let last: Option<(i64, Vec<u8>)> = match rows.next()? {
                Some(row) => Some((row.get(0)?, row.get(1)?)),
                None => None,
            };
            let (to, to_id) = last.as_ref().map_or((i64::MAX, &[][..]), |(consumer, id)| (*consumer, &id[..]));
            let sql =
                "DELETE FROM catga_inbox WHERE (consumer, id) > (?1, ?2) AND (consumer, id) <= (?3, ?4) AND at < ?5";
            db.prepare_cached(sql)?.execute((consumer, id, to, to_id, oldest))?;
            Ok(last)
        })?;
        // Should this transaction be undone, the slice is looked at in the next round.
        match last {
            Some(last) => place.after = last,
            None => *place = Place { after: Default::default(), rests_until: Some(Instant::now() + REST) },
        }
        Ok(())
    }
}
