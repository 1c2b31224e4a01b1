use crate::{Error, ErrorKind, Kind, Reader, Result, Sizer, Writer};

/// What a type is on the wire.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no MemoryPack form",
    note = "types of your own derive `MemoryPack`; `usize` and `isize`, whose size is the machine's, are `u64` and `i64` there"
)]
pub trait Shape {
    /// Its kind.
    const KIND: Kind;
    /// Whether some of its values cannot be written, such as a `char` that is two UTF-16 units. Then each value of a
    /// collection is looked at before.
    const CHECKED: bool = false;
}

/// A value that can be written. The derive implements it.
///
/// By hand, `size` and `encode` have to agree: an encoder that writes more or less than it announced panics.
pub trait Encode: Shape {
    /// How many bytes [`encode`](Self::encode) writes. What cannot be written is told to `sizer`.
    fn size(&self, sizer: &mut Sizer) -> usize;

    /// Writes the value. `out` has room for what [`size`](Self::size) said.
    fn encode(&self, out: &mut Writer<'_>);

    /// The bytes of all `items`.
    #[inline]
    fn size_all(items: &[Self], sizer: &mut Sizer) -> usize
    where
        Self: Sized,
    {
        match const { if Self::CHECKED { 0 } else { Self::KIND.raw() } } {
            0 => items.iter().map(|item| item.size(sizer)).sum(),
            size => items.len() * size,
        }
    }

    /// Writes all `items`, without their number.
    #[inline]
    fn encode_all(items: &[Self], out: &mut Writer<'_>)
    where
        Self: Sized,
    {
        for item in items {
            item.encode(out);
        }
    }
}

/// A value that can be read from bytes that live for `'de`. The derive implements it.
pub trait Decode<'de>: Shape + Sized {
    /// Reads a value.
    ///
    /// # Errors
    ///
    /// The bytes are no value of the type, or beyond a limit.
    fn decode(reader: &mut Reader<'de>) -> Result<Self>;

    /// Reads a value over an old one, whose strings and vectors are used again. Where it fails, `self` holds some value.
    ///
    /// # Errors
    ///
    /// Those of [`decode`](Self::decode).
    #[inline]
    fn decode_in_place(&mut self, reader: &mut Reader<'de>) -> Result<()> {
        *self = Self::decode(reader)?;
        Ok(())
    }

    /// Reads past a value, testing all that [`decode`](Self::decode) tests, but for doubled keys, and allocating nothing.
    ///
    /// # Errors
    ///
    /// Those of [`decode`](Self::decode).
    #[inline]
    fn check(reader: &mut Reader<'de>) -> Result<()> {
        Self::decode(reader).map(drop)
    }

    /// The value of a member that older data does not have: zero, empty, `None`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Missing`] for a type that has no such value.
    #[cold]
    fn missing() -> Result<Self> {
        Err(Error::new(ErrorKind::Missing, 0))
    }

    /// Reads `count` values behind those of `items`. The reader has said that there may be that many.
    ///
    /// # Errors
    ///
    /// Those of [`decode`](Self::decode).
    #[inline]
    fn decode_all(reader: &mut Reader<'de>, count: usize, items: &mut Vec<Self>) -> Result<()> {
        let size = const { Self::KIND.raw() };
        if size > 0 {
            let mut run = reader.run(count * size)?;
            items.reserve(count);
            for _ in 0..count {
                items.push(Self::decode(&mut run)?);
            }
            return Ok(());
        }
        reader.charge(count, size_of::<Self>())?;
        items.reserve_exact(count);
        // A copy, which stays in registers where reading a value is inlined.
        let mut local = reader.clone();
        for _ in 0..count {
            items.push(Self::decode(&mut local)?);
        }
        *reader = local;
        Ok(())
    }
}
