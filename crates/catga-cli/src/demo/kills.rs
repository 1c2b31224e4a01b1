//! When the worker is killed.

use super::generate::Random;

/// After how many answers each kill falls due while nobody knows how many orders will come.
const APART: u64 = 50;

/// The kills that were asked for and those that hit started work.
#[derive(Debug)]
pub(crate) struct Kills {
    wanted: u64,
    per_kill: Vec<u64>,
    /// Kills that found all that was reported started committed: these do not count.
    missed: u64,
    /// Deliveries that are let through once a kill is due, so that kills hit every moment of a batch.
    spare: u64,
    random: Random,
}

impl Kills {
    /// That many, at moments that the seed picks.
    pub(crate) fn new(wanted: u64, seed: u64) -> Self {
        Self { wanted, per_kill: Vec::new(), missed: 0, spare: 0, random: Random::new(seed) }
    }

    /// Whether some kill is still to come.
    pub(crate) fn missing(&self) -> u64 {
        self.wanted - self.per_kill.len() as u64
    }

    /// Whether a kill should have fallen by now, or `ago` orders ago: kill k falls after k/(wanted + 1) of the orders.
    pub(crate) fn due(&self, done: u64, ago: u64, total: Option<u64>) -> bool {
        let apart = |count: u64| total.map_or(count * APART, |total| count * total / (self.wanted + 1));
        // Where kills stand close, so long ago is still before the next one.
        let at = apart(self.per_kill.len() as u64 + 1) + ago.min(apart(1) / 2);
        self.missing() > 0 && done >= at
    }

    /// A delivery was started while a kill is due: whether this is the moment.
    pub(crate) fn strikes(&mut self) -> bool {
        self.spare = self.spare.saturating_sub(1);
        self.spare == 0
    }

    /// A kill found so many deliveries started and uncommitted. Answers whether it counts.
    pub(crate) fn hit(&mut self, uncommitted: u64, total: u64) -> bool {
        if uncommitted > 0 {
            self.per_kill.push(uncommitted);
            // A small run has not many deliveries to let through.
            self.spare = self.random.below((total / (self.wanted + 1)).min(64));
        } else {
            self.missed += 1;
        }
        uncommitted > 0
    }

    /// For each kill that counts, how many deliveries were started and uncommitted.
    pub(crate) fn per_kill(&self) -> &[u64] {
        &self.per_kill
    }

    /// How many kills did not count.
    pub(crate) fn missed(&self) -> u64 {
        self.missed
    }

    /// How many were asked for.
    pub(crate) fn wanted(&self) -> u64 {
        self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_spread_over_the_orders_and_a_miss_is_repeated() {
        let mut kills = Kills::new(3, 1);
        assert!(!kills.due(24, 0, Some(100)));
        assert!(kills.due(25, 0, Some(100)));
        assert!(!kills.due(36, 64, Some(100)) && kills.due(37, 64, Some(100)));
        assert!(!kills.hit(0, 100));
        assert!(kills.due(25, 0, Some(100)) && kills.hit(2, 100));
        assert!(!kills.due(49, 0, Some(100)) && kills.due(50, 0, Some(100)));
        assert!(!kills.due(99, 0, None) && kills.due(100, 0, None));
        kills.hit(1, 100);
        kills.hit(7, 100);
        assert!(!kills.due(100, 0, Some(100)));
        assert_eq!((kills.per_kill(), kills.missing(), kills.missed()), (&[2, 1, 7][..], 0, 1));
    }

    #[test]
    fn once_due_a_kill_strikes_after_few_deliveries() {
        let mut kills = Kills::new(9, 1);
        for _ in 0..9 {
            assert!((0..64).any(|_| kills.strikes()));
            kills.hit(1, 10_000);
        }
    }
}
