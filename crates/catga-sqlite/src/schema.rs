//! Versioned migrations: ours and the user's.

use crate::{error::fault, guard::Guard};
use catga_contract::{Error, ErrorKind, Result};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

/// Our own tables. An entry, once released, never changes; a change is a new entry.
///
/// Times are microseconds since 1970. A message's frame is written once and deleted once: what changes about it
/// stands in narrow tables of its own.
const OURS: &[&str] = &["
    -- `started`: every queue row up to here may have been started; 0 when a process ended in good order.
    CREATE TABLE catga_consumer (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, started INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE catga_subscription (
        subject TEXT NOT NULL, consumer INTEGER NOT NULL, PRIMARY KEY (subject, consumer)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE catga_queue (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, consumer INTEGER NOT NULL, frame BLOB NOT NULL, key INTEGER
    ) STRICT;
    CREATE INDEX catga_queue_by_consumer ON catga_queue (consumer);
    CREATE INDEX catga_queue_by_key ON catga_queue (consumer, key) WHERE key IS NOT NULL;
    -- Queue rows that were tried, or waited for such a one of their key, and come again at `due`; `alone`: in a
    -- transaction of its own, because it was started in a process that died; `first`: when the first try started.
    CREATE TABLE catga_retry (
        seq INTEGER PRIMARY KEY, consumer INTEGER NOT NULL, attempts INTEGER NOT NULL, due INTEGER NOT NULL,
        alone INTEGER NOT NULL, first INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    -- What waits for its time, then moves to a consumer's queue or, with consumer 0, to the outbox.
    CREATE TABLE catga_later (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, consumer INTEGER NOT NULL, due INTEGER NOT NULL, frame BLOB NOT NULL,
        key INTEGER, partition INTEGER, id BLOB, subject TEXT
    ) STRICT;
    CREATE INDEX catga_later_due ON catga_later (consumer, due);
    CREATE TABLE catga_inbox (
        consumer INTEGER NOT NULL, id BLOB NOT NULL, at INTEGER NOT NULL, answer BLOB, PRIMARY KEY (consumer, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE catga_outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, partition INTEGER NOT NULL, id BLOB NOT NULL, subject TEXT NOT NULL,
        frame BLOB NOT NULL, key INTEGER, attempts INTEGER NOT NULL DEFAULT 0, again INTEGER NOT NULL DEFAULT 0,
        reason TEXT
    ) STRICT;
    CREATE INDEX catga_outbox_failed ON catga_outbox (partition) WHERE again > 0;
    CREATE TABLE catga_letter (
        id INTEGER PRIMARY KEY AUTOINCREMENT, consumer TEXT NOT NULL, handler TEXT NOT NULL, frame BLOB NOT NULL,
        reason TEXT NOT NULL, attempts INTEGER NOT NULL, node TEXT NOT NULL, first INTEGER NOT NULL,
        last INTEGER NOT NULL, parks INTEGER
    ) STRICT;
    CREATE INDEX catga_letter_parks ON catga_letter (consumer, parks) WHERE parks IS NOT NULL;
    -- What the applications on this file said of themselves when they were last built, as JSON.
    CREATE TABLE catga_application (
        name TEXT PRIMARY KEY, description TEXT NOT NULL, at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
"];

/// Brings our own tables up to date.
pub(crate) fn ours(connection: &mut Connection) -> Result<()> {
    apply(connection, None, "catga", OURS)
}

/// Brings the user's tables up to date; their SQL is watched like a handler's.
pub(crate) fn users(connection: &mut Connection, guard: &Guard, migrations: &[String]) -> Result<()> {
    let migrations: Vec<&str> = migrations.iter().map(String::as_str).collect();
    apply(connection, Some(guard), "app", &migrations)
}

/// Refuses a file that this program would have to change before it can work beside its owner.
pub(crate) fn check(connection: &Connection) -> Result<()> {
    let known = "SELECT count(*) FROM sqlite_schema WHERE name = 'catga_migration'";
    let known: i64 = connection.query_row(known, (), |row| row.get(0)).map_err(|error| fault(error, "opening"))?;
    let applied = match known {
        0 => 0,
        _ => applied(connection, "catga").map_err(|error| fault(error, "opening"))?,
    };
    if applied != OURS.len() {
        let text = format!("its tables are of version {applied}, this program works beside version {}", OURS.len());
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    Ok(())
}

fn applied(connection: &Connection, scope: &str) -> rusqlite::Result<usize> {
    let text = "SELECT coalesce(max(version), 0) FROM catga_migration WHERE scope = ?1";
    connection.query_row(text, [scope], |row| row.get(0))
}

fn apply(connection: &mut Connection, guard: Option<&Guard>, scope: &str, migrations: &[&str]) -> Result<()> {
    let failed = |error| fault(error, "migrating");
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let table = "CREATE TABLE IF NOT EXISTS catga_migration (
        scope TEXT NOT NULL, version INTEGER NOT NULL, sql TEXT NOT NULL, PRIMARY KEY (scope, version)) STRICT";
    transaction.execute_batch(table).map_err(failed)?;
    let applied = applied(&transaction, scope).map_err(failed)?;
    if applied > migrations.len() {
        let text = format!(
            "the file is newer than this program: its `{scope}` tables are of version {applied}, the program knows \
             {} versions. Use the newer program",
            migrations.len()
        );
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    for (index, sql) in migrations.iter().enumerate() {
        let version = index + 1;
        if version <= applied {
            let stored = "SELECT sql FROM catga_migration WHERE scope = ?1 AND version = ?2";
            let stored: Option<String> =
                transaction.query_row(stored, (scope, version), |row| row.get(0)).optional().map_err(failed)?;
            if stored.as_deref() != Some(*sql) {
                let text = format!(
                    "migration {version} of `{scope}` is not the one that this file was made with: an applied \
                     migration must not change; add a new one behind it"
                );
                return Err(Error::new(ErrorKind::Invalid, text));
            }
            continue;
        }
        let run = || transaction.execute_batch(sql);
        let (result, denied) = match guard {
            Some(guard) => guard.watch(run),
            None => (run(), None),
        };
        result.map_err(|error| {
            let error = fault(error, format_args!("migration {version} of `{scope}`"));
            match denied {
                Some(denied) => error.context(format_args!("{denied} is refused in a migration")),
                None => error,
            }
        })?;
        let note = "INSERT INTO catga_migration (scope, version, sql) VALUES (?1, ?2, ?3)";
        transaction.execute(note, (scope, version, sql)).map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}
