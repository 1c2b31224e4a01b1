//! Bytes, borrowed and shared. Owned ones are a `Vec<u8>`.

use crate::{Decode, Encode, Kind, Reader, Result, Shape, Sizer, Writer};
use bytes::Bytes;
use std::borrow::Cow;

impl<'de: 'a, 'a> Decode<'de> for &'a [u8] {
    #[inline]
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        let count = reader.count(1)?;
        reader.bytes(count)
    }

    fn missing() -> Result<Self> {
        Ok(&[])
    }
}

impl<'de: 'a, 'a> Decode<'de> for Cow<'a, [u8]> {
    #[inline]
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        <&[u8]>::decode(reader).map(Cow::Borrowed)
    }

    fn missing() -> Result<Self> {
        Ok(Cow::Borrowed(&[]))
    }
}

impl Shape for Bytes {
    const KIND: Kind = Kind::Length;
}

impl Encode for Bytes {
    #[inline]
    fn size(&self, _: &mut Sizer) -> usize {
        4 + self.len()
    }

    #[inline]
    fn encode(&self, out: &mut Writer<'_>) {
        out.count(self.len());
        out.put_slice(self);
    }
}

/// Shares the frame with [`decode_shared`](crate::decode_shared), and is a copy otherwise.
impl Decode<'_> for Bytes {
    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let bytes = <&[u8]>::decode(reader)?;
        Ok(reader.share(bytes).unwrap_or_else(|| Self::copy_from_slice(bytes)))
    }

    #[inline]
    fn check(reader: &mut Reader<'_>) -> Result<()> {
        <&[u8]>::decode(reader).map(drop)
    }

    fn missing() -> Result<Self> {
        Ok(Self::new())
    }
}
