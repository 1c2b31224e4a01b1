use std::{future::Future, time::Duration};
use tokio::sync::watch;

/// The wish that something ends, heard by many.
pub(crate) struct Stop(watch::Sender<bool>);

/// One who hears it.
#[derive(Clone)]
pub(crate) struct Stopped(watch::Receiver<bool>);

impl Stop {
    pub(crate) fn new() -> (Self, Stopped) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Stopped(receiver))
    }

    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stopped {
    pub(crate) fn is_wanted(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when the end is wanted, or when nobody is left who could want it.
    pub(crate) async fn wanted(&self) {
        let mut receiver = self.0.clone();
        // An error says that the sender is gone, which is an end as well.
        let _ = receiver.wait_for(|wanted| *wanted).await;
    }

    /// Runs `work` unless the end is wanted first; `None` then. Only for work that may be dropped.
    pub(crate) async fn unless<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.wanted() => None,
            done = work => Some(done),
        }
    }

    pub(crate) async fn pause(&self, pause: Duration) {
        self.unless(tokio::time::sleep(pause)).await;
    }
}
