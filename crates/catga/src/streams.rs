//! Typed events in and out of streams, outside a handler's transaction.

use catga_contract::{EventBatch, EventStore, Expect, FromEvent, Result, ToEvents};
use std::future::Future;

/// How many events a fold reads at a time.
const PAGE: usize = 256;

/// Typed events on any [`EventStore`]. In a handler, [`Tx::append`](crate::Tx::append) and
/// [`Tx::fold`](crate::Tx::fold) work in its transaction.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> catga::Result<()> {
/// use catga::{Event, EventSet, Expect, Streams, sqlite::Sqlite};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Clone, Serialize, Deserialize)]
/// #[catga(name = "account.opened")]
/// struct Opened { owner: String }
///
/// #[derive(Event, Clone, Serialize, Deserialize)]
/// #[catga(name = "account.paid-in")]
/// struct PaidIn { cents: u64 }
///
/// #[derive(EventSet)]
/// enum Account {
///     Opened(Opened),
///     PaidIn(PaidIn),
/// }
///
/// let store = Sqlite::temporary().await?;
/// let events = (Opened { owner: "Ada".into() }, PaidIn { cents: 250 });
/// store.append_events("account-7", Expect::Empty, &events).await?;
///
/// let (balance, version) = store
///     .fold("account-7", 0, |balance, event| match event {
///         Account::Opened(_) => {}
///         Account::PaidIn(PaidIn { cents }) => *balance += cents,
///     })
///     .await?;
/// assert_eq!((balance, version), (250, 2));
/// # Ok(())
/// # }
/// ```
pub trait Streams: EventStore {
    /// Appends events with fresh ids, all or none, in a transaction of their own; answers the version of the last.
    ///
    /// # Errors
    ///
    /// As [`EventStore::append`] and [`ToEvents::to_events`].
    fn append_events<E: ToEvents + ?Sized>(
        &self,
        stream: &str,
        expect: Expect,
        events: &E,
    ) -> impl Future<Output = Result<u64>> + Send {
        async move { self.append(stream, expect, &EventBatch::of(events)?.events()).await }
    }

    /// The events of a stream from version `from` on, at most `most`, each with its version.
    ///
    /// # Errors
    ///
    /// As [`Recorded::read`](crate::Recorded::read), and where the store fails.
    fn events<E: FromEvent>(
        &self,
        stream: &str,
        from: u64,
        most: usize,
    ) -> impl Future<Output = Result<Vec<(u64, E)>>> + Send {
        async move {
            let events = self.read(stream, from, most).await?;
            events.iter().map(|event| Ok((event.version, event.read()?))).collect()
        }
    }

    /// Folds all events of a stream into a state, in their order. Answers the state and the stream's version, 0 where
    /// it does not exist, as [`Expect::Version`] wants it.
    ///
    /// # Errors
    ///
    /// As [`Recorded::read`](crate::Recorded::read), and where the store fails.
    fn fold<E: FromEvent, T: Send>(
        &self,
        stream: &str,
        mut state: T,
        mut apply: impl FnMut(&mut T, E) + Send,
    ) -> impl Future<Output = Result<(T, u64)>> + Send {
        async move {
            let mut version = 0;
            loop {
                let page = self.read(stream, version + 1, PAGE).await?;
                for event in &page {
                    apply(&mut state, event.read()?);
                    version = event.version;
                }
                if page.len() < PAGE {
                    return Ok((state, version));
                }
            }
        }
    }
}

impl<S: EventStore> Streams for S {}
