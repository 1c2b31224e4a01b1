//! `bench pool`: buffers, streams, Base64 and futures in the pool, beside what one would use without it.
//!
//! Every buffer is written to in full before it goes, on every side. Candidates that end in "to another thread" hand
//! buffers through the same bounded ring of one producer and one consumer, which drops them.

mod cross;

use self::cross::{Cross, at_once};
use crate::{
    bare::{array_pool, object_pool},
    harness::{Bound, Candidate, Plan, Report, measure},
};
use ::base64::{Engine, engine::general_purpose};
use bytes::{BufMut, Bytes, BytesMut};
use catga::{Codec, Json, Result};
use catga_buf::{BufferPool, BytesSlab, PooledBuf, PooledFuture, base64};
use serde::{Deserialize, Serialize};
use std::{
    array,
    future::Future,
    hint::black_box,
    io::{Seek, Write},
    pin::Pin,
};

const POOL: &str = "pool, 256 B";
const VEC: &str = "Vec, 256 B";
const BYTES_MUT: &str = "BytesMut, 256 B";
const ARRAY_POOL: &str = "a pool as ArrayPool, 256 B";
const OPOOL: &str = "opool, 256 B";
const POOL_TWO: &str = "pool, 256 B, two threads at once";
const POOL_BURST: &str = "pool, 64 × 256 B";
const VEC_BURST: &str = "Vec, 64 × 256 B";
const POOL_CROSS: &str = "pool, 256 B to another thread";
const VEC_CROSS: &str = "Vec, 256 B to another thread";
const ARRAY_CROSS: &str = "a pool as ArrayPool, 256 B to another thread";
const POOL_64K: &str = "pool, 16 × 64 KiB";
const VEC_64K: &str = "Vec, 16 × 64 KiB";
const POOL_1M: &str = "pool, 8 × 1 MiB";
const VEC_1M: &str = "Vec, 8 × 1 MiB";
const SLAB: &str = "slab, 200 B as Bytes";
const VEC_BYTES: &str = "Vec, 200 B as Bytes";
const SHARED: &str = "pool, 200 B shared twice";
const SLAB_CROSS: &str = "slab, 200 B as Bytes to another thread";
const VEC_BYTES_CROSS: &str = "Vec, 200 B as Bytes to another thread";
const BASE64: &str = "Base64 of 200 B onto the stack";
const BASE64_CRATE: &str = "base64 of 200 B onto the stack";
const BASE64_SIMD: &str = "base64-simd of 200 B onto the stack";
const JSON_BASE64: &str = "JSON into a pooled buffer, Base64, given back";
const JSON_BASE64_PARTS: &str = "JSON into a reused Vec, then Base64";
const STREAM: &str = "stream, 16 × 64 KiB written";
const COPY: &str = "16 × 64 KiB copied into memory that is there";
const FUTURE: &str = "pooled future that keeps 200 B";
const BOXED: &str = "boxed future that keeps 200 B";

/// For candidates of two threads, which borrow nothing.
static SOME: [u8; 256] = [7; 256];

/// What must hold, then what is only a goal yet.
pub const BOUNDS: &[Bound] = &[
    Bound::times(POOL, 0.65, VEC),
    Bound::times(POOL_BURST, 0.5, VEC_BURST),
    Bound::times(POOL_CROSS, 0.25, VEC_CROSS),
    Bound::times(POOL_CROSS, 0.5, ARRAY_CROSS),
    Bound::times(POOL_64K, 0.1, VEC_64K),
    Bound::times(POOL_1M, 0.1, VEC_1M),
    Bound::times(POOL_TWO, 1.1, POOL),
    Bound::times(SLAB, 1.15, VEC_BYTES),
    Bound::times(SLAB_CROSS, 0.4, VEC_BYTES_CROSS),
    Bound::times(BASE64, 0.35, BASE64_CRATE),
    Bound::times(BASE64, 1.1, BASE64_SIMD),
    Bound::times(JSON_BASE64, 1.15, JSON_BASE64_PARTS),
    Bound::times(FUTURE, 1.0, BOXED).as_goal(),
    Bound::times(STREAM, 1.1, COPY).as_goal(),
];

/// What is written to buffers: not known when this is compiled.
struct Given {
    small: [u8; 256],
    large: Vec<u8>,
    order: Order,
    json: Vec<u8>,
    kept: [u8; 200],
}

#[derive(Deserialize, Serialize)]
struct Order {
    id: u64,
    customer: String,
    lines: Vec<(u32, u32, String)>,
}

impl Given {
    fn new() -> Result<Self> {
        let line = |n: u32| (n, 100 * n, format!("article-{n:04}"));
        let order = Order { id: 4_711, customer: "customer-0815".into(), lines: (1..=5).map(line).collect() };
        let mut json = Vec::new();
        Json::encode(&order, &mut json)?;
        Ok(Self { small: black_box([7; 256]), large: black_box(vec![7; 1 << 20]), order, json, kept: [7; 200] })
    }

    fn pooled(&self, pool: &BufferPool, bytes: usize) -> PooledBuf {
        let mut buf = pool.acquire(black_box(bytes));
        buf.put_slice(&black_box(&self.large)[..bytes]);
        buf
    }

    fn vec(&self, bytes: usize) -> Vec<u8> {
        let mut buf = Vec::with_capacity(black_box(bytes));
        buf.extend_from_slice(&black_box(&self.large)[..bytes]);
        buf
    }
}

/// Measures all of them.
///
/// # Errors
///
/// Where a candidate fails, which says that this crate is wrong.
pub fn run(plan: Plan) -> Result<Report> {
    let given = Given::new()?;
    let mut candidates = small(&given);
    candidates.extend(crossing());
    candidates.extend(large(&given));
    candidates.extend(shared(&given));
    candidates.extend(texts(&given));
    candidates.extend(futures(&given));
    measure(plan, candidates, BOUNDS)
}

fn small(given: &Given) -> Vec<Candidate<'_>> {
    let pool = BufferPool::global();
    let vectors = object_pool(256);
    let small = || &black_box(&given.small)[..];
    vec![
        Candidate::operation(POOL, move || {
            let mut buf = pool.acquire(black_box(256));
            buf.put_slice(small());
            black_box(buf.as_slice());
        }),
        Candidate::operation(VEC, move || {
            let mut buf = Vec::with_capacity(black_box(256));
            buf.extend_from_slice(small());
            black_box(buf.as_slice());
        }),
        Candidate::operation(BYTES_MUT, move || {
            let mut buf = BytesMut::with_capacity(black_box(256));
            buf.put_slice(small());
            black_box(&buf[..]);
        }),
        Candidate::operation(ARRAY_POOL, move || {
            let mut buf = array_pool::rent(black_box(256));
            buf.extend_from_slice(small());
            black_box(buf.as_slice());
            array_pool::give_back(buf);
        }),
        Candidate::operation(OPOOL, move || {
            let mut buf = vectors.get();
            buf.extend_from_slice(small());
            black_box(buf.as_slice());
        }),
        at_once(POOL_TWO, move || {
            let mut buf = pool.acquire(black_box(256));
            buf.put_slice(black_box(&SOME));
            black_box(buf.as_slice());
        }),
        Candidate::operation(POOL_BURST, || array::from_fn::<_, 64, _>(|_| given.pooled(pool, 256))),
        Candidate::operation(VEC_BURST, || array::from_fn::<_, 64, _>(|_| given.vec(256))),
    ]
}

fn crossing<'a>() -> Vec<Candidate<'a>> {
    let pooled = || {
        let mut buf = BufferPool::global().acquire(black_box(256));
        buf.put_slice(black_box(&SOME));
        buf
    };
    let vec = || {
        let mut buf = Vec::with_capacity(black_box(256));
        buf.extend_from_slice(black_box(&SOME));
        buf
    };
    let rented = || {
        let mut buf = array_pool::rent(black_box(256));
        buf.extend_from_slice(black_box(&SOME));
        buf
    };
    let mut slab = BytesSlab::new();
    let piece = move || slab.write(200, |out| out.put_slice(black_box(&SOME[..200]))).0;
    let bytes = || Bytes::from(black_box(&SOME[..200]).to_vec());
    vec![
        Cross::candidate(POOL_CROSS, pooled, drop::<PooledBuf>),
        Cross::candidate(VEC_CROSS, vec, drop::<Vec<u8>>),
        Cross::candidate(ARRAY_CROSS, rented, array_pool::give_back),
        Cross::candidate(SLAB_CROSS, piece, drop::<Bytes>),
        Cross::candidate(VEC_BYTES_CROSS, bytes, drop::<Bytes>),
    ]
}

fn large(given: &Given) -> Vec<Candidate<'_>> {
    let pool = BufferPool::global();
    let mut there = vec![0; 1 << 20];
    let part = || &black_box(&given.large)[..64 << 10];
    vec![
        Candidate::operation(POOL_64K, || array::from_fn::<_, 16, _>(|_| given.pooled(pool, 64 << 10))),
        Candidate::operation(VEC_64K, || array::from_fn::<_, 16, _>(|_| given.vec(64 << 10))),
        Candidate::operation(POOL_1M, || array::from_fn::<_, 8, _>(|_| given.pooled(pool, 1 << 20))),
        Candidate::operation(VEC_1M, || array::from_fn::<_, 8, _>(|_| given.vec(1 << 20))),
        Candidate::operation(STREAM, move || {
            let mut stream = pool.segmented("bench");
            let written = (0..16).try_for_each(|_| stream.write_all(part()));
            (written.is_ok(), stream.rewind().is_ok())
        }),
        Candidate::operation(COPY, move || {
            there.chunks_exact_mut(64 << 10).for_each(|to| to.copy_from_slice(part()));
            black_box(there.as_ptr());
        }),
    ]
}

fn shared(given: &Given) -> Vec<Candidate<'_>> {
    let pool = BufferPool::global();
    let mut slab = BytesSlab::new();
    let small = || &black_box(&given.small)[..200];
    vec![
        Candidate::operation(SLAB, move || slab.write(200, |out| out.put_slice(small())).0),
        Candidate::operation(VEC_BYTES, move || {
            let mut buf = Vec::with_capacity(black_box(200));
            buf.extend_from_slice(small());
            Bytes::from(buf)
        }),
        Candidate::operation(SHARED, || {
            let view = given.pooled(pool, 200).share();
            (view.clone(), view)
        }),
    ]
}

fn texts(given: &Given) -> Vec<Candidate<'_>> {
    let pool = BufferPool::global();
    let small = || &black_box(&given.small)[..200];
    let order = || black_box(&given.order);
    let room = base64::encoded_len(given.json.len());
    let mut json = Vec::with_capacity(given.json.len());
    let (mut pooled_text, mut text) = (vec![0; room], vec![0; room]);
    vec![
        Candidate::operation(BASE64, move || {
            let mut text = [0; 268];
            base64::encode_slice(small(), &mut text).is_ok_and(|text| black_box(text).len() == 268)
        }),
        Candidate::operation(BASE64_CRATE, move || {
            let mut text = [0; 268];
            let written = general_purpose::STANDARD.encode_slice(small(), &mut text);
            black_box(&text);
            written.is_ok()
        }),
        Candidate::operation(BASE64_SIMD, move || {
            let mut text = [0; 268];
            let out = base64_simd::Out::from_slice(&mut text);
            black_box(base64_simd::STANDARD.encode_as_str(small(), out)).len()
        }),
        Candidate::operation(JSON_BASE64, move || {
            let mut json = pool.acquire(256);
            let encoded = Json::encode(order(), &mut json).is_ok();
            encoded && base64::encode_slice(&json, &mut pooled_text).is_ok_and(|text| !black_box(text).is_empty())
        }),
        Candidate::operation(JSON_BASE64_PARTS, move || {
            json.clear();
            let encoded = Json::encode(order(), &mut json).is_ok();
            encoded && base64::encode_slice(&json, &mut text).is_ok_and(|text| !black_box(text).is_empty())
        }),
    ]
}

fn futures(given: &Given) -> Vec<Candidate<'_>> {
    async fn keep(kept: [u8; 200]) -> u8 {
        std::future::ready(()).await;
        black_box(&kept)[7]
    }
    let kept = || *black_box(&given.kept);
    vec![
        Candidate::awaited(FUTURE, move || PooledFuture::new(keep(kept()))),
        Candidate::awaited(BOXED, move || Box::pin(keep(kept())) as Pin<Box<dyn Future<Output = u8> + Send>>),
    ]
}
