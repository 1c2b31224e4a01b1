use super::Candidate;
use catga::Result;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt;

/// The middle of some values and how far they lie apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// A quarter lie below.
    pub low: f64,
    /// Half lie below.
    pub median: f64,
    /// A quarter lie above.
    pub high: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of these values, in any order; zeros of none.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let place = part * (sorted.len().saturating_sub(1)) as f64;
            let (below, above) = (place.floor() as usize, place.ceil() as usize);
            let (below, above) = (sorted.get(below).copied(), sorted.get(above).copied());
            let (below, above) = (below.unwrap_or_default(), above.unwrap_or_default());
            below + (above - below) * place.fract()
        };
        Self { min: at(0.0), low: at(0.25), median: at(0.5), high: at(0.75), max: at(1.0) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} ({:.1}–{:.1})", self.median, self.low, self.high)
    }
}

/// Nanoseconds of single operations, by which share of them was done.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentiles {
    /// Half of them.
    pub p50: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1,000.
    pub p999: u64,
}

impl Percentiles {
    /// Times operations one by one, some 20,000 of them. Two looks at the clock and the count of allocations are in
    /// each figure: below 100 ns they are most of it.
    ///
    /// # Errors
    ///
    /// What the candidate answers.
    pub fn of(candidate: &mut Candidate<'_>) -> Result<Self> {
        // 1 ns to 1 s at three digits; what lies outside counts as the bound.
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 1_000_000_000, 3)?;
        for _ in 0..20_000 {
            let took = candidate.run(1)?.elapsed.as_nanos();
            histogram.saturating_record(u64::try_from(took).unwrap_or(u64::MAX));
        }
        let at = |part| histogram.value_at_quantile(part);
        Ok(Self { p50: at(0.5), p99: at(0.99), p999: at(0.999) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_quarters() {
        let spread = Spread::of(&[5.0, 1.0, 3.0, 2.0, 4.0]);
        assert_eq!(spread, Spread { min: 1.0, low: 2.0, median: 3.0, high: 4.0, max: 5.0 });
        assert_eq!(Spread::of(&[1.0, 2.0]).median, 1.5);
        assert_eq!(Spread::of(&[]), Spread::default());
        assert_eq!(spread.to_string(), "3.0 (2.0–4.0)");
    }
}
