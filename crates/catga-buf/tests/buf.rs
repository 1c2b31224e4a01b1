//! What buffers promise, against a vector as the model.
#![allow(clippy::unwrap_used)]

use bytes::{Buf, BufMut, Bytes, BytesMut};
use catga_buf::{BufferPool, BytesSlab, CountingAlloc, PoolOptions, SharedBuf};
use proptest::prelude::*;
use std::{io::Write, thread};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc::system();

/// What can be done to a buffer.
#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>),
    Fill(u8, usize),
    PutBuf(Vec<u8>),
    Truncate(usize),
    Clear,
    Reserve(usize),
    Change(usize, u8),
    /// Goes home and comes back empty.
    Renew(usize),
    Share,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        4 => bytes().prop_map(Step::Put),
        2 => (any::<u8>(), 0_usize..5_000).prop_map(|(byte, count)| Step::Fill(byte, count)),
        2 => bytes().prop_map(Step::PutBuf),
        1 => (0_usize..2_000).prop_map(Step::Truncate),
        1 => Just(Step::Clear),
        1 => (0_usize..10_000).prop_map(Step::Reserve),
        1 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Step::Change(at, byte)),
        1 => (0_usize..70_000).prop_map(Step::Renew),
        1 => Just(Step::Share),
    ]
}

proptest! {
    #[test]
    fn a_buffer_holds_what_a_vector_holds(steps in proptest::collection::vec(step(), 0..60), zero: bool) {
        let pool = PoolOptions::new().zero_on_return(zero).build();
        let (mut buf, mut model) = (pool.acquire(10), Vec::<u8>::new());
        let mut views: Vec<(SharedBuf, Vec<u8>)> = Vec::new();
        for step in steps {
            match step {
                Step::Put(bytes) => {
                    buf.put_slice(&bytes);
                    model.extend(bytes);
                }
                Step::Fill(byte, count) => {
                    buf.put_bytes(byte, count);
                    model.resize(model.len() + count, byte);
                }
                Step::PutBuf(bytes) => {
                    BufMut::put(&mut buf, &bytes[..]);
                    model.extend(bytes);
                }
                Step::Truncate(len) => {
                    buf.truncate(len);
                    model.truncate(len);
                }
                Step::Clear => {
                    buf.clear();
                    model.clear();
                }
                Step::Reserve(more) => {
                    buf.reserve(more);
                    prop_assert!(buf.capacity() >= buf.len() + more);
                }
                Step::Change(at, byte) => {
                    if !model.is_empty() {
                        let at = at % model.len();
                        buf[at] = byte;
                        model[at] = byte;
                    }
                }
                Step::Renew(bytes) => {
                    drop(std::mem::replace(&mut buf, pool.acquire(bytes)));
                    model.clear();
                }
                Step::Share => {
                    let shared = std::mem::replace(&mut buf, pool.acquire(1)).share();
                    let half = model.len() / 2;
                    views.push((shared.slice(half..), model[half..].to_vec()));
                    views.push((shared, std::mem::take(&mut model)));
                }
            }
            prop_assert_eq!(&buf[..], &model[..]);
        }
        for (view, model) in &views {
            prop_assert_eq!(&view[..], &model[..]);
        }
        drop((buf, views));
        prop_assert_eq!(pool.stats().in_use(), 0);
    }

    #[test]
    fn pieces_of_a_slab_hold_what_was_written(
        pieces in proptest::collection::vec((any::<u8>(), 0_usize..3_000, 0_usize..40_000, any::<bool>()), 0..80)
    ) {
        let mut slab = BytesSlab::new();
        let mut kept: Vec<(Bytes, Vec<u8>)> = Vec::new();
        for (byte, count, hint, keep) in pieces {
            let bytes = vec![byte; count];
            let (piece, len) = slab.write(hint, |out| {
                out.put_slice(&bytes);
                out.len()
            });
            prop_assert_eq!(&piece[..], &bytes[..]);
            prop_assert_eq!(len, bytes.len());
            if keep {
                kept.push((piece, bytes));
            }
        }
        for (piece, bytes) in &kept {
            prop_assert_eq!(&piece[..], &bytes[..]);
        }
    }
}

#[test]
fn uninitialised_room_is_given_in_the_safe_types() {
    let mut buf = BufferPool::global().acquire(256);
    buf.spare_mut(3).iter_mut().for_each(|byte| _ = byte.write(9));
    assert!(buf.is_empty(), "room that was written to is not yet part of the buffer");
    buf.reserve(1_000);
    assert!(buf.remaining_mut() > 1 << 40);
    buf.put_slice(b"abc");
    let mut reader = &buf[..];
    assert_eq!((reader.get_u8(), reader.remaining()), (b'a', 2));
}

#[test]
#[should_panic(expected = "2..5 does not lie within 4 bytes")]
fn a_slice_beyond_a_view_is_refused() {
    let mut buf = BufferPool::global().acquire(4);
    buf.put_slice(b"abcd");
    let _ = buf.share().slice(2..5);
}

#[test]
fn the_last_view_brings_the_block_home_on_whatever_thread() {
    let pool = PoolOptions::new().build();
    for _ in 0..200 {
        let mut buf = pool.acquire(100);
        buf.put_slice(&[5; 100]);
        let view = buf.share();
        thread::scope(|scope| {
            for n in 0..3 {
                let view = view.slice(n..);
                scope.spawn(move || assert!(view.clone().iter().all(|byte| *byte == 5)));
            }
            drop(view);
        });
    }
    let stats = pool.stats();
    assert_eq!((stats.small.acquired, stats.in_use()), (200, 0));
}

#[test]
fn bytes_keep_the_block_until_the_last_clone() {
    let pool = PoolOptions::new().build();
    let mut buf = pool.acquire(100);
    buf.put_slice(b"frame");
    let (copy, bytes) = (buf.copy_to_bytes(), buf.into_bytes());
    let part = bytes.slice(1..3);
    drop(bytes);
    assert_eq!((&part[..], &copy[..], pool.stats().in_use()), (&b"ra"[..], &b"frame"[..], 1));
    drop(part);
    assert_eq!(pool.stats().in_use(), 0);
    let shared = {
        let mut buf = pool.acquire(10);
        buf.put_slice(b"x");
        Bytes::from(buf.share())
    };
    assert_eq!(&shared[..], b"x");
}

/// What steady use of each allocates: nothing, but for one allocation where a block becomes `Bytes`.
#[test]
fn steady_use_allocates_nothing() {
    let pool = PoolOptions::new().build();
    let local = || {
        for bytes in [100, 1_000, 10_000, 100_000, 1 << 20] {
            let mut buf = pool.acquire(bytes);
            buf.put_slice(&[1; 64]);
            write!(buf, "{bytes}").unwrap();
        }
    };
    let grow = || {
        let mut buf = pool.acquire(1);
        (0..100).for_each(|_| buf.put_slice(&[1; 300]));
    };
    let burst = || {
        let mut bufs = [const { None }; 100];
        bufs.iter_mut().for_each(|buf| *buf = Some(pool.acquire(200)));
    };
    let share = || {
        let mut buf = pool.acquire(200);
        buf.put_slice(&[1; 200]);
        let view = buf.share();
        (view.slice(1..), view.slice(2..), view)
    };
    let slab = || BytesSlab::with(|slab| slab.write(200, |out| out.put_slice(&[1; 200])).0);
    let text = || {
        let mut text = [0; 268];
        let mut buf = pool.acquire(268);
        catga_buf::base64::encode_into(&[7; 200], &mut buf);
        assert_eq!(catga_buf::base64::encode_slice(&[7; 200], &mut text).unwrap().as_bytes(), &buf[..]);
        let mut back = pool.acquire(200);
        catga_buf::base64::decode_into(&buf[..], &mut back).unwrap();
    };
    for _ in 0..1_000 {
        local();
        grow();
        burst();
        drop(share());
        drop(slab());
        text();
    }
    assert_eq!(CountingAlloc::count(local).count, 0, "one buffer at a time");
    assert_eq!(CountingAlloc::count(grow).count, 0, "a buffer that grows");
    assert_eq!(CountingAlloc::count(burst).count, 0, "a burst");
    assert_eq!(CountingAlloc::count(share).count, 0, "views");
    let pieces = CountingAlloc::count(|| (0..10_000).for_each(|_| drop(slab())));
    assert_eq!(pieces.count, 0, "pieces of a slab");
    assert_eq!(CountingAlloc::count(text).count, 0, "Base64");
    assert_eq!(CountingAlloc::count(|| pool.acquire(100).into_bytes()).count, 1, "a block as `Bytes`");
}

#[test]
fn a_slab_whose_pieces_are_kept_is_left_to_them() {
    let mut slab = BytesSlab::new();
    // A third of all pieces is kept: no slab is ever free again.
    let mut kept = Vec::new();
    for n in 0..20_000_usize {
        let (piece, ()) = slab.write(200, |out| out.put_bytes((n % 256) as u8, 200));
        if n % 3 == 0 {
            kept.push((n, piece));
        }
    }
    for (n, piece) in kept {
        assert!(piece.iter().all(|byte| *byte == (n % 256) as u8));
    }
}

#[test]
fn the_slab_of_the_thread_may_be_used_within_itself() {
    let (outer, inner) = BytesSlab::with(|slab| {
        slab.write(8, |out| {
            out.put_slice(b"outer");
            BytesSlab::with(|slab| slab.write(8, |out: &mut BytesMut| out.put_slice(b"inner")).0)
        })
    });
    assert_eq!((&outer[..], &inner[..]), (&b"outer"[..], &b"inner"[..]));
}

/// The pages that this thread has touched for the first time.
#[cfg(target_os = "linux")]
fn faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    // The tenth field; the second one, in parentheses, is a name that may hold spaces.
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(7).unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn bursts_of_large_buffers_fault_no_pages() {
    // Enough for the bursts to live in the pool; the other tests of this file have pools of their own.
    let pool = PoolOptions::new().build();
    let burst = |count: usize, bytes: usize| {
        let bufs: Vec<_> = (0..count)
            .map(|_| {
                let mut buf = pool.acquire(bytes);
                buf.put_bytes(1, bytes);
                buf
            })
            .collect();
        drop(bufs);
    };
    for (count, bytes) in [(16, 64 << 10), (8, 1 << 20)] {
        burst(count, bytes);
        let before = faults();
        (0..100).for_each(|_| burst(count, bytes));
        let found = faults() - before;
        assert!(found < 5, "{found} page faults in 100 bursts of {count} × {bytes} bytes");
    }
}
