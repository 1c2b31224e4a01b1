//! Runs the built program as a user does. Nothing here is retried, and nothing waits for a time to pass.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::{
    fmt::Write as _,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

/// What a run came to.
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Run {
    /// `catga demo` with these arguments and this input.
    fn of(arguments: &[&str], input: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_catga"));
        command.arg("demo").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        // A program that does not read its input closes it.
        let feeder = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// The object of `--json`: the only line.
    fn json(&self) -> Value {
        let mut lines = self.stdout.lines();
        let (first, second) = (lines.next(), lines.next());
        assert_eq!(second, None, "one line: {}", self.stdout);
        serde_json::from_str(first.unwrap_or_else(|| panic!("no line; {}", self.stderr))).unwrap()
    }
}

#[track_caller]
fn number(json: &Value, name: &str) -> u64 {
    json[name].as_u64().unwrap_or_else(|| panic!("{name} of {json}"))
}

fn order(number: u64) -> String {
    format!(
        r#"{{"id":"t-{number}","customer":"c-{}","items":[{{"sku":"A-{}","qty":{},"price_cents":1250}},{{"sku":"B-1","qty":1,"price_cents":{number}}}]}}"#,
        number % 17,
        number % 5,
        1 + number % 9
    )
}

#[test]
fn three_kills_lose_and_double_nothing() {
    let run = Run::of(&["--orders", "2000", "--kills", "3", "--json"], "");
    let json = run.json();
    assert_eq!(run.code, Some(0), "{json} {}", run.stderr);
    for name in
        ["lost", "doubled", "phantom", "altered", "torn", "letters", "buried", "left_in_outbox", "left_in_queue"]
    {
        assert_eq!(number(&json, name), 0, "{name} of {json}");
    }
    assert!((2_000..=4_000).contains(&number(&json, "orders")), "{json}");
    assert_eq!(number(&json, "events"), 2 * number(&json, "orders"));
    assert_eq!(number(&json, "effects_expected"), number(&json, "effects_found"));
    assert_eq!(number(&json, "kills"), 3);
    let per_kill: Vec<u64> = json["per_kill"].as_array().unwrap().iter().map(|hit| hit.as_u64().unwrap()).collect();
    assert!(per_kill.len() == 3 && per_kill.iter().all(|hit| *hit > 0), "{per_kill:?}");
    for name in ["redelivered", "duplicates", "failed", "p50_us", "rss_start", "rss_end", "resumed_us"] {
        assert!(number(&json, name) > 0, "{name} of {json}");
    }
    assert!(number(&json, "unknown_kept") + number(&json, "unknown_gone") > 0, "{json}");
    assert!(number(&json, "p50_us") <= number(&json, "p99_us"), "{json}");
    assert!(json["orders_per_second"].as_f64().unwrap() > 0.0, "{json}");
}

/// Each defect is found by the checker: the worker has not ended by itself, and what is wrong is counted.
#[track_caller]
fn is_caught(sabotage: &str, kills: &str) -> Value {
    let run = Run::of(&["--orders", "1500", "--kills", kills, "--sabotage", sabotage, "--json"], "");
    let json = run.json();
    assert_eq!(run.code, Some(1), "{json} {}", run.stderr);
    assert_eq!(number(&json, "crashes"), 0, "{json}");
    assert!(number(&json, "lost") + number(&json, "doubled") + number(&json, "phantom") > 0, "{json}");
    json
}

#[test]
fn settling_before_handling_loses() {
    assert!(number(&is_caught("ack-first", "3"), "lost") > 0);
}

#[test]
fn handling_without_a_mark_doubles() {
    assert!(number(&is_caught("no-mark", "0"), "doubled") > 0);
}

#[test]
fn publishing_outside_the_transaction_doubles() {
    assert!(number(&is_caught("outbox-outside", "0"), "doubled") > 0);
}

#[test]
fn writing_outside_a_savepoint_loses_or_doubles() {
    is_caught("no-savepoint", "0");
}

#[test]
fn broken_and_repeated_lines_are_named_and_the_others_flow() {
    let mut lines: Vec<String> = (1..=1_000).map(order).collect();
    // From behind, so that the numbers of the lines are those of the file at the end.
    let broken = ["", "no", "[]", r#"{"id":"x"}"#, &order(5).replace("\"qty\":", "\"qty\":-")];
    let broken = broken.into_iter().chain([r#"{"id":"x","customer":"c","items":[]}"#, "   "]);
    let mut bad: Vec<(usize, String, &str)> =
        (1..).map(|index| index * 100).zip(broken).map(|(at, line)| (at, line.to_owned(), "rejected")).collect();
    bad.extend((1..=5).map(|index| (index * 100 + 50, order(index as u64 * 10), "repeated")));
    bad.sort_by_key(|(at, ..)| *at);
    for (at, line, _) in &bad {
        lines.insert(*at - 1, line.clone());
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();

    for (input, text) in [(path.to_str().unwrap(), String::new()), ("-", lines.join("\n"))] {
        let run = Run::of(&["--input", input, "--kills", "2", "--json"], &text);
        let json = run.json();
        assert_eq!(run.code, Some(0), "{json} {}", run.stderr);
        let counts = ["orders", "rejected", "repeated", "lost", "doubled", "kills"].map(|name| number(&json, name));
        assert_eq!(counts, [1_000, 7, 5, 0, 0, 2], "{json}");
        for (at, _, what) in &bad {
            let named = run.stderr.lines().filter(|line| line.starts_with(&format!("line {at}: {what}: "))).count();
            assert_eq!(named, 1, "line {at} is {what}: {}", run.stderr);
        }
        assert_eq!(run.stderr.lines().count(), 12, "{}", run.stderr);
    }
}

#[test]
fn the_same_id_with_other_contents_is_rejected_naming_both_lines() {
    let other = order(1).replace("1250", "1251");
    let run = Run::of(&["--input", "-", "--kills", "0", "--json"], &format!("{}\n{}\n{other}\n", order(1), order(2)));
    let json = run.json();
    assert_eq!(run.code, Some(0), "{json} {}", run.stderr);
    assert_eq!(["orders", "rejected", "repeated"].map(|name| number(&json, name)), [2, 1, 0]);
    assert_eq!(run.stderr.trim(), r#"line 3: rejected: order "t-1" has other contents than on line 1"#);
}

#[test]
fn an_input_is_never_added_to_and_too_few_orders_for_the_kills_are_a_failure() {
    let mut text = String::new();
    (1..=3).for_each(|number| writeln!(text, "{}", order(number)).unwrap());
    let run = Run::of(&["--input", "-", "--kills", "40", "--json"], &text);
    let json = run.json();
    assert_eq!((run.code, number(&json, "orders"), number(&json, "lost")), (Some(1), 3, 0), "{json}");
    assert!(number(&json, "kills") < 40, "{json}");
    assert!(json["problems"][0].as_str().unwrap().contains("of 40 kills"), "{json}");
}

#[test]
fn a_kept_store_is_kept_and_never_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    let arguments = ["--orders", "20", "--kills", "0", "--store", path.to_str().unwrap()];
    let run = Run::of(&arguments, "");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains("Nothing lost, nothing doubled: 20 orders"), "{}", run.stdout);
    assert!(!run.stdout.contains('\x1b'), "no colors where nobody sees them");
    assert!(Path::new(&path).exists());
    let run = Run::of(&arguments, "");
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("exists already"), "{}", run.stderr);
}

#[test]
fn time_ends_the_run_before_the_orders_do() {
    let run = Run::of(&["--orders", "100000000", "--seconds", "1", "--kills", "1", "--json"], "");
    let json = run.json();
    assert_eq!(run.code, Some(0), "{json} {}", run.stderr);
    assert!(number(&json, "orders") < 100_000_000 && number(&json, "kills") == 1, "{json}");
    assert_eq!(["lost", "doubled"].map(|name| number(&json, name)), [0, 0], "{json}");
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [
        &["--kills", "many"][..],
        &["--sabotage", "everything"],
        &["--input", "/nowhere/orders.jsonl"],
        &["--input", "-", "--orders", "3"],
        &["--store", "/nowhere/shop.db", "--orders", "1"],
    ] {
        let run = Run::of(arguments, "");
        assert_eq!(run.code, Some(2), "{arguments:?}: {} {}", run.stdout, run.stderr);
        assert!(!run.stderr.is_empty(), "{arguments:?}");
    }
}
