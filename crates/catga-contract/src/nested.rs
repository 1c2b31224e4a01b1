//! A call within another one's transaction.

use crate::{Call, Context, Error, Resources, Result, Tx, Unit, UnitOfWork};
use std::any::Any;

/// A call of another handler within an open transaction: what that handler writes and publishes is undone when it
/// fails, and commits with the outer one when both succeed. For those who build a bus; handlers use `Bus::send_in`.
///
/// Dropped before [`end`](Self::end), the outer call fails: what the inner one wrote cannot be told from what came after.
pub struct Nested<'t, S: UnitOfWork> {
    outer: &'t mut Tx<S>,
    call: Call<'t>,
    ended: bool,
}

impl<'t, S: UnitOfWork> Nested<'t, S> {
    /// Lends the transaction to a call with this context; its id is made anew, as a child of the outer message that is
    /// the same when that one is handled again.
    ///
    /// # Errors
    ///
    /// Where an inner call before this one did not give the transaction back.
    pub fn new(outer: &'t mut Tx<S>, resources: &'t Resources, mut context: Context) -> Result<Self> {
        let Some(tx) = outer.take() else {
            return Err(Error::permanent("an earlier call within this transaction did not give it back"));
        };
        context.id = outer.parent.id.child(&outer.parent.consumer, outer.messages.next);
        context.causation = outer.parent.id;
        outer.messages.next += 1;
        let mut call = Call::within(resources, context, outer.parent.trace);
        call.lend(Box::new(Unit::new(outer.store.clone(), tx)));
        Ok(Self { outer, call, ended: false })
    }

    /// The call to make.
    pub fn call(&mut self) -> &mut Call<'t> {
        &mut self.call
    }

    /// Gives the transaction back to the outer call.
    ///
    /// # Errors
    ///
    /// Where it left the inner handler; nothing will be committed then.
    pub async fn end(mut self) -> Result<()> {
        self.call.reclaim();
        if let Some(unit) = self.call.open_unit::<S>() {
            unit.tx().await?;
        }
        self.ended = true;
        Ok(())
    }
}

impl<S: UnitOfWork> Drop for Nested<'_, S> {
    fn drop(&mut self) {
        let unit = self.call.take_unit().map(|unit| (unit as Box<dyn Any>).downcast::<Unit<S>>());
        let tx = unit.and_then(|unit| unit.ok()?.into_tx());
        self.outer.bring_back(tx, !self.ended);
    }
}

impl<S: UnitOfWork> std::fmt::Debug for Nested<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nested").field("call", &self.call).finish_non_exhaustive()
    }
}
