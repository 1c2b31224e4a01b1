//! Collections that keep the order they were read in, as .NET's do and std's do not. They show how the traits are
//! implemented by hand.

use catga_memorypack::{
    Decimal, Decode, Encode, ErrorKind, Kind, MemoryPack, Pair, Reader, Result, Shape, Sizer, Writer,
};
use std::ops::Deref;

/// A dictionary: a key stands in it once.
#[derive(Clone, Debug, PartialEq)]
pub struct Map<K, V>(Vec<Pair<K, V>>);

/// A set: equal values are one.
#[derive(Clone, Debug, PartialEq)]
pub struct Set<T>(Vec<T>);

/// A sorted set of strings in the order of their UTF-16 units.
#[derive(Clone, Debug, PartialEq)]
pub struct Sorted(pub Vec<String>);

impl<K, V> Deref for Map<K, V> {
    type Target = [Pair<K, V>];
    fn deref(&self) -> &[Pair<K, V>] {
        &self.0
    }
}

impl<T> Deref for Set<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

macro_rules! like_a_vec {
    ($({$($parameter:ident)*} $ty:ty;)*) => {
        $(
            impl<$($parameter),*> Shape for $ty {
                const KIND: Kind = Kind::Length;
            }

            impl<$($parameter: Encode),*> Encode for $ty {
                fn size(&self, sizer: &mut Sizer) -> usize {
                    self.0.size(sizer)
                }

                fn encode(&self, out: &mut Writer<'_>) {
                    self.0.encode(out);
                }
            }
        )*
    };
}
like_a_vec! { {K V} Map<K, V>; {T} Set<T>; {} Sorted; }

impl<'de, K: Decode<'de> + PartialEq, V: Decode<'de>> Decode<'de> for Map<K, V> {
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        let pairs: Vec<Pair<K, V>> = Vec::decode(reader)?;
        for (index, pair) in pairs.iter().enumerate() {
            if pairs[..index].iter().any(|other| other.0 == pair.0) {
                return Err(reader.error(ErrorKind::Duplicate));
            }
        }
        Ok(Self(pairs))
    }

    fn missing() -> Result<Self> {
        Ok(Self(Vec::new()))
    }
}

impl<'de, T: Decode<'de> + PartialEq> Decode<'de> for Set<T> {
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        let mut items: Vec<T> = Vec::new();
        for item in Vec::decode(reader)? {
            if !items.contains(&item) {
                items.push(item);
            }
        }
        Ok(Self(items))
    }

    fn missing() -> Result<Self> {
        Ok(Self(Vec::new()))
    }
}

impl Decode<'_> for Sorted {
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let items: Vec<String> = Vec::decode(reader)?;
        let ascends = |pair: &[String]| pair[0].encode_utf16().lt(pair[1].encode_utf16());
        if items.windows(2).all(ascends) { Ok(Self(items)) } else { Err(reader.error(ErrorKind::Value)) }
    }

    fn missing() -> Result<Self> {
        Ok(Self(Vec::new()))
    }
}

/// Structs with references: their `Option` is 255, or 1 and the struct.
#[derive(Clone, Debug, PartialEq, MemoryPack)]
#[memorypack(value_type)]
pub struct Money {
    pub Currency: Option<String>,
    pub Minor: i64,
}

#[derive(Clone, Debug, PartialEq, MemoryPack)]
#[memorypack(value_type)]
pub struct Amount {
    pub Currency: Option<String>,
    pub Value: Decimal,
}
