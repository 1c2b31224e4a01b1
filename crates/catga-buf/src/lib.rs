//! The bytes of Catga: shared text ([`Str`]), the places that encoders write to ([`Sink`]), and an allocator that counts
//! ([`CountingAlloc`]).
//!
//! It is a crate of its own because it is what every other one stands on, because the only `unsafe` code of the
//! workspace lives here, in the allocator today and in the buffer pool to come, and because it can be used alone.
//!
//! ```
//! use catga_buf::Str;
//! use bytes::Bytes;
//!
//! let frame = Bytes::from_static(b"orders.placed and the rest of a received frame");
//! let name = Str::from_shared(frame.slice(0..13))?;
//! let again = name.clone(); // shares the frame: nothing is copied
//! assert_eq!(again.as_str(), "orders.placed");
//! assert_eq!(again.as_ptr(), frame.as_ptr());
//! # Ok::<(), std::str::Utf8Error>(())
//! ```
#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod alloc;
mod sink;
mod str;

pub use crate::{
    alloc::{Allocations, CountingAlloc},
    sink::Sink,
    str::Str,
};
