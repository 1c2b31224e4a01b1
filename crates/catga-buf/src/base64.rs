//! Base64 in the standard alphabet with padding, by vector instructions where the processor has them, into memory that
//! is there already.
//!
//! ```
//! use catga_buf::{BufferPool, base64};
//!
//! let mut text = [0; 12];
//! assert_eq!(base64::encode_slice(b"message", &mut text)?, "bWVzc2FnZQ==");
//!
//! let mut back = BufferPool::global().acquire(16);
//! base64::decode_into("bWVzc2FnZQ==", &mut back)?;
//! assert_eq!(&back[..], b"message");
//!
//! let error = base64::decode_into("bWVz*2FnZQ==", &mut back).unwrap_err();
//! assert_eq!(error.to_string(), "byte 4 (`*`) is not Base64");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::PooledBuf;
use base64_simd::{Out, STANDARD};
use std::{error, fmt};

/// There is less room than is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall {
    /// The bytes that are needed.
    pub needed: usize,
    /// The bytes that were given.
    pub given: usize,
}

impl fmt::Display for TooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes are needed but only {} are there", self.needed, self.given)
    }
}

impl error::Error for TooSmall {}

/// Why a text cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The byte at that offset does not belong there: it is not of the alphabet, or padding before the end.
    Byte {
        /// Where it is.
        at: usize,
        /// What it is.
        byte: u8,
    },
    /// The text has this length, which is no multiple of 4.
    Length(usize),
    /// The last byte before the padding, at this offset, has bits set that no byte is left for: two texts would mean
    /// the same.
    Trailing {
        /// Where it is.
        at: usize,
    },
    /// The place to decode to is too small.
    TooSmall(TooSmall),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte { at, byte } => write!(f, "byte {at} (`{}`) is not Base64", byte.escape_ascii()),
            Self::Length(length) => write!(f, "a text of {length} bytes is not Base64: it is no multiple of 4"),
            Self::Trailing { at } => write!(f, "byte {at} has bits that belong to no byte"),
            Self::TooSmall(error) => error.fmt(f),
        }
    }
}

impl error::Error for DecodeError {}

/// How long the text of so many bytes is.
///
/// # Panics
///
/// Where it exceeds any address space.
#[inline]
pub const fn encoded_len(bytes: usize) -> usize {
    match bytes.div_ceil(3).checked_mul(4) {
        Some(len) => len,
        None => panic!("no address space holds a text of that length"),
    }
}

/// How many bytes a text has at most.
#[inline]
pub const fn decoded_len(text: usize) -> usize {
    text / 4 * 3
}

/// Encodes into `room`, an array on the stack for example, and answers the text in it.
///
/// # Errors
///
/// [`TooSmall`] where `room` is shorter than [`encoded_len`].
#[inline]
pub fn encode_slice<'a>(bytes: &[u8], room: &'a mut [u8]) -> Result<&'a str, TooSmall> {
    let (needed, given) = (encoded_len(bytes.len()), room.len());
    let room = room.get_mut(..needed).ok_or(TooSmall { needed, given })?;
    Ok(STANDARD.encode_as_str(bytes, Out::from_slice(room)))
}

/// Adds the text at the end of a buffer.
#[inline]
pub fn encode_into(bytes: &[u8], out: &mut PooledBuf) {
    out.append_with(encoded_len(bytes.len()), |room| STANDARD.encode(bytes, Out::from_uninit_slice(room)));
}

/// Adds the text at the end of a string.
#[inline]
pub fn encode_string(bytes: &[u8], out: &mut String) {
    STANDARD.encode_append(bytes, out);
}

/// Decodes into `room` and answers the bytes in it.
///
/// # Errors
///
/// What is wrong with the text and where; `room` is then of no use. [`DecodeError::TooSmall`] where the bytes do not
/// fit.
#[inline]
pub fn decode_slice(text: impl AsRef<[u8]>, room: &mut [u8]) -> Result<&[u8], DecodeError> {
    let text = text.as_ref();
    let (needed, given) = (exact_len(text)?, room.len());
    let room = room.get_mut(..needed).ok_or(DecodeError::TooSmall(TooSmall { needed, given }))?;
    match STANDARD.decode(text, Out::from_slice(room)) {
        Ok(bytes) => Ok(bytes),
        Err(_) => Err(fault(text)),
    }
}

/// Adds the bytes at the end of a buffer.
///
/// # Errors
///
/// What is wrong with the text and where; the buffer is then as it was.
#[inline]
pub fn decode_into(text: impl AsRef<[u8]>, out: &mut PooledBuf) -> Result<(), DecodeError> {
    let text = text.as_ref();
    let mut failed = false;
    let needed = exact_len(text)?;
    out.append_with(needed, |room| match STANDARD.decode(text, Out::from_uninit_slice(room)) {
        Ok(bytes) => bytes,
        Err(_) => {
            failed = true;
            &mut []
        }
    });
    if failed { Err(fault(text)) } else { Ok(()) }
}

/// How many bytes a text has, by its length and its padding.
fn exact_len(text: &[u8]) -> Result<usize, DecodeError> {
    if !text.len().is_multiple_of(4) {
        return Err(first_foreign(text).unwrap_or(DecodeError::Length(text.len())));
    }
    let padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    Ok(decoded_len(text.len()) - padding)
}

/// The first byte that does not belong where it is.
fn first_foreign(text: &[u8]) -> Option<DecodeError> {
    let padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    let digits = &text[..text.len() - padding];
    let at = digits.iter().position(|byte| !(byte.is_ascii_alphanumeric() || b"+/".contains(byte)))?;
    Some(DecodeError::Byte { at, byte: digits[at] })
}

/// What is wrong with a text that could not be decoded.
#[cold]
fn fault(text: &[u8]) -> DecodeError {
    let digits = text.iter().rposition(|byte| *byte != b'=').unwrap_or(0);
    first_foreign(text).unwrap_or(DecodeError::Trailing { at: digits })
}
