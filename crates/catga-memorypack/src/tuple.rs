//! Values side by side: pairs of dictionaries, tuples, nothing at all, and one of two.

use crate::{
    Decode, Encode, Error, ErrorKind, Kind, Reader, Result, Shape, Sizer, Writer,
    kind::{all_raw, pad, sequential, sum, tuple},
};

/// A `KeyValuePair<K, V>`: key and value, as they stand in a dictionary. Raw ones are laid out as a `#[repr(C)]` struct,
/// padding included.
///
/// `Vec<Pair<K, V>>` reads and writes a dictionary in its order, and takes a key twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair<K, V>(pub K, pub V);

impl<K: Shape, V: Shape> Shape for Pair<K, V> {
    const KIND: Kind = match &[K::KIND, V::KIND] {
        parts if all_raw(parts) => sequential(parts),
        parts => Kind::Value(sum(parts)),
    };
    const CHECKED: bool = K::CHECKED || V::CHECKED;
}

/// The padding in front of part `index` of a pair, and behind it for 2; none where it is not raw.
const fn pad_of<K: Shape, V: Shape>(index: usize) -> usize {
    pad_raw(&[K::KIND, V::KIND], index)
}

impl<K: Encode, V: Encode> Encode for Pair<K, V> {
    #[inline]
    fn size(&self, sizer: &mut Sizer) -> usize {
        size_pair(&self.0, &self.1, sizer)
    }

    #[inline]
    fn encode(&self, out: &mut Writer<'_>) {
        encode_pair(&self.0, &self.1, out);
    }
}

#[inline]
pub(crate) fn size_pair<K: Encode, V: Encode>(key: &K, value: &V, sizer: &mut Sizer) -> usize {
    let padding = const { pad_of::<K, V>(1) + pad_of::<K, V>(2) };
    key.size(sizer) + value.size(sizer) + padding
}

#[inline]
pub(crate) fn encode_pair<K: Encode, V: Encode>(key: &K, value: &V, out: &mut Writer<'_>) {
    key.encode(out);
    out.zeros(const { pad_of::<K, V>(1) });
    value.encode(out);
    out.zeros(const { pad_of::<K, V>(2) });
}

impl<'de, K: Decode<'de>, V: Decode<'de>> Decode<'de> for Pair<K, V> {
    #[inline]
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        let key = K::decode(reader)?;
        reader.bytes(const { pad_of::<K, V>(1) })?;
        let value = V::decode(reader)?;
        reader.bytes(const { pad_of::<K, V>(2) })?;
        Ok(Self(key, value))
    }

    #[inline]
    fn decode_in_place(&mut self, reader: &mut Reader<'de>) -> Result<()> {
        self.0.decode_in_place(reader)?;
        reader.bytes(const { pad_of::<K, V>(1) })?;
        self.1.decode_in_place(reader)?;
        reader.bytes(const { pad_of::<K, V>(2) }).map(drop)
    }

    #[inline]
    fn check(reader: &mut Reader<'de>) -> Result<()> {
        K::check(reader)?;
        reader.bytes(const { pad_of::<K, V>(1) })?;
        V::check(reader)?;
        reader.bytes(const { pad_of::<K, V>(2) }).map(drop)
    }

    fn missing() -> Result<Self> {
        Ok(Self(K::missing()?, V::missing()?))
    }
}

/// The kinds of what a tuple holds.
trait Parts {
    const PARTS: &'static [Kind];
}

/// Value tuples: without a header where they hold references. The runtime reorders those of raw values alone, so only
/// those compile that it leaves as they are; the others are `#[repr(C)]` structs here and `struct`s there.
macro_rules! tuples {
    ($(($($t:ident $index:tt),+) $end:literal,)*) => {
        $(
            impl<$($t: Shape),+> Shape for ($($t,)+) {
                const KIND: Kind = tuple(<Self as Parts>::PARTS);
                const CHECKED: bool = $($t::CHECKED)||+;
            }

            impl<$($t: Shape),+> Parts for ($($t,)+) {
                const PARTS: &'static [Kind] = &[$($t::KIND),+];
            }

            impl<$($t: Encode),+> Encode for ($($t,)+) {
                #[inline]
                fn size(&self, sizer: &mut Sizer) -> usize {
                    const { _ = Self::KIND };
                    $(self.$index.size(sizer) + const { pad_raw(<Self as Parts>::PARTS, $index) } +)+
                        const { pad_raw(<Self as Parts>::PARTS, $end) }
                }

                #[inline]
                fn encode(&self, out: &mut Writer<'_>) {
                    $(
                        out.zeros(const { pad_raw(<Self as Parts>::PARTS, $index) });
                        self.$index.encode(out);
                    )+
                    out.zeros(const { pad_raw(<Self as Parts>::PARTS, $end) });
                }
            }

            impl<'de, $($t: Decode<'de>),+> Decode<'de> for ($($t,)+) {
                #[inline]
                fn decode(reader: &mut Reader<'de>) -> Result<Self> {
                    const { _ = Self::KIND };
                    let value = ($({
                        reader.bytes(const { pad_raw(<Self as Parts>::PARTS, $index) })?;
                        $t::decode(reader)?
                    },)+);
                    reader.bytes(const { pad_raw(<Self as Parts>::PARTS, $end) })?;
                    Ok(value)
                }

                #[inline]
                fn check(reader: &mut Reader<'de>) -> Result<()> {
                    $(
                        reader.bytes(const { pad_raw(<Self as Parts>::PARTS, $index) })?;
                        $t::check(reader)?;
                    )+
                    reader.bytes(const { pad_raw(<Self as Parts>::PARTS, $end) }).map(drop)
                }

                fn missing() -> Result<Self> {
                    Ok(($($t::missing()?,)+))
                }
            }
        )*
    };
}
tuples! {
    (A 0) 1,
    (A 0, B 1) 2,
    (A 0, B 1, C 2) 3,
    (A 0, B 1, C 2, D 3) 4,
    (A 0, B 1, C 2, D 3, E 4) 5,
    (A 0, B 1, C 2, D 3, E 4, F 5) 6,
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6) 7,
}

/// The padding in front of a part of raw ones.
const fn pad_raw(parts: &[Kind], index: usize) -> usize {
    if all_raw(parts) { pad(parts, index) } else { 0 }
}

/// Nothing, for example as a reply, is an object of no members.
impl Shape for () {
    const KIND: Kind = Kind::Object;
}

impl Encode for () {
    #[inline]
    fn size(&self, _: &mut Sizer) -> usize {
        1
    }

    #[inline]
    fn encode(&self, out: &mut Writer<'_>) {
        out.put([0]);
    }
}

impl Decode<'_> for () {
    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        reader.members(0).map(drop)
    }

    fn missing() -> Result<Self> {
        Ok(())
    }
}

/// An outcome is a union: tag 0 with what is `Ok`, tag 1 with the error.
impl<T, E> Shape for std::result::Result<T, E> {
    const KIND: Kind = Kind::Object;
}

impl<T: Encode, E: Encode> Encode for std::result::Result<T, E> {
    #[inline]
    fn size(&self, sizer: &mut Sizer) -> usize {
        1 + match self {
            Ok(value) => value.size(sizer),
            Err(error) => error.size(sizer),
        }
    }

    #[inline]
    fn encode(&self, out: &mut Writer<'_>) {
        match self {
            Ok(value) => {
                out.tag(0);
                value.encode(out);
            }
            Err(error) => {
                out.tag(1);
                error.encode(out);
            }
        }
    }
}

impl<'de, T: Decode<'de>, E: Decode<'de>> Decode<'de> for std::result::Result<T, E> {
    #[inline]
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        match reader.tag()? {
            0 => T::decode(reader).map(Ok),
            1 => E::decode(reader).map(Err),
            _ => Err(reader.error(ErrorKind::Tag)),
        }
    }

    #[inline]
    fn check(reader: &mut Reader<'de>) -> Result<()> {
        match reader.tag()? {
            0 => T::check(reader),
            1 => E::check(reader),
            _ => Err(reader.error(ErrorKind::Tag)),
        }
    }

    fn missing() -> Result<Self> {
        Err(Error::new(ErrorKind::Missing, 0))
    }
}
