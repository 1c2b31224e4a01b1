//! What all handles of a pool share.

use crate::{
    block::Block,
    chain::Chain,
    class::{CLASSES, HUGE, Tier, chain_len, class_of, size_of_class},
    guard::Guard,
    local,
    options::{PoolEvent, PoolOptions},
    stats::{Books, Discard},
    store::Store,
    sync::AtomicUsize,
};
use std::{
    array,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::{Arc, atomic::Ordering},
};

/// A pool without its handles. Blocks keep it alive for as long as they live; its stock goes with the last handle.
pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) books: Books,
    pub(crate) options: PoolOptions,
    /// By class: how long a thread's chain is, and whether it keeps a spare one, too.
    pub(crate) kept_by_threads: [(u32, bool); CLASSES],
    /// Grows where threads are to give up what they keep.
    pub(crate) epoch: AtomicUsize,
    pub(crate) handles: AtomicUsize,
    pub(crate) guard: Option<Guard>,
    /// Whether the pool keeps nothing at all.
    unpooled: bool,
}

// Every statement leaves the pool whole, and a hook that panics is not called while one runs.
impl UnwindSafe for Inner {}
impl RefUnwindSafe for Inner {}

/// Shares a thread's bytes out among the classes, the small ones first, so that no count is kept while it runs.
fn kept_by_threads(cap: usize) -> [(u32, bool); CLASSES] {
    let mut left = cap;
    array::from_fn(|class| {
        let (size, chain) = (size_of_class(class), chain_len(class));
        let two = chain > 1;
        let whole = size * chain as usize * (1 + usize::from(two));
        if whole <= left {
            left -= whole;
            (chain, two)
        } else {
            (0, false)
        }
    })
}

impl Inner {
    pub(crate) fn new(options: PoolOptions, unpooled: bool) -> Self {
        let guard = options.guard.then(Guard::default);
        // What is guarded goes past the threads' chains, where every block is looked at.
        let cap = if unpooled || options.guard { 0 } else { options.max_thread };
        Self {
            store: Store::new(options.max_free),
            books: Books::new(),
            kept_by_threads: kept_by_threads(cap),
            epoch: AtomicUsize::new(0),
            handles: AtomicUsize::new(1),
            guard,
            unpooled,
            options,
        }
    }

    /// Whether threads keep chains of this pool.
    fn threaded(&self) -> bool {
        !self.unpooled && self.guard.is_none()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.handles.load(Ordering::Acquire) == 0
    }

    /// A block that holds `bytes`.
    #[inline]
    pub(crate) fn acquire(self: &Arc<Self>, bytes: usize, tag: &str) -> Block {
        let class = class_of(bytes);
        let block = match local::take(self, class) {
            Some(block) => block,
            None => self.acquire_cold(class, bytes, tag),
        };
        block.claim();
        block
    }

    #[cold]
    #[inline(never)]
    fn acquire_cold(self: &Arc<Self>, class: u8, bytes: usize, tag: &str) -> Block {
        let mut block = self.find(class, bytes);
        if let Some(guard) = &self.guard {
            guard.lend(&block, tag);
        }
        block.header_mut().written = 0;
        block
    }

    fn find(self: &Arc<Self>, class: u8, bytes: usize) -> Block {
        let pooled = class != HUGE && bytes <= self.options.max_pooled;
        let at = usize::from(class);
        if pooled
            && self.threaded()
            && let Some(local) = local::attach(self)
        {
            if let Some(block) = local.refill(at) {
                return block;
            }
            return self.create(class, bytes);
        }
        if pooled
            && !self.unpooled
            && let Some(mut chain) = self.store.take(at)
        {
            let block = chain.pop();
            self.shelve(at, chain);
            if let Some(block) = block {
                self.books.cold.taken[at].fetch_add(1, Ordering::Relaxed);
                return block;
            }
        }
        self.create(if pooled { class } else { HUGE }, bytes)
    }

    fn create(self: &Arc<Self>, class: u8, bytes: usize) -> Block {
        let at = usize::from(class);
        let capacity = if class == HUGE { bytes } else { size_of_class(at) };
        let block = Block::new(Arc::clone(self), capacity, class);
        self.books.cold.taken[at].fetch_add(1, Ordering::Relaxed);
        self.books.created(at, block.capacity());
        self.tell(|| match class {
            HUGE => PoolEvent::Large { bytes: block.capacity() },
            _ => PoolEvent::Created { bytes: block.capacity() },
        });
        block
    }

    /// Takes a block back that its thread does not keep at once.
    fn give(self: &Arc<Self>, mut block: Block) {
        let class = block.class();
        if self.threaded()
            && class < CLASSES
            && !self.is_closed()
            && let Some(local) = local::attach(self)
        {
            if let Some(chain) = local.overflow(block) {
                self.shelve(class, chain);
            }
            return;
        }
        self.books.cold.given[class].fetch_add(1, Ordering::Relaxed);
        if let Some(guard) = &self.guard {
            guard.take_back(&mut block);
        }
        if self.unpooled || class >= CLASSES {
            return self.discard(block, Discard::NotPooled);
        }
        let mut chain = Chain::default();
        chain.push(block);
        self.shelve(class, chain);
    }

    /// Hands a chain to all threads, as far as the bounds allow.
    pub(crate) fn shelve(&self, class: usize, chain: Chain) {
        if chain.len() == 0 {
            return;
        }
        if self.is_closed() {
            return chain.for_each(|block| self.discard(block, Discard::Closed));
        }
        if let Err(chain) = self.store.put(class, chain) {
            chain.for_each(|block| self.discard(block, Discard::Full));
        }
        // The last handle may have gone meanwhile, and its thread may have looked before this chain was there.
        if self.is_closed() {
            self.empty(Discard::Closed);
        }
    }

    /// Gives everything in the shared store back to the allocator.
    pub(crate) fn empty(&self, cause: Discard) {
        self.store.clear().into_iter().flatten().for_each(|block| self.discard(block, cause));
    }

    pub(crate) fn discard(&self, block: Block, cause: Discard) {
        let (class, bytes) = (block.class(), block.capacity());
        drop(block);
        self.books.discarded(class, cause);
        self.tell(|| PoolEvent::Discarded { bytes, cause });
    }

    pub(crate) fn count_freed(&self, class: usize, bytes: usize) {
        self.books.freed(class, bytes);
    }

    pub(crate) fn tell(&self, event: impl FnOnce() -> PoolEvent) {
        if let Some(events) = &self.options.events {
            events(&event());
        }
    }

    /// What becomes of the stock when the last handle goes.
    pub(crate) fn close(self: &Arc<Self>) {
        local::detach(self);
        self.empty(Discard::Closed);
        for lent in self.guard.iter().flat_map(Guard::lent) {
            let tier = Tier::of(lent.capacity);
            self.tell(|| PoolEvent::Leaked { tag: lent.tag, bytes: lent.capacity, tier });
        }
    }
}

/// Takes a block home, of whose data `written` bytes are known to be in use at the end.
#[inline]
pub(crate) fn give_back(mut block: Block, written: usize) {
    block.claim();
    block.clean(written);
    if let Err(block) = local::give(block) {
        give_cold(block);
    }
}

#[cold]
#[inline(never)]
fn give_cold(block: Block) {
    let pool = Arc::clone(&block.header().pool);
    pool.give(block);
}
