//! The outbox: what was committed to be sent and has not left yet.

use crate::{
    Sqlite,
    hub::Bell,
    queue::{micros, now},
    writer::Alarm,
};
use bytes::Bytes;
use catga_contract::{Fence, Lease, MessageId, Outbox, Result, Row};
use rusqlite::Connection;
use std::{sync::atomic::Ordering, time::Duration};

impl Sqlite {
    fn bell(&self) -> &Bell {
        &self.inner.shared.hub.outbox
    }

    /// Moves what is due into the outbox, behind what is there.
    async fn promote(&self, now: u64, most: usize) -> Result<()> {
        let mut tx = self.open_tx().await?;
        tx.ours("moving what is due to the outbox", |db| {
            let sql = "SELECT seq FROM catga_later WHERE consumer = 0 AND due <= ?1 ORDER BY due, seq LIMIT ?2";
            let mut select = db.prepare_cached(sql)?;
            let due = select.query_map((now as i64, most as i64), |row| row.get(0))?;
            let due: Vec<i64> = due.collect::<rusqlite::Result<_>>()?;
            for seq in due {
                let sql = "INSERT INTO catga_outbox (partition, id, subject, frame, key)
                    SELECT partition, id, subject, frame, key FROM catga_later WHERE seq = ?1";
                db.prepare_cached(sql)?.execute([seq])?;
                db.prepare_cached("DELETE FROM catga_later WHERE seq = ?1")?.execute([seq])?;
            }
            Ok(())
        })?;
        tx.commit().await.map_err(|error| self.about(error))
    }

    /// Rings when the first of those that wait may leave.
    fn wake_relay(&self, now: u64) -> Result<()> {
        let first: Option<i64> = self.read(|db| {
            let sql = "SELECT min(due) FROM (
                SELECT min(due) AS due FROM catga_later WHERE consumer = 0
                UNION ALL SELECT min(again) FROM catga_outbox WHERE again > 0 AND again > ?1)";
            db.prepare_cached(sql)?.query_row([now as i64], |row| row.get(0))
        })?;
        if let Some(first) = first {
            self.inner.shared.set_alarm(Alarm::Outbox, first as u64);
        }
        Ok(())
    }
}

/// Rows that may leave, those aside whose partition waits for one that failed.
fn waiting(db: &Connection, now: u64, most: usize) -> rusqlite::Result<Vec<Row>> {
    let sql = "SELECT seq, id, subject, frame, partition, attempts, key FROM catga_outbox AS row
        WHERE NOT EXISTS (SELECT 1 FROM catga_outbox AS failed
            WHERE failed.again > 0 AND failed.again > ?1 AND failed.partition = row.partition AND failed.seq <= row.seq)
        ORDER BY seq LIMIT ?2";
    let mut select = db.prepare_cached(sql)?;
    let rows = select.query_map((now as i64, most as i64), |row| {
        let (seq, id, subject): (i64, [u8; 16], String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (frame, partition): (Vec<u8>, u8) = (row.get(3)?, row.get(4)?);
        let id = MessageId::from_bytes(id);
        let mut kept = Row::new(seq as u64, id, subject.into(), Bytes::from(frame), partition);
        kept.attempts = row.get(5)?;
        kept.key = row.get::<_, Option<i64>>(6)?.map(|key| key as u64);
        Ok(kept)
    })?;
    rows.collect()
}

impl Outbox for Sqlite {
    /// One process works on a file, so its relay has all partitions while the process owns the file.
    async fn lease(&self, _: Duration) -> Result<Lease> {
        self.own().await?;
        Ok(Lease { partitions: Lease::ALL, fence: Fence(0) })
    }

    async fn pending(&self, _: &Lease, most: usize) -> Result<Vec<Row>> {
        self.inner.outbox_heard.store(self.bell().rings(), Ordering::SeqCst);
        let now = now();
        let due = "SELECT EXISTS (SELECT 1 FROM catga_later WHERE consumer = 0 AND due <= ?1)";
        if self.read(|db| db.prepare_cached(due)?.query_row([now as i64], |row| row.get(0)))? {
            self.promote(now, most).await?;
        }
        let rows = self.read(|db| waiting(db, now, most))?;
        if rows.is_empty() {
            self.wake_relay(now)?;
        }
        Ok(rows)
    }

    async fn sent(&self, _: &Lease, rows: &[u64]) -> Result<()> {
        let mut tx = self.open_tx().await?;
        tx.ours("removing what was sent", |db| {
            let mut delete = db.prepare_cached("DELETE FROM catga_outbox WHERE seq = ?1")?;
            rows.iter().try_for_each(|row| delete.execute([*row as i64]).map(drop))
        })?;
        tx.commit().await.map_err(|error| self.about(error))
    }

    async fn failed(&self, _: &Lease, row: u64, reason: &str, pause: Duration) -> Result<()> {
        let again = now().saturating_add(micros(pause));
        let mut tx = self.open_tx().await?;
        tx.ours("keeping what could not be sent", |db| {
            let sql = "UPDATE catga_outbox SET attempts = attempts + 1, again = ?2, reason = ?3 WHERE seq = ?1";
            db.prepare_cached(sql)?.execute((row as i64, again as i64, reason)).map(drop)
        })?;
        tx.commit().await.map_err(|error| self.about(error))
    }

    async fn unsent(&self) -> Result<u64> {
        self.read(|db| {
            let sql = "SELECT (SELECT count(*) FROM catga_outbox)
                + (SELECT count(*) FROM catga_later WHERE consumer = 0)";
            db.prepare_cached(sql)?.query_row((), |row| row.get(0))
        })
    }

    async fn written(&self) {
        self.bell().after(self.inner.outbox_heard.load(Ordering::SeqCst)).await;
    }
}
