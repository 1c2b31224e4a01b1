use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

/// The output of a future that never waits, by one poll on this thread: no runtime's work is counted or timed.
///
/// # Panics
///
/// Panics where the future waits for something.
#[inline]
pub fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a future that should be ready at once waits for something"),
    }
}
