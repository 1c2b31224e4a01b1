//! What text is measured and converted with.

/// How strings are written. Readers take all forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Text {
    /// UTF-8, with its length in UTF-16 units: what .NET writes by default.
    #[default]
    Utf8,
    /// UTF-8 without that length. A little faster for us, slower for .NET, and not the bytes that it writes.
    Utf8Unmeasured,
    /// UTF-16, as .NET writes with `MemoryPackSerializerOptions.Utf16`.
    Utf16,
}

/// How many UTF-16 units the UTF-8 text has: one for each byte that starts a character, and one more for the
/// characters of four bytes.
#[inline(never)]
pub(crate) fn utf16_len(text: &[u8]) -> usize {
    // Sums of at most 127 bytes fit a byte, which makes the loop one of vectors of bytes.
    let units = |byte: &u8| u8::from((*byte as i8) >= -64) + u8::from(*byte >= 0xF0);
    text.chunks(127).map(|chunk| usize::from(chunk.iter().map(units).sum::<u8>())).sum()
}

/// The text of UTF-16 units, or `None` where a surrogate stands alone.
pub(crate) fn from_utf16(units: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(utf8_len(units)?);
    text.extend(chars(units).map_while(Result::ok));
    Some(text)
}

/// How many bytes of UTF-8 the UTF-16 units are, or `None` where a surrogate stands alone.
pub(crate) fn utf8_len(units: &[u8]) -> Option<usize> {
    chars(units).map(|c| c.map(char::len_utf8).ok()).sum()
}

fn chars(units: &[u8]) -> impl Iterator<Item = Result<char, std::char::DecodeUtf16Error>> {
    char::decode_utf16(units.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])))
}
