use crate::{Error, ErrorKind, Options, Result, memory, text};
use bytes::Bytes;

/// Reads values off bytes. Every length is tested against the bytes that are left before anything is done with it.
#[derive(Clone, Debug)]
pub struct Reader<'de> {
    rest: &'de [u8],
    /// The offset of the end of `rest` in the frame.
    end: usize,
    depth: u32,
    /// Where on the stack reading began.
    stack: usize,
    /// What may still be allocated, in bytes.
    memory: usize,
    /// What it may allocate once the bytes are known to be fine.
    whole: usize,
    shared: Option<&'de Bytes>,
}

impl<'de> Reader<'de> {
    pub(crate) fn new(bytes: &'de [u8], options: &Options, shared: Option<&'de Bytes>) -> Self {
        Self {
            rest: bytes,
            end: bytes.len(),
            depth: options.depth,
            stack: stack(),
            memory: options.memory,
            whole: options.memory,
            shared,
        }
    }

    /// Lets it allocate at most so many bytes.
    pub(crate) fn afford(&mut self, memory: usize) {
        self.memory = self.memory.min(memory);
    }

    /// How many bytes are left.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Where it stands, in bytes from the start.
    #[inline]
    pub fn offset(&self) -> usize {
        self.end - self.rest.len()
    }

    /// An error at this place.
    // Inlined, so that no reference to `self` leaves the loops that read and its fields stay in registers.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn error(&self, kind: ErrorKind) -> Error {
        Error::new(kind, self.offset())
    }

    /// Takes `N` bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Truncated`] where there are fewer.
    // A reference, because bytes that are moved about one by one are no longer one load.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub fn take<const N: usize>(&mut self) -> Result<&'de [u8; N]> {
        let Some((head, rest)) = self.rest.split_first_chunk() else {
            return Err(self.error(ErrorKind::Truncated));
        };
        self.rest = rest;
        Ok(head)
    }

    /// Takes `count` bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Truncated`] where there are fewer.
    #[inline]
    pub fn bytes(&mut self, count: usize) -> Result<&'de [u8]> {
        let Some((head, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.error(ErrorKind::Truncated));
        };
        self.rest = rest;
        Ok(head)
    }

    /// A reader of the next `count` bytes, which are taken. It may allocate nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Truncated`] where there are fewer.
    #[inline]
    pub fn run(&mut self, count: usize) -> Result<Self> {
        let rest = self.bytes(count)?;
        Ok(Self { rest, end: self.offset(), depth: 0, stack: 0, memory: 0, whole: 0, shared: None })
    }

    /// The next byte, not taken.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Truncated`] where there is none.
    #[inline]
    pub fn peek(&self) -> Result<u8> {
        self.rest.first().copied().ok_or_else(|| self.error(ErrorKind::Truncated))
    }

    /// Whether the next four bytes are the length of null. They are not taken.
    #[inline]
    pub(crate) fn null_length(&self) -> bool {
        self.rest.first_chunk() == Some(&[255; 4])
    }

    /// Takes the length of a collection whose items take `min` bytes or more, and tests that there can be so many.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Null`] where it is -1, [`ErrorKind::Length`] for other negative ones, [`ErrorKind::Truncated`] where
    /// more is claimed than there is.
    #[inline]
    pub fn count(&mut self, min: usize) -> Result<usize> {
        let length = i32::from_le_bytes(*self.take()?);
        let Ok(count) = usize::try_from(length) else {
            return Err(self.error(if length == -1 { ErrorKind::Null } else { ErrorKind::Length }));
        };
        if count > self.rest.len() / min {
            return Err(self.error(ErrorKind::Truncated));
        }
        Ok(count)
    }

    /// Reads something that may hold itself, one level deeper.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Depth`] where that is too deep, and those of `read`.
    #[inline]
    pub fn nested<R>(&mut self, read: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        let depth = match self.depth.checked_sub(1) {
            Some(depth) if stack().abs_diff(self.stack) < STACK => depth,
            _ => return Err(self.error(ErrorKind::Depth)),
        };
        self.depth = depth;
        let value = read(self)?;
        self.depth = depth + 1;
        Ok(value)
    }

    /// Asks whether memory for `count` values of `size` bytes may be allocated. Strings and raw values need not ask:
    /// they are no larger than their bytes, which are there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Memory`] where it may not.
    #[inline]
    pub fn charge(&mut self, count: usize, size: usize) -> Result<()> {
        match count.checked_mul(size).and_then(|bytes| self.memory.checked_sub(bytes)) {
            Some(left) => self.memory = left,
            None => return Err(self.error(ErrorKind::Memory)),
        }
        Ok(())
    }

    /// Takes the number of members of an object of `known` members.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Null`] where it is null, [`ErrorKind::Members`] where there are more than `known`.
    #[inline]
    pub fn members(&mut self, known: u8) -> Result<usize> {
        let [count] = *self.take()?;
        if count > known {
            return Err(self.error(if count == 255 { ErrorKind::Null } else { ErrorKind::Members }));
        }
        Ok(count.into())
    }

    /// Takes the tag of a union.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Null`] where it is null, [`ErrorKind::Tag`] for a reserved one.
    #[inline]
    pub fn tag(&mut self) -> Result<u16> {
        match *self.take()? {
            [255] => Err(self.error(ErrorKind::Null)),
            [250] => Ok(u16::from_le_bytes(*self.take()?)),
            [251..=254] => Err(self.error(ErrorKind::Tag)),
            [tag] => Ok(tag.into()),
        }
    }

    /// Takes text.
    #[inline]
    pub(crate) fn text(&mut self) -> Result<Wire<'de>> {
        if let Some(text) = self.ascii() {
            return Ok(Wire::Utf8(text));
        }
        // A copy, so that no reference to `self` leaves the loops that read.
        let mut copy = self.clone();
        let text = copy.any_text();
        *self = copy;
        text
    }

    /// Takes text that is ASCII and says so, which is most of it.
    #[inline]
    fn ascii(&mut self) -> Option<&'de str> {
        let (header, rest) = self.rest.split_first_chunk()?;
        let header = u64::from_le_bytes(*header);
        let (length, units) = (!(header as u32), (header >> 32) as u32);
        if length != units || length as i32 <= 0 {
            return None;
        }
        let (bytes, rest) = rest.split_at_checked(length as usize)?;
        let text = memory::ascii_text(bytes)?;
        self.rest = rest;
        Some(text)
    }

    #[inline(never)]
    fn any_text(&mut self) -> Result<Wire<'de>> {
        let length = i32::from_le_bytes(*self.take()?);
        if length >= 0 {
            let units = length as usize;
            if units > self.rest.len() / 2 {
                return Err(self.error(ErrorKind::Truncated));
            }
            return Ok(if units == 0 { Wire::Utf8("") } else { Wire::Utf16(self.bytes(2 * units)?) });
        }
        if length == -1 {
            return Err(self.error(ErrorKind::Null));
        }
        let claimed = i32::from_le_bytes(*self.take()?);
        let bytes = self.bytes(!length as usize)?;
        match str::from_utf8(bytes) {
            Ok(text) if claimed <= 0 || claimed as usize == text::utf16_len(bytes) => Ok(Wire::Utf8(text)),
            _ => Err(self.error(ErrorKind::Text)),
        }
    }

    /// The bytes as a part of the frame that is being read, where the caller shared it.
    #[inline]
    pub(crate) fn share(&self, bytes: &[u8]) -> Option<Bytes> {
        self.shared.map(|frame| frame.slice_ref(bytes))
    }

    /// Takes an integer in MemoryPack's form of variable length.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Truncated`], or [`ErrorKind::Length`] for an unsigned one beyond `i64`.
    pub fn varint(&mut self) -> Result<i64> {
        let [code] = *self.take()?;
        Ok(match code as i8 {
            code @ -120.. => code.into(),
            -121 => self.take::<1>()?[0].into(),
            -122 => i8::from_le_bytes(*self.take()?).into(),
            -123 => u16::from_le_bytes(*self.take()?).into(),
            -124 => i16::from_le_bytes(*self.take()?).into(),
            -125 => u32::from_le_bytes(*self.take()?).into(),
            -126 => i32::from_le_bytes(*self.take()?).into(),
            -127 => match i64::try_from(u64::from_le_bytes(*self.take()?)) {
                Ok(value) => value,
                Err(_) => return Err(self.error(ErrorKind::Length)),
            },
            -128 => i64::from_le_bytes(*self.take()?),
        })
    }

    /// Takes the header of a version tolerant object of `N` known slots.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Null`] where it is null, [`ErrorKind::Length`] for a length that is negative or beyond the bytes.
    pub fn slots<const N: usize>(&mut self) -> Result<Slots<N>> {
        let [count] = *self.take()?;
        if count == 255 {
            return Err(self.error(ErrorKind::Null));
        }
        let mut slots = Slots { lengths: [0; N], more: 0 };
        let mut sum = 0_usize;
        for slot in 0..usize::from(count) {
            let length = self.varint()?;
            let Ok(length) = usize::try_from(length) else { return Err(self.error(ErrorKind::Length)) };
            sum = sum.saturating_add(length);
            match slots.lengths.get_mut(slot) {
                Some(known) => *known = length,
                None => slots.more = slots.more.saturating_add(length),
            }
        }
        if sum > self.rest.len() {
            return Err(self.error(ErrorKind::Truncated));
        }
        Ok(slots)
    }

    /// Tests that a member of a version tolerant object has the length that its header said.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Length`] where it has another.
    #[inline]
    pub fn spent(&self, before: usize, length: usize) -> Result<()> {
        if before - self.remaining() == length { Ok(()) } else { Err(self.error(ErrorKind::Length)) }
    }

    /// The value of a member that is not there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Missing`] where its type has none.
    pub fn missing<T: crate::Decode<'de>>(&self) -> Result<T> {
        T::missing().map_err(|error| self.error(error.kind()))
    }

    /// A reader of the bytes between this one and `later`, which were checked.
    #[inline]
    pub(crate) fn until(&self, later: &Self) -> Self {
        let read = self.rest.len() - later.rest.len();
        Self { rest: &self.rest[..read], end: later.offset(), memory: self.whole, ..*self }
    }

    /// Reading begins again, perhaps elsewhere on the stack.
    pub(crate) fn begin(&mut self) {
        self.stack = stack();
    }

    /// The bytes that are left.
    pub(crate) fn rest(&self) -> &'de [u8] {
        self.rest
    }

    /// Tests that nothing is left.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Trailing`] where something is.
    #[inline]
    pub(crate) fn finish(&self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.error(ErrorKind::Trailing)) }
    }
}

/// How much of the stack values in each other may take, in bytes. What is deep is found by counting levels, but a level
/// can take some kilobytes where a type has many fields and nothing is optimized, and a thread may have 2 MiB.
pub(crate) const STACK: usize = 1 << 20;

/// About where the stack ends now.
#[inline(always)]
pub(crate) fn stack() -> usize {
    let here = 0_u8;
    (&raw const here).addr()
}

/// The lengths of the members of a version tolerant object.
#[derive(Debug)]
pub struct Slots<const N: usize> {
    /// Of those that the type may know; 0 for one that is not there.
    pub lengths: [usize; N],
    /// Of all others together, which come last.
    pub more: usize,
}

/// Text as it stands on the wire.
pub(crate) enum Wire<'de> {
    Utf8(&'de str),
    /// Two bytes a unit.
    Utf16(&'de [u8]),
}
