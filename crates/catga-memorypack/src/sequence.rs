//! Collections of values: a length and the values.

use crate::{Decode, Encode, ErrorKind, Kind, Reader, Result, Shape, Sizer, Writer};
use std::{
    borrow::Cow,
    collections::{BTreeSet, HashSet, LinkedList, VecDeque},
    hash::{BuildHasher, Hash},
    sync::Arc,
};

impl<T: Shape> Shape for [T] {
    const KIND: Kind = Kind::Length;
}

impl<T: Encode> Encode for [T] {
    #[inline]
    fn size(&self, sizer: &mut Sizer) -> usize {
        if const { T::KIND.raw() > 0 } {
            return 4 + T::size_all(self, sizer);
        }
        4 + sizer.nested(|sizer| T::size_all(self, sizer))
    }

    #[inline]
    fn encode(&self, out: &mut Writer<'_>) {
        out.count(self.len());
        T::encode_all(self, out);
    }
}

/// Reads past a collection.
#[inline]
pub(crate) fn check_all<'de, T: Decode<'de>>(reader: &mut Reader<'de>) -> Result<()> {
    let count = reader.count(const { T::KIND.min() })?;
    check_each::<T>(reader, count)
}

/// Reads past so many values.
#[inline]
pub(crate) fn check_each<'de, T: Decode<'de>>(reader: &mut Reader<'de>, count: usize) -> Result<()> {
    reader.nested(|reader| {
        // A copy, which stays in registers where reading a value is inlined.
        let mut local = reader.clone();
        for _ in 0..count {
            T::check(&mut local)?;
        }
        *reader = local;
        Ok(())
    })
}

#[inline]
fn collect<'de, T: Decode<'de>>(reader: &mut Reader<'de>, items: &mut Vec<T>) -> Result<()> {
    let count = reader.count(const { T::KIND.min() })?;
    if const { T::KIND.raw() > 0 } {
        return T::decode_all(reader, count, items);
    }
    reader.nested(|reader| T::decode_all(reader, count, items))
}

/// Collections that are written like a slice of theirs.
macro_rules! like_a_slice {
    ($($({$($parameters:tt)*})? $ty:ty,)*) => {
        $(
            impl<$($($parameters)*,)? T: Shape> Shape for $ty {
                const KIND: Kind = Kind::Length;
            }

            impl<$($($parameters)*,)? T: Encode> Encode for $ty {
                #[inline]
                fn size(&self, sizer: &mut Sizer) -> usize {
                    (self as &[T]).size(sizer)
                }

                #[inline]
                fn encode(&self, out: &mut Writer<'_>) {
                    (self as &[T]).encode(out);
                }
            }
        )*
    };
}
like_a_slice! { Vec<T>, Box<[T]>, Arc<[T]>, {'a} &'a [T], {const N: usize} [T; N], }

impl<'de, T: Decode<'de>> Decode<'de> for Vec<T> {
    #[inline]
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        let mut items = Self::new();
        collect(reader, &mut items)?;
        Ok(items)
    }

    #[inline]
    fn decode_in_place(&mut self, reader: &mut Reader<'de>) -> Result<()> {
        if const { T::KIND.raw() > 0 } {
            self.clear();
            return collect(reader, self);
        }
        let count = reader.count(const { T::KIND.min() })?;
        reader.nested(|reader| {
            self.truncate(count);
            for item in self.iter_mut() {
                item.decode_in_place(reader)?;
            }
            T::decode_all(reader, count - self.len(), self)
        })
    }

    #[inline]
    fn check(reader: &mut Reader<'de>) -> Result<()> {
        check_all::<T>(reader)
    }

    fn missing() -> Result<Self> {
        Ok(Self::new())
    }
}

/// Collections that are read as a vector first.
macro_rules! from_vec {
    ($($ty:ident<$item:ty>,)*) => {
        $(
            impl<'de, T: Decode<'de>> Decode<'de> for $ty<$item> {
                #[inline]
                fn decode(reader: &mut Reader<'de>) -> Result<Self> {
                    Vec::decode(reader).map(Self::from)
                }

                #[inline]
                fn check(reader: &mut Reader<'de>) -> Result<()> {
                    check_all::<T>(reader)
                }

                fn missing() -> Result<Self> {
                    Ok(Self::from(Vec::new()))
                }
            }
        )*
    };
}
from_vec! { Box<[T]>, VecDeque<T>, }

impl<'de, T: Decode<'de>> Decode<'de> for Arc<[T]> {
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        let items = Vec::decode(reader)?;
        reader.charge(items.len(), size_of::<T>())?;
        Ok(items.into())
    }

    fn check(reader: &mut Reader<'de>) -> Result<()> {
        check_all::<T>(reader)
    }

    fn missing() -> Result<Self> {
        Ok(Self::from([]))
    }
}

/// Makes an array, one value after the other.
#[inline]
fn array<T, const N: usize>(mut make: impl FnMut() -> Result<T>) -> Result<[T; N]> {
    let mut items = [const { None }; N];
    for item in &mut items {
        *item = Some(make()?);
    }
    // Each was just made.
    Ok(items.map(|item| item.expect("an item")))
}

/// Takes the length of an array, which is `N`.
#[inline]
fn exactly<'de, T: Decode<'de>, const N: usize>(reader: &mut Reader<'de>) -> Result<()> {
    let count = reader.count(const { T::KIND.min() })?;
    if count == N { Ok(()) } else { Err(reader.error(ErrorKind::Length)) }
}

/// An array of exactly `N` values.
impl<'de, T: Decode<'de>, const N: usize> Decode<'de> for [T; N] {
    #[inline]
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        exactly::<T, N>(reader)?;
        let size = const { T::KIND.raw() };
        if size > 0 {
            let mut run = reader.run(N * size)?;
            return array(|| T::decode(&mut run));
        }
        reader.nested(|reader| array(|| T::decode(reader)))
    }

    #[inline]
    fn decode_in_place(&mut self, reader: &mut Reader<'de>) -> Result<()> {
        exactly::<T, N>(reader)?;
        let size = const { T::KIND.raw() };
        if size > 0 {
            let mut run = reader.run(N * size)?;
            return self.iter_mut().try_for_each(|item| item.decode_in_place(&mut run));
        }
        reader.nested(|reader| self.iter_mut().try_for_each(|item| item.decode_in_place(reader)))
    }

    #[inline]
    fn check(reader: &mut Reader<'de>) -> Result<()> {
        exactly::<T, N>(reader)?;
        check_each::<T>(reader, N)
    }

    fn missing() -> Result<Self> {
        array(T::missing)
    }
}

impl<T: Shape + Clone> Shape for Cow<'_, [T]> {
    const KIND: Kind = Kind::Length;
}

impl<T: Encode + Clone> Encode for Cow<'_, [T]> {
    #[inline]
    fn size(&self, sizer: &mut Sizer) -> usize {
        (**self).size(sizer)
    }

    #[inline]
    fn encode(&self, out: &mut Writer<'_>) {
        (**self).encode(out);
    }
}

/// Collections whose values lie here and there.
macro_rules! scattered {
    ($($ty:ident $($s:ident)?,)*) => {
        $(
            impl<T: Shape $(, $s)?> Shape for $ty<T $(, $s)?> {
                const KIND: Kind = Kind::Length;
            }

            impl<T: Encode $(, $s)?> Encode for $ty<T $(, $s)?> {
                #[inline]
                fn size(&self, sizer: &mut Sizer) -> usize {
                    4 + sizer.nested(|sizer| self.iter().map(|item| item.size(sizer)).sum())
                }

                #[inline]
                fn encode(&self, out: &mut Writer<'_>) {
                    out.count(self.len());
                    self.iter().for_each(|item| item.encode(out));
                }
            }
        )*
    };
}
scattered! { VecDeque, LinkedList, HashSet S, BTreeSet, }

impl<'de, T: Decode<'de>> Decode<'de> for LinkedList<T> {
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        let mut items = Self::new();
        each(reader, |_| size_of::<T>() + 16, |item| items.push_back(item))?;
        Ok(items)
    }

    fn check(reader: &mut Reader<'de>) -> Result<()> {
        check_all::<T>(reader)
    }

    fn missing() -> Result<Self> {
        Ok(Self::new())
    }
}

/// Equal values are one value, as in .NET.
impl<'de, T: Decode<'de> + Eq + Hash, S: BuildHasher + Default> Decode<'de> for HashSet<T, S> {
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        let count = reader.count(const { T::KIND.min() })?;
        reader.charge(count, hashed::<T>())?;
        let mut items = Self::with_capacity_and_hasher(count, S::default());
        reader.nested(|reader| {
            for _ in 0..count {
                items.insert(T::decode(reader)?);
            }
            Ok(items)
        })
    }

    fn check(reader: &mut Reader<'de>) -> Result<()> {
        check_all::<T>(reader)
    }

    fn missing() -> Result<Self> {
        Ok(Self::default())
    }
}

/// Equal values are one value, as in .NET. Any order is read.
impl<'de, T: Decode<'de> + Ord> Decode<'de> for BTreeSet<T> {
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        let mut items = Self::new();
        each(reader, node::<T>, |item| _ = items.insert(item))?;
        Ok(items)
    }

    fn check(reader: &mut Reader<'de>) -> Result<()> {
        check_all::<T>(reader)
    }

    fn missing() -> Result<Self> {
        Ok(Self::new())
    }
}

/// What a value takes in a hash table, of whose places, a power of two, seven in eight may be used.
pub(crate) fn hashed<T>() -> usize {
    3 * (size_of::<T>() + 1) + 32
}

/// What a value takes in a B-tree, whose nodes have room for eleven: the first one pays a whole node.
pub(crate) fn node<T>(index: usize) -> usize {
    if index == 0 { 11 * size_of::<T>() + 112 } else { 3 * size_of::<T>() + 24 }
}

/// Reads the values of a collection one after the other.
pub(crate) fn each<'de, T: Decode<'de>>(
    reader: &mut Reader<'de>,
    size: impl Fn(usize) -> usize,
    mut add: impl FnMut(T),
) -> Result<()> {
    let count = reader.count(const { T::KIND.min() })?;
    reader.nested(|reader| {
        for index in 0..count {
            reader.charge(1, size(index))?;
            add(T::decode(reader)?);
        }
        Ok(())
    })
}
