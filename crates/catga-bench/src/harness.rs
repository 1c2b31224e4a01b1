//! Candidates take turns, so that a machine which slows down slows all of them, and what is compared is compared within
//! a round.
//!
//! In each round every candidate runs once, in an order that rotates from round to round. A figure is the median over
//! the rounds, its spread the quarter of rounds below and above; a ratio is the median of the rounds' own ratios. So a
//! bound holds or misses by the typical round and not by the luckiest.

mod bound;
mod candidate;
mod instructions;
mod stats;

pub use self::{
    bound::{AtMost, Bound, Outcome, Verdict},
    candidate::{Candidate, Sample},
    instructions::instructions,
    stats::{Percentiles, Spread},
};

use crate::Machine;
use catga::{Error, ErrorKind, Result};
use serde::Serialize;
use std::time::Duration;

/// How long and how often is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds, at least 5; default 201.
    pub rounds: usize,
    /// How long one candidate runs in one round, about; default 1 ms: short beside the slices of a scheduler, so that
    /// on a shared machine most turns run undisturbed and the median is one of those.
    pub turn: Duration,
    /// Whether a separate run times operations one by one, for percentiles; default no.
    pub latency: bool,
    /// Only this candidate, so many operations, and nothing is measured: what [`instructions`] has counted.
    pub only: Option<(String, u64)>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { rounds: 201, turn: Duration::from_millis(1), latency: false, only: None }
    }
}

/// What was measured of one candidate.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// The candidate's name.
    pub name: String,
    /// Operations in each round.
    pub iterations: u64,
    /// Nanoseconds an operation, over the rounds.
    pub ns: Spread,
    /// Allocations an operation.
    pub allocations: f64,
    /// Bytes asked for by an operation.
    pub bytes: f64,
    /// Page faults of this process in a round without one from the disk, the median; `None` where the system does not
    /// tell. A peer's own are not seen.
    pub faults: Option<f64>,
    /// Instructions an operation, where they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<f64>,
    /// Nanoseconds of single operations; the clock's own cost is in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Percentiles>,
    /// Nanoseconds an operation, round by round.
    #[serde(skip)]
    rounds: Vec<f64>,
    /// Page faults, round by round.
    #[serde(skip)]
    faulted: Vec<f64>,
}

/// What was measured, in full.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where and how.
    pub machine: Machine,
    /// How many rounds.
    pub rounds: usize,
    /// Bytes that this process had in memory when all rounds were over.
    pub resident: Option<usize>,
    /// One for each candidate, in their order.
    pub figures: Vec<Figure>,
    /// One for each bound.
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// Whether no bound is missed. One whose peer is lacking neither holds nor misses.
    pub fn holds(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.verdict != Verdict::Missed)
    }
}

/// Operations before anything counts.
const WARM_UP: u64 = 1_000;

/// Measures the candidates and compares them with the bounds.
///
/// # Errors
///
/// What a candidate answers; fewer than 5 rounds.
pub fn measure(plan: Plan, mut candidates: Vec<Candidate<'_>>, bounds: &[Bound]) -> Result<Report> {
    if plan.rounds < 5 {
        let text = format!("{} rounds are too few for a median: take at least 5", plan.rounds);
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    let mut figures = Vec::new();
    if let Some((name, iterations)) = &plan.only {
        if let Some(candidate) = candidates.iter_mut().find(|candidate| candidate.name() == name) {
            candidate.run(WARM_UP)?;
            candidate.run(*iterations)?;
        }
        return Ok(Report { machine: Machine::here(), rounds: 0, resident: None, figures, outcomes: Vec::new() });
    }
    for candidate in &mut candidates {
        let figure = prepare(candidate, plan.turn);
        figures.push(figure.map_err(|error| error.context(format_args!("candidate `{}`", candidate.name())))?);
    }
    for round in 0..plan.rounds {
        for turn in 0..candidates.len() {
            let which = (round + turn) % candidates.len();
            let (candidate, figure) = (&mut candidates[which], &mut figures[which]);
            let before = faults();
            let sample = candidate.run(figure.iterations)?;
            figure.faulted.extend(before.zip(faults()).map(|(before, after)| (after - before) as f64));
            let each = |sum: u64| sum as f64 / figure.iterations as f64;
            figure.rounds.push(sample.elapsed.as_nanos() as f64 / figure.iterations as f64);
            // Counts do not drift: where rounds differ, the highest is the one to explain.
            figure.allocations = figure.allocations.max(each(sample.allocations));
            figure.bytes = figure.bytes.max(each(sample.bytes));
        }
    }
    for (candidate, figure) in candidates.iter_mut().zip(&mut figures) {
        figure.ns = Spread::of(&figure.rounds);
        figure.faults = (!figure.faulted.is_empty()).then(|| Spread::of(&figure.faulted).median);
        if plan.latency {
            figure.latency = Some(Percentiles::of(candidate)?);
        }
    }
    let outcomes = bounds.iter().map(|bound| bound.judge(&figures)).collect();
    let resident = memory_stats::memory_stats().map(|memory| memory.physical_mem);
    Ok(Report { machine: Machine::here(), rounds: plan.rounds, resident, figures, outcomes })
}

/// The page faults of this process so far, as `proc(5)` counts them: the tenth field of `stat`, the eighth behind the
/// program's name in brackets.
fn faults() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(7)?.parse().ok()
}

/// Warms a candidate up and finds how many operations make a turn.
fn prepare(candidate: &mut Candidate<'_>, turn: Duration) -> Result<Figure> {
    candidate.run(WARM_UP)?;
    let mut iterations = WARM_UP;
    let took = loop {
        let took = candidate.run(iterations)?.elapsed;
        // Long enough that the clock and the first misses do not matter.
        if took >= turn / 8 || iterations >= 1 << 40 {
            break took;
        }
        iterations *= 2;
    };
    let scaled = iterations as f64 * turn.as_secs_f64() / took.as_secs_f64().max(1e-9);
    Ok(Figure {
        name: candidate.name().to_owned(),
        iterations: (scaled as u64).max(1),
        ns: Spread::default(),
        allocations: 0.0,
        bytes: 0.0,
        faults: None,
        instructions: None,
        latency: None,
        rounds: Vec::new(),
        faulted: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn candidates_take_turns_in_rotating_order() {
        let turns = RefCell::new(String::new());
        let candidate = |name: &'static str| {
            let turns = &turns;
            Candidate::new(name, move |_| {
                turns.borrow_mut().push_str(name);
                Ok(Sample { elapsed: Duration::from_millis(1), allocations: 3, bytes: 48 })
            })
        };
        let plan = Plan { rounds: 5, ..Plan::default() };
        let report = measure(plan, vec![candidate("a"), candidate("b"), candidate("c")], &[]).unwrap();
        assert!(turns.borrow().ends_with("abcbcacababcbca"), "{turns:?}");
        assert_eq!(report.rounds, 5);
        assert_eq!(report.figures[1].ns.median, 1_000.0);
        assert!(report.holds());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_that_is_touched_first_faults() {
        let before = faults().unwrap();
        // Larger than what an allocator keeps for the next one.
        drop(std::hint::black_box(vec![1_u8; 64 << 20]));
        let after = faults().unwrap();
        assert!(after >= before + 32, "{before}, {after}: a huge page is 2 MiB");
    }

    #[test]
    fn what_a_candidate_answers_stops_the_measurement() {
        let broken = Candidate::new("broken", |_| Err(Error::permanent("out of paper")));
        let error = measure(Plan::default(), vec![broken], &[]).unwrap_err();
        assert_eq!(format!("{error:#}"), "candidate `broken`: out of paper");
    }
}
