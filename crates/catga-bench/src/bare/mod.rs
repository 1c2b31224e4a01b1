//! The best code that one would write without Catga, a file each of at most 80 lines.

mod call;
mod channel;
mod effects;
mod hear;
mod log;
mod pool;

pub use self::{
    call::{by_reference, by_reference_apart, direct, direct_apart, direct_with_fresh_context, plain},
    channel::{consume, handle},
    effects::Effects,
    hear::three,
    log::Log,
    pool::{Vectors, array_pool, object_pool},
};
