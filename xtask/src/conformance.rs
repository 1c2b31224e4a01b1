//! Runs the conformance suite of every backend and reads which cases passed.

use crate::runner::{Line, Runner};
use anyhow::{Context, Result, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The backends and the crates whose `tests/conformance.rs` runs the suite over them.
pub(crate) const BACKENDS: [(&str, &str); 2] = [("memory", "catga"), ("sqlite", "catga-sqlite")];

/// A case of the suite, as the testkit lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) letter: String,
    pub(crate) group: String,
    pub(crate) about: String,
    pub(crate) name: String,
    pub(crate) promise: String,
}

/// A test of a backend, by where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Test {
    pub(crate) backend: String,
    pub(crate) group: String,
    pub(crate) case: String,
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}::{}", self.backend, self.group, self.case)
    }
}

/// Every case that the testkit knows, in its order.
pub(crate) fn cases(runner: &mut Runner) -> Result<Vec<Case>> {
    // As the workspace's tests are built, so that nothing is built twice.
    let output = runner.capture(&Line::cargo("run --quiet --example cases"))?;
    ensure!(output.code == Some(0), "the list of cases ended with {:?}", output.code);
    let case = |line: &String| {
        let mut parts = line.split('\t').map(str::to_owned);
        let mut next = || parts.next().with_context(|| format!("`{line}` is no case"));
        Ok(Case { letter: next()?, group: next()?, about: next()?, name: next()?, promise: next()? })
    };
    output.stdout.iter().map(case).collect()
}

/// Runs the suite over every backend: whether each test passed.
pub(crate) fn run(runner: &mut Runner) -> Result<BTreeMap<Test, bool>> {
    let backends = BACKENDS.map(|(backend, _)| backend);
    // The brokers run it in a step of their own, with servers.
    let words = "test --workspace --exclude catga-nats --exclude catga-redis --no-fail-fast --test conformance";
    read(runner, &Line::cargo(words), &backends)
}

/// Runs the suite over these backends, built so that they can be broken, and broken so unless that is empty.
pub(crate) fn run_broken(runner: &mut Runner, backends: &[&str], defect: &'static str) -> Result<BTreeMap<Test, bool>> {
    let mut words = String::from("test --no-fail-fast --test conformance --features catga-testkit/sabotage");
    let mut packages = String::from(" -p catga-testkit");
    for (_, package) in BACKENDS.iter().filter(|(backend, _)| backends.contains(backend)) {
        words = format!("{words},{package}/sabotage");
        packages = format!("{packages} -p {package}");
    }
    read(runner, &Line::cargo(&(words + &packages)).variable("CATGA_SABOTAGE", defect), backends)
}

fn read(runner: &mut Runner, line: &Line, backends: &[&str]) -> Result<BTreeMap<Test, bool>> {
    let output = runner.capture(line)?;
    let tests: BTreeMap<_, _> = output.stdout.iter().filter_map(|line| test(line)).collect();
    let ran: BTreeSet<_> = tests.keys().map(|test| test.backend.as_str()).collect();
    ensure!(ran == backends.iter().copied().collect(), "`{line}` ran the suite of {ran:?}, not of {backends:?}");
    Ok(tests)
}

/// Reads `test sqlite::unit::a_case ... ok`; `None` for any other line, and for what is no case.
fn test(line: &str) -> Option<(Test, bool)> {
    let (name, outcome) = line.trim().strip_prefix("test ")?.split_once(" ... ")?;
    let mut parts = name.split("::").map(str::to_owned);
    let test = Test { backend: parts.next()?, group: parts.next()?, case: parts.next()? };
    let passed = match outcome {
        "ok" => true,
        "FAILED" => false,
        _ => return None,
    };
    parts.next().is_none().then_some((test, passed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cases_are_read_and_others_are_not() {
        let expected = Test { backend: "sqlite".into(), group: "unit".into(), case: "a_case".into() };
        assert_eq!(test("test sqlite::unit::a_case ... ok"), Some((expected.clone(), true)));
        assert_eq!(test("test sqlite::unit::a_case ... FAILED"), Some((expected.clone(), false)));
        assert_eq!(expected.to_string(), "sqlite::unit::a_case");
        for other in ["test a_test ... ok", "test result: ok. 3 passed", "running 3 tests", "test a::b::c ... ignored"]
        {
            assert_eq!(test(other), None, "{other}");
        }
    }
}
