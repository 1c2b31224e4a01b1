//! Every order in which threads can meet in the pool, as far as three changes of thread reach:
//! `RUSTFLAGS="--cfg loom" cargo test -p catga-buf --test loom --release`.
#![cfg(loom)]

use catga_buf::{BufferPool, PoolEvent, PoolOptions, PooledBuf, Trim};
use loom::{sync::mpsc, thread};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::SeqCst},
};

/// Runs a model, and sees that each run gives every block back that it made. A run ends with the destructors of its
/// threads' values, which is later than the end of `run` and later than loom's `join`; so the next run looks.
fn model(run: impl Fn(BufferPool) + Send + Sync + 'static) {
    let made = Arc::new(AtomicI64::new(0));
    let (before, mut model) = (Arc::clone(&made), loom::model::Builder::new());
    model.preemption_bound = Some(3);
    model.check(move || {
        assert_eq!(before.load(SeqCst), 0, "the run before kept a block");
        let made = Arc::clone(&before);
        let events = move |event: &PoolEvent| {
            made.fetch_add(if matches!(event, PoolEvent::Created { .. }) { 1 } else { -1 }, SeqCst);
        };
        run(PoolOptions::new().events(events).build());
    });
    assert_eq!(made.load(SeqCst), 0, "the last run kept a block");
}

/// Every block that was made is in use, waits, or went back.
fn is_whole(pool: &BufferPool) {
    let small = pool.stats().small;
    let medium = pool.stats().medium;
    for tier in [small, medium] {
        assert_eq!(tier.missed, tier.in_use + tier.retained + tier.discarded.total(), "{tier:?}");
    }
}

const LONG: usize = 64 << 10;

fn written(pool: &BufferPool, bytes: usize) -> PooledBuf {
    let mut buf = pool.acquire(bytes);
    buf.put_slice(&[7; 16]);
    buf
}

/// Chains of one block: every second return goes through the shared store.
#[test]
fn chains_change_threads_whole() {
    model(|pool| {
        let there = pool.clone();
        let other = thread::spawn(move || {
            drop((written(&there, LONG), written(&there, LONG)));
            drop(written(&there, LONG));
        });
        drop((written(&pool, LONG), written(&pool, LONG)));
        drop(written(&pool, LONG));
        other.join().unwrap();
        let stats = pool.stats();
        assert_eq!((stats.medium.acquired, stats.medium.returned), (6, 6));
        assert!(stats.medium.missed <= 4);
        is_whole(&pool);
    });
}

#[test]
fn a_thread_that_ends_leaves_its_chains_to_others() {
    model(|pool| {
        let buf = written(&pool, 100);
        let other = thread::spawn(move || drop(buf));
        let second = written(&pool, 100);
        other.join().unwrap();
        drop(second);
        assert_eq!(pool.stats().in_use(), 0);
        pool.trim(Trim::All);
        drop(written(&pool, 100));
        is_whole(&pool);
    });
}

#[test]
fn a_trim_and_a_return_leave_no_block_behind() {
    model(|pool| {
        let there = pool.clone();
        let buf = written(&pool, LONG);
        let other = thread::spawn(move || {
            drop(buf);
            drop(written(&there, LONG));
        });
        pool.trim(Trim::All);
        other.join().unwrap();
        pool.trim(Trim::All);
        is_whole(&pool);
    });
}

/// The last handle goes on one thread while buffers come home on another.
#[test]
fn the_last_handle_and_the_last_buffer_may_go_together() {
    model(|pool| {
        let (first, second) = (written(&pool, LONG), written(&pool, LONG));
        let other = thread::spawn(move || drop((first, second)));
        drop(pool);
        other.join().unwrap();
    });
}

/// What views read happens before whoever gets the block next writes.
#[test]
fn the_last_view_hands_the_block_on_after_all_have_read() {
    model(|pool| {
        let view = written(&pool, 100).share();
        let (one, two) = (view.clone(), view);
        let other = thread::spawn(move || {
            assert_eq!(one[0], 7);
            drop(one);
        });
        assert_eq!(two[0], 7);
        drop(two);
        // The block, where it came home here.
        drop(written(&pool, 100));
        other.join().unwrap();
        assert_eq!(pool.stats().in_use(), 0);
    });
}

#[test]
fn a_clone_and_a_drop_never_meet_at_zero() {
    model(|pool| {
        let view = written(&pool, 100).share();
        let one = view.clone();
        let other = thread::spawn(move || {
            let again = one.clone();
            drop(one);
            assert_eq!(again[0], 7);
        });
        drop(view);
        other.join().unwrap();
        assert_eq!((pool.stats().small.returned, pool.stats().small.missed), (1, 1));
    });
}

#[test]
fn a_buffer_that_is_handed_over_is_seen_whole() {
    model(|pool| {
        let (send, receive) = mpsc::channel();
        let there = pool.clone();
        let other = thread::spawn(move || {
            send.send(written(&there, LONG)).unwrap();
            send.send(written(&there, LONG)).unwrap();
        });
        (0..2).for_each(|_| assert_eq!(receive.recv().unwrap()[..], [7; 16]));
        other.join().unwrap();
        assert_eq!(pool.stats().in_use(), 0);
    });
}
