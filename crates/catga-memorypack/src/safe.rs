//! The twin of `raw.rs` without `unsafe` code: the same functions, told apart only by their speed.

use bytes::BufMut;

/// A place in a piece of memory that is being written.
pub(crate) struct Cursor<'a> {
    rest: &'a mut [u8],
}

#[cold]
#[inline(never)]
pub(crate) fn mismatch() -> ! {
    panic!("`Encode::encode` wrote another number of bytes than `Encode::size` announced")
}

impl<'a> Cursor<'a> {
    #[inline(always)]
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    #[inline(always)]
    fn advance(&mut self, count: usize) -> &'a mut [u8] {
        let Some((head, rest)) = std::mem::take(&mut self.rest).split_at_mut_checked(count) else { mismatch() };
        self.rest = rest;
        head
    }

    #[inline(always)]
    pub(crate) fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.advance(N).copy_from_slice(&bytes);
    }

    #[inline(always)]
    pub(crate) fn put_slice(&mut self, bytes: &[u8]) {
        self.advance(bytes.len()).copy_from_slice(bytes);
    }

    #[inline(always)]
    pub(crate) fn put_text(&mut self, bytes: &[u8], header: impl FnOnce(bool) -> [u8; 8]) {
        self.put(header(ascii(bytes)));
        self.put_slice(bytes);
    }

    #[inline(always)]
    pub(crate) fn zeros(&mut self, count: usize) {
        self.advance(count).fill(0);
    }

    #[inline(always)]
    pub(crate) fn split(&mut self, count: usize) -> Self {
        Self { rest: self.advance(count) }
    }

    #[inline(always)]
    pub(crate) fn put_numbers<T: Plain>(&mut self, numbers: &[T]) {
        numbers.iter().for_each(|number| number.put(self));
    }
}

#[inline(always)]
pub(crate) fn append(out: &mut Vec<u8>, size: usize, fill: impl FnOnce(&mut Cursor<'_>)) {
    let start = out.len();
    out.resize(start + size, 0);
    self::fill(&mut out[start..], fill);
}

#[inline(always)]
pub(crate) fn fill(room: &mut [u8], fill: impl FnOnce(&mut Cursor<'_>)) {
    let mut cursor = Cursor { rest: room };
    fill(&mut cursor);
    if cursor.remaining() != 0 {
        mismatch();
    }
}

/// Never: a chunk is memory that may not have been written yet, which safe code cannot lend.
#[inline(always)]
pub(crate) fn advance(_: &mut impl BufMut, _: usize, _: impl FnOnce(&mut Cursor<'_>)) -> bool {
    false
}

pub(crate) trait Plain: Copy {
    fn put(self, cursor: &mut Cursor<'_>);
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! plain {
    ($($number:ident)*) => {
        $(
            impl Plain for $number {
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

#[inline(always)]
pub(crate) fn extend<T: Plain>(numbers: &mut Vec<T>, bytes: &[u8]) {
    numbers.reserve_exact(bytes.len() / size_of::<T>());
    numbers.extend(bytes.chunks_exact(size_of::<T>()).map(T::get));
}

#[inline(always)]
pub(crate) fn ascii_text(bytes: &[u8]) -> Option<&str> {
    if bytes.is_ascii() { str::from_utf8(bytes).ok() } else { None }
}

#[inline(always)]
pub(crate) fn ascii(bytes: &[u8]) -> bool {
    bytes.is_ascii()
}
