//! Catga's names as tokens of NATS, which allow neither dots nor spaces.

use std::fmt::Write;

/// A name as one token: letters, digits and `-` stay, `.` becomes `_`, every other byte `=` and two hex digits. Different
/// names give different tokens.
pub(crate) fn token(name: &str) -> String {
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => token.push(byte.into()),
            b'.' => token.push('_'),
            // Writing to a `String` cannot fail.
            _ => _ = write!(token, "={byte:02X}"),
        }
    }
    token
}

/// The name of a token.
pub(crate) fn name(token: &str) -> Option<String> {
    let (mut name, mut rest) = (Vec::with_capacity(token.len()), token.bytes());
    while let Some(byte) = rest.next() {
        name.push(match byte {
            b'_' => b'.',
            b'=' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(name).ok()
}

/// Bytes in the form of a header's value: printable ASCII stays, but for `%`; every other byte is `%` and two digits.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'%' | b'=' | 0..=b' ' | 0x7F.. => _ = write!(text, "%{byte:02X}"),
            _ => text.push((*byte).into()),
        }
    }
    text
}

/// The bytes of an escaped text.
pub(crate) fn unescape(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            _ => byte,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_token_of_its_own_and_comes_back() {
        let names = ["shop.mail", "shop_mail", "shop-mail", "a b", "=", "über.x", "a._", "a_."];
        let tokens: std::collections::BTreeSet<_> = names.iter().map(|name| token(name)).collect();
        assert_eq!(tokens.len(), names.len());
        assert_eq!(token("shop.mail"), "shop_mail");
        for expected in names {
            assert_eq!(name(&token(expected)).as_deref(), Some(expected));
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&escape(&all)), Some(all));
    }
}
