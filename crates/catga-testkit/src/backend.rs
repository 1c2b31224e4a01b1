use catga_contract::{Fault, Result, UnitOfWork};
use std::future::Future;

/// Makes stores for cases. One value of it serves one case and is dropped after the case's stores.
pub trait Backend: Send + Sync + 'static {
    /// The store: a handle that is cheap to clone.
    type Store: Clone + Send + Sync + 'static;

    /// A fresh store that nobody else has.
    ///
    /// # Errors
    ///
    /// Where it cannot be made; the case fails then.
    fn open(&self) -> impl Future<Output = Result<Self::Store>> + Send;

    /// The deliberate defect that the facade shall have. Never without the feature `sabotage`.
    #[doc(hidden)]
    fn fault(&self) -> Option<Fault> {
        None
    }
}

/// A store whose transactions take business rows: here, numbers.
pub trait Rows: Backend<Store: UnitOfWork> {
    /// Writes a row in the transaction; equal ones stand side by side.
    ///
    /// # Errors
    ///
    /// What the store answers.
    fn write(
        store: &Self::Store,
        tx: &mut <Self::Store as UnitOfWork>::Tx,
        row: u64,
    ) -> impl Future<Output = Result<()>> + Send;

    /// All committed rows, in any order.
    ///
    /// # Errors
    ///
    /// What the store answers.
    fn rows(store: &Self::Store) -> impl Future<Output = Result<Vec<u64>>> + Send;
}

/// A store that outlives the process.
pub trait Reopens: Backend {
    /// Lets go of the store, whose other handles are gone, and opens it again as another process would.
    ///
    /// # Errors
    ///
    /// What the store answers.
    fn reopen(&self, store: Self::Store) -> impl Future<Output = Result<Self::Store>> + Send;
}

/// A store whose transactions can end by themselves.
pub trait Breaks: Rows {
    /// Makes the store end the open transaction, as a full disk would.
    fn end_by_itself(store: &Self::Store, tx: &mut <Self::Store as UnitOfWork>::Tx) -> impl Future<Output = ()> + Send;
}
