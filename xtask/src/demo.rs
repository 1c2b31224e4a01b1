//! Runs the demo as a user does and reads its verdict.

use crate::runner::{Line, Runner};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::time::{Duration, Instant};

/// What the demo's object must have at least.
const KEYS: [&str; 16] = [
    "orders",
    "events",
    "effects_expected",
    "effects_found",
    "lost",
    "doubled",
    "redelivered",
    "unknown_kept",
    "unknown_gone",
    "kills",
    "per_kill",
    "orders_per_second",
    "p50_us",
    "p99_us",
    "rss_start",
    "rss_end",
];

/// No demo here may take longer.
const MOST: Duration = Duration::from_secs(180);

/// The command of a demo, as the README has it.
pub(crate) fn line(options: &str) -> Line {
    Line::cargo(&format!("run --release --quiet -- demo --json {options}"))
}

/// A demo without a defect: ends in time, with every effect exactly where it belongs.
///
/// `resumes` bounds the time from a killed worker's restart to its first commit.
pub(crate) fn whole(runner: &mut Runner, orders: u64, kills: u64, resumes: Duration) -> Result<()> {
    build(runner)?;
    let line = line(&format!("--orders {orders} --kills {kills}"));
    let begun = Instant::now();
    let output = runner.capture(&line)?;
    let took = begun.elapsed();
    ensure!(output.code == Some(0), "`{line}` ended with {:?}", output.code);
    let report = Report::read(&output.stdout)?;
    println!("  {}", report.0);
    report.is_whole(orders, kills)?;
    report.resumes_within(resumes)?;
    runner.note = report.note();
    ensure!(took <= MOST, "`{line}` took {}", crate::steps::humane(took));
    Ok(())
}

/// A demo with a defect: the checker sees it, nothing crashes.
pub(crate) fn sabotaged(runner: &mut Runner, defect: &str) -> Result<()> {
    build(runner)?;
    let line = line(&format!("--sabotage {defect}"));
    let output = runner.capture(&line)?;
    let report = Report::read(&output.stdout).with_context(|| format!("`{line}` ended with {:?}", output.code))?;
    println!("  {}", report.0);
    let (lost, doubled) = (report.number("lost")?, report.number("doubled")?);
    ensure!(lost + doubled > 0, "`{line}` lost and doubled nothing: the checker is blind for it");
    runner.note = report.note();
    report.is("crashes", 0)?;
    ensure!(output.code == Some(1), "`{line}` ended with {:?}; it must exit with 1", output.code);
    Ok(())
}

/// Builds the program first, so that no demo's time has the compiler's in it.
pub(crate) fn build(runner: &mut Runner) -> Result<()> {
    runner.run(&Line::cargo("build --release --quiet --bin catga"))
}

/// What the demo says at its end.
pub(crate) struct Report(Value);

impl Report {
    /// Reads the last line of what it printed.
    pub(crate) fn read(stdout: &[String]) -> Result<Self> {
        let last = stdout.last().context("the demo printed nothing")?;
        let value: Value = serde_json::from_str(last).with_context(|| format!("its last line is no JSON: {last}"))?;
        let missing: Vec<_> = KEYS.iter().filter(|key| value.get(**key).is_none()).copied().collect();
        ensure!(missing.is_empty(), "the demo's object lacks {}: {last}", missing.join(", "));
        Ok(Self(value))
    }

    pub(crate) fn number(&self, key: &str) -> Result<u64> {
        self.0[key].as_u64().with_context(|| format!("`{key}` is no whole number: {}", self.0[key]))
    }

    pub(crate) fn is(&self, key: &str, expected: u64) -> Result<()> {
        let found = self.number(key)?;
        ensure!(found == expected, "`{key}` is {found}; expected {expected}");
        Ok(())
    }

    /// The run in a few words.
    pub(crate) fn note(&self) -> String {
        let keys = ["orders", "kills", "lost", "doubled", "redelivered", "p50_us", "p99_us"];
        keys.map(|key| format!("{key} {}", self.0[key])).join(", ")
    }

    /// Every effect is there once, and the kills hit work that had started.
    pub(crate) fn is_whole(&self, orders: u64, kills: u64) -> Result<()> {
        self.is("lost", 0)?;
        self.is("doubled", 0)?;
        self.is("kills", kills)?;
        // The demo may add orders until enough kills hit started work, at most twice as many.
        let issued = self.number("orders")?;
        ensure!((orders..=2 * orders).contains(&issued), "{issued} orders were issued; {orders} were asked for");
        for key in ["events", "effects_expected", "effects_found", "p50_us", "p99_us", "rss_start", "rss_end"] {
            ensure!(self.number(key)? > 0, "`{key}` is 0");
        }
        ensure!(
            self.0["orders_per_second"].as_f64().is_some_and(|rate| rate > 0.0),
            "`orders_per_second` is not above 0"
        );
        let Some(per_kill) = self.0["per_kill"].as_array() else { bail!("`per_kill` is no list") };
        ensure!(per_kill.len() as u64 == kills, "`per_kill` has {} entries for {kills} kills", per_kill.len());
        ensure!(
            per_kill.iter().all(|hit| hit.as_u64() > Some(0)),
            "a kill hit no started work: {}",
            self.0["per_kill"]
        );
        ensure!(kills == 0 || self.number("redelivered")? > 0, "nothing was redelivered");
        Ok(())
    }

    /// After each kill the next worker committed in time.
    pub(crate) fn resumes_within(&self, most: Duration) -> Result<()> {
        let took = Duration::from_micros(self.number("resumed_us")?);
        ensure!(took <= most, "a killed worker's successor took {took:?} to its first commit; at most {most:?}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        let mut value: serde_json::Map<String, Value> = KEYS.iter().map(|key| (key.to_string(), json!(5))).collect();
        value.extend([
            ("lost".into(), json!(0)),
            ("doubled".into(), json!(0)),
            ("orders".into(), json!(100)),
            ("kills".into(), json!(2)),
            ("per_kill".into(), json!([1, 3])),
            ("orders_per_second".into(), json!(12.5)),
        ]);
        value.into()
    }

    #[test]
    fn a_whole_run_passes_and_each_defect_is_seen() {
        Report(good()).is_whole(100, 2).unwrap();
        let defects = [
            ("lost", json!(1)),
            ("doubled", json!(1)),
            ("kills", json!(1)),
            ("orders", json!(99)),
            ("orders", json!(201)),
            ("events", json!(0)),
            ("redelivered", json!(0)),
            ("per_kill", json!([1])),
            ("per_kill", json!([1, 0])),
            ("per_kill", json!(2)),
            ("orders_per_second", json!(0)),
            ("p99_us", json!("fast")),
        ];
        for (key, value) in defects {
            let mut report = good();
            report[key] = value.clone();
            assert!(Report(report).is_whole(100, 2).is_err(), "{key}: {value}");
        }
    }

    #[test]
    fn a_late_successor_is_seen() {
        let mut report = good();
        report["resumed_us"] = json!(1_000_001);
        let report = Report(report);
        assert!(report.resumes_within(Duration::from_secs(1)).is_err());
        report.resumes_within(Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn the_last_line_is_the_report_and_has_all_keys() {
        let printed = |last: &Value| ["noise".to_string(), last.to_string()];
        assert!(Report::read(&printed(&good())).is_ok());
        assert!(Report::read(&["noise".into()]).is_err());
        assert!(Report::read(&[]).is_err());
        for key in KEYS {
            let mut report = good();
            report.as_object_mut().unwrap().remove(key);
            assert!(Report::read(&printed(&report)).is_err(), "{key}");
        }
    }
}
