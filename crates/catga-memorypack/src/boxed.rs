//! Values behind a pointer, which are on the wire what they are without. Types that hold themselves hold themselves
//! through one, or through a collection: that is where depth is counted.

use crate::{Decode, Encode, Kind, Reader, Result, Shape, Sizer, Writer};
use std::sync::Arc;

macro_rules! boxed {
    ($($ty:ident)*) => {
        $(
            impl<T: Shape> Shape for $ty<T> {
                const KIND: Kind = T::KIND.boxed();
                const CHECKED: bool = true;
            }

            impl<T: Encode> Encode for $ty<T> {
                #[inline]
                fn size(&self, sizer: &mut Sizer) -> usize {
                    const { _ = Self::KIND };
                    sizer.nested(|sizer| (**self).size(sizer))
                }

                #[inline]
                fn encode(&self, out: &mut Writer<'_>) {
                    (**self).encode(out);
                }
            }
        )*
    };
}
boxed! { Box Arc }

impl<'de, T: Decode<'de>> Decode<'de> for Box<T> {
    #[inline]
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        reader.charge(1, size_of::<T>())?;
        reader.nested(T::decode).map(Self::new)
    }

    #[inline]
    fn decode_in_place(&mut self, reader: &mut Reader<'de>) -> Result<()> {
        reader.nested(|reader| (**self).decode_in_place(reader))
    }

    #[inline]
    fn check(reader: &mut Reader<'de>) -> Result<()> {
        reader.nested(T::check)
    }
}

impl<'de, T: Decode<'de>> Decode<'de> for Arc<T> {
    #[inline]
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        reader.charge(1, size_of::<T>() + 2 * size_of::<usize>())?;
        reader.nested(T::decode).map(Self::new)
    }

    #[inline]
    fn check(reader: &mut Reader<'de>) -> Result<()> {
        reader.nested(T::check)
    }
}
