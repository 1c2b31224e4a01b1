//! Futures of different types behind one type, in pool blocks.
//!
//! Stable Rust cannot coerce a box of one's own to `dyn Future`. So there is a table of two functions for each type of
//! future, made at compile time, and a pointer to it beside the block.

use crate::{
    block::{ALIGN, Block},
    inner::give_back,
    pool::BufferPool,
};
use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    mem::ManuallyDrop,
    pin::Pin,
    ptr::NonNull,
    task::{Context, Poll},
};

/// A future in a block of the [global pool](BufferPool::global): like `Pin<Box<dyn Future<Output = T> + Send + 'a>>`,
/// without an allocation in steady state.
///
/// It may be polled and dropped on any thread. The block comes home when it is dropped, also where the future's own
/// destructor panics. Futures of up to 1 MiB are pooled; larger ones come from the allocator.
///
/// ```
/// use catga_buf::PooledFuture;
///
/// fn answer(right: bool) -> PooledFuture<'static, u32> {
///     if right { PooledFuture::new(async { 42 }) } else { PooledFuture::new(std::future::ready(54)) }
/// }
/// # let waker = std::task::Waker::noop();
/// # let mut cx = std::task::Context::from_waker(waker);
/// # use std::{future::Future, pin::Pin, task::Poll};
/// # assert_eq!(Pin::new(&mut answer(true)).poll(&mut cx), Poll::Ready(42));
/// # assert_eq!(Pin::new(&mut answer(false)).poll(&mut cx), Poll::Ready(54));
/// ```
pub struct PooledFuture<'a, T> {
    /// Whose data start with the future.
    block: ManuallyDrop<Block>,
    /// For `'a` only: it would demand `T: 'static` otherwise.
    table: &'a Table<T>,
    future: PhantomData<dyn Future<Output = T> + Send + 'a>,
}

struct Table<T> {
    /// Takes a pointer to the future that the table was made for, pinned where it is.
    poll: unsafe fn(NonNull<u8>, &mut Context<'_>) -> Poll<T>,
    /// Takes the same pointer; called once, and nothing after it.
    drop: unsafe fn(NonNull<u8>),
}

/// The table of each type of future, made at compile time.
trait Tabled<T> {
    const TABLE: Table<T>;
}

impl<F: Future> Tabled<F::Output> for F {
    const TABLE: Table<F::Output> = Table {
        poll: |future, cx| {
            // SAFETY: `PooledFuture` hands over its future of type `F`, which it owns, has not dropped, and never moves.
            unsafe { Pin::new_unchecked(future.cast::<F>().as_mut()) }.poll(cx)
        },
        drop: |future| {
            // SAFETY: as for `poll`; `PooledFuture` does this last.
            unsafe { future.cast::<F>().drop_in_place() }
        },
    };
}

// SAFETY: `new` takes only futures that are `Send`, and a block is.
unsafe impl<T> Send for PooledFuture<'_, T> {}
// SAFETY: a shared reference gives access to nothing.
unsafe impl<T> Sync for PooledFuture<'_, T> {}

// The future stays in its block when this value moves.
impl<T> Unpin for PooledFuture<'_, T> {}

impl<'a, T> PooledFuture<'a, T> {
    /// Moves a future into a block.
    #[inline]
    pub fn new<F: Future<Output = T> + Send + 'a>(future: F) -> Self {
        if const { align_of::<F>() > ALIGN } {
            // Blocks are not aligned so far; a box is. It is an allocation, for futures that nobody has met yet.
            // SAFETY: a box is aligned as a pointer is.
            return unsafe { Self::place(Box::pin(future)) };
        }
        // SAFETY: the alignment was looked at.
        unsafe { Self::place(future) }
    }

    /// # Safety
    ///
    /// `F` is aligned to no more than [`ALIGN`].
    #[inline]
    unsafe fn place<F: Future<Output = T> + Send + 'a>(future: F) -> Self {
        let block = BufferPool::global().inner().acquire(size_of::<F>(), "");
        // SAFETY: the block holds a future's size at least, its data are aligned to `ALIGN`, no less than a future is,
        // as the caller promises, and nobody else has it.
        unsafe { block.data().cast::<F>().write(future) };
        Self { block: ManuallyDrop::new(block), table: &F::TABLE, future: PhantomData }
    }
}

impl<T> Future for PooledFuture<'_, T> {
    type Output = T;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // SAFETY: the data start with the future that the table was made for; it is dropped in `drop` alone and stays
        // where it is until then.
        unsafe { (self.table.poll)(self.block.data(), cx) }
    }
}

impl<T> Drop for PooledFuture<'_, T> {
    #[inline]
    fn drop(&mut self) {
        /// Brings the block home after its future is gone, also where that panicked.
        struct Home(Option<Block>);

        impl Drop for Home {
            #[inline]
            fn drop(&mut self) {
                if let Some(block) = self.0.take() {
                    give_back(block, 0);
                }
            }
        }

        // SAFETY: this is the destructor: the block is taken once, and not used again.
        let block = unsafe { ManuallyDrop::take(&mut self.block) };
        let data = block.data();
        let _home = Home(Some(block));
        // SAFETY: `data` is the future that the table was made for; it was not dropped before. The block that it lies
        // in is `_home`'s until this function ends.
        unsafe { (self.table.drop)(data) };
    }
}

impl<T> fmt::Debug for PooledFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledFuture").finish_non_exhaustive()
    }
}
