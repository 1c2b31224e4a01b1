//! Deliberate defects, one after the other: each must turn a case of the conformance suite red.

use crate::{
    conformance::{self, Test},
    runner::Runner,
};
use anyhow::{Result, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What `catga_testkit::FAULTS` knows, in its order; a tidy rule compares them.
const DEFECTS: [&str; 12] = [
    "ack-first",
    "no-mark",
    "outbox-outside",
    "no-savepoint",
    "mark-without-consumer",
    "failure-is-done",
    "no-fence",
    "one-savepoint",
    "no-autocommit-check",
    "replay-to-all",
    "no-pause",
    "every-try-counts",
];

/// Each defect runs the whole suite, and one that hangs runs it to the guards.
const LIMIT: Duration = Duration::from_secs(90 * 60);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Tries this defect alone; can be given several times
    #[arg(long, value_name = "DEFECT")]
    only: Vec<String>,
}

/// Tries each defect; answers whether each turned a case red.
pub(crate) fn run(options: &Options) -> Result<bool> {
    for name in &options.only {
        ensure!(DEFECTS.contains(&name.as_str()), "there is no defect `{name}`; there are {}", DEFECTS.join(", "));
    }
    let chosen = DEFECTS.iter().filter(|name| options.only.is_empty() || options.only.iter().any(|only| only == *name));
    let mut runner = Runner::new(LIMIT);
    let whole = conformance::run(&mut runner, None)?;
    let red = failed(&whole);
    ensure!(red.is_empty(), "without a defect {} cases fail, such as {}", red.len(), first(&red));
    let mut caught: BTreeMap<&str, BTreeSet<Test>> = BTreeMap::new();
    for defect in chosen {
        let red = failed(&conformance::run(&mut runner, Some(defect))?);
        println!("\n{defect}: {} red", red.len());
        red.iter().for_each(|test| println!("  {test}"));
        caught.insert(defect, red);
    }
    let never: Vec<_> = whole.keys().filter(|test| !caught.values().any(|red| red.contains(*test))).collect();
    println!("\n{} of {} cases that no defect turned red:", never.len(), whole.len());
    never.iter().for_each(|test| println!("  {test}"));
    println!();
    let blind: Vec<_> = caught.iter().filter(|(_, red)| red.is_empty()).map(|(defect, _)| *defect).collect();
    match blind.is_empty() {
        true => println!("each of {} defects was seen", caught.len()),
        false => println!("no case sees {}", blind.join(", ")),
    }
    Ok(blind.is_empty())
}

fn failed(tests: &BTreeMap<Test, bool>) -> BTreeSet<Test> {
    tests.iter().filter(|(_, passed)| !**passed).map(|(test, _)| test.clone()).collect()
}

fn first(tests: &BTreeSet<Test>) -> String {
    tests.first().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn the_defects_are_those_of_the_testkit() {
        let code = workspace::read("crates/catga-testkit/src/fault.rs").unwrap();
        let table = code.split("FAULTS").nth(1).unwrap().split("];").next().unwrap();
        let known: Vec<_> = table.split('"').skip(1).step_by(2).collect();
        assert_eq!(known, DEFECTS);
    }
}
