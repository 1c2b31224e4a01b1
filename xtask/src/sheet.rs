//! The promise sheet: what each backend promises, and the cases that hold it.

use crate::{
    conformance::{self, Case, Test},
    runner::Runner,
    workspace,
};
use anyhow::{Context, Result, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    time::Duration,
};

const PAGE: &str = "docs/guarantees.md";
/// For one run over all backends, the building aside.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Runs the suite and writes the page; with `check` fails instead where the page differs.
pub(crate) fn run(check: bool) -> Result<()> {
    let mut runner = Runner::new(LIMIT);
    let cases = conformance::cases(&mut runner)?;
    let tests = conformance::run(&mut runner, None)?;
    let red: Vec<_> = tests.iter().filter(|(_, passed)| !**passed).map(|(test, _)| test.to_string()).collect();
    ensure!(red.is_empty(), "{} cases fail, so nothing is promised: {}", red.len(), red.join(", "));
    let page = page(&cases, &tests);
    if check {
        ensure!(workspace::read(PAGE)? == page, "{PAGE} is not what the suite shows: run `cargo xtask sheet`");
        println!("{PAGE} is what the suite shows");
        return Ok(());
    }
    fs::write(workspace::root().join(PAGE), page).with_context(|| format!("cannot write {PAGE}"))
}

fn page(cases: &[Case], tests: &BTreeMap<Test, bool>) -> String {
    let backends: BTreeSet<&str> = tests.keys().map(|test| &*test.backend).collect();
    let mut page = String::from(
        "# Guarantees\n\n\
         What each backend promises, one line for each case of the conformance suite that holds it. `cargo xtask sheet` \
         writes this\npage from the results of the tests, and CI fails where it is not what they show. A promise that a \
         backend denies is\ntested, too: what it cannot do, it refuses.\n",
    );
    let holds = |backend: &str, case: &Case| {
        let test = Test { backend: backend.into(), group: case.group.clone(), case: case.name.clone() };
        if tests.get(&test) == Some(&true) { "yes" } else { "-" }
    };
    let mut group = "";
    for case in cases {
        // A group that no backend runs promises nothing.
        if backends.iter().all(|backend| holds(backend, case) == "-") {
            continue;
        }
        if group != case.group {
            group = &case.group;
            let _ = write!(page, "\n## {}: {}\n\n| promise |", case.letter, case.about);
            backends.iter().for_each(|backend| page.push_str(&format!(" {backend} |")));
            let _ = write!(page, " case |\n|---|{}---|\n", "---|".repeat(backends.len()));
        }
        let _ = write!(page, "| {} |", case.promise);
        backends.iter().for_each(|backend| page.push_str(&format!(" {} |", holds(backend, case))));
        let _ = writeln!(page, " `{}::{}` |", case.group, case.name);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_stands_where_its_case_passed_and_nowhere_else() {
        let case = |group: &str, name: &str| Case {
            letter: "A".into(),
            group: group.into(),
            about: "messages arrive".into(),
            name: name.into(),
            promise: format!("promise of {name}"),
        };
        let test = |backend: &str, group: &str, case: &str| {
            (Test { backend: backend.into(), group: group.into(), case: case.into() }, true)
        };
        let cases = [case("delay", "waits"), case("no_delay", "refuses"), case("groups", "share")];
        let tests = [test("memory", "delay", "waits"), test("sqlite", "no_delay", "refuses")];
        let page = page(&cases, &tests.into_iter().collect());
        assert!(page.contains("| promise | memory | sqlite | case |\n|---|---|---|---|\n"), "{page}");
        assert!(page.contains("| promise of waits | yes | - | `delay::waits` |\n"), "{page}");
        assert!(page.contains("| promise of refuses | - | yes | `no_delay::refuses` |\n"), "{page}");
        assert!(!page.contains("share"), "nobody promises that: {page}");
    }
}
