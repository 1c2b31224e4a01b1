//! The MemoryPack wire format, byte for byte what .NET's MemoryPack 1.21 writes and reads.
//!
//! It is a crate of its own because it can be used alone, and because its `unsafe` code has to stand behind a fence: the
//! module `raw`, which the feature `safe` replaces by a twin without.
//!
//! ```
//! use catga_memorypack::{MemoryPack, decode, to_vec};
//!
//! #[derive(MemoryPack, Debug, PartialEq)]
//! struct Order {
//!     id: i32,
//!     customer: String,
//!     note: Option<String>,
//!     lines: Vec<i32>,
//! }
//!
//! let order = Order { id: 7, customer: "ab".to_owned(), note: None, lines: vec![1, 2] };
//! let bytes = to_vec(&order)?;
//! assert_eq!(bytes[..15], [4, 7, 0, 0, 0, 0xFD, 0xFF, 0xFF, 0xFF, 2, 0, 0, 0, b'a', b'b']);
//! assert_eq!(decode::<Order>(&bytes)?, order);
//!
//! // What is borrowed lies in the bytes: nothing is allocated.
//! #[derive(MemoryPack)]
//! struct OrderRef<'a> {
//!     id: i32,
//!     customer: &'a str,
//!     note: Option<&'a str>,
//!     lines: catga_memorypack::List<'a, i32>,
//! }
//! let view: OrderRef<'_> = decode(&bytes)?;
//! assert_eq!((view.id, view.customer, view.note), (7, "ab", None));
//! assert_eq!(view.lines.iter().sum::<i32>(), 3);
//! # Ok::<(), catga_memorypack::Error>(())
//! ```
//!
//! # Types
//!
//! | .NET | here |
//! |---|---|
//! | `bool`, `byte` … `ulong`, `Int128`, `UInt128`, `float`, `double` | `bool`, `u8` … `u64`, `i128`, `u128`, `f32`, `f64` |
//! | `char`, `Rune`, `Half`, `decimal` | `char` up to U+FFFF or `u16`, [`Rune`], [`Half`], [`Decimal`] |
//! | `Guid` | `uuid::Uuid` (feature `uuid`) |
//! | `DateTime`, `DateTimeOffset`, `TimeSpan`, `DateOnly`, `TimeOnly` | the types of these names; `TimeSpan` also as `std::time::Duration` |
//! | `string`, `Uri`, `CultureInfo`, `Type`; `StringBuilder` | `String`, `Box<str>`, `Arc<str>`, `Cow<str>`, `&str`, [`catga_buf::Str`], `CompactString` (feature `compact_str`); [`Utf16`] |
//! | `byte[]` | `Vec<u8>`, `Box<[u8]>`, `Cow<[u8]>`, `&[u8]`, [`bytes::Bytes`](::bytes::Bytes) |
//! | `T[]`, `List<T>`, `Queue<T>`, `Stack<T>` (bottom first) … | `Vec`, `VecDeque`, `LinkedList`, `Box<[T]>`, `Arc<[T]>`, `[T; N]`, [`List`] |
//! | `HashSet`, `SortedSet`; `Dictionary`, `SortedDictionary` | `HashSet`, `BTreeSet`; `HashMap`, `BTreeMap`, `Vec<Pair<K, V>>` |
//! | `KeyValuePair`, `ValueTuple` | [`Pair`], tuples |
//! | `T?` | `Option<T>` |
//! | classes, records, structs with references | structs; `#[memorypack(value_type)]` on the last, whose `null` is another |
//! | structs without references | `#[repr(C)]` structs |
//! | `Tuple`, `Lazy`, `Version`, `T[,]` | structs with `#[memorypack(exact)]`, [`Lazy`], [`Version`], [`Grid`] |
//! | unions; enums | enums with `#[memorypack(union)]`; enums |
//!
//! `BigInteger` and `BitArray` are left out: .NET does not read back what it writes of them.
//!
//! # Limits
//!
//! [`Options`] bound how deep values are nested and what reading them allocates. A frame of n bytes that is refused has
//! made the reader allocate at most 16 n + 4,096 bytes; it never panics.
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]
mod api;
mod boxed;
mod bytes;
mod decimal;
mod error;
#[cfg(feature = "jiff")]
mod jiff;
mod kind;
mod list;
mod map;
mod number;
mod odd;
mod option;
mod reader;
mod sequence;
mod sizer;
mod string;
mod text;
mod time;
mod traits;
mod tuple;
mod writer;

#[cfg(any(test, not(feature = "safe")))]
#[allow(unsafe_code)]
mod raw;
#[cfg(any(test, feature = "safe"))]
#[cfg_attr(not(feature = "safe"), allow(dead_code))]
mod safe;
#[cfg(test)]
mod twins;

#[cfg(not(feature = "safe"))]
use raw as memory;
#[cfg(feature = "safe")]
use safe as memory;

#[cfg(feature = "derive")]
pub use catga_derive::MemoryPack;

pub use crate::{
    api::{
        Options, check, decode, decode_in_place, decode_shared, encode, encode_to_buf, encode_to_sink, encode_to_slice,
        to_vec,
    },
    decimal::Decimal,
    error::{Error, ErrorKind, Result},
    kind::{Kind, Layout},
    list::{Iter, List},
    odd::{Grid, Half, Lazy, Rune, Version},
    reader::{Reader, Slots},
    sizer::Sizer,
    string::Utf16,
    text::Text,
    time::{DateOnly, DateTime, DateTimeKind, DateTimeOffset, TimeOnly, TimeSpan},
    traits::{Decode, Encode, Shape},
    tuple::Pair,
    writer::Writer,
};

/// What the derive computes layouts with.
#[doc(hidden)]
pub mod __private {
    pub use crate::kind::{pad, run, sequential};
}
