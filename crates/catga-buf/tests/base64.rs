//! Base64 agrees with a table of one's own on everything from 0 bytes to 64 MiB, and says where a text is wrong.
#![allow(clippy::unwrap_used)]

use catga_buf::{
    BufferPool,
    base64::{self, DecodeError, TooSmall},
};
use proptest::prelude::*;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// As the standard writes it, three bytes at a time.
fn model(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(base64::encoded_len(bytes.len()));
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0_usize, |bits, at| bits << 8 | usize::from(three.get(at).copied().unwrap_or(0)));
        for digit in 0..4 {
            let filled = digit <= three.len();
            text.push(if filled { ALPHABET[bits >> (18 - 6 * digit) & 63].into() } else { '=' });
        }
    }
    text
}

fn check(bytes: &[u8]) {
    let text = model(bytes);
    assert_eq!(text.len(), base64::encoded_len(bytes.len()));
    let pool = BufferPool::global();
    let mut encoded = pool.acquire(1);
    encoded.put_slice(b"> ");
    base64::encode_into(bytes, &mut encoded);
    assert!(encoded[2..] == *text.as_bytes(), "{} bytes", bytes.len());
    let mut string = String::from("> ");
    base64::encode_string(bytes, &mut string);
    assert!(string[2..] == text);
    let mut decoded = pool.acquire(1);
    decoded.put_slice(b"> ");
    base64::decode_into(&text, &mut decoded).unwrap();
    assert!(decoded[2..] == *bytes, "{} bytes", bytes.len());
    let mut room = vec![0; base64::decoded_len(text.len())];
    assert!(base64::decode_slice(&text, &mut room).unwrap() == bytes);
}

#[test]
fn vectors_of_the_standard() {
    for (bytes, text) in
        [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
    {
        assert_eq!(model(bytes.as_bytes()), text);
        check(bytes.as_bytes());
    }
}

#[test]
fn every_length_up_to_400_and_large_ones_up_to_64_mib() {
    let block: Vec<u8> = (0..(1_usize << 20) + 1).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    (0..400).for_each(|len| check(&block[..len]));
    [65_535, 65_537, (1 << 20) + 1].into_iter().for_each(|len| check(&block[..len]));
    // All 64 MiB against themselves, and against the model at both ends.
    let bytes = block[..1 << 20].repeat(64);
    let pool = BufferPool::global();
    let (mut text, mut back) = (pool.acquire(0), pool.acquire(0));
    base64::encode_into(&bytes, &mut text);
    assert_eq!(text.len(), base64::encoded_len(64 << 20));
    assert!(text[..4_000] == *model(&bytes[..3_000]).as_bytes());
    let end = (64 << 20) / 3 * 3 - 3_000;
    assert!(text[end / 3 * 4..] == *model(&bytes[end..]).as_bytes());
    base64::decode_into(&text[..], &mut back).unwrap();
    assert!(back[..] == bytes[..]);
}

#[test]
fn a_small_room_says_what_is_needed() {
    let (mut seven, mut eight) = ([0; 7], [0; 8]);
    let error = base64::encode_slice(b"four", &mut seven).unwrap_err();
    assert_eq!(error, TooSmall { needed: 8, given: 7 });
    assert_eq!(error.to_string(), "8 bytes are needed but only 7 are there");
    assert_eq!(base64::encode_slice(b"four", &mut eight).unwrap(), "Zm91cg==");
    let error = base64::decode_slice("Zm91cg==", &mut seven[..3]).unwrap_err();
    assert_eq!(error, DecodeError::TooSmall(TooSmall { needed: 4, given: 3 }));
    assert_eq!(base64::decode_slice("Zm91cg==", &mut seven[..4]).unwrap(), b"four");
}

#[test]
fn errors_say_where() {
    let mut buf = BufferPool::global().acquire(64);
    buf.put_slice(b"kept");
    let mut fails = |text: &str| {
        let error = base64::decode_into(text, &mut buf).unwrap_err();
        assert_eq!(&buf[..], b"kept", "a text that fails adds nothing");
        assert_eq!(base64::decode_slice(text, &mut [0; 64]).unwrap_err(), error);
        error.to_string()
    };
    assert_eq!(fails("Zm9v\nZm9"), "byte 4 (`\\n`) is not Base64");
    assert_eq!(fails("Zm9vZm9-"), "byte 7 (`-`) is not Base64");
    assert_eq!(fails("Zg==Zm9v"), "byte 2 (`=`) is not Base64");
    assert_eq!(fails("Z==="), "byte 1 (`=`) is not Base64");
    assert_eq!(fails("===="), "byte 0 (`=`) is not Base64");
    assert_eq!(fails("Zm9vZ"), "a text of 5 bytes is not Base64: it is no multiple of 4");
    assert_eq!(fails("Zm9vZh=="), "byte 5 has bits that belong to no byte");
    assert_eq!(fails("Zm9vZm9="), "byte 6 has bits that belong to no byte");
}

proptest! {
    #[test]
    fn a_text_with_one_foreign_byte_is_refused_at_that_byte(
        bytes in proptest::collection::vec(any::<u8>(), 3..600), place: usize, foreign in "[^A-Za-z0-9+/=]"
    ) {
        let whole = bytes.len() / 3 * 3;
        let mut text = model(&bytes[..whole]).into_bytes();
        let at = place % text.len();
        text[at] = foreign.as_bytes()[0];
        let error = base64::decode_into(&text, &mut BufferPool::global().acquire(0)).unwrap_err();
        prop_assert_eq!(error, DecodeError::Byte { at, byte: text[at] });
    }

    #[test]
    fn any_text_is_either_what_its_bytes_encode_to_or_refused(text in "[A-Za-d0-2+/=]{0,13}") {
        let mut bytes = BufferPool::global().acquire(0);
        if base64::decode_into(&text, &mut bytes).is_ok() {
            prop_assert_eq!(model(&bytes), text);
        }
    }
}
