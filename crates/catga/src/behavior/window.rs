//! Counting the calls of the last while.

use std::time::Duration;
use tokio::time::Instant;

/// Counts of the last while, in ten slots that are used in turn.
#[derive(Debug)]
pub(super) struct Window {
    slots: [Counts; SLOTS],
    began: Instant,
    /// The number of the slot that was counted in last, from the beginning on.
    last: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) calls: u32,
    pub(super) failures: u32,
}

const SLOTS: usize = 10;

impl Window {
    pub(super) fn new(now: Instant) -> Self {
        Self { slots: [Counts::default(); SLOTS], began: now, last: 0 }
    }

    /// Counts a call; answers what was counted within the window.
    pub(super) fn count(&mut self, now: Instant, window: Duration, failed: bool) -> Counts {
        let width = (window.as_nanos() / SLOTS as u128).max(1);
        let slot = u64::try_from(now.duration_since(self.began).as_nanos() / width).unwrap_or(u64::MAX);
        let slot = slot.max(self.last);
        for over in (self.last + 1..=slot).take(SLOTS) {
            self.slots[over as usize % SLOTS] = Counts::default();
        }
        self.last = slot;
        let counts = &mut self.slots[slot as usize % SLOTS];
        counts.calls = counts.calls.saturating_add(1);
        counts.failures = counts.failures.saturating_add(failed.into());
        self.slots.iter().fold(Counts::default(), |sum, counts| Counts {
            calls: sum.calls.saturating_add(counts.calls),
            failures: sum.failures.saturating_add(counts.failures),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    #[test]
    fn what_is_older_than_the_window_counts_no_more() {
        let now = Instant::now();
        let mut window = Window::new(now);
        let mut count = |seconds, failed| {
            let Counts { calls, failures } = window.count(now + Duration::from_secs(seconds), WINDOW, failed);
            (calls, failures)
        };
        assert_eq!(count(0, true), (1, 1));
        assert_eq!(count(9, true), (2, 2));
        assert_eq!(count(10, false), (2, 1));
        assert_eq!(count(18, false), (3, 1));
        assert_eq!(count(19, false), (3, 0));
        assert_eq!(count(1_000_000, false), (1, 0));
    }
}
