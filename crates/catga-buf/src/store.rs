//! What threads hand each other: whole chains, by size class.

use crate::{
    chain::Chain,
    class::{CLASSES, Tier, size_of_class},
    sync::{AtomicUsize, Mutex, lock},
};
use std::{array, sync::atomic::Ordering::Relaxed};

#[derive(Default)]
struct Shelf {
    chains: Vec<Chain>,
    /// The fewest chains there were since the last idle trim: so many nobody needed.
    low: usize,
}

/// A stack of chains for each size class; bounded in bytes for each tier.
pub(crate) struct Store {
    shelves: [Mutex<Shelf>; CLASSES],
    /// The bytes in each tier; never above `most`.
    held: [AtomicUsize; 3],
    most: [usize; 3],
}

/// Which tier's bound a class counts against.
fn tier(class: usize) -> usize {
    Tier::of(size_of_class(class)) as usize
}

impl Store {
    pub(crate) fn new(most: [usize; 3]) -> Self {
        Self {
            shelves: array::from_fn(|_| Mutex::new(Shelf::default())),
            held: array::from_fn(|_| AtomicUsize::new(0)),
            most,
        }
    }

    /// The chain that was put last, for its blocks are likely still in a cache.
    pub(crate) fn take(&self, class: usize) -> Option<Chain> {
        let mut shelf = lock(&self.shelves[class]);
        let chain = shelf.chains.pop()?;
        shelf.low = shelf.low.min(shelf.chains.len());
        drop(shelf);
        self.held[tier(class)].fetch_sub(chain.bytes(), Relaxed);
        Some(chain)
    }

    /// Keeps a chain; answers it back where the tier's bound leaves no room.
    pub(crate) fn put(&self, class: usize, chain: Chain) -> Result<(), Chain> {
        let (tier, bytes) = (tier(class), chain.bytes());
        // Room is taken first, so that the sum never exceeds the bound whoever else puts.
        if self.held[tier].fetch_add(bytes, Relaxed).saturating_add(bytes) > self.most[tier] {
            self.held[tier].fetch_sub(bytes, Relaxed);
            return Err(chain);
        }
        lock(&self.shelves[class]).chains.push(chain);
        Ok(())
    }

    /// Takes out what no taker has needed since the last call: half of it, the oldest chains, at least one where there
    /// is one.
    pub(crate) fn idle(&self) -> Vec<Chain> {
        self.remove(|shelf| {
            let unneeded = shelf.low.div_ceil(2);
            let chains: Vec<_> = shelf.chains.drain(..unneeded).collect();
            shelf.low = shelf.chains.len();
            chains
        })
    }

    /// Takes out everything.
    pub(crate) fn clear(&self) -> Vec<Chain> {
        self.remove(|shelf| {
            shelf.low = 0;
            std::mem::take(&mut shelf.chains)
        })
    }

    fn remove(&self, part: impl Fn(&mut Shelf) -> Vec<Chain>) -> Vec<Chain> {
        let mut removed = Vec::new();
        for (class, shelf) in self.shelves.iter().enumerate() {
            let chains = part(&mut lock(shelf));
            let bytes: usize = chains.iter().map(Chain::bytes).sum();
            self.held[tier(class)].fetch_sub(bytes, Relaxed);
            removed.extend(chains);
        }
        removed
    }
}
