//! The bytes of Catga: buffers that are used again ([`BufferPool`]), futures that live in them ([`PooledFuture`]), shared
//! text ([`Str`]), the places that encoders write to ([`Sink`]), [`base64`], and an allocator that counts
//! ([`CountingAlloc`]).
//!
//! It is a crate of its own because it is what every other one stands on, because the `unsafe` code of the workspace is
//! fenced in a few small modules here, and because it can be used alone. Its root has more than 20 public names because
//! what a pool says of itself (options, events, statistics, leaks) comes with names that most users never type.
//!
//! ```
//! use catga_buf::{BufferPool, CountingAlloc};
//!
//! #[global_allocator]
//! static ALLOC: CountingAlloc = CountingAlloc::system();
//!
//! let pool = BufferPool::global();
//! drop(pool.acquire(200)); // the first one comes from the allocator
//! let again = CountingAlloc::count(|| {
//!     let mut buf = pool.acquire(200);
//!     buf.put_slice(b"orders.placed");
//!     assert_eq!(&buf[..], b"orders.placed");
//!     let shared = buf.share();
//!     (shared.slice(0..6), shared)
//! });
//! assert_eq!(again.count, 0);
//! ```
//!
//! # Features
//!
//! - `tokio`: `AsyncRead`, `AsyncBufRead` and `AsyncWrite` for [`SegmentedBuf`]; default off.
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[allow(unsafe_code)]
mod alloc;
pub mod base64;
#[allow(unsafe_code)]
mod block;
#[allow(unsafe_code)]
mod buf;
mod chain;
mod class;
#[allow(unsafe_code)]
mod future;
mod guard;
mod inner;
#[allow(unsafe_code)]
mod local;
mod options;
mod pool;
mod secret;
mod segmented;
#[allow(unsafe_code)]
mod shared;
mod sink;
mod slab;
mod stats;
mod store;
mod str;
mod sync;

pub use crate::{
    alloc::{Allocations, CountingAlloc},
    buf::PooledBuf,
    class::Tier,
    future::PooledFuture,
    guard::Leak,
    options::{PoolEvent, PoolOptions},
    pool::{BufferPool, Trim},
    secret::SecretBuf,
    segmented::SegmentedBuf,
    shared::SharedBuf,
    sink::Sink,
    slab::BytesSlab,
    stats::{Discard, Discarded, Outstanding, PoolStats, TierStats},
    str::Str,
};
