use crate::{
    class::{MOST, Tier, class_of, size_of_class},
    pool::BufferPool,
    stats::Discard,
};
use std::{fmt, sync::Arc};

/// Something that a pool seldom does, told to [`PoolOptions::events`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolEvent {
    /// The pool had no free block of `bytes` and asked the allocator.
    Created {
        /// What the block holds.
        bytes: usize,
    },
    /// A block of `bytes` went back to the allocator.
    Discarded {
        /// What the block held.
        bytes: usize,
        /// Why.
        cause: Discard,
    },
    /// Somebody asked for more than what is pooled.
    Large {
        /// What the block holds.
        bytes: usize,
    },
    /// A guarded pool lost its last handle while this buffer was still out.
    Leaked {
        /// The buffer's tag; empty where it has none.
        tag: String,
        /// What the buffer holds.
        bytes: usize,
        /// The tier that it counts in.
        tier: Tier,
    },
}

pub(crate) type Events = Arc<dyn Fn(&PoolEvent) + Send + Sync>;

/// How much a [`BufferPool`] keeps and how careful it is. All bounds are in bytes, and each of them is finite: 0 keeps
/// nothing, and more than 1 GiB counts as 1 GiB.
///
/// ```
/// use catga_buf::PoolOptions;
///
/// let pool = PoolOptions::new().max_free_large(8 << 20).zero_on_return(true).build();
/// assert!(pool.acquire(100).is_empty());
/// ```
#[derive(Clone)]
#[must_use]
pub struct PoolOptions {
    pub(crate) max_free: [usize; 3],
    pub(crate) max_thread: usize,
    pub(crate) max_pooled: usize,
    pub(crate) zero_on_return: bool,
    pub(crate) guard: bool,
    pub(crate) events: Option<Events>,
}

/// Nobody means to keep more than this idle.
const CEILING: usize = 1 << 30;

impl PoolOptions {
    /// The defaults, as each method states them.
    pub fn new() -> Self {
        Self {
            max_free: [2 << 20, 6 << 20, 32 << 20],
            max_thread: 2 << 20,
            max_pooled: MOST,
            zero_on_return: false,
            guard: false,
            events: None,
        }
    }

    /// How many bytes of blocks below 4 KiB all threads together keep in the shared store; default 2 MiB.
    pub fn max_free_small(mut self, bytes: usize) -> Self {
        self.max_free[Tier::Small as usize] = bytes.min(CEILING);
        self
    }

    /// How many bytes of blocks from 4 KiB to 64 KiB the shared store keeps; default 6 MiB.
    pub fn max_free_medium(mut self, bytes: usize) -> Self {
        self.max_free[Tier::Medium as usize] = bytes.min(CEILING);
        self
    }

    /// How many bytes of blocks above 64 KiB the shared store keeps; default 32 MiB.
    pub fn max_free_large(mut self, bytes: usize) -> Self {
        self.max_free[Tier::Large as usize] = bytes.min(CEILING);
        self
    }

    /// How many bytes each thread keeps for itself; default 2 MiB. The small sizes come first: at the default all up to
    /// 512 KiB have a place in each thread, and blocks of 1 MiB go to the shared store at once.
    pub fn max_thread(mut self, bytes: usize) -> Self {
        self.max_thread = bytes.min(CEILING);
        self
    }

    /// Up to how many bytes a buffer is pooled; default and most 1 MiB, rounded up to a power of two of at least 256.
    /// Larger ones come from the allocator and go back to it.
    pub fn max_pooled(mut self, bytes: usize) -> Self {
        self.max_pooled = size_of_class(class_of(bytes.min(MOST)).into());
        self
    }

    /// Whether what was written to a buffer is overwritten with zeros when it comes back; default no. It costs what
    /// writing so many bytes costs. For a single buffer see [`SecretBuf`](crate::SecretBuf).
    pub fn zero_on_return(mut self, zero: bool) -> Self {
        self.zero_on_return = zero;
        self
    }

    /// Whether to hunt for bugs; default no. Free buffers are filled and looked at when they are acquired again, so
    /// that a write through a pointer that somebody kept is found, with a panic; and every buffer that is out is known
    /// with its tag and the place that acquired it, see [`BufferPool::leaks`]. Each acquire then costs microseconds.
    pub fn guard(mut self, guard: bool) -> Self {
        self.guard = guard;
        self
    }

    /// Who hears of what the pool seldom does; default nobody. Called on the thread that it happens on, with no lock
    /// held; nothing is called where a buffer is reused.
    pub fn events(mut self, events: impl Fn(&PoolEvent) + Send + Sync + 'static) -> Self {
        self.events = Some(Arc::new(events));
        self
    }

    /// A pool of its own. Threads are fastest with one pool: one that alternates looks its chains up each time.
    pub fn build(self) -> BufferPool {
        BufferPool::new(self)
    }
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for PoolOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max_free, max_thread, max_pooled, zero_on_return, guard, events } = self;
        f.debug_struct("PoolOptions")
            .field("max_free", max_free)
            .field("max_thread", max_thread)
            .field("max_pooled", max_pooled)
            .field("zero_on_return", zero_on_return)
            .field("guard", guard)
            .field("events", &events.is_some())
            .finish()
    }
}
