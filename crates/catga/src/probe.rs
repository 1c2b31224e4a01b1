//! Finds out what a type can do, for the derives: a method on `JsonProbe<M>` itself is found before one on a reference
//! to it.

use catga_contract::JsonForm;
use std::marker::PhantomData;

/// Stands for the type `M`.
#[derive(Debug)]
pub struct JsonProbe<M>(PhantomData<fn() -> M>);

impl<M> JsonProbe<M> {
    /// There is one.
    pub const NEW: Self = Self(PhantomData);
}

/// Every type: no JSON.
pub trait JsonAny<M> {
    /// None.
    fn __catga_json(&self) -> Option<JsonForm<M>> {
        None
    }
}

impl<M> JsonAny<M> for &JsonProbe<M> {}
