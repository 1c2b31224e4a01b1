//! The books of a pool.
//!
//! What happens often is counted where it happens, in a slot of the thread's own that others only read: a load and a
//! store, no shared cache line. What happens seldom is counted in shared atomics. Gauges are differences of counters.

use crate::{
    class::{CLASSES, Tier, size_of_class},
    sync::{Mutex, lock},
};
use std::{
    array,
    borrow::Cow,
    cmp::Reverse,
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// One more than there are classes: blocks beyond what is pooled count, too.
const COUNTED: usize = CLASSES + 1;

type Counters = [AtomicU64; COUNTED];

/// What one thread took and gave back, by class. On cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Slot {
    pub(crate) taken: Counters,
    pub(crate) given: Counters,
}

/// Counts in a counter that only this thread writes.
#[inline]
pub(crate) fn bump(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}

/// Why a block went back to the allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Discard {
    /// Its size is beyond what is pooled, or the pool pools nothing.
    NotPooled,
    /// The pool keeps as much of that tier as it may.
    Full,
    /// The pool was trimmed.
    Trimmed,
    /// The pool's last handle is gone.
    Closed,
}

/// How many blocks went back to the allocator, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Discarded {
    /// See [`Discard::NotPooled`].
    pub not_pooled: u64,
    /// See [`Discard::Full`].
    pub full: u64,
    /// See [`Discard::Trimmed`].
    pub trimmed: u64,
    /// See [`Discard::Closed`].
    pub closed: u64,
}

impl Discarded {
    /// All causes together.
    pub fn total(&self) -> u64 {
        self.not_pooled + self.full + self.trimmed + self.closed
    }
}

/// The figures of one tier.
///
/// Counts are of blocks since the pool was made and never fall; bytes are what blocks hold, not what was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierStats {
    /// How often a block was asked for.
    pub acquired: u64,
    /// How often one came back.
    pub returned: u64,
    /// Blocks that are in somebody's hands now.
    pub in_use: u64,
    /// The bytes that those hold.
    pub in_use_bytes: u64,
    /// The most blocks that were seen in use at once. It is looked at on every miss and by every call of
    /// [`BufferPool::stats`](crate::BufferPool::stats): a peak that threads serve wholly from what they keep shows only
    /// if it lasts until then.
    pub peak: u64,
    /// How often the pool had none and asked the allocator.
    pub missed: u64,
    /// How often a buffer outgrew its block and moved into one of this tier.
    pub grown: u64,
    /// Blocks that went back to the allocator.
    pub discarded: Discarded,
    /// Blocks that wait to be used again, in threads and in the shared store.
    pub retained: u64,
    /// The bytes that those hold.
    pub retained_bytes: u64,
}

impl TierStats {
    /// Which share of the acquired blocks had been used before, from 0 to 1; 1 where none was asked for.
    pub fn reuse_rate(&self) -> f64 {
        if self.acquired == 0 {
            return 1.0;
        }
        1.0 - self.missed.min(self.acquired) as f64 / self.acquired as f64
    }
}

/// What is in use under one tag.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outstanding {
    /// The tag that the user gave; empty where there was none.
    pub tag: Cow<'static, str>,
    /// How many are in use: streams, and where the pool guards, buffers.
    pub count: u64,
    /// How long the oldest has been in use.
    pub age: Duration,
}

/// What a pool did and holds; see [`BufferPool::stats`](crate::BufferPool::stats).
///
/// Where the seed's .NET library has `MemoryPoolStatistics` and the figures of its stream manager, here are:
///
/// | there | here |
/// |---|---|
/// | `SmallPoolInUseSize` (below 85 KB) | `small.in_use_bytes + medium.in_use_bytes` |
/// | `LargePoolInUseSize` | `large.in_use_bytes` |
/// | `TotalAllocations` | [`allocations()`](Self::allocations) |
/// | `SmallBytePool`, below 4 KB | `small` |
/// | `MediumBytePool`, 4 KB to 64 KB | `medium` |
/// | `LargeBytePool`, above 64 KB | `large` |
/// | `ArrayPool` rent, return | `acquired`, `returned` |
/// | "pooled buffer reuse rate > 95 %" | [`reuse_rate()`](Self::reuse_rate) |
/// | the tag of `GetStream(tag)` | `outstanding[..].tag` |
/// | free bytes that the stream manager keeps | `retained_bytes` |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Blocks below 4 KiB.
    pub small: TierStats,
    /// Blocks from 4 KiB to 64 KiB.
    pub medium: TierStats,
    /// Blocks above 64 KiB, also beyond what is pooled.
    pub large: TierStats,
    /// What is in use by tag, oldest first.
    pub outstanding: Vec<Outstanding>,
}

impl PoolStats {
    /// The figures of a tier.
    pub fn tier(&self, tier: Tier) -> &TierStats {
        match tier {
            Tier::Small => &self.small,
            Tier::Medium => &self.medium,
            Tier::Large => &self.large,
        }
    }

    fn sum(&self, figure: impl Fn(&TierStats) -> u64) -> u64 {
        Tier::ALL.iter().map(|tier| figure(self.tier(*tier))).sum()
    }

    /// How often the allocator was asked for a block, in all tiers.
    pub fn allocations(&self) -> u64 {
        self.sum(|tier| tier.missed)
    }

    /// Blocks in use, in all tiers.
    pub fn in_use(&self) -> u64 {
        self.sum(|tier| tier.in_use)
    }

    /// Bytes that wait to be used again, in all tiers.
    pub fn retained_bytes(&self) -> u64 {
        self.sum(|tier| tier.retained_bytes)
    }

    /// Which share of all acquired blocks had been used before, from 0 to 1; 1 where none was asked for.
    pub fn reuse_rate(&self) -> f64 {
        let whole =
            TierStats { acquired: self.sum(|tier| tier.acquired), missed: self.allocations(), ..TierStats::default() };
        whole.reuse_rate()
    }
}

impl fmt::Display for PoolStats {
    /// A table of the tiers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<8}{:>12}{:>8}{:>14}{:>8}{:>8}",
            "tier", "acquired", "in use", "retained bytes", "missed", "reuse"
        )?;
        for tier in Tier::ALL {
            let of = self.tier(tier);
            let reuse = of.reuse_rate() * 100.0;
            writeln!(
                f,
                "{tier:<8}{:>12}{:>8}{:>14}{:>8}{reuse:>7.1}%",
                of.acquired, of.in_use, of.retained_bytes, of.missed
            )?;
        }
        Ok(())
    }
}

/// The slots of living threads, and what those counted that ended.
#[derive(Default)]
struct Threads {
    slots: Vec<Arc<Slot>>,
    retired: Vec<(u64, u64)>,
}

struct Tagged {
    tag: Cow<'static, str>,
    born: Instant,
}

/// All counters of a pool.
pub(crate) struct Books {
    threads: Mutex<Threads>,
    /// What is taken and given past the threads' chains; shared.
    pub(crate) cold: Slot,
    created: Counters,
    freed: Counters,
    /// The bytes of blocks beyond what is pooled, made and freed.
    huge: [AtomicU64; 2],
    grown: [AtomicU64; 3],
    peak: [AtomicU64; 3],
    discarded: [[AtomicU64; 4]; 3],
    tagged: Mutex<(u64, HashMap<u64, Tagged>)>,
}

fn zeros<const N: usize>() -> [AtomicU64; N] {
    array::from_fn(|_| AtomicU64::new(0))
}

/// The tier that a class counts in; all beyond the classes is large.
fn tier_of(class: usize) -> usize {
    Tier::of(if class < CLASSES { size_of_class(class) } else { usize::MAX }) as usize
}

impl Books {
    pub(crate) fn new() -> Self {
        Self {
            threads: Mutex::new(Threads { slots: Vec::new(), retired: vec![(0, 0); COUNTED] }),
            cold: Slot::default(),
            created: zeros(),
            freed: zeros(),
            huge: zeros(),
            grown: zeros(),
            peak: zeros(),
            discarded: array::from_fn(|_| zeros()),
            tagged: Mutex::new((0, HashMap::new())),
        }
    }

    /// A slot for a thread.
    pub(crate) fn enter(&self) -> Arc<Slot> {
        let slot = Arc::<Slot>::default();
        lock(&self.threads).slots.push(Arc::clone(&slot));
        slot
    }

    /// Adds up what a thread counted that ends.
    pub(crate) fn leave(&self, slot: &Arc<Slot>) {
        let mut threads = lock(&self.threads);
        for (class, sums) in threads.retired.iter_mut().enumerate() {
            sums.0 += slot.taken[class].load(Relaxed);
            sums.1 += slot.given[class].load(Relaxed);
        }
        threads.slots.retain(|other| !Arc::ptr_eq(other, slot));
    }

    pub(crate) fn created(&self, class: usize, bytes: usize) {
        self.created[class].fetch_add(1, Relaxed);
        if class >= CLASSES {
            self.huge[0].fetch_add(bytes as u64, Relaxed);
        }
        self.peak_of(class);
    }

    pub(crate) fn freed(&self, class: usize, bytes: usize) {
        self.freed[class].fetch_add(1, Relaxed);
        if class >= CLASSES {
            self.huge[1].fetch_add(bytes as u64, Relaxed);
        }
    }

    pub(crate) fn discarded(&self, class: usize, cause: Discard) {
        self.discarded[tier_of(class)][cause as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn grown(&self, class: usize) {
        self.grown[tier_of(class)].fetch_add(1, Relaxed);
    }

    /// Notes what has a tag; [`untag`](Self::untag) takes the number.
    pub(crate) fn tag(&self, tag: Cow<'static, str>) -> u64 {
        let mut tagged = lock(&self.tagged);
        tagged.0 += 1;
        let number = tagged.0;
        tagged.1.insert(number, Tagged { tag, born: Instant::now() });
        number
    }

    pub(crate) fn untag(&self, number: u64) {
        lock(&self.tagged).1.remove(&number);
    }

    fn peak_of(&self, class: usize) {
        let tier = tier_of(class);
        let in_use = (0..COUNTED).filter(|class| tier_of(*class) == tier).map(|class| {
            let (taken, given) = self.flow(class);
            taken.saturating_sub(given)
        });
        self.peak[tier].fetch_max(in_use.sum(), Relaxed);
    }

    /// How many blocks of a class were taken and given back by all threads.
    fn flow(&self, class: usize) -> (u64, u64) {
        let threads = lock(&self.threads);
        let (mut taken, mut given) = threads.retired[class];
        for slot in threads.slots.iter().map(Arc::as_ref).chain([&self.cold]) {
            // What came back is read first: read the other way round, a block in flight could come back unacquired.
            given += slot.given[class].load(Relaxed);
            taken += slot.taken[class].load(Relaxed);
        }
        (taken, given)
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let mut stats = PoolStats { outstanding: self.outstanding(), ..PoolStats::default() };
        for class in 0..COUNTED {
            self.peak_of(class);
            let (taken, given) = self.flow(class);
            let (created, freed) = (self.created[class].load(Relaxed), self.freed[class].load(Relaxed));
            let in_use = taken.saturating_sub(given);
            let at = tier_of(class);
            let tier = [&mut stats.small, &mut stats.medium, &mut stats.large].into_iter().nth(at);
            let Some(tier) = tier else { continue };
            tier.acquired += taken;
            tier.returned += given;
            tier.missed += created;
            tier.in_use += in_use;
            if class < CLASSES {
                let (size, retained) =
                    (size_of_class(class) as u64, (created - freed.min(created)).saturating_sub(in_use));
                tier.in_use_bytes += in_use * size;
                tier.retained += retained;
                tier.retained_bytes += retained * size;
            } else {
                // None of these is ever kept: what is not freed is in use.
                tier.in_use_bytes += self.huge[0].load(Relaxed).saturating_sub(self.huge[1].load(Relaxed));
            }
            tier.peak = self.peak[at].load(Relaxed);
            tier.grown = self.grown[at].load(Relaxed);
            let [not_pooled, full, trimmed, closed] = array::from_fn(|cause| self.discarded[at][cause].load(Relaxed));
            tier.discarded = Discarded { not_pooled, full, trimmed, closed };
        }
        stats
    }

    fn outstanding(&self) -> Vec<Outstanding> {
        let mut found: Vec<Outstanding> = Vec::new();
        for Tagged { tag, born } in lock(&self.tagged).1.values() {
            let age = born.elapsed();
            match found.iter_mut().find(|of| of.tag == *tag) {
                Some(of) => {
                    of.count += 1;
                    of.age = of.age.max(age);
                }
                None => found.push(Outstanding { tag: tag.clone(), count: 1, age }),
            }
        }
        found.sort_by_key(|of| Reverse(of.age));
        found
    }
}
