//! Types of .NET that Rust has no likeness of.

use crate::{Decode, Encode, Error, ErrorKind, Kind, Layout, Reader, Result, Shape, Sizer, Writer};

/// A .NET `Rune`: any character, in four bytes. A `char` here is a .NET `char`, of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rune(pub char);

impl Shape for Rune {
    const KIND: Kind = Kind::Raw(Layout::of(4, 4));
}

impl Encode for Rune {
    fn size(&self, _: &mut Sizer) -> usize {
        4
    }

    fn encode(&self, out: &mut Writer<'_>) {
        out.put(u32::from(self.0).to_le_bytes());
    }
}

impl Decode<'_> for Rune {
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let scalar = u32::from_le_bytes(*reader.take()?);
        char::from_u32(scalar).map(Self).ok_or_else(|| reader.error(ErrorKind::Value))
    }

    fn missing() -> Result<Self> {
        Ok(Self::default())
    }
}

/// A .NET `Half`: the bits of a float of 16 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Half(pub u16);

impl Shape for Half {
    const KIND: Kind = Kind::Raw(Layout::of(2, 2));
}

impl Encode for Half {
    fn size(&self, _: &mut Sizer) -> usize {
        2
    }

    fn encode(&self, out: &mut Writer<'_>) {
        out.put(self.0.to_le_bytes());
    }
}

impl Decode<'_> for Half {
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        reader.take().map(|bits| Self(u16::from_le_bytes(*bits)))
    }

    fn missing() -> Result<Self> {
        Ok(Self::default())
    }
}

/// A .NET `Version`: two to four numbers, those that are not there -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The first number.
    pub major: i32,
    /// The second number.
    pub minor: i32,
    /// The third number, or -1.
    pub build: i32,
    /// The fourth number, or -1.
    pub revision: i32,
}

impl Version {
    /// Version `major.minor`.
    pub const fn new(major: i32, minor: i32) -> Self {
        Self { major, minor, build: -1, revision: -1 }
    }

    const fn is_valid(&self) -> bool {
        let Self { major, minor, build, revision } = *self;
        major >= 0 && minor >= 0 && build >= -1 && revision >= -1 && (build >= 0 || revision < 0)
    }
}

impl Shape for Version {
    const KIND: Kind = Kind::Object;
}

impl Encode for Version {
    fn size(&self, sizer: &mut Sizer) -> usize {
        if !self.is_valid() {
            sizer.fail(ErrorKind::Value);
        }
        17
    }

    fn encode(&self, out: &mut Writer<'_>) {
        out.put([4]);
        out.put_numbers(&[self.major, self.minor, self.build, self.revision]);
    }
}

impl Decode<'_> for Version {
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        exactly(reader, 4)?;
        let mut number = || reader.take().map(|bytes| i32::from_le_bytes(*bytes));
        let version = Self { major: number()?, minor: number()?, build: number()?, revision: number()? };
        if version.is_valid() { Ok(version) } else { Err(reader.error(ErrorKind::Value)) }
    }
}

/// Takes a member count that has to be `count`.
fn exactly(reader: &mut Reader<'_>, count: u8) -> Result<()> {
    let members = reader.members(count)?;
    if members == usize::from(count) { Ok(()) } else { Err(reader.error(ErrorKind::Members)) }
}

/// A .NET `Lazy<T>`: an object of exactly one member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lazy<T>(pub T);

impl<T> Shape for Lazy<T> {
    const KIND: Kind = Kind::Object;
}

impl<T: Encode> Encode for Lazy<T> {
    fn size(&self, sizer: &mut Sizer) -> usize {
        1 + self.0.size(sizer)
    }

    fn encode(&self, out: &mut Writer<'_>) {
        out.put([1]);
        self.0.encode(out);
    }
}

impl<'de, T: Decode<'de>> Decode<'de> for Lazy<T> {
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        exactly(reader, 1)?;
        T::decode(reader).map(Self)
    }

    fn check(reader: &mut Reader<'de>) -> Result<()> {
        exactly(reader, 1)?;
        T::check(reader)
    }

    fn missing() -> Result<Self> {
        T::missing().map(Self)
    }
}

/// A .NET array of `RANK` dimensions, `T[,]` by default: up to four, as MemoryPack writes them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grid<T, const RANK: usize = 2> {
    dims: [u32; RANK],
    values: Vec<T>,
}

impl<T, const RANK: usize> Grid<T, RANK> {
    /// A grid of these dimensions, its values row by row; `None` where they are not as many as the dimensions say.
    pub fn new(dims: [u32; RANK], values: Vec<T>) -> Option<Self> {
        (volume(dims) == Some(values.len())).then_some(Self { dims, values })
    }

    /// The dimensions, the outermost first.
    pub fn dims(&self) -> [u32; RANK] {
        self.dims
    }

    /// The values, row by row.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// The values, row by row.
    pub fn into_values(self) -> Vec<T> {
        self.values
    }
}

/// How many values dimensions of at most 31 bits hold.
fn volume<const RANK: usize>(dims: [u32; RANK]) -> Option<usize> {
    dims.iter().try_fold(1_usize, |volume, dim| volume.checked_mul(i32::try_from(*dim).ok()?.try_into().ok()?))
}

impl<T, const RANK: usize> Shape for Grid<T, RANK> {
    const KIND: Kind = {
        assert!(RANK >= 2 && RANK <= 4, "MemoryPack writes arrays of two to four dimensions; one of one is a `Vec`");
        Kind::Object
    };
}

impl<T: Encode, const RANK: usize> Encode for Grid<T, RANK> {
    fn size(&self, sizer: &mut Sizer) -> usize {
        const { _ = Self::KIND };
        1 + 4 * RANK + self.values.size(sizer)
    }

    fn encode(&self, out: &mut Writer<'_>) {
        out.put([RANK as u8 + 1]);
        out.put_numbers(&self.dims);
        self.values.encode(out);
    }
}

/// Takes the header of a grid.
fn dims<const RANK: usize>(reader: &mut Reader<'_>) -> Result<[u32; RANK]> {
    exactly(reader, RANK as u8 + 1)?;
    let mut dims = [0; RANK];
    for dim in &mut dims {
        *dim = u32::from_le_bytes(*reader.take()?);
    }
    let Ok(count) = reader.clone().take().map(|count| u32::from_le_bytes(*count) as usize) else {
        return Err(reader.error(ErrorKind::Truncated));
    };
    if volume(dims) == Some(count) { Ok(dims) } else { Err(reader.error(ErrorKind::Length)) }
}

impl<'de, T: Decode<'de>, const RANK: usize> Decode<'de> for Grid<T, RANK> {
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        let dims = dims(reader)?;
        Ok(Self { dims, values: Vec::decode(reader)? })
    }

    fn check(reader: &mut Reader<'de>) -> Result<()> {
        dims::<RANK>(reader)?;
        Vec::<T>::check(reader)
    }

    fn missing() -> Result<Self> {
        Self::new([0; RANK], Vec::new()).ok_or_else(|| Error::new(ErrorKind::Missing, 0))
    }
}
