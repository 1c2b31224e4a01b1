use bytes::Bytes;
use std::{borrow::Borrow, fmt, hash, ops::Deref, str::Utf8Error};

/// Text over shared bytes: cloning copies nothing, and a slice of a received frame costs nothing.
///
/// A `Str` keeps the whole block alive that its bytes lie in. What is kept for long should be made with
/// [`Str::from`] a `&str`, which copies exactly the text.
#[derive(Clone, Default)]
pub struct Str(Bytes);

impl Str {
    /// Text that lives as long as the program; allocates nothing.
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// Takes shared bytes as text, without a copy.
    ///
    /// # Errors
    ///
    /// [`Utf8Error`] says where the bytes stop being UTF-8.
    pub fn from_shared(bytes: Bytes) -> Result<Self, Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Self(bytes))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // The bytes were checked when this value was made. Without `unsafe` they are checked again here; the texts
        // are names and subjects of at most 255 bytes.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The shared bytes of the text.
    pub fn as_shared(&self) -> &Bytes {
        &self.0
    }
}

impl Deref for Str {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Str {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Str {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl PartialEq for Str {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Str {}

impl PartialOrd for Str {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Str {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

// `Borrow<str>` promises the hash of the `str`.
impl hash::Hash for Str {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn shares_the_block_and_refuses_what_is_not_text() {
        let block = Bytes::from(b"name\xff".to_vec());
        let text = Str::from_shared(block.slice(..4)).unwrap();
        assert_eq!(text.as_ptr(), block.as_ptr());
        assert_eq!(Str::from_shared(block).unwrap_err().valid_up_to(), 4);
    }

    #[test]
    fn is_found_by_str_in_a_map() {
        let map = HashMap::from([(Str::from("a"), 1)]);
        assert_eq!(map.get("a"), Some(&1));
    }
}
