//! Event streams in SQLite by hand: the tables and statements that one would write, and nothing around them.
use catga::{
    Result,
    sqlite::rusqlite::{self, Connection, OptionalExtension, TransactionBehavior},
};
use std::path::Path;

/// A file of streams, written and read on the caller's thread.
#[derive(Debug)]
pub struct Log(Connection);

const TABLES: &str = "
    CREATE TABLE stream (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, version INTEGER NOT NULL) STRICT;
    CREATE TABLE event (
        position INTEGER PRIMARY KEY, stream INTEGER NOT NULL, version INTEGER NOT NULL, id BLOB NOT NULL,
        frame BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX event_by_stream ON event (stream, version);
";

impl Log {
    /// A new file, as durable as ours.
    ///
    /// # Errors
    ///
    /// What SQLite answers.
    pub fn create(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(TABLES)?;
        Ok(Self(connection))
    }

    /// Appends events to a stream in a transaction of their own; answers the version of the last, `None` where the
    /// stream is of another version than expected.
    ///
    /// # Errors
    ///
    /// What SQLite answers.
    pub fn append(&mut self, name: &str, expected: u64, events: &[([u8; 16], Vec<u8>)]) -> Result<Option<u64>> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let sql = "SELECT id, version FROM stream WHERE name = ?1";
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let found = transaction.prepare_cached(sql)?.query_row([name], row).optional()?;
        let (stream, mut version) = match found {
            Some(found) => found,
            None => {
                transaction.prepare_cached("INSERT INTO stream (name, version) VALUES (?1, 0)")?.execute([name])?;
                (transaction.last_insert_rowid(), 0)
            }
        };
        if version != expected {
            return Ok(None);
        }
        let sql = "INSERT INTO event (stream, version, id, frame) VALUES (?1, ?2, ?3, ?4)";
        let mut insert = transaction.prepare_cached(sql)?;
        for (id, frame) in events {
            version += 1;
            insert.execute((stream, version, id, frame))?;
        }
        drop(insert);
        transaction.prepare_cached("UPDATE stream SET version = ?2 WHERE id = ?1")?.execute((stream, version))?;
        transaction.commit()?;
        Ok(Some(version))
    }

    /// The first events of a stream: position, version, bytes.
    ///
    /// # Errors
    ///
    /// What SQLite answers.
    pub fn read(&self, name: &str, most: u64) -> Result<Vec<(u64, u64, Vec<u8>)>> {
        let sql = "SELECT position, event.version, frame FROM event JOIN stream ON stream.id = event.stream
            WHERE name = ?1 ORDER BY event.version LIMIT ?2";
        let mut select = self.0.prepare_cached(sql)?;
        let rows = select.query_map((name, most), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
