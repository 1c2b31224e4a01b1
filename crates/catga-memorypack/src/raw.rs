//! The cursor that values are written with, and what else is faster where memory is touched directly. The only module
//! of this crate with `unsafe` code; `safe.rs` is its twin without, and tests compare the two.

use bytes::BufMut;
use std::{marker::PhantomData, ptr};

/// A place in a piece of memory that is being written.
///
/// Invariant: from `at` to `end` lies memory that is valid for writes, and nobody else's, for `'a`. It passes only over
/// what it writes, or over what was split off and then tested to be written to its end; nobody can swap one for another,
/// because each is lent with a lifetime of its own.
pub(crate) struct Cursor<'a> {
    at: *mut u8,
    end: *mut u8,
    memory: PhantomData<&'a mut [u8]>,
}

/// The size that was announced and what was written differ: a hand-written `Encode` is wrong.
#[cold]
#[inline(never)]
pub(crate) fn mismatch() -> ! {
    panic!("`Encode::encode` wrote another number of bytes than `Encode::size` announced")
}

impl<'a> Cursor<'a> {
    #[inline(always)]
    pub(crate) fn remaining(&self) -> usize {
        self.end.addr() - self.at.addr()
    }

    /// Tests that there is room for `count` more bytes, and passes over them.
    #[inline(always)]
    fn advance(&mut self, count: usize) -> *mut u8 {
        if self.remaining() < count {
            mismatch();
        }
        let at = self.at;
        // SAFETY: `count` bytes lie between `at` and `end`, in one piece of memory.
        self.at = unsafe { at.add(count) };
        at
    }

    #[inline(always)]
    pub(crate) fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        let at = self.advance(N);
        // SAFETY: the `N` bytes at `at` are valid for writes, and `bytes` lies on the stack.
        unsafe { at.cast::<[u8; N]>().write_unaligned(bytes) };
    }

    #[inline(always)]
    pub(crate) fn put_slice(&mut self, bytes: &[u8]) {
        let at = self.advance(bytes.len());
        // SAFETY: as many bytes at `at` are valid for writes and nobody else's, so `bytes` is elsewhere.
        unsafe { copy(bytes.as_ptr(), at, bytes.len()) };
    }

    /// Writes text of UTF-8 behind its header of eight bytes, which `header` makes of whether the text is ASCII.
    #[inline(always)]
    pub(crate) fn put_text(&mut self, bytes: &[u8], header: impl FnOnce(bool) -> [u8; 8]) {
        let at = self.advance(8 + bytes.len());
        // SAFETY: eight bytes and `bytes.len()` more at `at` are valid for writes and nobody else's.
        unsafe {
            let text = at.add(8);
            copy(bytes.as_ptr(), text, bytes.len());
            at.cast::<[u8; 8]>().write_unaligned(header(ascii(bytes)));
        }
    }

    #[inline(always)]
    pub(crate) fn zeros(&mut self, count: usize) {
        let at = self.advance(count);
        // SAFETY: the `count` bytes at `at` are valid for writes.
        unsafe { at.write_bytes(0, count) };
    }

    /// A cursor over the next `count` bytes, which this one passes over.
    #[inline(always)]
    pub(crate) fn split(&mut self, count: usize) -> Self {
        let at = self.advance(count);
        Self { at, end: self.at, memory: PhantomData }
    }

    /// Writes the bytes of numbers.
    #[inline(always)]
    pub(crate) fn put_numbers<T: Plain>(&mut self, numbers: &[T]) {
        if cfg!(target_endian = "little") {
            let count = size_of_val(numbers);
            let at = self.advance(count);
            // SAFETY: as many bytes at `at` are valid for writes and nobody else's; a `Plain` has no padding.
            unsafe { ptr::copy_nonoverlapping(numbers.as_ptr().cast(), at, count) };
        } else {
            numbers.iter().for_each(|number| number.put(self));
        }
    }
}

/// Copies `count` bytes. Short texts are most texts: two loads that overlap are faster than a call.
///
/// # Safety
///
/// `from` is valid for `count` reads, `to` for `count` writes, and they do not overlap.
#[inline(always)]
unsafe fn copy(from: *const u8, to: *mut u8, count: usize) {
    // SAFETY: each piece lies within the first or last `count` bytes: its size is at most `count`.
    unsafe {
        match count {
            4..=8 => ends::<4>(from, to, count),
            9..=16 => ends::<8>(from, to, count),
            17..=32 => ends::<16>(from, to, count),
            _ => ptr::copy_nonoverlapping(from, to, count),
        }
    }
}

/// Copies the first and the last `N` of `count` bytes.
///
/// # Safety
///
/// As for [`copy`], and `N` is at most `count`.
#[inline(always)]
unsafe fn ends<const N: usize>(from: *const u8, to: *mut u8, count: usize) {
    // SAFETY: `N` bytes from the start and from `count - N` are within what the caller vouches for.
    unsafe {
        let head = from.cast::<[u8; N]>().read_unaligned();
        let tail = from.add(count - N).cast::<[u8; N]>().read_unaligned();
        to.cast::<[u8; N]>().write_unaligned(head);
        to.add(count - N).cast::<[u8; N]>().write_unaligned(tail);
    }
}

/// Appends `size` bytes that `fill` writes.
#[inline(always)]
pub(crate) fn append(out: &mut Vec<u8>, size: usize, fill: impl FnOnce(&mut Cursor<'_>)) {
    out.reserve(size);
    let spare = out.spare_capacity_mut();
    let at = spare.as_mut_ptr().cast::<u8>();
    // SAFETY: `reserve` made `size` bytes of spare capacity, borrowed from `out` until `fill` returns.
    let mut cursor = Cursor { at, end: unsafe { at.add(size) }, memory: PhantomData };
    fill(&mut cursor);
    if cursor.remaining() != 0 {
        mismatch();
    }
    // SAFETY: the cursor stands at its end, so all `size` bytes are written.
    unsafe { out.set_len(out.len() + size) };
}

/// Has `fill` write all of `room`.
#[inline(always)]
pub(crate) fn fill(room: &mut [u8], fill: impl FnOnce(&mut Cursor<'_>)) {
    let range = room.as_mut_ptr_range();
    let mut cursor = Cursor { at: range.start, end: range.end, memory: PhantomData };
    fill(&mut cursor);
    if cursor.remaining() != 0 {
        mismatch();
    }
}

/// Has `fill` write `size` bytes to `buf` where they fit its present chunk.
#[inline(always)]
pub(crate) fn advance(buf: &mut impl BufMut, size: usize, fill: impl FnOnce(&mut Cursor<'_>)) -> bool {
    let chunk = buf.chunk_mut();
    if chunk.len() < size {
        return false;
    }
    let at = chunk.as_mut_ptr();
    // SAFETY: the chunk has `size` bytes or more, borrowed from `buf` until `fill` returns.
    let mut cursor = Cursor { at, end: unsafe { at.add(size) }, memory: PhantomData };
    fill(&mut cursor);
    if cursor.remaining() != 0 {
        mismatch();
    }
    // SAFETY: the cursor stands at its end, so all `size` bytes are written of the chunk.
    unsafe { buf.advance_mut(size) };
    true
}

/// Numbers whose bytes in memory are, on a little-endian machine, those on the wire.
///
/// # Safety
///
/// The type has no padding, and all bytes are a value of it.
pub(crate) unsafe trait Plain: Copy {
    fn put(self, cursor: &mut Cursor<'_>);
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! plain {
    ($($number:ident)*) => {
        $(
            // SAFETY: the type is a number of the language.
            unsafe impl Plain for $number {
                #[inline(always)]
                fn put(self, cursor: &mut Cursor<'_>) {
                    cursor.put(self.to_le_bytes());
                }

                #[inline(always)]
                fn get(bytes: &[u8]) -> Self {
                    bytes.try_into().map_or_else(|_| Self::default(), Self::from_le_bytes)
                }
            }
        )*
    };
}
plain! { u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 f32 f64 }

/// Appends the numbers whose bytes these are.
#[inline(always)]
pub(crate) fn extend<T: Plain>(numbers: &mut Vec<T>, bytes: &[u8]) {
    let count = bytes.len() / size_of::<T>();
    numbers.reserve_exact(count);
    if cfg!(target_endian = "little") {
        let to = numbers.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        // SAFETY: there is room for `count` numbers, `bytes` has as many, and all bytes are a value of a `Plain`.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), to, count * size_of::<T>());
            numbers.set_len(numbers.len() + count);
        }
    } else {
        numbers.extend(bytes.chunks_exact(size_of::<T>()).map(T::get));
    }
}

/// The bytes as text where all are ASCII.
#[inline(always)]
pub(crate) fn ascii_text(bytes: &[u8]) -> Option<&str> {
    // SAFETY: ASCII is UTF-8.
    ascii(bytes).then(|| unsafe { str::from_utf8_unchecked(bytes) })
}

/// Whether each byte is ASCII. Up to 32 bytes are tested with two loads that overlap.
#[inline(always)]
pub(crate) fn ascii(bytes: &[u8]) -> bool {
    const HIGH: u128 = 0x8080_8080_8080_8080_8080_8080_8080_8080;
    macro_rules! ends {
        ($word:ty) => {{
            const N: usize = size_of::<$word>();
            match (bytes.first_chunk::<N>(), bytes.last_chunk::<N>()) {
                (Some(head), Some(tail)) => {
                    (<$word>::from_le_bytes(*head) | <$word>::from_le_bytes(*tail)) & HIGH as $word == 0
                }
                _ => false,
            }
        }};
    }
    match bytes.len() {
        4..=8 => ends!(u32),
        9..=16 => ends!(u64),
        17..=32 => ends!(u128),
        _ => bytes.is_ascii(),
    }
}
