//! The best code that one would write without Catga, a file each of at most 80 lines.

mod call;
mod effects;
mod channel;
mod hear;

pub use self::{
    call::{by_reference, by_reference_apart, direct, direct_apart, direct_with_fresh_context, plain},
    effects::Effects,
    channel::{consume, handle},
    hear::three,
};
