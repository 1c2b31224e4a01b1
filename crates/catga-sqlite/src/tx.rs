use crate::{
    error::fault,
    hub::Effect,
    writer::{Turn, ended_by_itself, ends_transaction},
};
use catga_contract::{Error, ErrorKind, Result, Savepoint};
use rusqlite::{Connection, Params, Row};

/// The open transaction of a [`Sqlite`](crate::Sqlite) store. A handler gets it inside a `Tx<Sqlite>`; only the store
/// makes one.
///
/// Its statements run at once, on the caller's thread, and are kept prepared. They cannot end, begin or leave the
/// transaction: `BEGIN`, `COMMIT`, `ROLLBACK`, `SAVEPOINT`, `PRAGMA`, `ATTACH` and writes to tables named `catga_…` are
/// refused with an error that says so.
pub struct SqliteTx {
    turn: Turn,
    /// How many savepoints are open, and how many effects there were when each was opened.
    savepoints: Vec<usize>,
    pub(crate) effects: Vec<Effect>,
    /// Never without a deliberate defect: does not look whether the transaction is still open.
    blind: bool,
}

impl SqliteTx {
    pub(crate) fn new(turn: Turn, blind: bool) -> Self {
        Self { turn, savepoints: Vec::new(), effects: Vec::new(), blind }
    }

    /// Runs a statement that answers no rows; answers how many rows it changed.
    ///
    /// # Errors
    ///
    /// What SQLite answers, with the statement in its text. [`ErrorKind::Unsupported`] where the statement is one that a
    /// handler may not run, [`ErrorKind::Unavailable`] where the disk is full or failed: then the whole transaction is
    /// undone, also what others wrote in it.
    pub fn execute<P: Params>(&mut self, sql: &str, params: P) -> Result<usize> {
        self.watched(sql, |connection| connection.prepare_cached(sql)?.execute(params))
    }

    /// Answers the first row of a query through `map`.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute); [`ErrorKind::NotFound`] where there is no row.
    pub fn query_row<P: Params, T>(
        &mut self,
        sql: &str,
        params: P,
        map: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        self.watched(sql, |connection| connection.prepare_cached(sql)?.query_row(params, map))
    }

    /// Answers all rows of a query through `map`.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub fn query_map<P: Params, T>(
        &mut self,
        sql: &str,
        params: P,
        map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        self.watched(sql, |connection| connection.prepare_cached(sql)?.query_map(params, map)?.collect())
    }

    /// The rowid of the last row that this connection inserted.
    pub fn last_insert_rowid(&self) -> i64 {
        self.turn.link().connection.last_insert_rowid()
    }

    fn watched<T>(&mut self, sql: &str, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        self.check()?;
        let link = self.turn.link();
        let (result, denied) = link.guard.watch(|| work(&link.connection));
        result.map_err(|error| {
            self.turn.lost = ends_transaction(&self.turn.link().connection, &error).filter(|_| !self.blind);
            if let Some(denied) = denied {
                let text = format!(
                    "{denied} is refused: the transaction belongs to the delivery and commits when the handler answers \
                     `Ok`; the statement was `{sql}`"
                );
                return Error::new(ErrorKind::Unsupported, text);
            }
            fault(error, "writing").context(format_args!("`{sql}`"))
        })
    }

    /// Runs a statement of ours.
    pub(crate) fn ours<T>(&mut self, doing: &str, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        self.check()?;
        work(&self.turn.link().connection).map_err(|error| {
            self.turn.lost = ends_transaction(&self.turn.link().connection, &error);
            fault(error, doing)
        })
    }

    fn check(&self) -> Result<()> {
        self.turn.lost.as_ref().map_or(Ok(()), |lost| Err(lost.error()))
    }

    pub(crate) fn turn(&self) -> &Turn {
        &self.turn
    }

    // Our own SAVEPOINTs are prepared anew each time, so that they never lie in the statement cache, where a handler's
    // SQL of the same text would find them and pass the guard.
    pub(crate) fn savepoint(&mut self) -> Result<Savepoint> {
        let depth = self.savepoints.len() as u32;
        self.ours("opening a savepoint", |connection| connection.execute_batch(&format!("SAVEPOINT s{depth}")))?;
        self.savepoints.push(self.effects.len());
        Ok(Savepoint(depth))
    }

    pub(crate) fn release(&mut self, Savepoint(depth): Savepoint, keep: bool) -> Result<()> {
        let Some(effects) = self.savepoints.get(depth as usize).copied() else {
            return Err(Error::new(ErrorKind::Invalid, format!("savepoint {depth} is not open in this transaction")));
        };
        self.savepoints.truncate(depth as usize);
        // Asked also where no statement failed: nothing may be acknowledged outside a transaction.
        if self.turn.link().connection.is_autocommit() {
            self.turn.lost.get_or_insert_with(ended_by_itself);
        }
        self.ours("ending a savepoint", |connection| match keep {
            true => connection.execute_batch(&format!("RELEASE s{depth}")),
            false => connection.execute_batch(&format!("ROLLBACK TO s{depth}; RELEASE s{depth}")),
        })?;
        if !keep {
            self.effects.truncate(effects);
        }
        Ok(())
    }

    pub(crate) async fn commit(self) -> Result<()> {
        self.turn.commit(self.effects).await
    }
}

impl std::fmt::Debug for SqliteTx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteTx").field("savepoints", &self.savepoints.len()).finish_non_exhaustive()
    }
}
