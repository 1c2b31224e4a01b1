//! What an error of the client means for a caller.

use catga_contract::{Error, ErrorKind};
use std::{error::Error as StdError, fmt, time::Duration};
use tokio::time::{Instant, timeout_at};

/// An error of the client, of `kind`, with what was being done.
pub(crate) fn fault(
    kind: ErrorKind,
    cause: impl Into<Box<dyn StdError + Send + Sync>>,
    doing: impl fmt::Display,
) -> Error {
    Error::new(kind, cause).context(doing)
}

/// The server did not answer, or there is none.
pub(crate) fn unavailable(cause: impl Into<Box<dyn StdError + Send + Sync>>, doing: impl fmt::Display) -> Error {
    fault(ErrorKind::Unavailable, cause, doing)
}

/// The code of the JetStream error behind `error`, where there is one.
pub(crate) fn code(error: &(dyn StdError + 'static)) -> Option<u64> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(jetstream) = error.downcast_ref::<async_nats::jetstream::Error>() {
            return Some(jetstream.error_code().0);
        }
        next = error.source();
    }
    None
}

/// Codes of the JetStream API.
pub(crate) const CONSUMER_NOT_FOUND: u64 = 10_014;
pub(crate) const STREAM_NOT_FOUND: u64 = 10_059;

/// The answer of `asked`, or that there was none in `time`.
pub(crate) async fn within<T, E: Into<Box<dyn StdError + Send + Sync>>>(
    time: Duration,
    doing: impl fmt::Display,
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, Error> {
    match timeout_at(Instant::now() + time, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(unavailable(error, doing)),
        Err(_) => Err(unavailable(format!("no answer within {time:?}"), doing)),
    }
}
