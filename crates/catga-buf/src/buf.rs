use crate::{Sink, block::Block, inner::give_back, shared::SharedBuf};
use bytes::{BufMut, Bytes, buf::UninitSlice};
use std::{
    fmt, io,
    mem::{ManuallyDrop, MaybeUninit},
    ops::{Deref, DerefMut},
    slice,
    sync::Arc,
};

/// A buffer out of a [`BufferPool`](crate::BufferPool): owned by one, grows as a vector does, comes home when dropped.
///
/// Two words. Only what was written can be read: what an earlier user left in the block is out of reach.
///
/// ```
/// use catga_buf::BufferPool;
/// use std::io::Write;
///
/// let mut buf = BufferPool::global().acquire(64);
/// write!(buf, "order {}", 7)?;
/// assert_eq!(&buf[..], b"order 7");
///
/// let shared = buf.share(); // its clones allocate nothing; the last one brings the block home
/// assert_eq!(shared.slice(0..5), shared.clone().slice(0..5));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct PooledBuf {
    block: ManuallyDrop<Block>,
    /// The bytes from the start of the data that were written; never above the block's capacity.
    len: usize,
}

impl PooledBuf {
    #[inline]
    pub(crate) fn new(block: Block) -> Self {
        Self { block: ManuallyDrop::new(block), len: 0 }
    }

    /// How many bytes were written.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes fit before the buffer moves to a larger block.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.block.capacity()
    }

    /// What was written.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the first `len` bytes of the data were written, and stay as they are while `self` is borrowed.
        unsafe { slice::from_raw_parts(self.block.data().as_ptr(), self.len) }
    }

    /// What was written, to be changed.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; the block is this buffer's alone, which is borrowed for as long as the answer.
        unsafe { slice::from_raw_parts_mut(self.block.data().as_ptr(), self.len) }
    }

    /// Forgets what was written.
    #[inline]
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Forgets all but the first `len` bytes; nothing where there are no more.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            let written = &mut self.block.header_mut().written;
            *written = (*written).max(self.len);
            self.len = len;
        }
    }

    /// Makes room for `additional` more bytes.
    ///
    /// # Panics
    ///
    /// Where so many exceed any address space.
    #[inline]
    pub fn reserve(&mut self, additional: usize) {
        if additional > self.capacity() - self.len {
            self.grow(additional);
        }
    }

    /// Moves to a block of at least twice the size.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, additional: usize) {
        let Some(needed) = self.len.checked_add(additional) else {
            panic!("a buffer of {} bytes cannot take {additional} more", self.len)
        };
        let pool = Arc::clone(&self.block.header().pool);
        let block = pool.acquire(needed.max(self.capacity().saturating_mul(2)), "");
        pool.books.grown(block.class());
        let mut larger = Self::new(block);
        larger.put_slice(self.as_slice());
        // The smaller block goes home, with `larger`'s name.
        std::mem::swap(self, &mut larger);
    }

    /// Adds bytes at the end.
    ///
    /// # Panics
    ///
    /// As [`reserve`](Self::reserve).
    #[inline]
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        // SAFETY: there is room for the bytes behind the first `len`, in a block that is this buffer's alone, so that
        // they do not overlap; then they are written.
        unsafe {
            self.block.data().add(self.len).as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        self.len += bytes.len();
    }

    /// Adds `count` bytes of `value` at the end.
    ///
    /// # Panics
    ///
    /// As [`reserve`](Self::reserve).
    pub fn put_bytes(&mut self, value: u8, count: usize) {
        let room = self.spare_mut(count);
        room.fill(MaybeUninit::new(value));
        // What was just written can be read.
        self.len += count;
    }

    /// Lets `write` put bytes into `count` free ones behind the end, and adds those it answers, which must be the
    /// beginning of what it was given: bytes that can be read have been written.
    pub(crate) fn append_with(
        &mut self,
        count: usize,
        write: impl for<'a> FnOnce(&'a mut [MaybeUninit<u8>]) -> &'a mut [u8],
    ) {
        let room = self.spare_mut(count);
        let start = room.as_ptr().cast::<u8>();
        let written = write(room);
        assert!(written.is_empty() || std::ptr::eq(written.as_ptr(), start), "what was written is not the beginning");
        let written = written.len();
        // An answer with that address and a longer reach would not borrow from what was given.
        assert!(written <= count, "more was written than there was room for");
        self.len += written;
    }

    /// `count` free bytes behind the end; after writing to them,
    /// [`advance_mut`](BufMut::advance_mut) moves the end over them.
    ///
    /// # Panics
    ///
    /// As [`reserve`](Self::reserve).
    pub fn spare_mut(&mut self, count: usize) -> &mut [MaybeUninit<u8>] {
        self.reserve(count);
        let reach = self.len + count;
        let written = &mut self.block.header_mut().written;
        *written = (*written).max(reach);
        // SAFETY: the bytes from `len` to `reach` lie within the capacity; they are this buffer's alone, which is
        // borrowed for as long as the answer. `MaybeUninit` says nothing of their contents.
        unsafe { slice::from_raw_parts_mut(self.block.data().add(self.len).cast().as_ptr(), count) }
    }

    /// Shares the buffer as it is: clones and slices of the answer allocate nothing and copy nothing.
    pub fn share(self) -> SharedBuf {
        let (block, len) = self.into_parts();
        SharedBuf::new(block, len)
    }

    /// The same bytes as [`Bytes`]. One allocation of some 40 bytes, no copy; the block comes home with the last clone.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }

    /// A copy as [`Bytes`] that keeps no block: for what is kept for long.
    pub fn copy_to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self)
    }

    pub(crate) fn into_parts(self) -> (Block, usize) {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used again, and its destructor does not run.
        (unsafe { ManuallyDrop::take(&mut this.block) }, this.len)
    }

    /// Overwrites all that may have been written, and forgets it.
    pub(crate) fn wipe(&mut self) {
        self.block.wipe(self.len);
        self.len = 0;
    }
}

impl Drop for PooledBuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this is the destructor: the block is taken once, and not used again.
        let block = unsafe { ManuallyDrop::take(&mut self.block) };
        give_back(block, self.len);
    }
}

impl Deref for PooledBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl DerefMut for PooledBuf {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }
}

impl AsRef<[u8]> for PooledBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for PooledBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledBuf").field("len", &self.len).field("capacity", &self.capacity()).finish()
    }
}

// SAFETY: `chunk_mut` answers room of this buffer behind its end, and `advance_mut` moves the end over it; the room is
// the same memory until the buffer is changed in between.
unsafe impl BufMut for PooledBuf {
    fn remaining_mut(&self) -> usize {
        isize::MAX as usize - self.len
    }

    #[inline]
    unsafe fn advance_mut(&mut self, count: usize) {
        let room = self.capacity() - self.len;
        assert!(count <= room, "advanced by {count} bytes with room for {room}");
        // The caller promises that these bytes were written.
        self.len += count;
    }

    #[inline]
    fn chunk_mut(&mut self) -> &mut UninitSlice {
        if self.capacity() == self.len {
            self.reserve(1);
        }
        let room = self.capacity() - self.len;
        self.spare_mut(room).into()
    }

    #[inline]
    fn put_slice(&mut self, bytes: &[u8]) {
        Self::put_slice(self, bytes);
    }

    fn put_bytes(&mut self, value: u8, count: usize) {
        Self::put_bytes(self, value, count);
    }
}

impl io::Write for PooledBuf {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put_slice(bytes);
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for PooledBuf {
    #[inline]
    fn reserve(&mut self, additional: usize) -> io::Result<()> {
        Self::reserve(self, additional);
        Ok(())
    }
}

impl Extend<u8> for PooledBuf {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        bytes.into_iter().for_each(|byte| self.put_slice(&[byte]));
    }
}

#[cfg(test)]
mod tests {
    use crate::PoolOptions;
    use std::ptr::NonNull;

    /// Looks at, or writes to, a block that is free: what no safe code can do.
    fn behind(place: NonNull<u8>, len: usize) -> &'static mut [u8] {
        // SAFETY: the tests ask for blocks that their pool keeps until they have looked, written whole before.
        unsafe { std::slice::from_raw_parts_mut(place.as_ptr(), len) }
    }

    #[test]
    fn zero_on_return_overwrites_all_that_was_written() {
        let pool = PoolOptions::new().zero_on_return(true).build();
        for forget in [false, true] {
            let mut buf = pool.acquire(1_024);
            buf.put_bytes(7, 1_024);
            if forget {
                buf.truncate(10);
            }
            let place = buf.block.data();
            drop(buf);
            assert!(behind(place, 1_024).iter().all(|byte| *byte == 0), "after truncate: {forget}");
        }
    }

    #[test]
    fn zero_on_return_also_holds_for_views_and_for_the_block_that_a_buffer_left() {
        let pool = PoolOptions::new().zero_on_return(true).build();
        let mut buf = pool.acquire(256);
        buf.put_bytes(7, 256);
        let left = buf.block.data();
        buf.put_bytes(7, 256);
        assert!(behind(left, 256).iter().all(|byte| *byte == 0));
        let place = buf.block.data();
        let view = buf.share();
        drop((view.slice(1..2), view));
        assert!(behind(place, 512).iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_secret_is_overwritten_in_any_pool() {
        let pool = PoolOptions::new().build();
        let mut secret = crate::SecretBuf::acquire(&pool, 256);
        secret.put_slice(&[7; 256]);
        let first = NonNull::from(&mut secret[0]);
        secret.put_slice(&[7; 256]);
        let second = NonNull::from(&mut secret[0]);
        assert!(behind(first, 256).iter().all(|byte| *byte == 0), "the block that it outgrew");
        drop(secret);
        assert!(behind(second, 512).iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_plain_pool_overwrites_nothing_and_shows_nothing() {
        let pool = PoolOptions::new().build();
        let mut buf = pool.acquire(256);
        buf.put_bytes(7, 256);
        let place = buf.block.data();
        drop(buf);
        assert!(behind(place, 256).iter().all(|byte| *byte == 7));
        assert!(pool.acquire(256).is_empty());
    }

    #[test]
    fn a_guarded_pool_fills_what_is_free_and_finds_who_writes_to_it() {
        let pool = PoolOptions::new().guard(true).build();
        let mut buf = pool.acquire(256);
        buf.put_bytes(7, 10);
        let place = buf.block.data();
        drop(buf);
        assert!(behind(place, 256).iter().all(|byte| *byte == 0xdd));
        drop(pool.acquire(256));
        behind(place, 256)[200] = 1;
        let panic = std::panic::catch_unwind(|| pool.acquire(256)).unwrap_err();
        let text = panic.downcast_ref::<String>().unwrap();
        assert_eq!(text, "byte 200 of a free buffer of 256 bytes was written: somebody kept a pointer");
    }
}
