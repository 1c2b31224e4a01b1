//! One block of memory with its header behind it.
//!
//! ```text
//! | data: cap bytes, 64-byte aligned, 4-KiB aligned from 64 KiB on | header |
//! ```
//!
//! The header lies behind the data because large copies are measurably slower to an address a few bytes into a page. A
//! [`Block`] is the only owner of its memory, so that lists of blocks are safe code.

use crate::{inner::Inner, sync::AtomicUsize};
use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    ptr::NonNull,
    sync::Arc,
    sync::atomic::{Ordering::SeqCst, compiler_fence},
};

/// The data of every block starts at a multiple of this.
pub(crate) const ALIGN: usize = 64;
const PAGE: usize = 4_096;

/// What lies behind the data.
#[repr(C, align(64))]
pub(crate) struct Header {
    /// The next block of the chain that this one is in.
    next: Link,
    /// Where the block goes when nobody uses it. It keeps the pool's books alive, not its stock.
    pub(crate) pool: Arc<Inner>,
    pub(crate) cap: usize,
    /// How much of the data may have been written since the block was acquired.
    pub(crate) written: usize,
    /// How many views share the block; counts only while it is shared.
    pub(crate) refs: AtomicUsize,
    class: u8,
    /// Whether what was written is overwritten when the block comes back.
    zero: bool,
    /// Whether all of the data was written once.
    filled: bool,
    /// Lets a model see who uses the data.
    #[cfg(loom)]
    pub(crate) data: loom::cell::UnsafeCell<()>,
}

/// A block and its memory, of which this is the only owner. Dropping it gives the memory back to the allocator.
pub(crate) struct Block(NonNull<Header>);

/// A block within a chain, or none: it owns the block and all that follow, and has no destructor.
#[derive(Default)]
pub(crate) struct Link(Option<NonNull<Header>>);

// SAFETY: it is a block, or none.
unsafe impl Send for Link {}
// SAFETY: as for `Send`.
unsafe impl Sync for Link {}

impl Link {
    /// The first block and the rest.
    #[inline]
    pub(crate) fn unlink(self) -> Option<(Block, Link)> {
        let mut block = Block(self.0?);
        let rest = std::mem::take(&mut block.header_mut().next);
        Some((block, rest))
    }

    /// The bytes that the first block holds; 0 where there is none.
    pub(crate) fn capacity(&self) -> usize {
        // SAFETY: the link owns its block, whose header is there as long as the block is.
        self.0.map_or(0, |header| unsafe { header.as_ref() }.cap)
    }
}

// SAFETY: a block owns its memory alone, and everything in its header may change threads.
unsafe impl Send for Block {}
// SAFETY: what a shared reference reaches is read, or is atomic.
unsafe impl Sync for Block {}

fn layout(cap: usize) -> Option<Layout> {
    let align = if cap >= 16 * PAGE { PAGE } else { ALIGN };
    Layout::from_size_align(cap.checked_add(size_of::<Header>())?, align).ok()
}

impl Block {
    /// Asks the allocator for a block that holds `cap` bytes.
    ///
    /// # Panics
    ///
    /// Where no address space has room for so many bytes.
    pub(crate) fn new(pool: Arc<Inner>, cap: usize, class: u8) -> Self {
        let cap = cap.checked_next_multiple_of(ALIGN);
        let Some((cap, layout)) = cap.and_then(|cap| Some((cap, layout(cap)?))) else {
            panic!("no address space holds a buffer of that size");
        };
        // SAFETY: the layout has the size of a header at least.
        let Some(base) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        let header = Header {
            next: Link::default(),
            zero: pool.options.zero_on_return,
            filled: false,
            pool,
            cap,
            written: 0,
            refs: AtomicUsize::new(0),
            class,
            #[cfg(loom)]
            data: loom::cell::UnsafeCell::new(()),
        };
        // SAFETY: the allocation has `cap` bytes and then a header's; `cap` and the base are multiples of a header's
        // alignment of 64.
        unsafe {
            let place = base.add(cap).cast::<Header>();
            place.write(header);
            Self(place)
        }
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the header was written when the block was made and lives as long as the block.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(crate) fn header_mut(&mut self) -> &mut Header {
        // SAFETY: as in `header`; the block is the only owner and is borrowed for as long as the answer.
        unsafe { self.0.as_mut() }
    }

    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.header().cap
    }

    #[inline]
    pub(crate) fn class(&self) -> usize {
        self.header().class.into()
    }

    /// Where the data starts; valid for [`capacity`](Self::capacity) bytes for as long as the block lives.
    #[inline]
    pub(crate) fn data(&self) -> NonNull<u8> {
        // SAFETY: the data are the `cap` bytes in front of the header, in the same allocation.
        unsafe { self.0.cast::<u8>().sub(self.capacity()) }
    }

    /// Puts the block in front of others.
    #[inline]
    pub(crate) fn link(mut self, rest: Link) -> Link {
        self.header_mut().next = rest;
        Link(Some(self.into_raw()))
    }

    /// Gives up the block without giving up its memory.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<Header> {
        std::mem::ManuallyDrop::new(self).0
    }

    /// Takes over what [`into_raw`](Self::into_raw) gave up.
    ///
    /// # Safety
    ///
    /// `raw` came from `into_raw`, and this is the only call that takes it over.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<Header>) -> Self {
        Self(raw)
    }

    /// Overwrites the first `bytes` of the data with `value`; the optimiser cannot leave it out.
    pub(crate) fn fill(&mut self, value: u8, bytes: usize) {
        let data = self.data();
        // SAFETY: the data are `capacity` bytes of which this is the only owner.
        unsafe { data.write_bytes(value, bytes.min(self.capacity())) };
        // Whoever looks at the address later, a dump included, sees these bytes.
        std::hint::black_box(data.as_ptr());
        compiler_fence(SeqCst);
    }

    /// Overwrites all of the data.
    pub(crate) fn fill_whole(&mut self, value: u8) {
        self.fill(value, self.capacity());
        self.header_mut().filled = true;
    }

    /// Where the first byte that differs from `value` lies, in a block that was once filled.
    pub(crate) fn first_other(&self, value: u8) -> Option<usize> {
        if !self.header().filled {
            return None;
        }
        // SAFETY: the data are `capacity` bytes that nobody else has; all of them were written, as `filled` says.
        let data = unsafe { std::slice::from_raw_parts(self.data().as_ptr(), self.capacity()) };
        data.iter().position(|byte| *byte != value)
    }

    /// Overwrites what may have been written where the pool wants that; `written` bytes are in use at the end.
    #[inline]
    pub(crate) fn clean(&mut self, written: usize) {
        if self.header().zero {
            self.wipe(written);
        }
    }

    /// Overwrites what may have been written; `written` bytes are in use at the end.
    pub(crate) fn wipe(&mut self, written: usize) {
        let written = self.header().written.max(written);
        self.fill(0, written);
        self.header_mut().written = 0;
    }

    /// Tells a model that this is the only user of the data, here and now.
    #[inline]
    pub(crate) fn claim(&self) {
        #[cfg(loom)]
        self.header().data.with_mut(|_| ());
    }
}

impl Drop for Block {
    #[cold]
    fn drop(&mut self) {
        let (cap, class) = (self.capacity(), self.class());
        // The layout is the one that the block was made with, and so there is one.
        let Some(layout) = layout(cap) else { return };
        self.header().pool.count_freed(class, cap);
        let data = self.data();
        // SAFETY: nobody uses the block any more. Its header was written in `new` and is dropped here alone; `data` is
        // the start of what was allocated with `layout`.
        unsafe {
            self.0.drop_in_place();
            dealloc(data.as_ptr(), layout);
        }
    }
}
