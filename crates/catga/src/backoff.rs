use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// How long to wait before a failed delivery is tried again, and how often.
///
/// The pause before try `n + 1` is `first × factor^(n-1)`, at most `most`, and up to the share `jitter` of it shorter
/// or longer, so that what failed together does not come again together.
///
/// ```
/// use catga::Backoff;
/// use std::time::Duration;
///
/// let patient = Backoff { attempts: 10, ..Backoff::default() };
/// assert_eq!((patient.first, patient.most), (Duration::from_millis(100), Duration::from_secs(30)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// How many tries are started before the delivery is buried; at least 1, default 5.
    pub attempts: u32,
    /// The pause after the first failure, default 100 ms.
    pub first: Duration,
    /// By how much each pause is longer than the last, 1 to 100, default 2.
    pub factor: f64,
    /// The longest pause before jitter, default 30 s.
    pub most: Duration,
    /// The share of a pause that is left to chance, 0 to 1, default 0.2.
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { attempts: 5, first: Duration::from_millis(100), factor: 2.0, most: Duration::from_secs(30), jitter: 0.2 }
    }
}

impl Backoff {
    /// What is wrong with these numbers, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        let Self { attempts, factor, jitter, .. } = self;
        if *attempts < 1 {
            return Some("a backoff of 0 attempts; at least 1".into());
        }
        if !(1.0..=100.0).contains(factor) {
            return Some(format!("a backoff whose factor is {factor}; 1 to 100"));
        }
        (!(0.0..=1.0).contains(jitter)).then(|| format!("a backoff whose jitter is {jitter}; 0 to 1"))
    }

    /// The longest time, in seconds, that may pass between the first try and the start of the last one, the tries
    /// themselves aside.
    pub(crate) fn horizon(&self) -> f64 {
        let (mut pauses, mut pause, mut sum) = (self.attempts.saturating_sub(1), self.first.as_secs_f64(), 0.0);
        let most = self.most.as_secs_f64();
        while pauses > 0 && pause < most && self.factor > 1.0 && pause > 0.0 {
            (sum, pause, pauses) = (sum + pause, pause * self.factor, pauses - 1);
        }
        (sum + f64::from(pauses) * pause.min(most)) * (1.0 + self.jitter)
    }

    /// The pause after `failures` failed tries, 1 or more.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let plain = (self.first.as_secs_f64() * self.factor.powi(exponent)).min(self.most.as_secs_f64());
        let chance = (RandomState::new().hash_one(failures) >> 11) as f64 / (1_u64 << 53) as f64;
        Duration::from_secs_f64(plain * (1.0 + self.jitter * (2.0 * chance - 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_most_and_stay_within_the_jitter() {
        let backoff = Backoff::default();
        for (failures, millis) in [(1, 100.0), (2, 200.0), (4, 800.0), (20, 30_000.0), (u32::MAX, 30_000.0)] {
            let pause = backoff.pause(failures).as_secs_f64() * 1000.0;
            assert!((millis * 0.8..=millis * 1.2).contains(&pause), "{failures}: {pause} ms");
        }
        let pauses: Vec<_> = (0..8).map(|_| backoff.pause(1)).collect();
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "chance has a say");
    }

    #[test]
    fn the_horizon_is_the_sum_of_the_longest_pauses() {
        let horizon = |attempts, factor| {
            let backoff = Backoff { attempts, factor, jitter: 0.0, ..Backoff::default() };
            (backoff.horizon() * 1000.0).round()
        };
        assert_eq!(horizon(1, 2.0), 0.0);
        assert_eq!(horizon(5, 2.0), 100.0 + 200.0 + 400.0 + 800.0);
        assert_eq!(horizon(5, 1.0), 400.0);
        assert_eq!(horizon(12, 2.0), 51_100.0 + 2.0 * 30_000.0);
        assert!((Backoff { attempts: 2, ..Backoff::default() }.horizon() - 0.12).abs() < 1e-9, "with its jitter");
        assert!(horizon(u32::MAX, 2.0) > 1e12);
    }

    #[test]
    fn senseless_numbers_are_named() {
        assert_eq!(Backoff::default().problem(), None);
        let text = |backoff: Backoff| backoff.problem().unwrap_or_default();
        assert!(text(Backoff { attempts: 0, ..Backoff::default() }).contains("attempts"));
        assert!(text(Backoff { factor: 0.5, ..Backoff::default() }).contains("factor"));
        assert!(text(Backoff { jitter: f64::NAN, ..Backoff::default() }).contains("jitter"));
    }
}
