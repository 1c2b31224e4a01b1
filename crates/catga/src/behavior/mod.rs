//! Behaviors: what is put around handlers, the same for requests, commands and consumed events.
//!
//! `.with(b)` on the builder wraps every handler that is added after it; `.handle(place.with(b))` wraps one. The first
//! one is the outermost. Clones of a behavior share its state: one limit, one breaker, one cache for all handlers that
//! it wraps.
//!
//! | behavior | promises | default | ends a call with |
//! |---|---|---|---|
//! | [`Trace`] | a span for each call, by the semantic conventions for messaging | | |
//! | [`CatchPanic`] | a panic is an error, and what the handler wrote is undone | | `Handler` |
//! | [`Authorize`] | nobody gets past the rule | | `Permanent`, by [`Forbidden`] |
//! | [`Validate`] | the handler sees no message that is wrong in itself | | `Invalid` |
#![cfg_attr(
    feature = "rate-limit",
    doc = "| [`RateLimit`] | so many calls in a time | waits 5 s, 1,024 in line | `Busy` |"
)]
//! | [`ConcurrencyLimit`] | so many calls at a time | waits 5 s, 1,024 in line | `Busy` |
//! | [`Idempotent`] | equal keys have one effect and one answer | lease 30 s | `Busy`, `Invalid` |
#![cfg_attr(feature = "cache", doc = "| [`Cache`] | the answer of an equal request, for a while | | |")]
//! | [`Outbox`] | the message is kept for its consumers before the handler runs | | what the store answers |
//! | [`Retry`] | a failure that may pass is tried again | 5 tries, 100 ms × 2 | the last error |
//! | [`CircuitBreaker`] | what keeps failing is left alone for a while | half of 20 in 10 s, 5 s open | `Unavailable` |
//! | [`Timeout`] | an answer in time, or none and nothing written | | `Timeout` |
//!
//! # Order
//!
//! The table goes from the outside to the inside, which is the order that fits most handlers: a refusal costs nothing
//! when it comes first, and a limit counts a request once however often it is tried. Each place has a meaning:
//!
//! - `Retry` outside `Timeout` gives each try its own time; inside, all tries share one.
//! - `Retry` outside `CircuitBreaker` lets the breaker see every try; inside, it sees the last answer alone.
//! - `CatchPanic` outside `Retry` ends a call at its first panic; inside (last, next to the handler) a panic is a
//!   failure like another: tried again, and counted by the breaker.
//! - `Authorize` outside `Cache` and `Idempotent`: a kept answer goes to whoever reaches it.
//! - `Outbox` and `Idempotent` outside `Retry`, or each try is kept and marked anew.
//!
//! # Waiting
//!
//! A consumer that writes shares one transaction among a batch of deliveries, and with it the store's only writer. So
//! no behavior waits there: limits refuse with `Busy`, and `Retry` sleeps at most 10 ms; the worker hands the delivery
//! over again when its pause is over, with nothing held meanwhile.

mod authorize;
mod breaker;
#[cfg(feature = "cache")]
mod cache;
mod circuit;
mod concurrency;
mod idempotent;
mod line;
mod outbox;
mod panic;
#[cfg(feature = "rate-limit")]
mod rate;
mod retry;
mod timeout;
mod trace;
mod validate;
mod window;

#[cfg(feature = "cache")]
pub use self::cache::{Cache, CacheKey};
#[cfg(feature = "rate-limit")]
pub use self::rate::RateLimit;
pub use self::{
    authorize::{Authorize, Authorizer, Forbidden},
    breaker::CircuitBreaker,
    circuit::Circuit,
    concurrency::ConcurrencyLimit,
    idempotent::{CallersKey, IdempotencyKey, Idempotent},
    outbox::Outbox,
    panic::CatchPanic,
    retry::Retry,
    timeout::Timeout,
    trace::Trace,
    validate::{Problems, Validate, Validated},
};
