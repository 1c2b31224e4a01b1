//! The conformance suite over SQLite files.
#![allow(clippy::unwrap_used)]

use catga::{
    Result,
    sqlite::{Sqlite, SqliteTx},
};
use catga_testkit::{Backend, Breaks, Reopens, Rows};
use std::sync::atomic::{AtomicU32, Ordering};

/// Stores in files of a folder that goes with it.
struct Files {
    folder: tempfile::TempDir,
    count: AtomicU32,
}

const SCHEMA: &[&str] = &["CREATE TABLE effects (row INTEGER NOT NULL); CREATE TABLE once (id INTEGER PRIMARY KEY)"];

fn files() -> Files {
    Files { folder: tempfile::tempdir().unwrap(), count: AtomicU32::new(0) }
}

impl Backend for Files {
    type Store = Sqlite;

    async fn open(&self) -> Result<Sqlite> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let store = Sqlite::open(self.folder.path().join(format!("{number}.db"))).await?.migrate(SCHEMA).await?;
        #[cfg(feature = "sabotage")]
        let store = match catga_testkit::wanted_fault() {
            Some(fault) => store.sabotage(fault),
            None => store,
        };
        Ok(store)
    }

    #[cfg(feature = "sabotage")]
    fn fault(&self) -> Option<catga_contract::Fault> {
        catga_testkit::wanted_fault()
    }
}

impl Rows for Files {
    async fn write(_: &Sqlite, tx: &mut SqliteTx, row: u64) -> Result<()> {
        tx.execute("INSERT INTO effects (row) VALUES (?1)", [row]).map(drop)
    }

    async fn rows(store: &Sqlite) -> Result<Vec<u64>> {
        store.read(|db| db.prepare_cached("SELECT row FROM effects")?.query_map((), |row| row.get(0))?.collect())
    }
}

impl Reopens for Files {
    async fn reopen(&self, store: Sqlite) -> Result<Sqlite> {
        let path = store.path().to_owned();
        drop(store);
        Sqlite::open(path).await
    }
}

impl Breaks for Files {
    async fn end_by_itself(_: &Sqlite, tx: &mut SqliteTx) {
        tx.execute("INSERT INTO once (id) VALUES (1)", ()).unwrap();
        assert!(tx.execute("INSERT OR ROLLBACK INTO once (id) VALUES (1)", ()).is_err());
    }
}

catga_testkit::conformance!(
    sqlite,
    files(),
    [
        transport,
        settlement,
        order_stream,
        order_key,
        no_dedupe,
        atomic_batch,
        delay,
        no_groups,
        no_fenced_settle,
        durable,
        unit,
        unit_queue,
        breaks,
        effects,
        outbox,
        inbox,
        inbox_in_tx,
        letters,
        replay,
        park,
        bad_data,
        resource,
        durable_unit,
        durable_inbox,
        durable_letters,
        model_inbox,
        model_unit,
        model_queue,
        model_letters,
    ]
);
