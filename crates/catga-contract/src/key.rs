use crate::{MessageId, Str};
use bytes::Bytes;
use std::fmt;

/// A partition key: messages with the same key leave in the order in which they were committed. At most 255 bytes; a
/// longer one is refused where the message is published.
///
/// ```
/// use catga_contract::{Key, ToKey};
///
/// assert_eq!(17_u64.to_key(), Some(Key::new("17"))); // integers are decimal text
/// assert_eq!(None::<&str>.to_key(), None);
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(Bytes);

impl Key {
    /// The largest key, in bytes.
    pub const MAX: usize = 255;

    /// A key of these bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The bytes of the key.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// FNV-1a 64 of the bytes: what backends keep order by. Two keys with one digest keep the order of both together.
    pub fn digest(&self) -> u64 {
        fnv1a(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What can be a partition key, in one form that never changes: text as UTF-8, integers as decimal text, UUIDs
/// hyphenated in lower case. `None` is no key.
pub trait ToKey {
    /// This value as a key.
    fn to_key(&self) -> Option<Key>;
}

impl<T: ToKey + ?Sized> ToKey for &T {
    fn to_key(&self) -> Option<Key> {
        T::to_key(self)
    }
}

impl<T: ToKey> ToKey for Option<T> {
    fn to_key(&self) -> Option<Key> {
        self.as_ref().and_then(ToKey::to_key)
    }
}

impl ToKey for str {
    fn to_key(&self) -> Option<Key> {
        Some(Key(Bytes::copy_from_slice(self.as_bytes())))
    }
}

impl ToKey for Str {
    fn to_key(&self) -> Option<Key> {
        Some(Key(self.as_shared().clone()))
    }
}

impl ToKey for Key {
    fn to_key(&self) -> Option<Key> {
        Some(self.clone())
    }
}

macro_rules! key_by_text {
    ($($type:ty)*) => {$(
        impl ToKey for $type {
            fn to_key(&self) -> Option<Key> {
                Some(Key(self.to_string().into()))
            }
        }
    )*};
}
key_by_text!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize uuid::Uuid MessageId);

macro_rules! key_by_str {
    ($($type:ty)*) => {$(
        impl ToKey for $type {
            fn to_key(&self) -> Option<Key> {
                str::to_key(self)
            }
        }
    )*};
}
key_by_str!(String Box<str> std::sync::Arc<str> std::borrow::Cow<'_, str>);

/// The partition of a message, 0 to 63: the low six bits of FNV-1a 64 over the key's bytes, or over the id's sixteen
/// bytes where there is no key. `docs/frame.md` lists vectors; this never changes, because leases and kept rows
/// depend on it.
pub fn partition(key: Option<&Key>, id: MessageId) -> u8 {
    (key.map_or_else(|| fnv1a(&id.to_bytes()), Key::digest) & 63) as u8
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    // These vectors stand in docs/frame.md: a change here is a change of the format.
    #[test]
    fn partitions_are_those_of_the_specification() {
        let id = MessageId(1);
        let vectors = [("", 37), ("a", 12), ("foobar", 40), ("17", 49), ("c-17", 57)];
        for (key, expected) in vectors {
            assert_eq!(partition(Some(&Key::new(key)), id), expected, "{key:?}");
        }
        assert_eq!(partition(None, id), 50);
    }

    #[test]
    fn keys_have_one_form() {
        let uuid = uuid::Uuid::from_u128(0xAB);
        assert_eq!(uuid.to_key(), Some(Key::new("00000000-0000-0000-0000-0000000000ab")));
        assert_eq!((-3_i32).to_key(), Some(Key::new("-3")));
        assert_eq!(Some("x").to_key(), String::from("x").to_key());
    }
}
