use catga_contract::{Error, ErrorKind};
use redis::{RedisError, ServerErrorKind};
use std::fmt;

/// What an error of Redis means for a caller.
pub(crate) fn kind(error: &RedisError) -> ErrorKind {
    use redis::ErrorKind as Kind;
    if error.is_timeout() {
        return ErrorKind::Timeout;
    }
    if error.is_io_error() || error.is_connection_dropped() || error.is_connection_refusal() {
        return ErrorKind::Unavailable;
    }
    match error.kind() {
        Kind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::NoPerm,
        )
        | Kind::AuthenticationFailed => ErrorKind::Unavailable,
        // A server whose disk or memory is full answers so; it reads on, and mends when there is room.
        _ if matches!(error.code(), Some("MISCONF" | "OOM" | "NOREPLICAS" | "BUSY" | "NOAUTH" | "WRONGPASS")) => {
            ErrorKind::Unavailable
        }
        _ => ErrorKind::Handler,
    }
}

/// Whether the command may have been done although its answer is an error.
pub(crate) fn is_unknown(error: &RedisError) -> bool {
    !error.is_connection_refusal() && (error.is_timeout() || error.is_io_error() || error.is_connection_dropped())
}

/// Wraps an error of Redis with what was being done.
pub(crate) fn fault(error: RedisError, doing: impl fmt::Display) -> Error {
    Error::new(kind(&error), error).context(doing)
}

/// An answer that no script of ours gives.
pub(crate) fn strange(doing: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{doing}: the server answered what it should not"))
}
