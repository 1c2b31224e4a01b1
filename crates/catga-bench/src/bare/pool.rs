//! Buffers as one would use them without Catga: a vector each, a pool as .NET's `ArrayPool` is built, and `opool`.

use opool::{Pool, PoolAllocator};
use std::{
    cell::RefCell,
    sync::{Mutex, PoisonError},
};

/// As `ArrayPool<byte>.Shared`: a thread keeps one buffer of each power of two, and beyond it all share stacks.
pub mod array_pool {
    use super::{Mutex, PoisonError, RefCell};

    const CLASSES: usize = 13;
    /// .NET keeps 8 buffers for each processor; two processors.
    const SHARED: usize = 16;

    thread_local! {
        static KEPT: RefCell<[Option<Vec<u8>>; CLASSES]> = const { RefCell::new([const { None }; CLASSES]) };
    }
    static STACKS: [Mutex<Vec<Vec<u8>>>; CLASSES] = [const { Mutex::new(Vec::new()) }; CLASSES];

    fn class(bytes: usize) -> usize {
        bytes.max(256).next_power_of_two().ilog2() as usize - 8
    }

    /// An empty buffer with room for `bytes`, at most 1 MiB.
    pub fn rent(bytes: usize) -> Vec<u8> {
        let class = class(bytes);
        let kept = KEPT.with(|kept| kept.borrow_mut()[class].take());
        let shared = || STACKS[class].lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.or_else(shared).unwrap_or_else(|| Vec::with_capacity(256 << class))
    }

    /// Gives it back.
    pub fn give_back(mut buf: Vec<u8>) {
        buf.clear();
        let class = class(buf.capacity());
        if let Some(before) = KEPT.with(|kept| kept.borrow_mut()[class].replace(buf)) {
            let mut stack = STACKS[class].lock().unwrap_or_else(PoisonError::into_inner);
            if stack.len() < SHARED {
                stack.push(before);
            }
        }
    }
}

/// Makes and clears the vectors of [`opool`].
#[derive(Debug)]
pub struct Vectors(pub usize);

impl PoolAllocator<Vec<u8>> for Vectors {
    fn allocate(&self) -> Vec<u8> {
        Vec::with_capacity(self.0)
    }

    fn reset(&self, buf: &mut Vec<u8>) {
        buf.clear();
    }
}

/// A pool of `opool` for buffers of one size, as many as its users have at a time.
pub fn object_pool(bytes: usize) -> Pool<Vectors, Vec<u8>> {
    Pool::new_prefilled(128, Vectors(bytes))
}
