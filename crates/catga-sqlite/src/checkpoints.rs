//! How far readers of the event streams have come.

use crate::{Sqlite, tx::SqliteTx};
use catga_contract::{Checkpoints, Error, ErrorKind, Fence, Result};

impl Checkpoints for Sqlite {
    async fn load(&self, name: &str) -> Result<(u64, Fence)> {
        let mut tx = self.open_tx().await?;
        let (position, fence) = tx.ours("taking a checkpoint over", |db| {
            let sql = "INSERT INTO catga_checkpoint (name, position, fence) VALUES (?1, 0, 1)
                ON CONFLICT (name) DO UPDATE SET fence = fence + 1 RETURNING position, fence";
            db.prepare_cached(sql)?.query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
        })?;
        tx.commit().await.map_err(|error| self.about(error))?;
        Ok((position, Fence(fence)))
    }

    async fn save(&self, name: &str, position: u64, fence: Fence) -> Result<()> {
        let mut tx = self.open_tx().await?;
        save(&mut tx, name, position, fence).map_err(|error| self.about(error))?;
        tx.commit().await.map_err(|error| self.about(error))
    }
}

/// Saves a position in a transaction.
pub(crate) fn save(tx: &mut SqliteTx, name: &str, position: u64, Fence(fence): Fence) -> Result<()> {
    let saved = tx.ours("saving a checkpoint", |db| {
        let sql = "UPDATE catga_checkpoint SET position = ?2 WHERE name = ?1 AND fence = ?3";
        db.prepare_cached(sql)?.execute((name, position, fence))
    })?;
    if saved > 0 {
        return Ok(());
    }
    let text = format!("the fence {fence} of reader `{name}` is stale: somebody else has taken its place over");
    Err(Error::new(ErrorKind::Conflict, text))
}
