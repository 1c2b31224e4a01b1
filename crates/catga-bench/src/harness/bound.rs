use super::{Figure, Spread};
use serde::Serialize;

/// What a figure must not exceed, by another figure of the same rounds.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// The candidate that is bounded.
    pub name: &'static str,
    /// The candidate that it is measured by.
    pub by: &'static str,
    /// How much.
    pub at_most: AtMost,
    /// Whether missing it is a failure; else it is where we want to go.
    pub gates: bool,
}

/// How much more than another figure.
#[derive(Clone, Copy, Debug)]
pub enum AtMost {
    /// So many times it.
    Times(f64),
    /// So many nanoseconds above it.
    Above(f64),
}

/// Whether a bound holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The median is within it.
    Held,
    /// The median is above it.
    Missed,
    /// The median is above what is only a goal yet.
    Short,
    /// One of the two was not measured.
    NoPeer,
}

/// A bound and what was found.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The candidate that is bounded.
    pub name: &'static str,
    /// The candidate that it is measured by.
    pub by: &'static str,
    /// The bound, as text.
    pub bound: String,
    /// The rounds' own ratios or differences.
    pub found: Spread,
    /// Whether it holds.
    pub verdict: Verdict,
}

impl Bound {
    /// `name` takes at most so many times what `by` takes.
    pub const fn times(name: &'static str, times: f64, by: &'static str) -> Self {
        Self { name, by, at_most: AtMost::Times(times), gates: true }
    }

    /// `name` takes at most so many nanoseconds more than `by`.
    pub const fn above(name: &'static str, nanoseconds: f64, by: &'static str) -> Self {
        Self { name, by, at_most: AtMost::Above(nanoseconds), gates: true }
    }

    /// The same as a goal: printed, and no failure where it is missed.
    pub const fn as_goal(self) -> Self {
        Self { gates: false, ..self }
    }

    /// Compares the figures round by round.
    pub(super) fn judge(&self, figures: &[Figure]) -> Outcome {
        let find = |name| figures.iter().find(|figure| figure.name == name);
        let compare = |ours: f64, theirs: f64| match self.at_most {
            AtMost::Times(_) => ours / theirs,
            AtMost::Above(_) => ours - theirs,
        };
        let (most, bound) = match self.at_most {
            AtMost::Times(most) => (most, format!("≤ {most} ×")),
            AtMost::Above(most) => (most, format!("≤ + {most} ns")),
        };
        let (found, verdict) = match (find(self.name), find(self.by)) {
            (Some(ours), Some(theirs)) => {
                let rounds = ours.rounds.iter().zip(&theirs.rounds);
                let found = Spread::of(&rounds.map(|(ours, theirs)| compare(*ours, *theirs)).collect::<Vec<_>>());
                let verdict = match found.median <= most {
                    true => Verdict::Held,
                    false if self.gates => Verdict::Missed,
                    false => Verdict::Short,
                };
                (found, verdict)
            }
            _ => (Spread::default(), Verdict::NoPeer),
        };
        Outcome { name: self.name, by: self.by, bound, found, verdict }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(name: &str, rounds: [f64; 3]) -> Figure {
        let ns = Spread::of(&rounds);
        let rounds = rounds.to_vec();
        Figure {
            name: name.into(),
            iterations: 1,
            ns,
            allocations: 0.0,
            bytes: 0.0,
            faults: None,
            instructions: None,
            latency: None,
            rounds,
            faulted: Vec::new(),
        }
    }

    #[test]
    fn rounds_are_compared_with_themselves() {
        // The machine slowed down threefold in the last round; the ratio does not see it.
        let figures = [figure("ours", [12.0, 11.0, 33.0]), figure("theirs", [10.0, 10.0, 30.0])];
        let outcome = Bound::times("ours", 1.15, "theirs").judge(&figures);
        assert_eq!(outcome.verdict, Verdict::Held);
        assert!((outcome.found.median - 1.1).abs() < 1e-9);
        assert_eq!(Bound::times("ours", 1.05, "theirs").judge(&figures).verdict, Verdict::Missed);
        assert_eq!(Bound::times("ours", 1.05, "theirs").as_goal().judge(&figures).verdict, Verdict::Short);
        assert_eq!(Bound::above("ours", 2.0, "theirs").judge(&figures).verdict, Verdict::Held);
        assert_eq!(Bound::above("ours", 1.0, "theirs").judge(&figures).verdict, Verdict::Missed);
        assert_eq!(Bound::times("ours", 0.1, "nobody").judge(&figures).verdict, Verdict::NoPeer);
    }
}
