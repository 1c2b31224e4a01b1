use crate::{
    error::{Lost, fault},
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
    /// The savepoints that are open, from the outermost on.
    savepoints: Vec<Open>,
    pub(crate) effects: Vec<Effect>,
    /// Never without a deliberate defect: does not look whether the transaction is still open.
    blind: bool,
}

/// An open savepoint.
struct Open {
    /// How many effects there were when it was opened.
    effects: usize,
    /// Whether SQLite knows of it. One that is opened when nothing but a mark was written since the one around it is
    /// that one: undoing it means to undo that one and to write the mark again. So a delivery costs one savepoint, not
    /// one more for its handler.
    real: bool,
    /// What was written directly in it.
    written: Written,
}

enum Written {
    Nothing,
    /// Only this mark of a message: consumer, id and time.
    Mark(i64, [u8; 16], i64),
    Something,
}

/// What begins, ends and undoes the first savepoints: most transactions have no deeper ones.
const SAVEPOINTS: [[&str; 3]; 3] = [
    ["SAVEPOINT s0", "RELEASE s0", "ROLLBACK TO s0"],
    ["SAVEPOINT s1", "RELEASE s1", "ROLLBACK TO s1"],
    ["SAVEPOINT s2", "RELEASE s2", "ROLLBACK TO s2"],
];

fn run_savepoint(connection: &Connection, verb: usize, depth: usize) -> rusqlite::Result<()> {
    // Prepared anew each time, so that they never lie in the statement cache, where a handler's SQL of the same text
    // would find them and pass the guard.
    match SAVEPOINTS.get(depth) {
        Some(texts) => connection.execute_batch(texts[verb]),
        None => connection.execute_batch(&SAVEPOINTS[0][verb].replace("s0", &format!("s{depth}"))),
    }
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
        self.will_write();
        let link = self.turn.link();
        let (result, denied) = link.guard.watch(|| {
            // Whether a statement is allowed is asked when it is prepared; one with the text of a statement of ours
            // would be found prepared.
            if sql.contains("catga_") {
                link.connection.prepare(sql)?;
            }
            work(&link.connection)
        });
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
        self.will_write();
        self.ours_unwritten(doing, work)
    }

    /// The same where nothing is written that a savepoint would undo.
    pub(crate) fn ours_unwritten<T>(
        &mut self,
        doing: &str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        self.check()?;
        work(&self.turn.link().connection).map_err(|error| {
            self.turn.lost = ends_transaction(&self.turn.link().connection, &error);
            fault(error, doing)
        })
    }

    /// Runs statements of ours that stay together or not at all: where one fails, the transaction cannot commit.
    pub(crate) fn ours_whole<T>(
        &mut self,
        doing: &str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        self.check()?;
        work(&self.turn.link().connection).map_err(|error| {
            self.turn.lost = Some(Lost::new(&error, doing));
            fault(error, doing)
        })
    }

    fn check(&self) -> Result<()> {
        self.turn.lost.as_ref().map_or(Ok(()), |lost| Err(lost.error()))
    }

    pub(crate) fn turn(&self) -> &Turn {
        &self.turn
    }

    pub(crate) fn savepoint(&mut self) -> Result<Savepoint> {
        let depth = self.savepoints.len();
        let around = self.savepoints.last();
        let real = !around.is_some_and(|around| around.real && !matches!(around.written, Written::Something));
        if real {
            self.ours_unwritten("opening a savepoint", |connection| run_savepoint(connection, 0, depth))?;
        } else {
            self.check()?;
        }
        self.savepoints.push(Open { effects: self.effects.len(), real, written: Written::Nothing });
        Ok(Savepoint(depth as u32))
    }

    pub(crate) fn release(&mut self, Savepoint(depth): Savepoint, keep: bool) -> Result<()> {
        let depth = depth as usize;
        let Some(open) = self.savepoints.get(depth) else {
            return Err(Error::new(ErrorKind::Invalid, format!("savepoint {depth} is not open in this transaction")));
        };
        let (effects, real) = (open.effects, open.real);
        let untouched = depth + 1 == self.savepoints.len() && matches!(open.written, Written::Nothing);
        self.savepoints.truncate(depth);
        // Asked also where no statement failed: nothing may be acknowledged outside a transaction.
        if self.turn.link().connection.is_autocommit() {
            self.turn.lost.get_or_insert_with(ended_by_itself);
        }
        self.ours_unwritten("ending a savepoint", |connection| match (real, keep) {
            (true, true) => run_savepoint(connection, 1, depth),
            (true, false) => {
                run_savepoint(connection, 2, depth)?;
                run_savepoint(connection, 1, depth)
            }
            (false, false) if !untouched => run_savepoint(connection, 2, depth - 1),
            (false, _) => Ok(()),
        })?;
        let around = self.savepoints.last_mut();
        match around {
            Some(around) if keep && !untouched => around.written = Written::Something,
            // Undone to before the mark.
            Some(Open { written: Written::Mark(consumer, id, at), .. }) if !real && !keep && !untouched => {
                let (consumer, id, at) = (*consumer, *id, *at);
                self.ours_unwritten("marking a message again", |db| mark(db, consumer, &id, at).map(drop))?;
            }
            _ => {}
        }
        if !keep {
            self.effects.truncate(effects);
        }
        Ok(())
    }

    /// Writes a mark; `false` where it was there.
    pub(crate) fn mark(&mut self, consumer: i64, id: &[u8], at: i64) -> Result<bool> {
        let new = self.ours_unwritten("marking a message", |db| mark(db, consumer, id, at))?;
        if let Some(open) = self.savepoints.last_mut().filter(|_| new) {
            open.written = match (&open.written, id.try_into()) {
                (Written::Nothing, Ok(id)) => Written::Mark(consumer, id, at),
                _ => Written::Something,
            };
        }
        Ok(new)
    }

    /// Something may be written in the innermost savepoint.
    fn will_write(&mut self) {
        if let Some(open) = self.savepoints.last_mut() {
            open.written = Written::Something;
        }
    }

    pub(crate) async fn commit(self) -> Result<()> {
        self.turn.commit(self.effects).await
    }
}

fn mark(db: &Connection, consumer: i64, id: &[u8], at: i64) -> rusqlite::Result<bool> {
    let sql = "INSERT OR IGNORE INTO catga_inbox (consumer, id, at) VALUES (?1, ?2, ?3)";
    Ok(db.prepare_cached(sql)?.execute((consumer, id, at))? > 0)
}

impl std::fmt::Debug for SqliteTx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteTx").field("savepoints", &self.savepoints.len()).finish_non_exhaustive()
    }
}
