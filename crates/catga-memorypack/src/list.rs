use crate::{Decode, Encode, Kind, Options, Reader, Result, Shape, Sizer, Writer, sequence::check_each};
use std::{fmt, marker::PhantomData};

/// A collection that stays in the bytes: all of its values were tested when it was read, each is made when it is asked
/// for, and nothing is allocated.
///
/// ```
/// use catga_memorypack::{List, decode, to_vec};
///
/// let bytes = to_vec(&["tea", "rice"])?;
/// let names: List<'_, &str> = decode(&bytes)?;
/// assert_eq!(names.len(), 2);
/// assert_eq!(names.iter().collect::<String>(), "tearice");
/// # Ok::<(), catga_memorypack::Error>(())
/// ```
pub struct List<'de, T> {
    count: usize,
    reader: Reader<'de>,
    items: PhantomData<fn() -> T>,
}

impl<'de, T: Decode<'de>> List<'de, T> {
    /// How many values there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The values, made one after the other.
    ///
    /// It ends early only where a value allocates more than [`Options::max_memory`] by itself.
    pub fn iter(&self) -> Iter<'de, T> {
        Iter { left: self.count, reader: self.reader.clone(), items: PhantomData }
    }
}

impl<T> Clone for List<'_, T> {
    fn clone(&self) -> Self {
        Self { count: self.count, reader: self.reader.clone(), items: PhantomData }
    }
}

impl<T> Default for List<'_, T> {
    fn default() -> Self {
        Self { count: 0, reader: Reader::new(&[], &Options::default(), None), items: PhantomData }
    }
}

impl<T> fmt::Debug for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").field("len", &self.count).finish_non_exhaustive()
    }
}

impl<'de, T: Decode<'de>> IntoIterator for &List<'de, T> {
    type Item = T;
    type IntoIter = Iter<'de, T>;
    fn into_iter(self) -> Iter<'de, T> {
        self.iter()
    }
}

/// The values of a [`List`].
#[derive(Debug)]
pub struct Iter<'de, T> {
    left: usize,
    reader: Reader<'de>,
    items: PhantomData<fn() -> T>,
}

impl<'de, T: Decode<'de>> Iterator for Iter<'de, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        self.reader.begin();
        T::decode(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

impl<T> Shape for List<'_, T> {
    const KIND: Kind = Kind::Length;
}

impl<T> Encode for List<'_, T> {
    fn size(&self, _: &mut Sizer) -> usize {
        4 + self.reader.remaining()
    }

    /// Copies the bytes as they were read, in the form of text that they have.
    fn encode(&self, out: &mut Writer<'_>) {
        out.count(self.count);
        out.put_slice(self.reader.rest());
    }
}

impl<'de, T: Decode<'de>> Decode<'de> for List<'de, T> {
    #[inline]
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        let count = reader.count(const { T::KIND.min() })?;
        let start = reader.clone();
        check_each::<T>(reader, count)?;
        Ok(Self { count, reader: start.until(reader), items: PhantomData })
    }

    fn missing() -> Result<Self> {
        Ok(Self::default())
    }
}
