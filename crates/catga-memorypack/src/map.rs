//! Dictionaries: a length and pairs.

use crate::{
    Decode, Encode, ErrorKind, Kind, Pair, Reader, Result, Shape, Sizer, Writer,
    sequence::{check_all, hashed, node},
    tuple::{encode_pair, size_pair},
};
use std::{
    collections::{BTreeMap, HashMap, btree_map, hash_map},
    hash::{BuildHasher, Hash},
};

macro_rules! maps {
    ($($ty:ident $($s:ident)?,)*) => {
        $(
            impl<K: Shape, V: Shape $(, $s)?> Shape for $ty<K, V $(, $s)?> {
                const KIND: Kind = Kind::Length;
            }

            impl<K: Encode, V: Encode $(, $s)?> Encode for $ty<K, V $(, $s)?> {
                #[inline]
                fn size(&self, sizer: &mut Sizer) -> usize {
                    4 + sizer.nested(|sizer| self.iter().map(|(key, value)| size_pair(key, value, sizer)).sum())
                }

                #[inline]
                fn encode(&self, out: &mut Writer<'_>) {
                    out.count(self.len());
                    self.iter().for_each(|(key, value)| encode_pair(key, value, out));
                }
            }
        )*
    };
}
maps! { HashMap S, BTreeMap, }

/// A key that stands twice is an error, as in .NET.
impl<'de, K: Decode<'de> + Eq + Hash, V: Decode<'de>, S: BuildHasher + Default> Decode<'de> for HashMap<K, V, S> {
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        let count = reader.count(const { Pair::<K, V>::KIND.min() })?;
        reader.charge(count, hashed::<(K, V)>())?;
        let mut map = Self::with_capacity_and_hasher(count, S::default());
        reader.nested(|reader| {
            for _ in 0..count {
                let Pair(key, value) = Pair::decode(reader)?;
                match map.entry(key) {
                    hash_map::Entry::Vacant(entry) => _ = entry.insert(value),
                    hash_map::Entry::Occupied(_) => return Err(reader.error(ErrorKind::Duplicate)),
                }
            }
            Ok(map)
        })
    }

    fn check(reader: &mut Reader<'de>) -> Result<()> {
        check_all::<Pair<K, V>>(reader)
    }

    fn missing() -> Result<Self> {
        Ok(Self::default())
    }
}

/// A key that stands twice is an error, as in .NET. Any order is read.
impl<'de, K: Decode<'de> + Ord, V: Decode<'de>> Decode<'de> for BTreeMap<K, V> {
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        let count = reader.count(const { Pair::<K, V>::KIND.min() })?;
        let mut map = Self::new();
        reader.nested(|reader| {
            for index in 0..count {
                reader.charge(1, node::<(K, V)>(index))?;
                let Pair(key, value) = Pair::decode(reader)?;
                match map.entry(key) {
                    btree_map::Entry::Vacant(entry) => _ = entry.insert(value),
                    btree_map::Entry::Occupied(_) => return Err(reader.error(ErrorKind::Duplicate)),
                }
            }
            Ok(map)
        })
    }

    fn check(reader: &mut Reader<'de>) -> Result<()> {
        check_all::<Pair<K, V>>(reader)
    }

    fn missing() -> Result<Self> {
        Ok(Self::new())
    }
}
