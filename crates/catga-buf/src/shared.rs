use crate::{
    block::{Block, Header},
    inner::give_back,
    sync::fence,
};
use bytes::Bytes;
use std::{
    fmt,
    ops::{Bound, Deref, RangeBounds},
    ptr::NonNull,
    slice,
    sync::atomic::Ordering::{Acquire, Relaxed, Release},
};

/// A view of a shared [`PooledBuf`](crate::PooledBuf): clones and slices count up in the block's own header, and the
/// last view brings the block home. Nothing is allocated.
///
/// For what takes [`Bytes`] there is `Bytes::from`, at the price of one allocation; what is small comes without one
/// from a [`BytesSlab`](crate::BytesSlab).
pub struct SharedBuf {
    /// The block, of which each view owns one count.
    block: NonNull<Header>,
    /// Where the view starts in the data, and how long it is; all of it was written before the buffer was shared.
    start: usize,
    len: usize,
    /// How much of the data was written when the buffer was shared.
    written: usize,
}

// SAFETY: views only read the data; the count is atomic, and whoever sees it at the end is the block's only owner.
unsafe impl Send for SharedBuf {}
// SAFETY: as for `Send`; a shared reference reads the data and counts up.
unsafe impl Sync for SharedBuf {}

impl SharedBuf {
    pub(crate) fn new(block: Block, len: usize) -> Self {
        block.header().refs.store(1, Relaxed);
        Self { block: block.into_raw(), start: 0, len, written: len }
    }

    fn header(&self) -> &Header {
        // SAFETY: this view's count keeps the block, and with it its header, which nobody changes while it is shared.
        unsafe { self.block.as_ref() }
    }

    /// A part of this view; shares the block.
    ///
    /// # Panics
    ///
    /// Where the range reaches beyond the view or ends before it starts.
    #[must_use]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(at) => *at,
            Bound::Excluded(at) => at.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(at) => at.saturating_add(1),
            Bound::Excluded(at) => *at,
            Bound::Unbounded => self.len,
        };
        assert!(start <= end && end <= self.len, "{start}..{end} does not lie within {} bytes", self.len);
        let mut part = self.clone();
        part.start += start;
        part.len = end - start;
        part
    }
}

impl Clone for SharedBuf {
    #[inline]
    fn clone(&self) -> Self {
        let before = self.header().refs.fetch_add(1, Relaxed);
        // A process that forgets so many views has no memory left for anything else.
        if before > isize::MAX as usize {
            std::process::abort();
        }
        Self { ..*self }
    }
}

impl Drop for SharedBuf {
    #[inline]
    fn drop(&mut self) {
        let refs = &self.header().refs;
        // With a count of one nobody else can count up: the block is this view's already.
        if refs.load(Acquire) != 1 {
            if refs.fetch_sub(1, Release) != 1 {
                return;
            }
            fence(Acquire);
        }
        // SAFETY: the last view is gone after this one; all others were dropped before, as the count says, and what
        // they did happened before. `block` came from `into_raw` in `new`.
        let block = unsafe { Block::from_raw(self.block) };
        give_back(block, self.written);
    }
}

impl Deref for SharedBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let header = self.block.as_ptr().cast::<u8>();
        #[cfg(loom)]
        self.header().data.with(|_| ());
        // SAFETY: the data lie in front of the header and were written as far as the view goes; nobody changes them
        // while a view's count keeps the block.
        unsafe { slice::from_raw_parts(header.sub(self.header().cap).add(self.start), self.len) }
    }
}

impl AsRef<[u8]> for SharedBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for SharedBuf {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for SharedBuf {}

impl fmt::Debug for SharedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBuf").field("len", &self.len).finish_non_exhaustive()
    }
}

impl From<SharedBuf> for Bytes {
    /// One allocation, no copy.
    fn from(shared: SharedBuf) -> Self {
        Self::from_owner(shared)
    }
}
