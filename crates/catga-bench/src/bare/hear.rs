//! Three async functions called one after the other with clones of an event.

use crate::shop::{Given, Placed, hear};
use catga::Result;

/// Lets three hear of it, the last one without a clone.
///
/// # Errors
///
/// None.
pub async fn three(event: Placed, given: &Given) -> Result<()> {
    #[allow(clippy::clone_on_copy)] // An event is `Clone`; that this one is `Copy` must not matter.
    hear(event.clone(), given.state.clone()).await?;
    #[allow(clippy::clone_on_copy)]
    hear(event.clone(), given.state.clone()).await?;
    hear(event, given.state.clone()).await
}
