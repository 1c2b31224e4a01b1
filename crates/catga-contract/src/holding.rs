//! Who holds a store's writer on this thread right now, so that a handler which waits for itself is told so.

use crate::{Error, ErrorKind, Result, StoreId};
use std::{cell::Cell, future::Future, pin::Pin};

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
