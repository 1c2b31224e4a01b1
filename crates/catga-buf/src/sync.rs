//! What threads share, in one place: the models in `tests/loom.rs` put loom's types here.
//!
//! Counters of the statistics are the standard library's everywhere: they order nothing.

#[cfg(loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicUsize, fence},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicUsize, fence},
};

use std::sync::PoisonError;

/// Locks, also where a thread panicked while it held the lock: everything here is left whole between two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
