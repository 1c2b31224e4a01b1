//! What a handler's SQL may not do: end, begin or escape the transaction that it works in.

use rusqlite::{
    Connection,
    hooks::{AuthAction, AuthContext, Authorization},
};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// Read by SQLite's authorizer whenever a statement is prepared. The authorizer is installed once, because
/// installing it again would prepare every cached statement anew.
#[derive(Clone, Default)]
pub(crate) struct Guard(Arc<Inner>);

#[derive(Default)]
struct Inner {
    user: AtomicBool,
    denied: Mutex<Option<String>>,
}

impl Guard {
    pub(crate) fn install(connection: &mut Connection) -> rusqlite::Result<Self> {
        let guard = Self::default();
        let inner = guard.0.clone();
        connection.authorizer(Some(move |context: AuthContext<'_>| inner.judge(&context.action)))?;
        Ok(guard)
    }

    /// Runs `work` as the user's: what it prepares is checked. Answers what was denied, in words.
    pub(crate) fn watch<T>(&self, work: impl FnOnce() -> rusqlite::Result<T>) -> (rusqlite::Result<T>, Option<String>) {
        self.0.user.store(true, Ordering::Relaxed);
        let end = End(&self.0.user);
        let result = work();
        drop(end);
        let denied = match &result {
            Ok(_) => None,
            Err(_) => self.0.denied.lock().unwrap_or_else(PoisonError::into_inner).take(),
        };
        (result, denied)
    }
}

/// Ends the watch, also when a closure of the user's panics.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Inner {
    fn judge(&self, action: &AuthAction<'_>) -> Authorization {
        if !self.user.load(Ordering::Relaxed) {
            return Authorization::Allow;
        }
        let denied = match action {
            AuthAction::Transaction { operation } => format!("transaction control ({operation:?})"),
            AuthAction::Savepoint { operation, savepoint_name } => {
                format!("SAVEPOINT {savepoint_name} ({operation:?})")
            }
            AuthAction::Pragma { pragma_name, .. } => format!("PRAGMA {pragma_name}"),
            AuthAction::Attach { filename } => format!("ATTACH {filename:?}"),
            AuthAction::Detach { database_name } => format!("DETACH {database_name}"),
            AuthAction::Insert { table_name } if is_ours(table_name) => format!("INSERT INTO {table_name}"),
            AuthAction::Update { table_name, .. } if is_ours(table_name) => format!("UPDATE {table_name}"),
            AuthAction::Delete { table_name } if is_ours(table_name) => format!("DELETE FROM {table_name}"),
            AuthAction::DropTable { table_name } if is_ours(table_name) => format!("DROP TABLE {table_name}"),
            AuthAction::AlterTable { table_name, .. } if is_ours(table_name) => format!("ALTER TABLE {table_name}"),
            AuthAction::CreateTrigger { table_name, .. } if is_ours(table_name) => format!("a trigger on {table_name}"),
            AuthAction::CreateIndex { table_name, .. } if is_ours(table_name) => format!("an index on {table_name}"),
            AuthAction::DropTrigger { table_name, .. } if is_ours(table_name) => {
                format!("DROP TRIGGER on {table_name}")
            }
            AuthAction::DropIndex { table_name, .. } if is_ours(table_name) => format!("DROP INDEX on {table_name}"),
            AuthAction::CreateTable { table_name } if is_ours(table_name) => format!("CREATE TABLE {table_name}"),
            _ => return Authorization::Allow,
        };
        *self.denied.lock().unwrap_or_else(PoisonError::into_inner) = Some(denied);
        Authorization::Deny
    }
}

fn is_ours(table: &str) -> bool {
    table.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("catga_"))
}
