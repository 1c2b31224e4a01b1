//! Runs a case: on a runtime of its own, for so long at most.

use std::{future::Future, panic::resume_unwind, time::Duration};
use tokio::{runtime::Builder, time::timeout};

/// How long a case may take before it counts as hanging: 20 s. Those with thousands of seeds have more.
pub const GUARD: Duration = Duration::from_secs(20);

/// Runs a case of a backend; fails with its name where it hangs. Hidden: the macro calls it.
pub fn run<B, F>(name: &str, backend: B, case: impl FnOnce(B) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
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
