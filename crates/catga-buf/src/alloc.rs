//! Counts what a program allocates.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    hint::black_box,
    ops::Sub,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// A global allocator that counts: what each thread allocates, exactly, and on request what the whole process does.
///
/// It hands every call on to `A`. Counting takes a thread less than a nanosecond and shares nothing with other threads;
/// [`with_totals`](Self::with_totals) adds counters that all threads share, so do without where times are measured.
///
/// ```
/// use catga_buf::CountingAlloc;
/// use std::hint::black_box;
///
/// #[global_allocator]
/// static ALLOC: CountingAlloc = CountingAlloc::system();
///
/// let mut text = String::with_capacity(5);
/// let reused = CountingAlloc::count(|| {
///     text.clear();
///     text.push_str(black_box("hello"));
/// });
/// assert_eq!(reused.count, 0);
///
/// let boxed = CountingAlloc::count(|| Box::new(black_box(7_u64)));
/// assert_eq!((boxed.count, boxed.bytes, boxed.frees), (1, 8, 1));
/// ```
#[derive(Debug)]
pub struct CountingAlloc<A = System> {
    inner: A,
    totals: bool,
}

/// What was allocated in some stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocations {
    /// How often memory was asked for: fresh memory, or a block to become larger or smaller.
    pub count: u64,
    /// Of these, how often a block was to change its size.
    pub reallocs: u64,
    /// How many bytes were asked for; a block that changes its size counts with its whole new size.
    pub bytes: u64,
    /// How often a block was given back.
    pub frees: u64,
}

impl Allocations {
    /// Blocks that were made and not given back; negative where more were given back.
    pub fn kept(&self) -> i64 {
        // Differences of counters that a process can reach are far below the bounds of 64 bits.
        (self.count - self.reallocs) as i64 - self.frees as i64
    }
}

impl Sub for Allocations {
    type Output = Self;

    /// What happened between an `earlier` reading and this one of the same counters.
    fn sub(self, earlier: Self) -> Self {
        Self {
            count: self.count - earlier.count,
            reallocs: self.reallocs - earlier.reallocs,
            bytes: self.bytes - earlier.bytes,
            frees: self.frees - earlier.frees,
        }
    }
}

struct PerThread {
    count: Cell<u64>,
    reallocs: Cell<u64>,
    bytes: Cell<u64>,
    frees: Cell<u64>,
}

thread_local! {
    // Made at compile time and without a destructor: the first use on a thread allocates nothing, and no use is too late.
    static THREAD: PerThread = const {
        PerThread { count: Cell::new(0), reallocs: Cell::new(0), bytes: Cell::new(0), frees: Cell::new(0) }
    };
}

/// On cache lines of its own, so that counting disturbs only those who count.
#[repr(align(128))]
struct Process {
    count: AtomicU64,
    reallocs: AtomicU64,
    bytes: AtomicU64,
    frees: AtomicU64,
}

static PROCESS: Process = Process {
    count: AtomicU64::new(0),
    reallocs: AtomicU64::new(0),
    bytes: AtomicU64::new(0),
    frees: AtomicU64::new(0),
};

impl CountingAlloc {
    /// Counts in front of the system's allocator.
    pub const fn system() -> Self {
        Self::new(System)
    }

    /// What `work` allocates on this thread, whatever allocator is counted. Its answer is dropped within. Calls nest.
    ///
    /// # Panics
    ///
    /// Panics where no `CountingAlloc` is the global allocator: its zeros would mean nothing.
    pub fn count<T>(work: impl FnOnce() -> T) -> Allocations {
        assert!(Self::is_counting(), "no `CountingAlloc` is this program's `#[global_allocator]`");
        let before = Self::thread();
        drop(black_box(work()));
        Self::thread() - before
    }

    /// What this thread has allocated since it began.
    pub fn thread() -> Allocations {
        let read = |thread: &PerThread| Allocations {
            count: thread.count.get(),
            reallocs: thread.reallocs.get(),
            bytes: thread.bytes.get(),
            frees: thread.frees.get(),
        };
        THREAD.try_with(read).unwrap_or_default()
    }

    /// What all threads have allocated, those that ended among them, where [`with_totals`](Self::with_totals) was
    /// asked for; zeros elsewhere. The four figures are read one after the other while others go on counting.
    pub fn total() -> Allocations {
        Allocations {
            count: PROCESS.count.load(Relaxed),
            reallocs: PROCESS.reallocs.load(Relaxed),
            bytes: PROCESS.bytes.load(Relaxed),
            frees: PROCESS.frees.load(Relaxed),
        }
    }

    /// Whether a `CountingAlloc` is the global allocator.
    pub fn is_counting() -> bool {
        if Self::thread().count == 0 {
            drop(black_box(Box::new(black_box(0_u8))));
        }
        Self::thread().count > 0
    }
}

impl<A> CountingAlloc<A> {
    /// Counts in front of `inner`. All counters of a process are the same ones: count once.
    pub const fn new(inner: A) -> Self {
        Self { inner, totals: false }
    }

    /// Counts for the process, too; see [`total`](CountingAlloc::total).
    #[must_use]
    pub const fn with_totals(mut self) -> Self {
        self.totals = true;
        self
    }

    fn counted(&self, reallocs: u64, bytes: usize) {
        // A usize has at most 64 bits.
        let bytes = bytes as u64;
        let _ = THREAD.try_with(|thread| {
            add(&thread.count, 1);
            add(&thread.reallocs, reallocs);
            add(&thread.bytes, bytes);
        });
        if self.totals {
            PROCESS.count.fetch_add(1, Relaxed);
            PROCESS.reallocs.fetch_add(reallocs, Relaxed);
            PROCESS.bytes.fetch_add(bytes, Relaxed);
        }
    }

    fn freed(&self) {
        let _ = THREAD.try_with(|thread| add(&thread.frees, 1));
        if self.totals {
            PROCESS.frees.fetch_add(1, Relaxed);
        }
    }
}

/// Never panics: an allocator must not unwind.
fn add(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get().wrapping_add(more));
}

// SAFETY: every method hands exactly its arguments to the same method of `A` and answers what that answers; `A` keeps
// the contract of `GlobalAlloc`. Counting neither unwinds nor allocates: sums wrap, atomics wrap by definition, and the
// thread's counters need no initialisation and no destructor.
unsafe impl<A: GlobalAlloc> GlobalAlloc for CountingAlloc<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.counted(0, layout.size());
        // SAFETY: the caller's promise about `layout` is the one that `A` asks for.
        unsafe { self.inner.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.counted(0, layout.size());
        // SAFETY: as in `alloc`.
        unsafe { self.inner.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.counted(1, size);
        // SAFETY: `block` came from `A` through this allocator with `layout`, as the caller promises; so it does `size`.
        unsafe { self.inner.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.freed();
        // SAFETY: `block` came from `A` through this allocator with `layout`, as the caller promises.
        unsafe { self.inner.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOC: CountingAlloc = CountingAlloc::system().with_totals();

    #[test]
    fn a_box_is_one_allocation_of_its_size() {
        let counted = CountingAlloc::count(|| Box::new(black_box([0_u8; 48])));
        assert_eq!(counted, Allocations { count: 1, reallocs: 0, bytes: 48, frees: 1 });
        assert_eq!(counted.kept(), 0);
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(CountingAlloc::count(|| black_box(1) + 1), Allocations::default());
    }

    #[test]
    fn a_vector_that_grows_counts_each_growth_with_its_new_size() {
        let counted = CountingAlloc::count(|| {
            let mut bytes = Vec::<u8>::with_capacity(16);
            bytes.reserve_exact(black_box(32));
            bytes.reserve_exact(black_box(64));
            bytes
        });
        assert_eq!(counted, Allocations { count: 3, reallocs: 2, bytes: 16 + 32 + 64, frees: 1 });
    }

    #[test]
    fn zeroed_memory_counts() {
        assert_eq!(CountingAlloc::count(|| vec![0_u8; black_box(100)]).bytes, 100);
    }

    #[test]
    fn what_is_kept_shows() {
        let mut kept = None;
        let counted = CountingAlloc::count(|| kept = Some(Box::new(black_box(1_u32))));
        assert_eq!(counted.kept(), 1);
        assert_eq!(CountingAlloc::count(|| kept.take()).kept(), -1);
    }

    #[test]
    fn counts_nest() {
        let mut inner = Allocations::default();
        let outer = CountingAlloc::count(|| {
            let first = Box::new(black_box(1_u8));
            inner = CountingAlloc::count(|| Box::new(black_box(2_u8)));
            first
        });
        assert_eq!((inner.count, outer.count), (1, 2));
    }

    #[test]
    fn another_thread_counts_for_itself_and_for_the_process() {
        let before = CountingAlloc::total();
        let work = || CountingAlloc::count(|| (0..1_000).for_each(|n| drop(black_box(Box::new(n)))));
        let (there, here) = std::thread::scope(|scope| {
            let thread = scope.spawn(work);
            let here = CountingAlloc::count(|| ());
            (thread.join().unwrap(), here)
        });
        assert_eq!((there.count, here.count), (1_000, 0));
        // Tests run side by side, so that others may have counted meanwhile.
        let total = CountingAlloc::total() - before;
        assert!(total.count >= 1_000 && total.frees >= 1_000, "{total:?}");
    }
}
