//! Strings, owned, borrowed and shared.

use crate::{
    Decode, Encode, Error, ErrorKind, Kind, Reader, Result, Shape, Sizer, Writer,
    reader::Wire,
    text::{from_utf16, utf8_len, utf16_len},
};
use catga_buf::Str;
use std::{borrow::Cow, sync::Arc};

impl Shape for str {
    const KIND: Kind = Kind::Length;
}

impl Encode for str {
    #[inline]
    fn size(&self, sizer: &mut Sizer) -> usize {
        sizer.text(self)
    }

    #[inline]
    fn encode(&self, out: &mut Writer<'_>) {
        out.put_text(self);
    }
}

macro_rules! strings {
    ($($ty:ty,)*) => {
        $(
            impl Shape for $ty {
                const KIND: Kind = Kind::Length;
            }

            impl Encode for $ty {
                #[inline]
                fn size(&self, sizer: &mut Sizer) -> usize {
                    str::size(self, sizer)
                }

                #[inline]
                fn encode(&self, out: &mut Writer<'_>) {
                    str::encode(self, out);
                }
            }
        )*
    };
}
strings! { String, Box<str>, Arc<str>, Cow<'_, str>, &str, Str, }
#[cfg(feature = "compact_str")]
strings! { compact_str::CompactString, }

/// The text, which is a new one where it was UTF-16.
#[inline]
fn read<'de>(reader: &mut Reader<'de>) -> Result<Cow<'de, str>> {
    match reader.text()? {
        Wire::Utf8(text) => Ok(Cow::Borrowed(text)),
        Wire::Utf16(units) => wide(units, reader.offset()).map(Cow::Owned),
    }
}

/// The text of UTF-16 units that end at `offset`.
#[cold]
fn wide(units: &[u8], offset: usize) -> Result<String> {
    from_utf16(units).ok_or_else(|| Error::new(ErrorKind::Text, offset))
}

/// Reads past text.
#[inline]
fn check(reader: &mut Reader<'_>) -> Result<()> {
    match reader.text()? {
        Wire::Utf16(units) if utf8_len(units).is_none() => Err(reader.error(ErrorKind::Text)),
        _ => Ok(()),
    }
}

macro_rules! owned {
    ($($ty:ty,)*) => {
        $(
            impl Decode<'_> for $ty {
                #[inline]
                fn decode(reader: &mut Reader<'_>) -> Result<Self> {
                    read(reader).map(Self::from)
                }

                #[inline]
                fn check(reader: &mut Reader<'_>) -> Result<()> {
                    check(reader)
                }

                fn missing() -> Result<Self> {
                    Ok(Self::default())
                }
            }
        )*
    };
}
owned! { Box<str>, Arc<str>, }
#[cfg(feature = "compact_str")]
owned! { compact_str::CompactString, }

impl Decode<'_> for String {
    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        read(reader).map(Cow::into_owned)
    }

    #[inline]
    fn decode_in_place(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        match reader.text()? {
            Wire::Utf8(text) => {
                self.clear();
                self.push_str(text);
            }
            Wire::Utf16(units) => *self = wide(units, reader.offset())?,
        }
        Ok(())
    }

    #[inline]
    fn check(reader: &mut Reader<'_>) -> Result<()> {
        check(reader)
    }

    fn missing() -> Result<Self> {
        Ok(Self::new())
    }
}

impl<'de: 'a, 'a> Decode<'de> for Cow<'a, str> {
    #[inline]
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        read(reader)
    }

    #[inline]
    fn check(reader: &mut Reader<'de>) -> Result<()> {
        check(reader)
    }

    fn missing() -> Result<Self> {
        Ok(Cow::Borrowed(""))
    }
}

/// Text that was written as UTF-16 cannot be borrowed as UTF-8: an error of kind [`ErrorKind::Text`].
impl<'de: 'a, 'a> Decode<'de> for &'a str {
    #[inline]
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        match reader.text()? {
            Wire::Utf8(text) => Ok(text),
            Wire::Utf16(_) => Err(reader.error(ErrorKind::Text)),
        }
    }

    fn missing() -> Result<Self> {
        Ok("")
    }
}

/// Shares the frame with [`decode_shared`](crate::decode_shared), and is a copy otherwise.
impl Decode<'_> for Str {
    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let text = read(reader)?;
        let Cow::Borrowed(text) = text else { return Ok(Self::from(text.into_owned())) };
        match reader.share(text.as_bytes()) {
            Some(bytes) => Self::from_shared(bytes).map_err(|_| reader.error(ErrorKind::Text)),
            None => Ok(Self::from(text)),
        }
    }

    #[inline]
    fn check(reader: &mut Reader<'_>) -> Result<()> {
        check(reader)
    }

    fn missing() -> Result<Self> {
        Ok(Self::default())
    }
}

/// A .NET `StringBuilder`: text that is UTF-16 on the wire, whatever [`Text`](crate::Text) is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utf16(pub String);

impl Shape for Utf16 {
    const KIND: Kind = Kind::Length;
}

impl Encode for Utf16 {
    fn size(&self, _: &mut Sizer) -> usize {
        4 + 2 * utf16_len(self.0.as_bytes())
    }

    fn encode(&self, out: &mut Writer<'_>) {
        out.put_utf16(&self.0);
    }
}

impl Decode<'_> for Utf16 {
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let units = reader.count(2)?;
        let units = reader.bytes(2 * units)?;
        wide(units, reader.offset()).map(Self)
    }

    fn check(reader: &mut Reader<'_>) -> Result<()> {
        let units = reader.count(2)?;
        let units = reader.bytes(2 * units)?;
        utf8_len(units).map(drop).ok_or_else(|| reader.error(ErrorKind::Text))
    }

    fn missing() -> Result<Self> {
        Ok(Self::default())
    }
}
