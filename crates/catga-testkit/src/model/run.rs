use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use std::{
    env,
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::{runtime::Handle, task::block_in_place};

/// How many sequences of operations are tried; with `CATGA_LONG=1` twenty times as many.
const SEEDS: u32 = 500;

fn long() -> bool {
    env::var("CATGA_LONG").is_ok_and(|value| value == "1")
}

/// How long a model test may take.
pub(crate) fn guard() -> Duration {
    if long() { Duration::from_secs(40 * 60) } else { Duration::from_secs(120) }
}

/// Runs `test` on many sequences of `operations`: always the same ones, and others with `CATGA_LONG=1`.
pub(crate) fn with_seeds<S: Strategy, F: Future<Output = ()>>(operations: S, test: impl Fn(S::Value) -> F) {
    let config = Config {
        cases: if long() { SEEDS * 20 } else { SEEDS },
        max_shrink_iters: 400,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = match long() {
        true => TestRunner::new(config),
        false => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let tried = block_in_place(|| {
        runner.run(&operations, |sequence| {
            Handle::current().block_on(test(sequence));
            Ok(())
        })
    });
    if let Err(failed) = tried {
        panic!("{failed}");
    }
}

/// Names that no other sequence of operations has: a model test uses one store for all of them, because opening one
/// takes longer than most sequences.
#[derive(Default)]
pub(crate) struct Names(AtomicU64);

impl Names {
    pub(crate) fn next(&self, head: &str) -> String {
        format!("{head}-{}", self.0.fetch_add(1, Ordering::Relaxed))
    }
}
