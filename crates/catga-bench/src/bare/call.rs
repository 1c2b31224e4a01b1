//! The same async functions called directly, without anything in between.

use crate::shop::{Given, Place, PlacePlainly, Repo, fresh_context, place, place_plainly};
use catga::{Result, State};

/// Nothing is cloned: state and attempt are lent. The bound of a static send.
///
/// # Errors
///
/// None.
#[inline]
pub async fn by_reference(order: Place, repo: &Repo) -> Result<u64> {
    lent(order, repo).await
}

#[inline(never)]
async fn lent(order: Place, repo: &Repo) -> Result<u64> {
    Ok(repo.take(&order, 1))
}

/// What a handler takes is cloned for it, out of a context that is there already.
///
/// # Errors
///
/// None.
#[inline]
pub async fn direct(order: Place, given: &Given) -> Result<u64> {
    place(order, State(given.state.0.clone()), given.context.clone()).await
}

/// The state is cloned; the context is made for this call, with an id of its own, as a send does for a handler that
/// takes one.
///
/// # Errors
///
/// None.
#[inline]
pub async fn direct_with_fresh_context(order: Place, given: &Given) -> Result<u64> {
    place(order, State(given.state.0.clone()), fresh_context()).await
}

/// The state is cloned; there is no context.
///
/// # Errors
///
/// None.
#[inline]
pub async fn plain(order: Place, given: &Given) -> Result<u64> {
    place_plainly(PlacePlainly(order), State(given.state.0.clone())).await
}
