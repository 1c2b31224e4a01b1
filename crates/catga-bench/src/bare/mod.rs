//! The best code that one would write without Catga, a file each of at most 80 lines.

mod call;
mod hear;
mod pool;

pub use self::{
    call::{by_reference, by_reference_apart, direct, direct_apart, direct_with_fresh_context, plain},
    hear::three,
    pool::{Vectors, array_pool, object_pool},
};
