//! What one would write with rusqlite alone: a mark, a business row and an outgoing message for each effect, so many of
//! them a transaction, on statements that are prepared once.

use crate::effects::Row;
use catga::{
    Result,
    sqlite::rusqlite::{Connection, Statement, params},
};
use std::path::Path;

/// A file that [`Sqlite`](catga::sqlite::Sqlite) has made the tables of, opened as that one opens it.
#[derive(Debug)]
pub struct Effects {
    connection: Connection,
    consumer: i64,
}

impl Effects {
    /// Opens the file: every commit is on the disk when it is answered.
    ///
    /// # Errors
    ///
    /// What SQLite answers.
    pub fn open(path: &Path, consumer: i64) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        Ok(Self { connection, consumer })
    }

    /// Writes the effects of these messages, `batch` in each transaction. Ids and bytes are there already, as they are
    /// where messages come from a queue.
    ///
    /// # Errors
    ///
    /// What SQLite answers.
    pub fn write(&mut self, rows: &[Row], batch: usize, frame: &[u8]) -> Result<()> {
        let mark = "INSERT OR IGNORE INTO catga_inbox (consumer, id, at) VALUES (?1, ?2, ?3)";
        let order = "INSERT INTO orders (id, sku, quantity, price) VALUES (?1, ?2, ?3, ?4)";
        let outgoing = "INSERT INTO catga_outbox (partition, id, subject, frame, key) VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut mark = self.connection.prepare(mark)?;
        let mut order = self.connection.prepare(order)?;
        let mut outgoing = self.connection.prepare(outgoing)?;
        for batch in rows.chunks(batch) {
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
            for row in batch {
                let statements = (&mut mark, &mut order, &mut outgoing);
                effect(statements, self.consumer, row, frame)?;
            }
            self.connection.execute_batch("COMMIT")?;
        }
        Ok(())
    }
}

type Statements<'a, 'c> = (&'a mut Statement<'c>, &'a mut Statement<'c>, &'a mut Statement<'c>);

fn effect((mark, order, outgoing): Statements<'_, '_>, consumer: i64, row: &Row, frame: &[u8]) -> Result<()> {
    let id: [u8; 16] = row.id.to_bytes();
    if mark.execute(params![consumer, id, row.number])? == 0 {
        return Ok(());
    }
    order.execute(params![row.number, row.sku, 2, 1_250])?;
    let child = row.id.child("bench.effects", 0).to_bytes();
    outgoing.execute(params![7, child, "catga.bench.ordered", frame, None::<i64>])?;
    Ok(())
}
