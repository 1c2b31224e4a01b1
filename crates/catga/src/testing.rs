//! For tests of applications: what was published, read back as messages.
//!
//! Together with [`App::run_until_idle`](crate::App::run_until_idle), which returns when nothing waits any more, and a
//! runtime whose clock is paused (`#[tokio::test(start_paused = true)]`), a test of a whole application neither sleeps
//! nor guesses. SQLite's queue keeps time by the wall clock, so give a test of retries a short
//! [`Backoff`](crate::Backoff) there.

use catga_contract::{
    Capabilities, Envelope, Error, ErrorKind, Outcome, Parcel, Registration, Result, StoreId, Str, SubscribeOptions,
    Transport, Wire,
};
use std::sync::{Arc, Mutex, PoisonError};

/// The most messages that one [`Published`] keeps.
const MOST: usize = 65_536;

/// A transport that hands everything on to another one and remembers what that one kept. Clones share the memory.
///
/// ```
/// use catga::{App, Event, Request, Tx, sqlite::Sqlite, testing::Published};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Request)]
/// #[catga(name = "orders.place", local)]
/// struct Place(u64);
///
/// #[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
/// #[catga(name = "orders.placed")]
/// struct Placed(u64);
///
/// async fn place(Place(id): Place, mut tx: Tx<Sqlite>) -> catga::Result<()> {
///     tx.publish(Placed(id)).map(drop)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> catga::Result<()> {
/// let store = Sqlite::temporary().await?;
/// let published = Published::by(store.clone());
/// let app = App::builder("shop").store(store).transport(published.clone()).handle(place).build().await?;
/// app.send(Place(7)).await?;
/// app.run_until_idle().await?;
/// assert_eq!(published.of::<Placed>()?, [Placed(7)]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Published<T> {
    transport: T,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    parcels: Vec<Parcel>,
    /// How many were not kept, because there were too many.
    beyond: usize,
}

impl<T: Transport> Published<T> {
    /// Hands everything on to `transport`.
    pub fn by(transport: T) -> Self {
        Self { transport, kept: Arc::default() }
    }

    /// All messages of that type, in the order in which they were published; old versions and names are read as their
    /// consumers read them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] where one cannot be read, and [`ErrorKind::Invalid`] where more than 65,536 messages of all
    /// types were published since the last [`clear`](Self::clear): what is behind them is not known.
    pub fn of<M: Wire>(&self) -> Result<Vec<M>> {
        let takes = |envelope: &Envelope| envelope.name == M::NAME || M::ALIASES.contains(&envelope.name.as_str());
        let envelopes = self.envelopes()?.into_iter().filter(takes);
        envelopes.map(|envelope| M::open(&envelope)).collect()
    }

    /// Everything, in the order in which it was published, with ids, headers and keys.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of).
    pub fn envelopes(&self) -> Result<Vec<Envelope>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.beyond > 0 {
            let text = format!("{} messages more than {MOST} were published: call `clear` in between", kept.beyond);
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        kept.parcels.iter().map(|parcel| Envelope::decode(&parcel.frame)).collect()
    }

    /// Forgets what was published so far.
    pub fn clear(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
    }
}

impl<T: Transport> Transport for Published<T> {
    type Subscription = T::Subscription;

    fn capabilities(&self) -> Capabilities {
        self.transport.capabilities()
    }

    fn shares(&self) -> Option<StoreId> {
        self.transport.shares()
    }

    async fn register(&self, consumers: &[Registration]) -> Result<()> {
        self.transport.register(consumers).await
    }

    async fn publish(&self, parcels: &[Parcel], outcomes: &mut Vec<Outcome>) -> Result<()> {
        let before = outcomes.len();
        self.transport.publish(parcels, outcomes).await?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (parcel, outcome) in parcels.iter().zip(&outcomes[before..]) {
            match outcome {
                Outcome::Stored if kept.parcels.len() < MOST => kept.parcels.push(parcel.clone()),
                Outcome::Stored => kept.beyond += 1,
                _ => {}
            }
        }
        Ok(())
    }

    async fn subscribe(&self, options: SubscribeOptions) -> Result<T::Subscription> {
        self.transport.subscribe(options).await
    }

    async fn unsettled(&self, consumer: &Str) -> Result<u64> {
        self.transport.unsettled(consumer).await
    }
}
