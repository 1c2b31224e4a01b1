//! `bench send` runs and reports; what it says of allocations is exact, what it says of times a debug build cannot judge.

use catga_bench::{
    harness::{Plan, Verdict},
    parts, print, send,
};
use catga_buf::CountingAlloc;
use std::time::Duration;

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc::system();

const SHORT: Plan = Plan { rounds: 5, turn: Duration::from_micros(200), latency: false, only: None };

#[test]
fn every_candidate_is_measured_and_every_bound_judged() {
    let report = send::run(SHORT, false).unwrap();
    for figure in &report.figures {
        assert_eq!(figure.allocations, 0.0, "{}", figure.name);
        assert!(figure.ns.min > 0.0 && figure.ns.min <= figure.ns.median, "{}", figure.name);
    }
    for (bound, outcome) in send::BOUNDS.iter().zip(&report.outcomes) {
        let lacks_peer = bound.by.starts_with("catga-core");
        assert_eq!(outcome.verdict == Verdict::NoPeer, lacks_peer, "{} by {}", bound.name, bound.by);
    }
    assert_eq!(report.outcomes.len(), send::BOUNDS.len());
}

#[test]
fn a_report_reads_as_a_table_and_as_json() {
    let report = parts::run(Plan { latency: true, ..SHORT }).unwrap();
    let mut text = Vec::new();
    print(&report, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with(&format!("{}\n", report.machine)) && text.contains("p99"), "{text}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["figures"].as_array().unwrap().len(), report.figures.len());
    assert_eq!(json["machine"]["build"], if cfg!(debug_assertions) { "debug" } else { "release" });
}

#[test]
fn one_candidate_runs_alone_and_nothing_is_measured() {
    let plan = Plan { only: Some(("static send".into(), 10)), ..SHORT };
    let report = send::run(plan, false).unwrap();
    assert!(report.figures.is_empty() && report.outcomes.is_empty() && report.rounds == 0);
}
