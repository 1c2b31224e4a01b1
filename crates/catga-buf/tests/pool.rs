//! What a pool promises: blocks are used again, bounds hold, nothing stays behind, and the figures say so.

use catga_buf::{BufferPool, Discard, PoolEvent, PoolOptions, PooledBuf, SecretBuf, Trim};
use std::{
    sync::{Arc, Mutex},
    thread,
};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn pool() -> BufferPool {
    PoolOptions::new().build()
}

fn filled(pool: &BufferPool, bytes: usize) -> PooledBuf {
    let mut buf = pool.acquire(bytes);
    buf.put_bytes(7, bytes);
    buf
}

#[test]
fn a_buffer_is_two_words_and_crosses_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<PooledBuf>();
    crosses::<BufferPool>();
    assert_eq!(size_of::<PooledBuf>(), 2 * size_of::<usize>());
    assert_eq!(size_of::<Option<PooledBuf>>(), 2 * size_of::<usize>());
}

#[test]
fn a_block_is_used_again_and_starts_empty() {
    let pool = pool();
    let first = filled(&pool, 1_000);
    let place = first.as_ptr();
    drop(first);
    let second = pool.acquire(600);
    assert_eq!((second.as_ptr(), second.len(), second.capacity()), (place, 0, 1_024));
}

#[test]
fn data_are_aligned() {
    let pool = pool();
    for bytes in [0, 1, 300, 5_000, 63 * KIB] {
        assert_eq!(pool.acquire(bytes).as_ptr().addr() % 64, 0, "{bytes}");
    }
    for bytes in [64 * KIB, 100 * KIB, MIB, 3 * MIB] {
        assert_eq!(pool.acquire(bytes).as_ptr().addr() % 4_096, 0, "{bytes}");
    }
}

#[test]
fn a_buffer_grows_over_all_sizes_and_keeps_what_it_holds() {
    let pool = pool();
    let mut buf = pool.acquire(1);
    let bytes: Vec<u8> = (0..3 * MIB).map(|n| (n % 251) as u8).collect();
    bytes.chunks(10_007).for_each(|chunk| buf.put_slice(chunk));
    assert!(buf[..] == bytes[..]);
    drop(buf);
    let stats = pool.stats();
    assert_eq!(stats.in_use(), 0);
    assert!(stats.large.grown > 0 && stats.medium.grown > 0, "{stats:?}");
}

// One test for each figure of the statistics.

#[test]
fn acquired_returned_and_in_use_count_each_block_in_its_tier() {
    let pool = pool();
    let bufs = [pool.acquire(100), pool.acquire(4_000), pool.acquire(64 * KIB), pool.acquire(65 * KIB)];
    let stats = pool.stats();
    assert_eq!((stats.small.acquired, stats.medium.acquired, stats.large.acquired), (1, 2, 1));
    assert_eq!((stats.small.in_use, stats.medium.in_use, stats.large.in_use), (1, 2, 1));
    assert_eq!(stats.small.in_use_bytes, 256);
    assert_eq!(stats.medium.in_use_bytes as usize, 4 * KIB + 64 * KIB);
    assert_eq!(stats.large.in_use_bytes as usize, 128 * KIB);
    drop(bufs);
    let stats = pool.stats();
    assert_eq!((stats.small.returned, stats.medium.returned, stats.large.returned), (1, 2, 1));
    assert_eq!(stats.in_use(), 0);
}

#[test]
fn peak_is_the_most_that_was_in_use() {
    let pool = pool();
    let many: Vec<_> = (0..50).map(|_| pool.acquire(10)).collect();
    drop(many);
    let few: Vec<_> = (0..5).map(|_| pool.acquire(10)).collect();
    let stats = pool.stats();
    assert_eq!((stats.small.peak, stats.small.in_use, stats.medium.peak), (50, 5, 0));
    drop(few);
}

#[test]
fn missed_counts_what_the_allocator_was_asked_for() {
    let pool = pool();
    for _ in 0..10 {
        drop((pool.acquire(300), pool.acquire(300)));
    }
    let stats = pool.stats();
    assert_eq!((stats.small.missed, stats.allocations(), stats.small.acquired), (2, 2, 20));
    assert!((stats.small.reuse_rate() - 0.9).abs() < 1e-9);
    assert!((stats.reuse_rate() - 0.9).abs() < 1e-9);
}

#[test]
fn grown_counts_moves_to_a_larger_block() {
    let pool = pool();
    let mut buf = pool.acquire(256);
    buf.put_bytes(1, 256);
    assert_eq!(pool.stats().small.grown, 0);
    buf.put_bytes(2, 1);
    assert_eq!((pool.stats().small.grown, buf.capacity()), (1, 512));
    buf.reserve(9_000);
    assert_eq!(pool.stats().medium.grown, 1);
}

#[test]
fn discarded_says_why() {
    let pool = PoolOptions::new().max_free_large(0).max_thread(0).build();
    drop(pool.acquire(2 * MIB));
    drop(pool.acquire(200 * KIB));
    let stats = pool.stats();
    assert_eq!((stats.large.discarded.not_pooled, stats.large.discarded.full), (1, 1));
    drop(pool.acquire(100));
    pool.trim(Trim::All);
    let stats = pool.stats();
    assert_eq!((stats.small.discarded.trimmed, stats.small.discarded.total()), (1, 1));
    assert_eq!(stats.large.in_use_bytes, 0);
}

#[test]
fn retained_is_what_waits_to_be_used_again() {
    let pool = pool();
    let bufs: Vec<_> = (0..40).map(|_| pool.acquire(1_000)).collect();
    assert_eq!(pool.stats().small.retained, 0);
    drop(bufs);
    let stats = pool.stats();
    assert_eq!((stats.small.retained, stats.small.retained_bytes), (40, 40 * 1_024));
    assert_eq!(stats.retained_bytes(), 40 * 1_024);
}

#[test]
fn outstanding_names_the_oldest_of_each_tag() {
    let pool = pool();
    let streams = [pool.segmented("report"), pool.segmented("mail"), pool.segmented("report")];
    let stats = pool.stats();
    let tags: Vec<_> = stats.outstanding.iter().map(|of| (of.tag.as_ref(), of.count)).collect();
    assert_eq!(tags, [("report", 2), ("mail", 1)]);
    assert!(stats.outstanding[0].age >= stats.outstanding[1].age);
    drop(streams);
    assert!(pool.stats().outstanding.is_empty());
}

#[test]
fn the_table_shows_every_tier() {
    let text = pool().stats().to_string();
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(["small", "medium", "large"].iter().all(|tier| text.contains(tier)), "{text}");
}

// Bounds.

#[test]
fn steady_use_is_over_99_percent_reuse() {
    let pool = pool();
    let sizes = [200, 500, 3_000, 60_000, 900_000];
    for round in 0..2_000 {
        let bufs: Vec<_> = sizes.iter().map(|bytes| pool.acquire(bytes - round % 100)).collect();
        drop(bufs);
    }
    assert!(pool.stats().reuse_rate() >= 0.99, "{}", pool.stats());
}

#[test]
fn a_spike_of_a_hundred_times_leaves_no_more_than_the_bounds_allow() {
    let pool = PoolOptions::new().max_free_small(64 * KIB).max_free_medium(256 * KIB).max_free_large(MIB).build();
    let thread = 2 * MIB;
    let burst = |times: usize| {
        let bufs: Vec<_> =
            (0..times).flat_map(|_| [200, 2_000, 10_000, 64 * KIB, 200 * KIB]).map(|n| pool.acquire(n)).collect();
        drop(bufs);
    };
    burst(2);
    burst(200);
    let bound = 64 * KIB + 256 * KIB + MIB;
    assert!(pool.stats().retained_bytes() as usize <= bound + thread, "{}", pool.stats());
    pool.trim(Trim::All);
    assert_eq!(pool.stats().retained_bytes(), 0);
    assert!(pool.stats().large.discarded.full > 0);
}

#[test]
fn an_idle_trim_takes_away_what_a_spike_left_and_leaves_what_is_in_use() {
    let pool = PoolOptions::new().max_thread(0).build();
    drop((0..100).map(|_| pool.acquire(64 * KIB)).collect::<Vec<_>>());
    let after_spike = pool.stats().medium.retained;
    assert_eq!(after_spike, 96, "6 MiB are kept");
    pool.trim(Trim::Idle); // begins the first interval
    for _ in 0..10 {
        drop((0..8).map(|_| pool.acquire(64 * KIB)).collect::<Vec<_>>());
        pool.trim(Trim::Idle);
    }
    let left = pool.stats().medium.retained;
    assert!((8..=9).contains(&left), "{left} blocks are left of {after_spike}, where 8 are in use at a time");
    let missed = pool.stats().medium.missed;
    drop((0..8).map(|_| pool.acquire(64 * KIB)).collect::<Vec<_>>());
    assert_eq!(pool.stats().medium.missed, missed, "what is in use from time to time was trimmed");
}

#[test]
fn a_trim_reaches_what_other_threads_keep_when_they_come_by() {
    let pool = pool();
    let (go, gone) = (Arc::new(std::sync::Barrier::new(2)), pool.clone());
    let there = Arc::clone(&go);
    let other = thread::spawn(move || {
        drop((0..10).map(|_| gone.acquire(100)).collect::<Vec<_>>());
        there.wait();
        there.wait();
        // More than it keeps: it comes by the shared store.
        drop((0..11).map(|_| gone.acquire(100)).collect::<Vec<_>>());
        gone.stats().small.missed
    });
    go.wait();
    assert_eq!(pool.stats().small.retained, 10);
    pool.trim(Trim::All);
    go.wait();
    assert_eq!(other.join().unwrap(), 11, "it used its ten, gave up the rest, and asked for one");
}

#[test]
fn a_thousand_short_threads_leave_nothing_behind() {
    let pool = pool();
    for _ in 0..100 {
        // Joined, not scoped: a scope ends before the destructors of its threads' values ran.
        let threads: Vec<_> = (0..10)
            .map(|_| pool.clone())
            .map(|pool| thread::spawn(move || drop([filled(&pool, 100), filled(&pool, 5_000), filled(&pool, 100_000)])))
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
    let stats = pool.stats();
    assert_eq!((stats.small.acquired, stats.medium.acquired, stats.large.acquired), (1_000, 1_000, 1_000));
    assert_eq!(stats.in_use(), 0);
    assert!(stats.allocations() <= 100, "threads inherit from each other: {stats}");
    pool.trim(Trim::All);
    assert_eq!(pool.stats().retained_bytes(), 0, "no ended thread kept anything");
}

#[test]
fn a_thread_that_only_returns_leaves_nothing_behind() {
    let pool = pool();
    for bytes in [100, 5_000, 64 * KIB, MIB] {
        let bufs: Vec<_> = (0..40).map(|_| pool.acquire(bytes)).collect();
        thread::spawn(move || drop(bufs)).join().unwrap();
        let missed = pool.stats().allocations();
        let again: Vec<_> = (0..10).map(|_| pool.acquire(bytes)).collect();
        assert_eq!(pool.stats().allocations(), missed, "buffers of {bytes} bytes stayed in a thread that ended");
        drop(again);
    }
}

#[test]
fn buffers_dropped_by_a_thread_that_is_ending_come_home() {
    thread_local!(static KEPT: std::cell::RefCell<Vec<PooledBuf>> = const { std::cell::RefCell::new(Vec::new()) });
    let pool = pool();
    let here = pool.clone();
    thread::spawn(move || {
        // Before and after the pool's own thread-local values, so that one is dropped after them.
        KEPT.with(|kept| kept.borrow_mut().push(here.acquire(100)));
        drop(here.acquire(100));
    })
    .join()
    .unwrap();
    let stats = pool.stats();
    assert_eq!((stats.small.acquired, stats.small.returned), (2, 2));
}

#[test]
fn two_threads_hand_buffers_over_without_new_ones() {
    let pool = pool();
    let (send, receive) = std::sync::mpsc::sync_channel::<PooledBuf>(8);
    let other = thread::spawn(move || receive.into_iter().for_each(|buf| assert_eq!(buf[..], [7; 200])));
    for _ in 0..20_000 {
        send.send(filled(&pool, 200)).unwrap();
    }
    drop(send);
    other.join().unwrap();
    let stats = pool.stats();
    assert_eq!((stats.small.acquired, stats.in_use()), (20_000, 0));
    // Both threads' chains, those under way, and what is between them.
    assert!(stats.small.missed <= 120, "{stats}");
}

#[test]
fn a_panic_brings_buffers_home() {
    let pool = pool();
    let here = pool.clone();
    let broken = thread::spawn(move || {
        let _buf = here.acquire(100);
        panic!("on purpose");
    });
    assert!(broken.join().is_err());
    assert_eq!(pool.stats().in_use(), 0);
}

// Closing, and the fallback.

#[test]
fn the_last_handle_takes_the_stock_along_and_buffers_stay_usable() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&events);
    let pool = PoolOptions::new().events(move |event| told.lock().unwrap().push(event.clone())).build();
    let out = filled(&pool, 100);
    drop(filled(&pool, 2_000));
    drop(pool.clone());
    assert_eq!(events.lock().unwrap().len(), 2, "a clone is not the last handle");
    drop(pool);
    let closed = |bytes| PoolEvent::Discarded { bytes, cause: Discard::Closed };
    assert_eq!(events.lock().unwrap()[2..], [closed(2_048)]);
    assert_eq!(out[..], [7; 100]);
    thread::spawn(move || drop(out)).join().unwrap();
    assert_eq!(events.lock().unwrap()[3..], [closed(256)]);
}

#[test]
fn unpooled_keeps_nothing() {
    let pool = BufferPool::unpooled();
    for _ in 0..3 {
        drop([filled(&pool, 100), filled(&pool, 100_000)]);
    }
    let stats = pool.stats();
    assert_eq!((stats.small.missed, stats.large.missed, stats.retained_bytes()), (3, 3, 0));
    assert_eq!(stats.small.discarded.not_pooled, 3);
    assert_eq!(stats.in_use(), 0);
}

#[test]
fn one_thread_may_alternate_between_pools() {
    let pools = [pool(), pool(), BufferPool::unpooled()];
    for _ in 0..100 {
        for pool in &pools {
            drop(filled(pool, 300));
        }
    }
    let missed: Vec<_> = pools.iter().map(|pool| pool.stats().small.missed).collect();
    assert_eq!(missed, [1, 1, 100]);
}

#[test]
fn events_are_told_on_cold_paths_only_and_may_use_the_pool() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&events);
    let pool = PoolOptions::new()
        .events(move |event| {
            drop(BufferPool::global().acquire(10));
            told.lock().unwrap().push(event.clone());
        })
        .build();
    for _ in 0..100 {
        drop(filled(&pool, 100));
    }
    drop(pool.acquire(2 * MIB));
    let not_pooled = PoolEvent::Discarded { bytes: 2 * MIB, cause: Discard::NotPooled };
    let expected = [PoolEvent::Created { bytes: 256 }, PoolEvent::Large { bytes: 2 * MIB }, not_pooled];
    assert_eq!(*events.lock().unwrap(), expected);
}

#[test]
fn a_guarded_pool_names_what_is_out() {
    let leaked = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&leaked);
    let events = move |event: &PoolEvent| {
        if let PoolEvent::Leaked { tag, bytes, .. } = event {
            told.lock().unwrap().push((tag.clone(), *bytes));
        }
    };
    let pool = PoolOptions::new().guard(true).events(events).build();
    let out = pool.acquire_tagged(100, "order 7");
    drop(pool.acquire(100));
    let leaks = pool.leaks();
    assert_eq!(leaks.len(), 1);
    assert_eq!((leaks[0].tag.as_str(), leaks[0].capacity), ("order 7", 256));
    assert!(leaks[0].to_string().contains("a_guarded_pool_names_what_is_out"), "{}", leaks[0]);
    drop(pool);
    assert_eq!(*leaked.lock().unwrap(), [("order 7".to_owned(), 256)]);
    drop(out);
}

#[test]
fn a_guarded_pool_still_pools() {
    let pool = PoolOptions::new().guard(true).build();
    for _ in 0..10 {
        drop(filled(&pool, 5_000));
    }
    assert_eq!((pool.stats().medium.missed, pool.stats().medium.acquired), (1, 10));
    assert!(pool.leaks().is_empty());
}

#[test]
fn a_secret_shows_nothing_and_grows() {
    let pool = pool();
    let mut secret = SecretBuf::acquire(&pool, 16);
    secret.put_slice(&[42; 300]);
    secret[0] = 1;
    assert_eq!((secret[0], secret[299], secret.len()), (1, 42, 300));
    assert!(!format!("{secret:?}").contains("42"));
    secret.clear();
    assert!(secret.is_empty());
}

#[test]
fn no_bound_is_unlimited() {
    let text = format!("{:?}", PoolOptions::new().max_free_small(usize::MAX).max_thread(usize::MAX));
    assert!(text.contains(&(1 << 30).to_string()) && !text.contains(&usize::MAX.to_string()), "{text}");
}

#[test]
#[should_panic(expected = "no address space holds a buffer of that size")]
fn an_absurd_size_is_refused() {
    let _ = pool().acquire(usize::MAX);
}
