//! Numbers, `bool` and `char`.

use crate::{
    Decode, Encode, ErrorKind, Kind, Layout, Reader, Result, Shape, Sizer, Writer,
    memory::{self, Plain},
};

macro_rules! numbers {
    ($($number:ident)*) => {
        $(
            impl Shape for $number {
                const KIND: Kind = Kind::Raw(Layout::primitive(size_of::<Self>()));
            }

            impl Encode for $number {
                #[inline(always)]
                fn size(&self, _: &mut Sizer) -> usize {
                    size_of::<Self>()
                }

                #[inline(always)]
                fn encode(&self, out: &mut Writer<'_>) {
                    out.put(self.to_le_bytes());
                }

                #[inline(always)]
                fn encode_all(items: &[Self], out: &mut Writer<'_>) {
                    out.put_numbers(items);
                }
            }

            impl Decode<'_> for $number {
                #[inline(always)]
                fn decode(reader: &mut Reader<'_>) -> Result<Self> {
                    reader.take().map(|bytes| Self::from_le_bytes(*bytes))
                }

                fn missing() -> Result<Self> {
                    Ok(Self::default())
                }

                #[inline]
                fn decode_all(reader: &mut Reader<'_>, count: usize, items: &mut Vec<Self>) -> Result<()> {
                    numbers(reader, count, items)
                }
            }
        )*
    };
}
numbers! { u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 }

/// Wide integers are structs to .NET, though aligned to their size.
macro_rules! wide {
    ($($number:ident)*) => {
        $(
            impl Shape for $number {
                const KIND: Kind = Kind::Raw(Layout::of(16, 16));
            }

            impl Encode for $number {
                #[inline]
                fn size(&self, _: &mut Sizer) -> usize {
                    16
                }

                #[inline]
                fn encode(&self, out: &mut Writer<'_>) {
                    out.put(self.to_le_bytes());
                }

                #[inline]
                fn encode_all(items: &[Self], out: &mut Writer<'_>) {
                    out.put_numbers(items);
                }
            }

            impl Decode<'_> for $number {
                #[inline]
                fn decode(reader: &mut Reader<'_>) -> Result<Self> {
                    reader.take().map(|bytes| Self::from_le_bytes(*bytes))
                }

                fn missing() -> Result<Self> {
                    Ok(0)
                }

                #[inline]
                fn decode_all(reader: &mut Reader<'_>, count: usize, items: &mut Vec<Self>) -> Result<()> {
                    numbers(reader, count, items)
                }
            }
        )*
    };
}
wide! { u128 i128 }

#[inline]
fn numbers<T: Plain>(reader: &mut Reader<'_>, count: usize, items: &mut Vec<T>) -> Result<()> {
    memory::extend(items, reader.bytes(count * size_of::<T>())?);
    Ok(())
}

impl Shape for bool {
    const KIND: Kind = Kind::Raw(Layout::primitive(1));
}

impl Encode for bool {
    #[inline(always)]
    fn size(&self, _: &mut Sizer) -> usize {
        1
    }

    #[inline(always)]
    fn encode(&self, out: &mut Writer<'_>) {
        out.put([u8::from(*self)]);
    }
}

impl Decode<'_> for bool {
    #[inline(always)]
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        match *reader.take()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(reader.error(ErrorKind::Value)),
        }
    }

    fn missing() -> Result<Self> {
        Ok(false)
    }
}

/// A .NET `char` is one UTF-16 unit: characters above U+FFFF are an error when they are written, halves of surrogate
/// pairs when they are read. A `u16` takes both.
impl Shape for char {
    const KIND: Kind = Kind::Raw(Layout::primitive(2));
    const CHECKED: bool = true;
}

impl Encode for char {
    #[inline]
    fn size(&self, sizer: &mut Sizer) -> usize {
        if *self > '\u{FFFF}' {
            sizer.fail(ErrorKind::Value);
        }
        2
    }

    #[inline]
    fn encode(&self, out: &mut Writer<'_>) {
        out.put((u32::from(*self) as u16).to_le_bytes());
    }
}

impl Decode<'_> for char {
    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let unit = u16::from_le_bytes(*reader.take()?);
        Self::from_u32(unit.into()).ok_or_else(|| reader.error(ErrorKind::Value))
    }

    fn missing() -> Result<Self> {
        Ok('\0')
    }
}

#[cfg(feature = "uuid")]
impl Shape for uuid::Uuid {
    const KIND: Kind = Kind::Raw(Layout::of(16, 4));
}

#[cfg(feature = "uuid")]
impl Encode for uuid::Uuid {
    #[inline]
    fn size(&self, _: &mut Sizer) -> usize {
        16
    }

    #[inline]
    fn encode(&self, out: &mut Writer<'_>) {
        out.put(self.to_bytes_le());
    }
}

#[cfg(feature = "uuid")]
impl Decode<'_> for uuid::Uuid {
    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        reader.take().map(|bytes| Self::from_bytes_le(*bytes))
    }

    fn missing() -> Result<Self> {
        Ok(Self::nil())
    }
}
