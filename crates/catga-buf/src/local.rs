//! What a thread keeps of each pool, so that taking and giving back touches nothing that threads share.
//!
//! For each size class there are two chains, the one in use and a spare (Bonwick's magazines): a thread that goes back
//! and forth over a boundary does not run to the shared store each time. [`CURRENT`] points to the chains of the pool
//! that was used last. It needs neither initialisation nor a destructor, so that looking at it is one load. A second
//! thread-local value owns the chains and hands them to the shared store when the thread ends. It is armed where
//! [`CURRENT`] is another's: by a thread's first acquire and by its first return alike, because a thread that only
//! returns buffers, as a connection's task does, must leave nothing behind either.

use crate::{
    block::Block,
    chain::Chain,
    class::CLASSES,
    inner::Inner,
    stats::{Slot, bump},
};
use std::{
    array,
    cell::{Cell, RefCell},
    ptr,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
};

/// The chains of one size class.
#[derive(Default)]
struct Magazine {
    loaded: Cell<Chain>,
    spare: Cell<Chain>,
    /// How many blocks `loaded` takes; 0 where the class is too large for a thread to keep.
    most: u32,
    /// Whether there is a spare.
    two: bool,
}

impl Magazine {
    #[inline]
    fn pop(&self) -> Option<Block> {
        let mut chain = self.loaded.take();
        let block = chain.pop();
        self.loaded.set(chain);
        block
    }

    #[inline]
    fn push(&self, block: Block) -> Result<(), Block> {
        let mut chain = self.loaded.take();
        if chain.len() >= self.most {
            self.loaded.set(chain);
            return Err(block);
        }
        chain.push(block);
        self.loaded.set(chain);
        Ok(())
    }
}

/// What this thread keeps of one pool.
pub(crate) struct Local {
    pool: Arc<Inner>,
    slot: Arc<Slot>,
    magazines: [Magazine; CLASSES],
    epoch: Cell<usize>,
}

/// Owns what [`CURRENT`] points to; its destructor runs when the thread ends.
struct Locals(RefCell<Vec<Rc<Local>>>);

#[cfg(not(loom))]
thread_local! {
    static CURRENT: Cell<*const Local> = const { Cell::new(ptr::null()) };
    static LOCALS: Locals = const { Locals(RefCell::new(Vec::new())) };
}

#[cfg(loom)]
loom::thread_local! {
    static CURRENT: Cell<*const Local> = Cell::new(ptr::null());
    static LOCALS: Locals = Locals(RefCell::new(Vec::new()));
}

/// Lets `look` use the chains of the pool that this thread used last; answers `with` back where there are none. `look`
/// must not call anything that a user gave: that could end the pool.
#[inline]
fn current<T, W>(with: W, look: impl FnOnce(&Local, W) -> Result<T, W>) -> Result<T, W> {
    let current = CURRENT.try_with(Cell::get).unwrap_or(ptr::null());
    // SAFETY: `CURRENT` is null or points into an `Rc` in `LOCALS`; whatever takes that `Rc` out makes it null first.
    // Only this thread does so, and none of the calls of `current` in this file does while it looks.
    match unsafe { current.as_ref() } {
        Some(local) => look(local, with),
        None => Err(with),
    }
}

/// A block that this thread keeps, without a look at anything shared.
#[inline]
pub(crate) fn take(pool: &Arc<Inner>, class: u8) -> Option<Block> {
    let taken = current((), |local, ()| {
        if !Arc::ptr_eq(&local.pool, pool) {
            return Err(());
        }
        let class = usize::from(class);
        let block = local.magazines.get(class).and_then(Magazine::pop).ok_or(())?;
        bump(&local.slot.taken[class]);
        Ok(block)
    });
    taken.ok()
}

/// Keeps a block in this thread; answers it back where there is no room for it or this is another pool's thread.
#[inline]
pub(crate) fn give(block: Block) -> Result<(), Block> {
    current(block, |local, block| {
        if !Arc::ptr_eq(&local.pool, &block.header().pool) {
            return Err(block);
        }
        let class = block.class();
        let Some(magazine) = local.magazines.get(class) else { return Err(block) };
        magazine.push(block)?;
        bump(&local.slot.given[class]);
        Ok(())
    })
}

/// The chains that this thread keeps of `pool`, which it uses from now on; none where the thread is ending.
pub(crate) fn attach(pool: &Arc<Inner>) -> Option<Rc<Local>> {
    let (local, gone) = LOCALS
        .try_with(|Locals(locals)| {
            let mut locals = locals.borrow_mut();
            if let Some(local) = locals.iter().find(|local| Arc::ptr_eq(&local.pool, pool)) {
                return (Rc::clone(local), Vec::new());
            }
            // A thread that meets a new pool has time to forget those that are closed.
            let _ = CURRENT.try_with(|current| current.set(ptr::null()));
            let gone: Vec<_> = locals.extract_if(.., |local| local.pool.is_closed()).collect();
            let local = Rc::new(Local::new(pool));
            locals.push(Rc::clone(&local));
            (local, gone)
        })
        .ok()?;
    let _ = CURRENT.try_with(|current| current.set(Rc::as_ptr(&local)));
    // Last, because what goes is told to events, and those may use pools.
    drop(gone);
    Some(local)
}

/// Hands what this thread keeps of `pool` to the shared store, and forgets the pool.
pub(crate) fn detach(pool: &Arc<Inner>) {
    let local = LOCALS.try_with(|Locals(locals)| {
        let _ = CURRENT.try_with(|current| current.set(ptr::null()));
        let mut locals = locals.borrow_mut();
        let at = locals.iter().position(|local| Arc::ptr_eq(&local.pool, pool))?;
        Some(locals.swap_remove(at))
    });
    drop(local);
}

impl Local {
    fn new(pool: &Arc<Inner>) -> Self {
        let magazines = array::from_fn(|class| {
            let (most, two) = pool.kept_by_threads[class];
            Magazine { most, two, ..Magazine::default() }
        });
        let epoch = Cell::new(pool.epoch.load(Relaxed));
        Self { pool: Arc::clone(pool), slot: pool.books.enter(), magazines, epoch }
    }

    /// A block from the spare or from the shared store, where the chain in use is empty.
    pub(crate) fn refill(&self, class: usize) -> Option<Block> {
        self.follow_trim();
        let magazine = &self.magazines[class];
        let block = magazine.pop().or_else(|| {
            let mut chain = magazine.spare.take();
            if chain.len() == 0 {
                chain = self.pool.store.take(class)?;
            }
            let block = chain.pop();
            // Where the thread may keep none of this class, chains are one block long and this one is empty now.
            magazine.loaded.set(chain);
            block
        })?;
        bump(&self.slot.taken[class]);
        Some(block)
    }

    /// Keeps a block where the chain in use is full; answers a chain for the shared store.
    pub(crate) fn overflow(&self, block: Block) -> Option<Chain> {
        self.follow_trim();
        let class = block.class();
        bump(&self.slot.given[class]);
        let magazine = &self.magazines[class];
        let block = match magazine.push(block) {
            Ok(()) => return None,
            Err(block) => block,
        };
        let mut full = Chain::default();
        full.push(block);
        if magazine.most == 0 {
            return Some(full);
        }
        let full = magazine.loaded.replace(full);
        if magazine.two { Some(magazine.spare.replace(full)).filter(|chain| chain.len() > 0) } else { Some(full) }
    }

    /// Gives up everything where the pool was trimmed since this thread last came by.
    fn follow_trim(&self) {
        let epoch = self.pool.epoch.load(Relaxed);
        if self.epoch.replace(epoch) != epoch {
            self.flush();
        }
    }

    fn flush(&self) {
        for (class, magazine) in self.magazines.iter().enumerate() {
            for chain in [magazine.loaded.take(), magazine.spare.take()] {
                self.pool.shelve(class, chain);
            }
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.flush();
        self.pool.books.leave(&self.slot);
    }
}

impl Drop for Locals {
    fn drop(&mut self) {
        let _ = CURRENT.try_with(|current| current.set(ptr::null()));
        let locals = std::mem::take(self.0.get_mut());
        drop(locals);
    }
}
