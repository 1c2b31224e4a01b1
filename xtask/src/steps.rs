//! The steps of `cargo xtask test`, in order, and what is said about them.

use crate::{
    book, brokers,
    counts::Counts,
    demo, orders, readme,
    runner::{Line, Runner, TimeIsUp},
    sabotage, sheet, symbol,
    workspace::{self, text},
};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

/// After that time the whole run ends itself, whatever it is at.
const LIMIT: Duration = Duration::from_secs(50 * 60);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Adds the long demos: 10,000 orders and 20 kills, every sabotage, orders from a file
    #[arg(long)]
    long: bool,
    /// Goes on after a step that failed
    #[arg(long)]
    keep_going: bool,
    /// Runs this step alone; can be given several times
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Lists the steps and runs none
    #[arg(long)]
    list: bool,
}

struct Step {
    name: &'static str,
    about: &'static str,
    long: bool,
    run: fn(&mut Runner) -> Result<()>,
}

const fn step(name: &'static str, about: &'static str, run: fn(&mut Runner) -> Result<()>) -> Step {
    Step { name, about, long: false, run }
}

const fn long(name: &'static str, about: &'static str, run: fn(&mut Runner) -> Result<()>) -> Step {
    Step { long: true, ..step(name, about, run) }
}

const STEPS: &[Step] = &[
    step("fmt", "every file as rustfmt leaves it", |r| r.run(&Line::cargo("fmt --all -- --check"))),
    step("clippy", "no warning with all features", |r| {
        r.run(&Line::cargo("clippy --workspace --all-targets --all-features -- -D warnings"))
    }),
    step("features", "catga with no feature and with each alone, no warning", features),
    step("test", "unit, integration, doc and tidy tests, the ledger, the book's programs", test),
    step("test-features", "the features that the whole workspace's tests leave out", test_features),
    step("brokers", "tests that start private copies of nats-server and redis-server", brokers::run),
    step("sheet", "docs/guarantees.md is what the conformance suite shows", sheet::step),
    step("doc", "the documentation, without a warning", doc),
    step("book", "the book, without a warning", book::run),
    step("readme", "the README's programs are the examples, and run twice", readme::run),
    step("sabotage-absent", "no defect can be asked for without the feature", symbol::run),
    step("demo", "2,000 orders, 3 kills: nothing lost or doubled", |r| demo::whole(r, 2_000, 3, TEN_TIMES)),
    step("demo-no-mark", "the checker catches missing marks", |r| demo::sabotaged(r, "no-mark")),
    long("loom", "the orders in which threads can meet in the pool", |r| {
        r.run(&Line::cargo("test -p catga-buf --test loom --release").variable("RUSTFLAGS", "--cfg loom"))
    }),
    long("sabotage", "every defect turns a case of the conformance suite red", sabotage::step),
    long("latency", "an idle order's effect within 20 ms at p99", latency),
    long("demo-long", "10,000 orders, 20 kills, within 3 minutes, resumed within 1 s", |r| {
        demo::whole(r, 10_000, 20, Duration::from_secs(1))
    }),
    long("demo-ack-first", "the checker catches early settlement", |r| demo::sabotaged(r, "ack-first")),
    long("demo-outbox-outside", "the checker catches events of failed calls", |r| demo::sabotaged(r, "outbox-outside")),
    long("demo-no-savepoint", "the checker catches writes of failed calls", |r| demo::sabotaged(r, "no-savepoint")),
    long("demo-input", "orders from a file, broken and repeated ones among them", orders::run),
];

/// A successor's second, ten times, because other builds may share the machine; `--long` holds it to the second.
const TEN_TIMES: Duration = Duration::from_secs(10);

/// The bound as written; the ordinary step allows ten times that.
fn latency(runner: &mut Runner) -> Result<()> {
    runner.run(&Line::cargo("test -p catga-sqlite --test latency").variable("CATGA_LONG", "1"))
}

fn features(runner: &mut Runner) -> Result<()> {
    let metadata = workspace::metadata(&["--no-deps"])?;
    let catga = workspace::list(&metadata["packages"]).iter().find(|package| text(&package["name"]) == "catga");
    let features = catga.and_then(|package| package["features"].as_object()).context("there is no crate `catga`")?;
    ensure!(features.contains_key("json"), "the crate `catga` has no feature `json`");
    let alone = features.keys().filter(|name| *name != "default").map(|name| format!(" --features {name}"));
    for features in std::iter::once(String::new()).chain(alone) {
        runner.run(&Line::cargo(&format!("clippy -p catga --lib --no-default-features{features} -- -D warnings")))?;
    }
    Ok(())
}

fn test(runner: &mut Runner) -> Result<()> {
    runner.run(&Line::cargo("test --workspace --no-fail-fast"))?;
    let Counts { passed, ignored, .. } = runner.counts;
    ensure!(ignored == 0, "{ignored} tests were ignored: what did not run has shown nothing");
    ensure!(passed > 0, "no test ran");
    Ok(())
}

/// The safe twin of the MemoryPack encoder, its optional types, and the stream's async side.
fn test_features(runner: &mut Runner) -> Result<()> {
    runner.run(&Line::cargo("test -p catga-memorypack --features safe"))?;
    runner.run(&Line::cargo("test -p catga-memorypack --features jiff,compact_str"))?;
    runner.run(&Line::cargo("test -p catga-buf --features tokio"))?;
    // Without the brokers: they add no test here, and rustc calls our types otherwise where it knows theirs.
    let features = "axum,cache,cli,memorypack,msgpack,protobuf,rate-limit,sqlite";
    runner.run(&Line::cargo(&format!("test -p catga --features {features}")))
}

fn doc(runner: &mut Runner) -> Result<()> {
    // The program has the name of the facade, so their pages would overwrite each other: libraries only.
    runner.run(&Line::cargo("doc --workspace --no-deps --lib").variable("RUSTDOCFLAGS", "-D warnings"))
}

/// What became of a step.
struct Done {
    step: &'static Step,
    took: Duration,
    counts: Counts,
    failure: Option<anyhow::Error>,
    note: String,
}

/// Runs the steps; answers whether all passed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    if options.list {
        for step in STEPS {
            println!("{:<20} {}{}", step.name, step.about, if step.long { " (--long)" } else { "" });
        }
        return Ok(true);
    }
    let chosen = chosen(options)?;
    let begun = Instant::now();
    let mut runner = Runner::new(LIMIT);
    let mut done: Vec<Done> = Vec::new();
    for (number, &step) in chosen.iter().enumerate() {
        println!("\n[{}/{}] {}: {}", number + 1, chosen.len(), step.name, step.about);
        let since = Instant::now();
        runner.counts = Counts::default();
        let failure = (step.run)(&mut runner).err();
        let took = since.elapsed();
        match &failure {
            None => println!("  {} passed in {}", step.name, humane(took)),
            Some(error) => println!(
                "  {} FAILED after {}: {error:#}\n  to run it alone: cargo xtask test --only {}",
                step.name,
                humane(took),
                step.name
            ),
        }
        let stop = failure.as_ref().is_some_and(|error| error.is::<TimeIsUp>() || !options.keep_going);
        done.push(Done { step, took, counts: runner.counts, failure, note: std::mem::take(&mut runner.note) });
        if stop {
            break;
        }
    }
    Ok(report(&done, chosen.len(), begun.elapsed()))
}

fn chosen(options: &Options) -> Result<Vec<&'static Step>> {
    if let Some(unknown) = options.only.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
        let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        anyhow::bail!("there is no step `{unknown}`; the steps are {}", names.join(", "));
    }
    let named = |step: &&Step| options.only.iter().any(|name| name == step.name);
    let by_default = |step: &&Step| options.only.is_empty() && (options.long || !step.long);
    Ok(STEPS.iter().filter(|step| named(step) || by_default(step)).collect())
}

/// Prints the table and the closing line; answers whether all passed.
fn report(done: &[Done], chosen: usize, took: Duration) -> bool {
    println!("\n{:<20} {:>9} {:>7}  result", "step", "time", "tests");
    let (mut passed, mut failed, mut ignored) = (0, 0, 0);
    for Done { step, took, counts, failure, note } in done {
        let result = if failure.is_some() { "FAILED" } else { "passed" };
        let tests = counts.passed + counts.not_passed();
        let tests = if tests == 0 { "-".into() } else { tests.to_string() };
        println!(
            "{:<20} {:>9} {tests:>7}  {result}{}{note}",
            step.name,
            humane(*took),
            if note.is_empty() { "" } else { ": " }
        );
        passed += counts.passed;
        ignored += counts.ignored;
        // A step that failed counts at least once, also where no test of it did.
        failed += counts.not_passed().max(u64::from(failure.is_some()));
    }
    let left_out = chosen - done.len();
    println!("{:<20} {:>9}", "all", humane(took));
    for Done { step, failure, .. } in done {
        if let Some(error) = failure {
            println!("\n{} failed: {error:#}\nto run it alone: cargo xtask test --only {}", step.name, step.name);
            if let (true, Some(slowest)) = (error.is::<TimeIsUp>(), done.iter().max_by_key(|done| done.took)) {
                println!("the slowest step was {} with {}", slowest.step.name, humane(slowest.took));
            }
        }
    }
    if left_out > 0 {
        println!("{left_out} steps did not run");
    }
    if ignored > 0 {
        println!("{ignored} of the failed were ignored: what did not run has shown nothing");
    }
    println!("\n{passed} passed, {failed} failed");
    failed == 0
}

/// A duration for people: `0.4 s`, `2 min 05 s`.
pub(crate) fn humane(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 60.. => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    fn done(passed: u64, ignored: u64, failure: Option<anyhow::Error>) -> Done {
        let counts = Counts { passed, ignored, failed: 0 };
        Done { step: &STEPS[0], took: Duration::from_secs(1), counts, failure, note: String::new() }
    }

    #[test]
    fn only_what_ran_and_passed_passes() {
        let time = Duration::from_secs(125);
        assert!(report(&[done(3, 0, None)], 1, time));
        assert!(!report(&[done(3, 1, None)], 1, time), "an ignored test");
        assert!(!report(&[done(3, 0, Some(anyhow!("no")))], 1, time), "a failed step");
        assert!(!report(&[done(3, 0, Some(TimeIsUp(time).into()))], 2, time), "no time left");
        assert_eq!(humane(time), "2 min 05 s");
    }

    #[test]
    fn steps_are_chosen_by_name_or_by_length() {
        let options = |long, only: &[&str]| Options {
            long,
            keep_going: false,
            only: only.iter().map(ToString::to_string).collect(),
            list: false,
        };
        let names = |options| chosen(&options).unwrap().iter().map(|step| step.name).collect::<Vec<_>>();
        assert_eq!(names(options(true, &[])).len(), STEPS.len());
        assert!(!names(options(false, &[])).contains(&"demo-long"));
        assert_eq!(names(options(false, &["demo-long", "fmt"])), ["fmt", "demo-long"]);
        assert!(chosen(&options(false, &["dmeo"])).is_err());
    }
}
