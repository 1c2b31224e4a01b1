use crate::{
    Sizer, Text,
    memory::{Cursor, Plain, mismatch},
    text,
};
use std::fmt;

/// Where values write their bytes: memory of exactly the announced size.
pub struct Writer<'a> {
    cursor: Cursor<'a>,
    text: Text,
}

impl<'a> Writer<'a> {
    #[inline(always)]
    pub(crate) fn of(cursor: &mut Cursor<'a>, text: Text) -> Self {
        let all = cursor.remaining();
        Self { cursor: cursor.split(all), text }
    }

    #[inline(always)]
    pub(crate) fn finish(self) {
        if self.cursor.remaining() != 0 {
            mismatch();
        }
    }

    /// Writes bytes.
    ///
    /// # Panics
    ///
    /// Like all methods here: where there is no room for them, because [`Encode::size`](crate::Encode::size) announced
    /// less.
    #[inline(always)]
    pub fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.cursor.put(bytes);
    }

    /// Writes bytes.
    #[inline(always)]
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.cursor.put_slice(bytes);
    }

    /// Writes zeros, as padding.
    #[inline(always)]
    pub fn zeros(&mut self, count: usize) {
        self.cursor.zeros(count);
    }

    /// Tests once that there is room for `count` bytes, which `write` has to write.
    #[inline(always)]
    pub fn run(&mut self, count: usize, write: impl FnOnce(&mut Writer<'_>)) {
        let mut run = Writer { cursor: self.cursor.split(count), text: self.text };
        write(&mut run);
        run.finish();
    }

    /// Writes the length of a collection.
    #[inline(always)]
    pub fn count(&mut self, count: usize) {
        // The first pass refused what is longer than 31 bits can say.
        self.put((count as i32).to_le_bytes());
    }

    /// Writes numbers one behind the other.
    #[inline(always)]
    pub(crate) fn put_numbers<T: Plain>(&mut self, numbers: &[T]) {
        self.cursor.put_numbers(numbers);
    }

    /// Writes a string in the form that was asked for.
    #[inline]
    pub(crate) fn put_text(&mut self, text: &str) {
        let bytes = text.as_bytes();
        match self.text {
            _ if bytes.is_empty() => self.put([0; 4]),
            Text::Utf8 => {
                let units = |ascii| if ascii { bytes.len() } else { text::utf16_len(bytes) };
                self.cursor.put_text(bytes, |ascii| header(bytes.len(), units(ascii) as u32));
            }
            Text::Utf8Unmeasured => self.cursor.put_text(bytes, |_| header(bytes.len(), u32::MAX)),
            Text::Utf16 => self.put_utf16(text),
        }
    }

    /// Writes a string as UTF-16.
    #[inline]
    pub(crate) fn put_utf16(&mut self, text: &str) {
        let units = text::utf16_len(text.as_bytes());
        self.count(units);
        // A cursor of its own, so that no reference to this one leaves the loops that write.
        wide(self.cursor.split(2 * units), text);
    }

    /// Writes the tag of a union.
    #[inline]
    pub fn tag(&mut self, tag: u16) {
        match u8::try_from(tag) {
            Ok(tag @ ..250) => self.put([tag]),
            _ => {
                let [low, high] = tag.to_le_bytes();
                self.put([250, low, high]);
            }
        }
    }

    /// Writes the header of a version tolerant object.
    pub fn slots(&mut self, lengths: &[usize]) {
        self.put([lengths.len() as u8]);
        for length in lengths {
            match *length {
                length @ 0..128 => self.put([length as u8]),
                length @ 128..0x8000 => {
                    let [a, b] = (length as u16).to_le_bytes();
                    self.put([0x84, a, b]);
                }
                length => {
                    let [a, b, c, d] = (length as u32).to_le_bytes();
                    self.put([0x82, a, b, c, d]);
                }
            }
        }
    }

    /// What adds up sizes again, for headers that have them.
    pub fn sizer(&self) -> Sizer {
        Sizer::new(self.text, u32::MAX)
    }
}

impl Sizer {
    /// The bytes of the header of a version tolerant object whose members have these lengths.
    pub fn slots(&self, lengths: &[usize]) -> usize {
        let size = |length: &usize| match *length {
            0..128 => 1,
            128..0x8000 => 3,
            _ => 5,
        };
        1 + lengths.iter().map(size).sum::<usize>()
    }

    /// The bytes of the tag of a union.
    pub fn tag(&self, tag: u16) -> usize {
        if tag < 250 { 1 } else { 3 }
    }
}

#[inline(never)]
fn wide(mut cursor: Cursor<'_>, text: &str) {
    text.encode_utf16().for_each(|unit| cursor.put(unit.to_le_bytes()));
    if cursor.remaining() != 0 {
        mismatch();
    }
}

#[inline(always)]
fn header(bytes: usize, units: u32) -> [u8; 8] {
    (u64::from(!(bytes as u32)) | u64::from(units) << 32).to_le_bytes()
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("room", &self.cursor.remaining()).finish_non_exhaustive()
    }
}
