//! Runs a case: on a runtime of its own, for so long at most.

use std::{env, future::Future, panic::resume_unwind, process::Command, time::Duration};
use tokio::{runtime::Builder, time::timeout};

/// How long a case may take before it counts as hanging: 20 s. Those with thousands of seeds have more.
pub const GUARD: Duration = Duration::from_secs(20);

/// Cases that measure the whole process: each runs in one of its own.
const ALONE: [&str; 1] = ["::messages_that_went_leave_no_memory_behind"];
/// Set in such a process.
const IS_ALONE: &str = "CATGA_TESTKIT_ALONE";

/// Runs a case of a backend; fails with its name where it hangs. Hidden: the macro calls it.
pub fn run<B, F>(name: &str, backend: B, case: impl FnOnce(B) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    if ALONE.iter().any(|case| name.ends_with(case)) && env::var_os(IS_ALONE).is_none() {
        return alone(name);
    }
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // Spawned, so that the guard also ends a case that blocks its thread.
    let running = runtime.spawn(case(backend));
    let bound = if name.contains("::model_") { crate::model::guard() } else { GUARD };
    let done = runtime.block_on(async { timeout(bound, running).await });
    runtime.shutdown_background();
    match done {
        Ok(Ok(())) => {}
        Ok(Err(failed)) if failed.is_panic() => resume_unwind(failed.into_panic()),
        Ok(Err(failed)) => panic!("{name}: {failed}"),
        Err(_) => panic!("{name} hangs: it did not end within {bound:?}"),
    }
}

/// Runs the test of that path in a process of its own.
fn alone(name: &str) {
    // The first part is the test program's.
    let test = name.split_once("::").map_or(name, |(_, test)| test);
    let program = env::current_exe().expect("this test program");
    let output = Command::new(program).args([test, "--exact"]).env(IS_ALONE, "1").output().expect("a process");
    let (told, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.contains("1 passed"), "{test} in a process of its own:\n{told}{said}");
}
