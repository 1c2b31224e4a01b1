//! What an operator sees of the outbox.

use crate::Sqlite;
use catga_contract::{MessageId, Result, Subject};
use rusqlite::Row;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A message that was committed to be sent and has not left yet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OutboxRow {
    /// The message's id.
    pub id: MessageId,
    /// Where it goes.
    pub subject: Subject,
    /// Its key's [digest](catga_contract::Key::digest).
    pub key: Option<u64>,
    /// How large its frame is.
    pub bytes: u64,
    /// When it may leave, where it was published for later.
    pub due: Option<SystemTime>,
    /// How often it was refused.
    pub attempts: u32,
    /// When it is tried again, where it was refused; the later ones of its partition wait for it.
    pub again: Option<SystemTime>,
    /// Why it was refused last.
    pub reason: Option<String>,
}

impl Sqlite {
    /// The first `most` messages that wait to leave: in their order, then those that are due later by their time.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> catga::Result<()> {
    /// let store = catga::sqlite::Sqlite::temporary().await?;
    /// assert!(store.outbox_rows(100)?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What SQLite answers.
    pub fn outbox_rows(&self, most: usize) -> Result<Vec<OutboxRow>> {
        self.read(|db| {
            let sql = "SELECT id, subject, key, length(frame), 0, attempts, again, reason
                FROM catga_outbox ORDER BY seq LIMIT ?1";
            let mut select = db.prepare(sql)?;
            let mut rows: Vec<OutboxRow> = select.query_map([most], row)?.collect::<rusqlite::Result<_>>()?;
            let sql = "SELECT id, subject, key, length(frame), due, 0, 0, NULL
                FROM catga_later WHERE consumer = 0 ORDER BY due, seq LIMIT ?1";
            let mut select = db.prepare(sql)?;
            let later = select.query_map([most - rows.len()], row)?;
            for row in later {
                rows.push(row?);
            }
            Ok(rows)
        })
    }
}

fn row(row: &Row<'_>) -> rusqlite::Result<OutboxRow> {
    let time = |index| -> rusqlite::Result<Option<SystemTime>> {
        let micros: i64 = row.get(index)?;
        Ok((micros > 0).then(|| UNIX_EPOCH + Duration::from_micros(micros.unsigned_abs())))
    };
    Ok(OutboxRow {
        id: MessageId::from_bytes(row.get(0)?),
        subject: row.get::<_, String>(1)?.into(),
        key: row.get::<_, Option<i64>>(2)?.map(|key| key as u64),
        bytes: row.get(3)?,
        due: time(4)?,
        attempts: row.get(5)?,
        again: time(6)?,
        reason: row.get(7)?,
    })
}
