//! `bench pool` runs and reports; what it says of allocations is exact, what it says of times a debug build cannot judge.

use catga_bench::{
    harness::{Plan, Verdict},
    pool,
};
use catga_buf::CountingAlloc;
use std::time::Duration;

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc::system();

#[test]
fn every_candidate_is_measured_and_what_is_pooled_allocates_nothing() {
    let plan = Plan { rounds: 5, turn: Duration::from_micros(200), ..Plan::default() };
    let report = pool::run(plan).unwrap();
    for figure in &report.figures {
        assert!(figure.ns.min > 0.0, "{}", figure.name);
        let ours = ["pool,", "slab,", "pooled", "Base64", "JSON"].iter().any(|head| figure.name.starts_with(head));
        // Two threads make a few blocks until both have their chains; and who holds many at once may find some of them
        // with threads that other candidates started in between. What one thread does alone is counted in `catga-buf`.
        if ours && !figure.name.contains("thread") && !figure.name.contains('×') {
            assert_eq!(figure.allocations, 0.0, "{}", figure.name);
        }
        let theirs = ["Vec, 256 B", "boxed"].iter().any(|head| figure.name.starts_with(head));
        if theirs && !figure.name.contains("thread") {
            assert_eq!(figure.allocations, 1.0, "{}", figure.name);
        }
    }
    assert_eq!(report.outcomes.len(), pool::BOUNDS.len());
    assert!(report.outcomes.iter().all(|outcome| outcome.verdict != Verdict::NoPeer));
}
