//! What stores are compared with: what they must do, in the simplest words.

pub(crate) mod run;

pub(crate) use run::{Names, guard, with_seeds};
