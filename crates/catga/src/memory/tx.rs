use super::{Shared, events::Append, inbox::Mark, letters::Buried, outbox::Waiting};
use bytes::Bytes;
use catga_contract::{Error, ErrorKind, Fence, Result, Savepoint, Settle, Str, Token};
use std::sync::Arc;

/// The open transaction of a [`Memory`](super::Memory) store. A handler gets it inside a `Tx<Memory>`; only the store
/// makes one.
///
/// What it writes lies here until the commit, which applies all of it at once; dropped, nothing was written.
pub struct MemoryTx {
    turn: u64,
    pub(super) shared: Arc<Shared>,
    /// How much was written when each open savepoint was opened.
    savepoints: Vec<usize>,
    pub(super) writes: Vec<Write>,
}

/// What a transaction wrote, in its order: what is undone is cut off.
pub(super) enum Write {
    Mark(Mark),
    /// What was answered beside a mark of this transaction.
    Answer(Mark, Bytes),
    Outgoing(Waiting),
    Append(Append),
    Save(Str, u64, Fence),
    Settle(Token, Settle),
    Bury(Box<Buried>),
}

impl MemoryTx {
    pub(super) fn new(shared: Arc<Shared>, turn: u64) -> Self {
        Self { turn, shared, savepoints: Vec::new(), writes: Vec::new() }
    }

    /// Whether it is the transaction that `shared` lent last and has not taken back.
    pub(super) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared) && shared.turns.is_out(self.turn)
    }

    pub(super) fn savepoint(&mut self) -> Savepoint {
        let depth = self.savepoints.len() as u32;
        self.savepoints.push(self.writes.len());
        Savepoint(depth)
    }

    pub(super) fn release(&mut self, Savepoint(depth): Savepoint, keep: bool) -> Result<()> {
        let Some(writes) = self.savepoints.get(depth as usize).copied() else {
            return Err(Error::new(ErrorKind::Invalid, format!("savepoint {depth} is not open in this transaction")));
        };
        self.savepoints.truncate(depth as usize);
        if !keep {
            self.writes.truncate(writes);
        }
        Ok(())
    }
}

impl Drop for MemoryTx {
    fn drop(&mut self) {
        self.shared.turns.end(self.turn);
    }
}

impl std::fmt::Debug for MemoryTx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryTx").field("writes", &self.writes.len()).finish_non_exhaustive()
    }
}
