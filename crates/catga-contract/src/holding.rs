//! Who holds a store's writer right now: a handler that waits for itself is told so, and one that waits for something
//! else while it holds the writer is ended when its time is over.

use crate::{BoxFuture, Call, Error, ErrorKind, Result, StoreId};
use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
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

/// The writer that a handler holds, from the beginning or from when it begins its transaction on.
pub(crate) struct Writer {
    store: StoreId,
    began: Option<Arc<AtomicBool>>,
}

impl Writer {
    /// The one that the handler of this call holds.
    pub(crate) fn of(call: &mut Call<'_>) -> Option<Self> {
        match call.unit().map(|unit| unit.store()) {
            Some(store) => Some(Self { store, began: None }),
            None => call.late().map(|late| Self { store: late.store, began: Some(late.began.clone()) }),
        }
    }

    fn held(&self) -> bool {
        self.began.as_ref().is_none_or(|began| began.load(Ordering::Relaxed))
    }
}

/// Runs `future` as [`scope`] does, and gives it up when it was pending for longer than the limit, all its waiting
/// together.
///
/// No `async fn`: this future is part of every handler's, so it holds what it needs once, and what it needs for waiting
/// only when it waits.
pub(crate) fn bounded<'f, F: Future>(
    writer: Writer,
    handler: &'static str,
    patience: Option<&'f Patience>,
    mut future: Pin<&'f mut F>,
) -> impl Future<Output = Result<F::Output>> + use<'f, F> {
    let mut waiting = None::<Box<Waiting>>;
    std::future::poll_fn(move |context| {
        if let Some(waiting) = &mut waiting {
            waiting.ended();
        }
        let polled = {
            let _restored = writer.held().then(|| Restore(HELD.replace(Some((writer.store, handler)))));
            future.as_mut().poll(context)
        };
        match (polled, patience.filter(|_| writer.held())) {
            (Poll::Ready(output), _) => Poll::Ready(Ok(output)),
            (Poll::Pending, None) => Poll::Pending,
            (Poll::Pending, Some(patience)) => match waiting.get_or_insert_default().begins(patience, context) {
                true => Poll::Pending,
                false => Poll::Ready(Err(too_long(handler, patience.limit))),
            },
        }
    })
}

/// How long a handler has waited.
#[derive(Default)]
struct Waiting {
    /// Before `since`.
    before: Duration,
    /// Since when it waits.
    since: Option<Instant>,
    /// What wakes it, and when that was made for how long.
    timer: Option<(BoxFuture<'static, ()>, Instant, Duration)>,
}

impl Waiting {
    /// It is about to go on.
    fn ended(&mut self) {
        if let Some(since) = self.since.take() {
            self.before += since.elapsed();
        }
    }

    /// Whether it may wait; wakes it when its time may be over.
    fn begins(&mut self, Patience { limit, sleep }: &Patience, context: &mut Context<'_>) -> bool {
        while self.before < *limit {
            let left = *limit - self.before;
            let (timer, made, length) = self.timer.get_or_insert_with(|| (sleep(left), Instant::now(), left));
            if timer.as_mut().poll(context).is_pending() {
                self.since = Some(Instant::now());
                return true;
            }
            // The timer only wakes us: it ran on while the handler worked, so it is made anew for what is left. One
            // that was quicker than the clock is a test's, whose time is not ours.
            if made.elapsed() < *length {
                self.before += *length;
            }
            self.timer = None;
        }
        false
    }
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
                 wait for itself. Send it with `Bus::send_in(&mut tx, …)`, which joins the transaction, or publish an event"
            );
            Err(Error::new(ErrorKind::Unsupported, text))
        }
        _ => Ok(()),
    }
}
