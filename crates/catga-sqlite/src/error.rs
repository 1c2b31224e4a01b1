use catga_contract::{Error, ErrorKind};
use rusqlite::ErrorCode;
use std::{fmt, sync::Arc};

/// What SQLite's error means for a caller: busy is somebody else's turn, and only a file that cannot be used is
/// unavailable.
pub(crate) fn kind(error: &rusqlite::Error) -> ErrorKind {
    if matches!(error, rusqlite::Error::QueryReturnedNoRows) {
        return ErrorKind::NotFound;
    }
    use ErrorCode::{
        AuthorizationForStatementDenied, CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull,
        FileLockingProtocolFailed, NotADatabase, OutOfMemory, PermissionDenied, ReadOnly, SystemIoFailure,
    };
    match error.sqlite_error_code() {
        Some(DatabaseBusy | DatabaseLocked) => ErrorKind::Busy,
        Some(
            DiskFull
            | SystemIoFailure
            | OutOfMemory
            | CannotOpen
            | ReadOnly
            | DatabaseCorrupt
            | NotADatabase
            | PermissionDenied
            | FileLockingProtocolFailed,
        ) => ErrorKind::Unavailable,
        Some(AuthorizationForStatementDenied) => ErrorKind::Unsupported,
        _ => ErrorKind::Handler,
    }
}

/// Whether a transaction in which this happened must not commit: SQLite may have undone any part of it.
pub(crate) fn is_fatal(error: &rusqlite::Error) -> bool {
    use ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase, OperationInterrupted, OutOfMemory, SystemIoFailure};
    matches!(
        error.sqlite_error_code(),
        Some(DiskFull | SystemIoFailure | OutOfMemory | DatabaseCorrupt | NotADatabase | OperationInterrupted)
    )
}

/// Wraps an error of SQLite with what was being done.
pub(crate) fn fault(error: rusqlite::Error, doing: impl fmt::Display) -> Error {
    Error::new(kind(&error), error).context(doing)
}

/// One failure that several turns share, because they shared the transaction.
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    pub(crate) kind: ErrorKind,
    pub(crate) why: Arc<str>,
}

impl Lost {
    pub(crate) fn new(error: &rusqlite::Error, doing: &str) -> Self {
        // A shared failure is nobody's handler's fault: those who were in the transaction come again.
        let kind = match kind(error) {
            ErrorKind::Busy => ErrorKind::Busy,
            _ => ErrorKind::Unavailable,
        };
        Self { kind, why: format!("{doing}: {error}").into() }
    }

    pub(crate) fn error(&self) -> Error {
        Error::new(self.kind, format!("the transaction was undone, nothing of it was committed: {}", self.why))
    }
}
