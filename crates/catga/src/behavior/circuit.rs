//! What a circuit breaker knows, apart from calls.

use super::window::Window;
use std::time::Duration;
use tokio::time::Instant;

/// How a [`CircuitBreaker`](super::CircuitBreaker) stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// Calls pass.
    Closed,
    /// Calls end at once.
    Open,
    /// A few calls may try.
    HalfOpen,
}

/// When it opens and closes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) ratio: f64,
    pub(super) calls: u32,
    pub(super) window: Duration,
    pub(super) open: Duration,
    pub(super) probes: u32,
}

/// What clones of a breaker share.
#[derive(Debug)]
pub(super) struct Shared {
    state: State,
    /// Rises with each change of state: what a call of an earlier term answers counts no more.
    term: u64,
    window: Window,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { since: Instant, running: u32, succeeded: u32 },
}

impl Shared {
    pub(super) fn new(now: Instant) -> Self {
        Self { state: State::Closed, term: 0, window: Window::new(now) }
    }

    pub(super) fn circuit(&self, now: Instant) -> Circuit {
        match self.state {
            State::Closed => Circuit::Closed,
            State::Open { until } if now < until => Circuit::Open,
            State::Open { .. } | State::HalfOpen { .. } => Circuit::HalfOpen,
        }
    }

    /// The term in which a call begins.
    ///
    /// # Errors
    ///
    /// Where it may not: the pause after which to ask again, if it is known.
    pub(super) fn admit(&mut self, rule: Rule, now: Instant) -> Result<u64, Option<Duration>> {
        let ended = match self.state {
            State::Closed => return Ok(self.term),
            State::Open { until } if now < until => return Err(Some(until - now)),
            State::Open { .. } => true,
            // Tries that hang give their place up.
            State::HalfOpen { since, running, .. } => running > 0 && now.duration_since(since) >= rule.open,
        };
        if ended {
            self.change(State::HalfOpen { since: now, running: 0, succeeded: 0 });
        }
        match &mut self.state {
            State::HalfOpen { running, succeeded, .. } if *running + *succeeded < rule.probes => {
                *running += 1;
                Ok(self.term)
            }
            _ => Err(None),
        }
    }

    /// Counts how a call ended, `None` where it did not; answers what became of the circuit, if anything.
    pub(super) fn settle(&mut self, rule: Rule, term: u64, failed: Option<bool>, now: Instant) -> Option<Circuit> {
        if term != self.term {
            return None;
        }
        match (&mut self.state, failed) {
            (State::Closed, Some(failed)) => {
                let counts = self.window.count(now, rule.window, failed);
                let share = f64::from(counts.failures) / f64::from(counts.calls);
                if !failed || counts.calls < rule.calls || share < rule.ratio {
                    return None;
                }
            }
            (State::HalfOpen { running, .. }, None) => {
                *running -= 1;
                return None;
            }
            (State::HalfOpen { running, succeeded, .. }, Some(false)) => {
                *running -= 1;
                *succeeded += 1;
                if *succeeded < rule.probes {
                    return None;
                }
                self.change(State::Closed);
                self.window = Window::new(now);
                return Some(Circuit::Closed);
            }
            (State::HalfOpen { .. }, Some(true)) => {}
            (State::Closed, None) | (State::Open { .. }, _) => return None,
        }
        self.change(State::Open { until: now + rule.open });
        Some(Circuit::Open)
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.term += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule =
        Rule { ratio: 0.5, calls: 4, window: Duration::from_secs(10), open: Duration::from_secs(5), probes: 2 };

    /// Two failures of four calls at `now`.
    fn opened(now: Instant) -> Shared {
        let mut shared = Shared::new(now);
        for failed in [false, false, true] {
            assert_eq!(shared.settle(RULE, 0, Some(failed), now), None);
        }
        assert_eq!(shared.settle(RULE, 0, Some(true), now), Some(Circuit::Open));
        shared
    }

    #[test]
    fn it_closes_when_all_tries_succeeded_and_opens_at_the_first_that_fails() {
        let now = Instant::now();
        let mut shared = opened(now);
        assert_eq!(shared.admit(RULE, now + Duration::from_secs(2)), Err(Some(Duration::from_secs(3))));
        let later = now + RULE.open;
        let term = shared.admit(RULE, later).unwrap();
        assert_eq!(shared.admit(RULE, later), Ok(term));
        assert_eq!(shared.admit(RULE, later), Err(None), "two tries, not three");
        assert_eq!(shared.settle(RULE, term, Some(false), later), None);
        assert_eq!(shared.settle(RULE, term, Some(false), later), Some(Circuit::Closed));

        let mut shared = opened(now);
        let term = shared.admit(RULE, later).unwrap();
        assert_eq!(shared.settle(RULE, term, Some(true), later), Some(Circuit::Open));
        assert_eq!(shared.circuit(later + Duration::from_secs(4)), Circuit::Open);
        assert_eq!(shared.circuit(later + RULE.open), Circuit::HalfOpen);
    }

    #[test]
    fn a_late_answer_counts_nothing_and_a_dropped_try_gives_its_place_up() {
        let now = Instant::now();
        let mut shared = opened(now);
        let later = now + RULE.open;
        let term = shared.admit(RULE, later).unwrap();
        assert_eq!(shared.settle(RULE, 0, Some(true), later), None, "begun before it opened");
        shared.admit(RULE, later).unwrap();
        assert_eq!(shared.settle(RULE, term, None, later), None);
        assert_eq!(shared.admit(RULE, later), Ok(term));
        // Two hang: after the open time others may try.
        assert_eq!(shared.admit(RULE, later + Duration::from_secs(4)), Err(None));
        assert_ne!(shared.admit(RULE, later + RULE.open).unwrap(), term);
    }
}
