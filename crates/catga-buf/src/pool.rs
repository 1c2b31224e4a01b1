use crate::{
    buf::PooledBuf,
    guard::{Guard, Leak},
    inner::Inner,
    local,
    options::PoolOptions,
    segmented::SegmentedBuf,
    stats::{Discard, PoolStats},
};
use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::Ordering::{AcqRel, Relaxed},
    },
};

/// Buffers that are used again: by the thread that gives them back first, then by all threads.
///
/// A buffer comes home when it is dropped, on whatever thread that happens. What is kept is bounded in bytes, for each
/// thread and for all together; see [`PoolOptions`]. A thread that ends leaves what it kept to the others.
///
/// ```
/// use catga_buf::PoolOptions;
///
/// let pool = PoolOptions::new().build();
/// for _ in 0..100 {
///     let mut buf = pool.acquire(300);
///     buf.put_slice(b"some bytes");
/// }
/// let stats = pool.stats();
/// assert_eq!((stats.small.acquired, stats.allocations()), (100, 1));
/// ```
///
/// Clones are handles to the same pool. With the last one goes what the shared store and this thread keep; other
/// threads give up theirs when they meet another pool or end, and buffers that are out stay usable.
pub struct BufferPool(Arc<Inner>);

/// How much [`BufferPool::trim`] gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trim {
    /// Half of what nobody has needed since the last such call. Called by a housekeeping timer, it takes away what a
    /// spike left behind and leaves what is in use from time to time.
    Idle,
    /// All free blocks: those of the shared store and of this thread at once, and those of each other thread when it
    /// next runs out of blocks or of room, or ends.
    All,
}

impl BufferPool {
    /// The pool that the process shares, with the default options. It is never closed.
    #[inline]
    pub fn global() -> &'static Self {
        static GLOBAL: OnceLock<BufferPool> = OnceLock::new();
        GLOBAL.get_or_init(|| Self::new(PoolOptions::new()))
    }

    pub(crate) fn new(options: PoolOptions) -> Self {
        Self(Arc::new(Inner::new(options, false)))
    }

    /// A pool that keeps nothing: each buffer comes from the allocator and goes back to it. What to fall back to where
    /// pooling is under suspicion; everything works as before, statistics included.
    pub fn unpooled() -> Self {
        Self(Arc::new(Inner::new(PoolOptions::new(), true)))
    }

    /// An empty buffer with room for at least `bytes`. Allocates nothing where one is free.
    ///
    /// # Panics
    ///
    /// Where `bytes` exceed any address space.
    #[inline]
    pub fn acquire(&self, bytes: usize) -> PooledBuf {
        PooledBuf::new(self.0.acquire(bytes, ""))
    }

    /// The same; a guarded pool names `tag` where the buffer stays out.
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    pub fn acquire_tagged(&self, bytes: usize, tag: &str) -> PooledBuf {
        PooledBuf::new(self.0.acquire(bytes, tag))
    }

    /// An empty stream of blocks; `tag` says in the statistics whose it is.
    pub fn segmented(&self, tag: impl Into<Cow<'static, str>>) -> SegmentedBuf {
        SegmentedBuf::new(self.clone(), tag.into())
    }

    /// What the pool did and holds. Exact while nobody uses the pool; else figures may be some operations apart.
    pub fn stats(&self) -> PoolStats {
        self.0.books.stats()
    }

    /// Gives free blocks back to the allocator. What is in use is untouched.
    pub fn trim(&self, trim: Trim) {
        match trim {
            Trim::Idle => {
                let chains = self.0.store.idle().into_iter();
                chains.flatten().for_each(|block| self.0.discard(block, Discard::Trimmed));
            }
            Trim::All => {
                self.0.epoch.fetch_add(1, Relaxed);
                local::detach(&self.0);
                self.0.empty(Discard::Trimmed);
            }
        }
    }

    /// The buffers that are out, the oldest first, with who acquired them; always empty unless
    /// [`PoolOptions::guard`] is on.
    pub fn leaks(&self) -> Vec<Leak> {
        self.0.guard.as_ref().map(Guard::lent).unwrap_or_default()
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }
}

impl Clone for BufferPool {
    fn clone(&self) -> Self {
        self.0.handles.fetch_add(1, Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for BufferPool {
    fn drop(&mut self) {
        if self.0.handles.fetch_sub(1, AcqRel) == 1 {
            self.0.close();
        }
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool").field("options", &self.0.options).finish_non_exhaustive()
    }
}
