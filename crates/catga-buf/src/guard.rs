//! What a guarded pool knows of each buffer that is out.

use crate::{
    block::Block,
    sync::{Mutex, lock},
};
use std::{
    backtrace::Backtrace,
    cmp::Reverse,
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

/// What the data of a free block hold.
const FREE: u8 = 0xdd;

/// A buffer that is out, and who took it; see [`BufferPool::leaks`](crate::BufferPool::leaks).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Leak {
    /// The tag that it was acquired with; empty where there was none.
    pub tag: String,
    /// The bytes that it holds.
    pub capacity: usize,
    /// When it was acquired, so long ago.
    pub age: Duration,
    /// Where it was acquired.
    pub backtrace: Arc<Backtrace>,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tag, capacity, age, backtrace } = self;
        write!(
            f,
            "a buffer of {capacity} bytes with the tag `{tag}` has been out for {age:?}, acquired at\n{backtrace}"
        )
    }
}

struct Lent {
    tag: String,
    capacity: usize,
    born: Instant,
    backtrace: Arc<Backtrace>,
}

#[derive(Default)]
pub(crate) struct Guard {
    /// By the address of the data.
    lent: Mutex<HashMap<usize, Lent>>,
}

impl Guard {
    /// Looks whether somebody wrote to a block that was free, and notes who has it now.
    pub(crate) fn lend(&self, block: &Block, tag: &str) {
        if let Some(at) = block.first_other(FREE) {
            panic!("byte {at} of a free buffer of {} bytes was written: somebody kept a pointer", block.capacity());
        }
        let backtrace = Arc::new(Backtrace::force_capture());
        let lent = Lent { tag: tag.to_owned(), capacity: block.capacity(), born: Instant::now(), backtrace };
        lock(&self.lent).insert(block.data().addr().get(), lent);
    }

    /// Fills a block that is free from now on.
    pub(crate) fn take_back(&self, block: &mut Block) {
        lock(&self.lent).remove(&block.data().addr().get());
        block.fill_whole(FREE);
    }

    /// All buffers that are out, the oldest first.
    pub(crate) fn lent(&self) -> Vec<Leak> {
        let lent = lock(&self.lent);
        let mut leaks: Vec<_> = lent
            .values()
            .map(|Lent { tag, capacity, born, backtrace }| Leak {
                tag: tag.clone(),
                capacity: *capacity,
                age: born.elapsed(),
                backtrace: Arc::clone(backtrace),
            })
            .collect();
        leaks.sort_by_key(|leak| Reverse(leak.age));
        leaks
    }
}
