//! The one writer's turn: who comes first writes first.

use catga_contract::{Error, ErrorKind, Result};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Semaphore, time::timeout};

/// How long somebody waits for a turn before the answer is `Busy`.
const TURN_WAIT: Duration = Duration::from_secs(30);

pub(super) struct Turns {
    /// One permit, which is forgotten while a turn is out.
    free: Semaphore,
    out: Mutex<Out>,
}

#[derive(Default)]
struct Out {
    /// The turn that is out.
    now: Option<u64>,
    begun: u64,
}

impl Default for Turns {
    fn default() -> Self {
        Self { free: Semaphore::new(1), out: Mutex::default() }
    }
}

impl Turns {
    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn and answers its number. Dropped while it waits, the turn goes to the next.
    pub(super) async fn begin(&self) -> Result<u64> {
        let permit = match self.free.try_acquire() {
            Ok(permit) => Ok(permit),
            // No clock is asked by who need not wait.
            Err(_) => {
                timeout(TURN_WAIT, self.free.acquire()).await.map_err(|_| ()).and_then(|turn| turn.map_err(|_| ()))
            }
        };
        let Ok(permit) = permit else {
            let text = format!("no turn to write came in {TURN_WAIT:?}: somebody holds the transaction");
            return Err(Error::new(ErrorKind::Busy, text));
        };
        permit.forget();
        let mut out = self.out();
        out.begun += 1;
        out.now = Some(out.begun);
        Ok(out.begun)
    }

    pub(super) fn is_out(&self, turn: u64) -> bool {
        self.out().now == Some(turn)
    }

    /// Ends a turn; one that was revoked has ended already.
    pub(super) fn end(&self, turn: u64) {
        let ended = self.out().now.take_if(|now| *now == turn).is_some();
        if ended {
            self.free.add_permits(1);
        }
    }

    /// Ends the turn that is out, whoever has it: what it wrote lies in its own hands and is never committed.
    pub(super) fn revoke(&self) {
        let revoked = self.out().now.take().is_some();
        if revoked {
            self.free.add_permits(1);
        }
    }
}
