//! Who holds a store's writer right now: a handler that waits for itself is told so, and one that waits for something
//! else while it holds the writer is ended when its time is over.

use crate::{BoxFuture, Error, ErrorKind, Result, StoreId};
use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::Poll,
    time::{Duration, Instant},
};

thread_local! {
    static HELD: Cell<Option<(StoreId, &'static str)>> = const { Cell::new(None) };
}

/// Hidden: the worker calls it around a delivery.
///
/// Runs `future`, the body of `handler`; while it is polled, it is known to hold `store`.
pub async fn scope<F: Future + ?Sized>(store: StoreId, handler: &'static str, mut future: Pin<&mut F>) -> F::Output {
    std::future::poll_fn(|context| {
        let _restored = Restore(HELD.replace(Some((store, handler))));
        future.as_mut().poll(context)
    })
    .await
}

/// How long a handler may be pending while it holds a store's writer, and how to wait that long: the contract names no
/// runtime.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// All its waiting together.
    pub limit: Duration,
    /// A timer of the runtime.
    pub sleep: fn(Duration) -> BoxFuture<'static, ()>,
}

/// Runs `future` as [`scope`] does, and gives it up when it was pending for longer than the limit, all its waiting
/// together.
pub(crate) async fn bounded<F: Future>(
    store: StoreId,
    handler: &'static str,
    patience: Option<Patience>,
    mut future: Pin<&mut F>,
) -> Result<F::Output> {
    let Some(Patience { limit, sleep }) = patience else { return Ok(scope(store, handler, future).await) };
    let (mut pending, mut since) = (Duration::ZERO, None::<Instant>);
    let mut timer = None::<BoxFuture<'static, ()>>;
    std::future::poll_fn(|context| {
        if let Some(since) = since.take() {
            pending += since.elapsed();
        }
        let polled = {
            let _restored = Restore(HELD.replace(Some((store, handler))));
            future.as_mut().poll(context)
        };
        if let Poll::Ready(output) = polled {
            return Poll::Ready(Ok(output));
        }
        // The timer only wakes us; what counts is the time. It is made anew where it fired before the time was over.
        while pending < limit {
            let left = limit - pending;
            if timer.get_or_insert_with(|| sleep(left)).as_mut().poll(context).is_pending() {
                since = Some(Instant::now());
                return Poll::Pending;
            }
            timer = None;
            pending += left.min(since.map_or(left, |since: Instant| since.elapsed()));
        }
        Poll::Ready(Err(too_long(handler, limit)))
    })
    .await
}

fn too_long(handler: &str, limit: Duration) -> Error {
    let text = format!(
        "handler `{handler}` held the store's only writer for more than {limit:?} while it waited for something else; \
         nothing of it was kept. What takes long belongs before the handler that takes a `Tx`, or into a message of its own"
    );
    Error::new(ErrorKind::Timeout, text)
}

/// Puts back what was held before, also when the handler panics.
struct Restore(Option<(StoreId, &'static str)>);

impl Drop for Restore {
    fn drop(&mut self) {
        HELD.set(self.0);
    }
}

/// Hidden: stores call it before they wait for their writer.
///
/// Refuses a second way to the writer of `store` from within a handler that holds it: it would wait for itself.
pub fn refuse_if_held(store: StoreId) -> Result<()> {
    match HELD.get() {
        Some((held, handler)) if held == store => {
            let text = format!(
                "handler `{handler}` holds a `Tx` of this store and sends a request that wants another one: it would \
                 wait for itself. Drop the `Tx` first, or publish an event with it"
            );
            Err(Error::new(ErrorKind::Unsupported, text))
        }
        _ => Ok(()),
    }
}
