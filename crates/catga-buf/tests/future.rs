//! Futures in pool blocks: none is lost, none is dropped twice, and their blocks come home.
//!
//! All of them use the global pool, so that each test waits its turn before it looks at the figures.

use catga_buf::{BufferPool, CountingAlloc, PooledFuture};
use std::{
    future::{Future, poll_fn, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    thread,
};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc::system();

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn poll<T>(future: &mut PooledFuture<'_, T>) -> Poll<T> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn in_use() -> u64 {
    BufferPool::global().stats().in_use()
}

/// Counts how often it is dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A future that keeps `kept` and is pending once.
fn once<K: Send>(kept: K) -> impl Future<Output = usize> + Send {
    let mut polled = false;
    async move {
        poll_fn(|_| if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }).await;
        size_of_val(&kept)
    }
}

#[test]
fn it_is_two_words_and_crosses_threads() {
    fn crosses<T: Send + Sync + Unpin>() {}
    crosses::<PooledFuture<'static, std::rc::Rc<u8>>>();
    assert_eq!(size_of::<PooledFuture<'static, String>>(), 2 * size_of::<usize>());
    assert_eq!(size_of::<Option<PooledFuture<'static, String>>>(), 2 * size_of::<usize>());
}

#[test]
fn futures_of_several_types_are_one_type_and_may_borrow() {
    let _turn = turn();
    let text = String::from("lent");
    let mut futures = [PooledFuture::new(ready(text.len())), PooledFuture::new(async { text.len() + 1 })];
    assert_eq!(futures.each_mut().map(poll), [Poll::Ready(4), Poll::Ready(5)]);
}

#[test]
fn each_future_is_dropped_once_wherever_it_stands() {
    let _turn = turn();
    let before = in_use();
    let drops = Arc::new(AtomicUsize::new(0));
    let make = || PooledFuture::new(once(Dropped(Arc::clone(&drops))));
    drop(make()); // never polled
    let mut waiting = make();
    assert!(poll(&mut waiting).is_pending());
    drop(waiting);
    let mut done = make();
    assert!(poll(&mut done).is_pending());
    assert!(poll(&mut done).is_ready());
    drop(done);
    assert_eq!((drops.load(SeqCst), in_use()), (3, before));
}

#[test]
fn one_may_be_polled_and_dropped_on_another_thread() {
    let _turn = turn();
    let before = in_use();
    let drops = Arc::new(AtomicUsize::new(0));
    for _ in 0..1_000 {
        let mut future = PooledFuture::new(once(Dropped(Arc::clone(&drops))));
        assert!(poll(&mut future).is_pending());
        if drops.load(SeqCst).is_multiple_of(100) {
            thread::spawn(move || assert!(poll(&mut future).is_ready())).join().unwrap();
        } else {
            drop(future);
        }
    }
    assert_eq!((drops.load(SeqCst), in_use()), (1_000, before));
}

#[test]
fn one_that_panics_is_dropped_once_and_its_block_comes_home() {
    let _turn = turn();
    let before = in_use();
    let drops = Arc::new(AtomicUsize::new(0));
    let dropped = Dropped(Arc::clone(&drops));
    let mut future = PooledFuture::new(async move {
        let _kept = dropped;
        panic!("on purpose");
    });
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut future))).is_err());
    drop::<PooledFuture<'_, ()>>(future);
    assert_eq!((drops.load(SeqCst), in_use()), (1, before));
}

#[test]
fn a_destructor_that_panics_brings_the_block_home() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }
    let _turn = turn();
    let before = in_use();
    let drops = Arc::new(AtomicUsize::new(0));
    let future = PooledFuture::new(once((Bomb, Dropped(Arc::clone(&drops)))));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(future))).is_err());
    assert_eq!((drops.load(SeqCst), in_use()), (1, before));
}

#[test]
fn one_is_dropped_while_its_thread_panics() {
    let _turn = turn();
    let before = in_use();
    let drops = Arc::new(AtomicUsize::new(0));
    let kept = Dropped(Arc::clone(&drops));
    let broken = thread::spawn(move || {
        let mut future = PooledFuture::new(once(kept));
        assert!(poll(&mut future).is_pending());
        panic!("on purpose");
    });
    assert!(broken.join().is_err());
    assert_eq!((drops.load(SeqCst), in_use()), (1, before));
}

#[test]
fn one_that_is_larger_than_the_largest_class_comes_from_the_allocator_and_goes_back() {
    let _turn = turn();
    // The future moves through the stack on its way.
    let big = thread::Builder::new().stack_size(64 << 20).spawn(|| {
        let before = BufferPool::global().stats().large;
        let drops = Arc::new(AtomicUsize::new(0));
        let mut future = PooledFuture::new(once(([7_u8; 2 << 20], Dropped(Arc::clone(&drops)))));
        assert!(poll(&mut future).is_pending());
        let Poll::Ready(size) = poll(&mut future) else { panic!("it is pending only once") };
        assert!(size > 2 << 20);
        drop(future);
        let after = BufferPool::global().stats().large;
        assert_eq!(drops.load(SeqCst), 1);
        assert_eq!((after.in_use, after.in_use_bytes), (before.in_use, before.in_use_bytes));
        assert_eq!(after.discarded.not_pooled, before.discarded.not_pooled + 1);
    });
    big.unwrap().join().unwrap();
}

#[test]
fn one_that_wants_more_alignment_gets_it() {
    #[repr(align(512))]
    struct Wide(u8);
    let _turn = turn();
    let wide = Wide(3);
    let mut polled = false;
    let future = poll_fn(move |_| {
        assert_eq!((&raw const wide).addr() % 512, 0);
        if std::mem::replace(&mut polled, true) { Poll::Ready(wide.0) } else { Poll::Pending }
    });
    let mut future = PooledFuture::new(future);
    assert!(poll(&mut future).is_pending());
    assert_eq!(poll(&mut future), Poll::Ready(3));
}

#[test]
fn none_is_too_small() {
    let _turn = turn();
    assert_eq!(poll(&mut PooledFuture::new(async {})), Poll::Ready(()));
}

#[test]
fn steady_use_allocates_nothing() {
    let _turn = turn();
    let one = |size: usize| match size {
        0 => poll(&mut PooledFuture::new(ready(1))).is_ready(),
        1 => poll(&mut PooledFuture::new(once([0_u8; 400]))).is_pending(),
        _ => poll(&mut PooledFuture::new(once([0_u8; 3_000]))).is_pending(),
    };
    (0..3).for_each(|size| assert!(one(size)));
    let counted = CountingAlloc::count(|| (0..10_000).filter(|n| one(n % 3)).count());
    assert_eq!(counted.count, 0);
}

#[test]
fn a_future_may_make_others_while_it_is_dropped() {
    struct Again;
    impl Drop for Again {
        fn drop(&mut self) {
            assert!(poll(&mut PooledFuture::new(once([1_u8; 100]))).is_pending());
        }
    }
    let _turn = turn();
    let before = in_use();
    drop(PooledFuture::new(once((Again, [0_u8; 100]))));
    assert_eq!(in_use(), before);
}
