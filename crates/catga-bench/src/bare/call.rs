//! The same async functions called directly, without anything in between.
//!
//! The compiler may inline them, as it may for whoever writes such a call. The two that end in `apart` forbid it: their
//! futures pass through memory, and what is written in small pieces and read at once in large ones makes the processor
//! wait. They show how much of a direct call's speed is due to inlining, which no call behind a pointer has.

use crate::shop::{Given, Place, PlacePlainly, Repo, fresh_context, place, place_plainly};
use catga::{Context, Result, State};

/// Nothing is cloned: the state is lent. The bound of a static send.
///
/// # Errors
///
/// None.
pub async fn by_reference(order: Place, repo: &Repo) -> Result<u64> {
    Ok(repo.take(&order, 1))
}

/// The same, never inlined.
///
/// # Errors
///
/// None.
#[inline(never)]
pub async fn by_reference_apart(order: Place, repo: &Repo) -> Result<u64> {
    Ok(repo.take(&order, 1))
}

/// What a handler takes is cloned for it, out of a context that is there already.
///
/// # Errors
///
/// None.
pub async fn direct(order: Place, given: &Given) -> Result<u64> {
    place(order, State(given.state.0.clone()), given.context.clone()).await
}

/// The same, never inlined.
///
/// # Errors
///
/// None.
pub async fn direct_apart(order: Place, given: &Given) -> Result<u64> {
    #[inline(never)]
    async fn place(order: Place, State(repo): State<Repo>, context: Context) -> Result<u64> {
        Ok(repo.take(&order, context.attempt))
    }
    place(order, State(given.state.0.clone()), given.context.clone()).await
}

/// The state is cloned; the context is made for this call, with an id of its own, as a send does for a handler that
/// takes one.
///
/// # Errors
///
/// None.
pub async fn direct_with_fresh_context(order: Place, given: &Given) -> Result<u64> {
    place(order, State(given.state.0.clone()), fresh_context()).await
}

/// The state is cloned; there is no context.
///
/// # Errors
///
/// None.
pub async fn plain(order: Place, given: &Given) -> Result<u64> {
    place_plainly(PlacePlainly(order), State(given.state.0.clone())).await
}
