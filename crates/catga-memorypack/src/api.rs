use crate::{Decode, Encode, Error, ErrorKind, Reader, Result, Sizer, Text, Writer, memory, memory::Cursor};
use bytes::{BufMut, Bytes};
use catga_buf::Sink;
use std::cell::Cell;

/// How values are written, and what reading them may cost.
///
/// ```
/// use catga_memorypack::{Options, Text};
///
/// let wide = Options::new().text(Text::Utf16);
/// assert_eq!(wide.to_vec("あ")?, [1, 0, 0, 0, 0x42, 0x30]);
/// # Ok::<(), catga_memorypack::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub(crate) text: Text,
    pub(crate) depth: u32,
    pub(crate) memory: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

/// What a reader may allocate for a frame of `n` bytes that it does not know to be fine. Strings and raw values come on
/// top, at most four bytes for each of the frame.
fn suspicious(n: usize) -> usize {
    12 * n + 2_048
}

impl Options {
    /// The defaults of all options.
    pub const fn new() -> Self {
        Self { text: Text::Utf8, depth: 1_000, memory: 256 << 20 }
    }

    /// The form of strings that are written. Default: [`Text::Utf8`].
    #[must_use]
    pub const fn text(mut self, text: Text) -> Self {
        self.text = text;
        self
    }

    /// How many boxes and collections may lie in each other, when writing and when reading. Default: 1,000. Whatever is
    /// set, it also ends where reading or measuring takes 1 MiB of the stack.
    #[must_use]
    pub const fn max_depth(mut self, levels: u32) -> Self {
        self.depth = levels;
        self
    }

    /// How many bytes reading a value may allocate, but for strings and raw values, which are at most four times as
    /// large as their bytes. Default: 256 MiB.
    #[must_use]
    pub const fn max_memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    fn measure<T: Encode + ?Sized>(&self, value: &T) -> Result<usize> {
        let mut sizer = Sizer::new(self.text, self.depth);
        let size = value.size(&mut sizer);
        sizer.finish(size)
    }

    #[inline(always)]
    fn write<T: Encode + ?Sized>(&self, value: &T, cursor: &mut Cursor<'_>) {
        let mut writer = Writer::of(cursor, self.text);
        value.encode(&mut writer);
        writer.finish();
    }

    /// The bytes of a value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Value`] for one that .NET has not, [`ErrorKind::Depth`], [`ErrorKind::TooLarge`].
    #[inline]
    pub fn to_vec<T: Encode + ?Sized>(&self, value: &T) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.encode(value, &mut out)?;
        Ok(out)
    }

    /// Appends the bytes of a value; nothing where it fails.
    ///
    /// # Errors
    ///
    /// Those of [`to_vec`](Self::to_vec).
    #[inline]
    pub fn encode<T: Encode + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<()> {
        let size = self.measure(value)?;
        memory::append(out, size, |cursor| self.write(value, cursor));
        Ok(())
    }

    /// Writes the bytes of a value to the start of `out`, and answers how many they are.
    ///
    /// # Errors
    ///
    /// Those of [`to_vec`](Self::to_vec), and [`ErrorKind::TooLarge`] where there is no room for them.
    #[inline]
    pub fn encode_to_slice<T: Encode + ?Sized>(&self, value: &T, out: &mut [u8]) -> Result<usize> {
        let size = self.measure(value)?;
        let room = out.get_mut(..size).ok_or_else(|| Error::new(ErrorKind::TooLarge, 0))?;
        memory::fill(room, |cursor| self.write(value, cursor));
        Ok(size)
    }

    /// Writes the bytes of a value to a buffer: in place where they fit its chunk, otherwise as a copy.
    ///
    /// # Errors
    ///
    /// Those of [`to_vec`](Self::to_vec), and [`ErrorKind::TooLarge`] where there is no room for them.
    #[inline]
    pub fn encode_to_buf<T: Encode + ?Sized>(&self, value: &T, out: &mut impl BufMut) -> Result<()> {
        let size = self.measure(value)?;
        if out.remaining_mut() < size {
            return Err(Error::new(ErrorKind::TooLarge, 0));
        }
        if !memory::advance(out, size, |cursor| self.write(value, cursor)) {
            self.scratch(value, size, |bytes| out.put_slice(bytes));
        }
        Ok(())
    }

    /// Writes the bytes of a value to a sink, all at once.
    ///
    /// # Errors
    ///
    /// Those of [`to_vec`](Self::to_vec), and [`ErrorKind::Io`] where the sink fails.
    pub fn encode_to_sink<T: Encode + ?Sized>(&self, value: &T, out: &mut impl Sink) -> Result<()> {
        if let Some(out) = out.as_vec() {
            return self.encode(value, out);
        }
        let size = self.measure(value)?;
        out.reserve(size).map_err(Error::io)?;
        self.scratch(value, size, |bytes| out.write_all(bytes)).map_err(Error::io)
    }

    /// Writes the value to memory of this thread, which is used again where it is not large.
    fn scratch<T: Encode + ?Sized, R>(&self, value: &T, size: usize, then: impl FnOnce(&[u8]) -> R) -> R {
        const KEPT: usize = 64 << 10;
        thread_local!(static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) });
        // Where the thread ends, or `then` comes back here, there is none: then a new one is made.
        let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
        scratch.clear();
        memory::append(&mut scratch, size, |cursor| self.write(value, cursor));
        let result = then(&scratch);
        if scratch.capacity() <= KEPT {
            _ = SCRATCH.try_with(|cell| cell.set(scratch));
        }
        result
    }

    /// The value of all of `bytes`.
    ///
    /// # Errors
    ///
    /// The bytes are no value of the type, or beyond a limit; bytes behind the value are an error, too.
    #[inline]
    pub fn decode<'de, T: Decode<'de>>(&self, bytes: &'de [u8]) -> Result<T> {
        self.read(bytes, None)
    }

    /// The value of all of `frame`, whose [`Str`](catga_buf::Str)s and [`Bytes`] share it: they are not copied, and keep
    /// it alive.
    ///
    /// # Errors
    ///
    /// Those of [`decode`](Self::decode).
    #[inline]
    pub fn decode_shared<'de, T: Decode<'de>>(&self, frame: &'de Bytes) -> Result<T> {
        self.read(frame, Some(frame))
    }

    /// Reads the value of all of `bytes` over an old one, whose strings and vectors are used again. Where it fails,
    /// `value` is some value.
    ///
    /// # Errors
    ///
    /// Those of [`decode`](Self::decode).
    #[inline]
    pub fn decode_in_place<'de, T: Decode<'de>>(&self, bytes: &'de [u8], value: &mut T) -> Result<()> {
        let mut reader = self.suspect(bytes, None);
        match value.decode_in_place(&mut reader) {
            Ok(()) => reader.finish(),
            Err(error) => {
                *value = self.doubt(bytes, None, error)?;
                Ok(())
            }
        }
    }

    /// Tests that all of `bytes` is a value of the type, and allocates nothing. Doubled keys are not noticed.
    ///
    /// # Errors
    ///
    /// Those of [`decode`](Self::decode).
    #[inline]
    pub fn check<'de, T: Decode<'de>>(&self, bytes: &'de [u8]) -> Result<()> {
        let mut reader = Reader::new(bytes, self, None);
        T::check(&mut reader)?;
        reader.finish()
    }

    /// A reader that may allocate little, for bytes that may be anything.
    #[inline(always)]
    fn suspect<'de>(&self, bytes: &'de [u8], shared: Option<&'de Bytes>) -> Reader<'de> {
        let mut reader = Reader::new(bytes, self, shared);
        reader.afford(suspicious(bytes.len()));
        reader
    }

    #[inline(always)]
    fn read<'de, T: Decode<'de>>(&self, bytes: &'de [u8], shared: Option<&'de Bytes>) -> Result<T> {
        let mut reader = self.suspect(bytes, shared);
        match T::decode(&mut reader) {
            Ok(value) if reader.remaining() == 0 => Ok(value),
            Ok(_) => Err(reader.error(ErrorKind::Trailing)),
            Err(error) => self.doubt(bytes, shared, error),
        }
    }

    /// Answers the error, but for one: values that take more memory than their few bytes let expect, such as a list of
    /// nulls. Where all bytes are tested to be fine they are read.
    #[cold]
    #[inline(never)]
    fn doubt<'de, T: Decode<'de>>(&self, bytes: &'de [u8], shared: Option<&'de Bytes>, error: Error) -> Result<T> {
        if error.kind() != ErrorKind::Memory || suspicious(bytes.len()) >= self.memory {
            return Err(error);
        }
        self.check::<T>(bytes)?;
        T::decode(&mut Reader::new(bytes, self, shared))
    }
}

/// The bytes of a value.
///
/// # Errors
///
/// Those of [`Options::to_vec`], which it is with the default options.
#[inline]
pub fn to_vec<T: Encode + ?Sized>(value: &T) -> Result<Vec<u8>> {
    Options::new().to_vec(value)
}

/// Appends the bytes of a value; nothing where it fails.
///
/// # Errors
///
/// Those of [`Options::encode`], which it is with the default options.
#[inline]
pub fn encode<T: Encode + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    Options::new().encode(value, out)
}

/// Writes the bytes of a value to the start of `out`, and answers how many they are.
///
/// # Errors
///
/// Those of [`Options::encode_to_slice`], which it is with the default options.
#[inline]
pub fn encode_to_slice<T: Encode + ?Sized>(value: &T, out: &mut [u8]) -> Result<usize> {
    Options::new().encode_to_slice(value, out)
}

/// Writes the bytes of a value to a buffer.
///
/// # Errors
///
/// Those of [`Options::encode_to_buf`], which it is with the default options.
#[inline]
pub fn encode_to_buf<T: Encode + ?Sized>(value: &T, out: &mut impl BufMut) -> Result<()> {
    Options::new().encode_to_buf(value, out)
}

/// Writes the bytes of a value to a sink.
///
/// # Errors
///
/// Those of [`Options::encode_to_sink`], which it is with the default options.
#[inline]
pub fn encode_to_sink<T: Encode + ?Sized>(value: &T, out: &mut impl Sink) -> Result<()> {
    Options::new().encode_to_sink(value, out)
}

/// The value of all of `bytes`.
///
/// # Errors
///
/// Those of [`Options::decode`], which it is with the default options.
#[inline]
pub fn decode<'de, T: Decode<'de>>(bytes: &'de [u8]) -> Result<T> {
    Options::new().decode(bytes)
}

/// The value of all of `frame`, which its [`Str`](catga_buf::Str)s and [`Bytes`] share.
///
/// # Errors
///
/// Those of [`Options::decode_shared`], which it is with the default options.
#[inline]
pub fn decode_shared<'de, T: Decode<'de>>(frame: &'de Bytes) -> Result<T> {
    Options::new().decode_shared(frame)
}

/// Reads the value of all of `bytes` over an old one, whose strings and vectors are used again.
///
/// # Errors
///
/// Those of [`Options::decode_in_place`], which it is with the default options.
#[inline]
pub fn decode_in_place<'de, T: Decode<'de>>(bytes: &'de [u8], value: &mut T) -> Result<()> {
    Options::new().decode_in_place(bytes, value)
}

/// Tests that all of `bytes` is a value of the type, and allocates nothing.
///
/// # Errors
///
/// Those of [`Options::check`], which it is with the default options.
#[inline]
pub fn check<'de, T: Decode<'de>>(bytes: &'de [u8]) -> Result<()> {
    Options::new().check::<T>(bytes)
}
