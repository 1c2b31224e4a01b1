//! Waiting in front of something scarce: for at most so many calls, and for each at most so long.

use catga_contract::Call;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// Who waits, and how long each may.
#[derive(Clone, Debug)]
pub(super) struct Line {
    places: Arc<Semaphore>,
    patience: Duration,
}

impl Default for Line {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(1024)), patience: Duration::from_secs(5) }
    }
}

impl Line {
    pub(super) fn places(self, places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))), ..self }
    }

    pub(super) fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Whether this call may wait. One that holds the store's writer may not: whoever it waits for could want to
    /// write.
    pub(super) fn takes(&self, call: &mut Call<'_>) -> bool {
        !self.patience.is_zero() && !holds_unit(call)
    }

    /// Waits for a turn; `None` where the line is full or the turn does not come in time.
    pub(super) async fn wait<T>(&self, turn: impl Future<Output = T>) -> Option<T> {
        let _place = self.places.try_acquire().ok()?;
        tokio::time::timeout(self.patience, turn).await.ok()
    }
}

/// Whether the call holds an open unit of work, and with it perhaps the only writer of a store.
pub(super) fn holds_unit(call: &mut Call<'_>) -> bool {
    let unit = call.take_unit();
    let held = unit.is_some();
    if let Some(unit) = unit {
        call.lend(unit);
    }
    held
}
