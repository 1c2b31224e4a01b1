//! `bench transport` runs, every message arrives, and a message allocates nothing but its own frame.

use catga_bench::{
    harness::{Plan, Verdict},
    transport,
};
use catga_buf::CountingAlloc;
use std::time::Duration;

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc::system();

#[test]
fn every_candidate_is_measured_and_every_bound_judged() {
    let plan = Plan { rounds: 5, turn: Duration::from_millis(5), latency: false, only: None };
    let report = transport::run(plan, false).unwrap();
    for figure in &report.figures {
        // A block of frames now and then, and what a run sets up; an encoded frame is two allocations.
        let expected = if figure.name.ends_with("encoded") { 2.0 } else { 0.0 };
        assert!((expected..expected + 0.5).contains(&figure.allocations), "{}: {}", figure.name, figure.allocations);
    }
    for (bound, outcome) in transport::BOUNDS.iter().zip(&report.outcomes) {
        let lacks_peer = bound.by.starts_with("catga-core");
        assert_eq!(outcome.verdict == Verdict::NoPeer, lacks_peer, "{} by {}", bound.name, bound.by);
    }
}
