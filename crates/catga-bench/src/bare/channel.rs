//! Frames through tokio's bounded channel: the least that carries a message from task to task.

use bytes::Bytes;
use catga::{Envelope, Result};
use tokio::sync::mpsc::Receiver;

/// A handler that does next to nothing with what it is given.
#[allow(clippy::unused_async)] // A handler is asynchronous.
pub async fn handle(payload: Bytes) -> u64 {
    u64::from(payload[0])
}

/// Handles what comes until the channel is closed; answers the sum.
///
/// # Errors
///
/// Where a frame is damaged.
pub async fn consume(mut frames: Receiver<Bytes>) -> Result<u64> {
    let (mut batch, mut sum) = (Vec::with_capacity(64), 0);
    while frames.recv_many(&mut batch, 64).await > 0 {
        for frame in batch.drain(..) {
            sum += handle(Envelope::decode(&frame)?.payload).await;
        }
    }
    Ok(sum)
}
