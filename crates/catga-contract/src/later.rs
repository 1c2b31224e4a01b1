//! A transaction that a handler begins itself, when it has waited for everything else.

use crate::{
    AnyUnit, BoxFuture, Call, Error, ErrorKind, Fault, FromCall, Needs, Resources, Result, Tx, Unit, UnitOfWork,
    call::{Late, Mark},
    tx::{Parent, unit},
};
use std::{
    any::{Any, type_name},
    fmt,
    marker::PhantomData,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// A [`Tx`] that the handler begins when it needs it: for handlers that wait for something else first, such as an
/// answer over HTTP. Many of them run side by side; each waits for its turn to write in [`begin`](Self::begin), and
/// commits on its own.
///
/// ```
/// # use catga_contract::{Error, Later, Tx, UnitOfWork};
/// # struct Charge;
/// # async fn ask_the_bank(_: &Charge) -> Result<(), Error> { Ok(()) }
/// async fn charge<S: UnitOfWork>(charge: Charge, tx: Later<Tx<S>>) -> Result<(), Error> {
///     ask_the_bank(&charge).await?; // Nobody waits for this one meanwhile.
///     let mut tx = tx.begin().await?;
///     // Statements and `tx.publish(…)`, as in every handler with a `Tx`.
/// #   let _ = &mut tx;
///     Ok(())
/// }
/// ```
///
/// A message that is handled once more does what stands before `begin` once more; there it is told that it was handled
/// before.
pub struct Later<T> {
    begin: Box<dyn FnOnce() -> BoxFuture<'static, Result<T>> + Send>,
    transaction: PhantomData<T>,
}

impl<T> Later<T> {
    /// Begins the transaction: waits for its turn to write. From here on the rules of `Tx` hold, the one included that
    /// the handler waits for nothing else for long.
    ///
    /// # Errors
    ///
    /// As [`UnitOfWork::begin`]; [`ErrorKind::Permanent`] where the message was handled before, which the handler passes
    /// on: the worker knows what it means.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the turn to the next.
    pub async fn begin(self) -> Result<T> {
        (self.begin)().await
    }
}

impl<T> fmt::Debug for Later<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Later").field("transaction", &type_name::<T>()).finish_non_exhaustive()
    }
}

/// What the handler and its call both see.
struct Place<S: UnitOfWork> {
    store: Arc<S>,
    began: Arc<AtomicBool>,
    duplicate: AtomicBool,
    unit: Mutex<Held<S>>,
}

enum Held<S: UnitOfWork> {
    /// Not begun.
    Nothing,
    Open(Box<Unit<S>>),
    /// The handler has answered: nothing may begin any more.
    Closed,
}

impl<S: UnitOfWork> Place<S> {
    fn replace(&self, held: Held<S>) -> Held<S> {
        std::mem::replace(&mut *self.unit.lock().unwrap_or_else(PoisonError::into_inner), held)
    }

    async fn begin(self: Arc<Self>, parent: Parent, mark: Option<Mark>, bare: bool) -> Result<Tx<S>> {
        let mut unit = match self.replace(Held::Nothing) {
            Held::Open(unit) => unit,
            Held::Nothing => {
                let mut unit = Unit::new(self.store.clone(), self.store.begin().await?);
                if let Some(mark) = mark
                    && !unit.enter(&mark).await?
                {
                    self.duplicate.store(true, Ordering::Relaxed);
                    return Err(mark.duplicate());
                }
                Box::new(unit)
            }
            Held::Closed => return Err(self.closed()),
        };
        let tx = Tx::open(&mut unit, parent, bare).await?;
        self.began.store(true, Ordering::Relaxed);
        match self.replace(Held::Open(unit)) {
            Held::Closed => {
                self.replace(Held::Closed);
                Err(self.closed())
            }
            _ => Ok(tx),
        }
    }

    fn closed(&self) -> Error {
        let text = "its handler has answered: a `Later` must not outlive it";
        Error::new(ErrorKind::Handler, text)
    }
}

impl<S: UnitOfWork> FromCall for Later<Tx<S>> {
    type Prepared = Arc<S>;

    fn prepare(resources: &Resources, needs: &mut Needs) -> Option<Arc<S>> {
        needs.begin_late();
        Tx::<S>::prepare(resources, needs)
    }

    async fn from_call(store: &Arc<S>, call: &mut Call<'_>) -> Result<Self> {
        call.reclaim();
        let held = match call.unit().is_some() {
            // A call within another one's transaction, or a second try of a behavior around this handler.
            true => {
                unit::<S>(call)?;
                let unit = call.take_unit().and_then(|unit| (unit as Box<dyn Any>).downcast().ok());
                unit.map_or(Held::Nothing, Held::Open)
            }
            false => Held::Nothing,
        };
        let began = Arc::new(AtomicBool::new(matches!(held, Held::Open(_))));
        let place = Arc::new(Place {
            store: store.clone(),
            began: began.clone(),
            duplicate: AtomicBool::new(false),
            unit: Mutex::new(held),
        });
        let (parent, mark) = (Parent::of(call), call.mark());
        let bare = call.resources().sabotaged(Fault::NoSavepoint);
        let reclaim = |place: &(dyn Any + Send)| {
            let place: &Arc<Place<S>> = place.downcast_ref()?;
            match place.replace(Held::Closed) {
                Held::Open(unit) => Some(unit as Box<dyn AnyUnit>),
                _ => None,
            }
        };
        call.set_late(Late { store: store.id(), began, place: Box::new(place.clone()), reclaim });
        let begin = Box::new(move || Box::pin(place.begin(parent, mark, bare)) as BoxFuture<'static, _>);
        Ok(Self { begin, transaction: PhantomData })
    }

    async fn after(_: &Arc<S>, call: &mut Call<'_>, keep: bool) -> Result<()> {
        let place = call.take_late().and_then(|late| late.place.downcast::<Arc<Place<S>>>().ok());
        let Some(place) = place else { return Ok(()) };
        if place.duplicate.load(Ordering::Relaxed) {
            call.set_duplicate();
        }
        if let Held::Open(unit) = place.replace(Held::Closed) {
            call.lend(unit);
            Tx::<S>::after(&place.store, call, keep).await?;
        }
        Ok(())
    }
}
