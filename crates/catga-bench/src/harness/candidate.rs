use crate::ready;
use catga::Result;
use catga_buf::CountingAlloc;
use std::{
    fmt,
    future::Future,
    hint::black_box,
    time::{Duration, Instant},
};

/// What one turn of a candidate took.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Time for all operations.
    pub elapsed: Duration,
    /// Allocations of all operations.
    pub allocations: u64,
    /// Bytes that they asked for.
    pub bytes: u64,
}

/// Something that can be done again and again.
pub struct Candidate<'a> {
    name: String,
    run: Box<dyn FnMut(u64) -> Result<Sample> + 'a>,
}

impl<'a> Candidate<'a> {
    /// Measures itself: `run` does so many operations and says what they took. A peer in another process does this.
    pub fn new(name: impl Into<String>, run: impl FnMut(u64) -> Result<Sample> + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }

    /// An operation in this process. What it answers is kept from being optimised away; what it is given is its own
    /// task to hide with [`black_box`].
    pub fn operation<T>(name: impl Into<String>, mut operation: impl FnMut() -> T + 'a) -> Self {
        Self::new(name, move |iterations| {
            let mut elapsed = Duration::ZERO;
            let counted = CountingAlloc::count(|| {
                let started = Instant::now();
                for _ in 0..iterations {
                    black_box(operation());
                }
                elapsed = started.elapsed();
            });
            Ok(Sample { elapsed, allocations: counted.count, bytes: counted.bytes })
        })
    }

    /// An operation that is awaited, as an async function of a user awaits it: its future lives in the caller's. It must
    /// not wait; see [`ready`].
    pub fn awaited<F: Future>(name: impl Into<String>, mut operation: impl FnMut() -> F + 'a) -> Self {
        Self::new(name, move |iterations| {
            let mut elapsed = Duration::ZERO;
            let counted = CountingAlloc::count(|| {
                ready(async {
                    let started = Instant::now();
                    for _ in 0..iterations {
                        black_box(operation().await);
                    }
                    elapsed = started.elapsed();
                });
            });
            Ok(Sample { elapsed, allocations: counted.count, bytes: counted.bytes })
        })
    }

    /// Its name in reports and bounds.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs so many operations.
    ///
    /// # Errors
    ///
    /// What the candidate answers.
    pub fn run(&mut self, iterations: u64) -> Result<Sample> {
        (self.run)(iterations)
    }
}

impl fmt::Debug for Candidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate").field("name", &self.name).finish_non_exhaustive()
    }
}
