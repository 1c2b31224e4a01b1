use crate::{
    args::Arg,
    commands,
    member::{Held, Member},
};
use bytes::Bytes;
use catga_contract::{Error, ErrorKind, NewLetter, Outgoing, Result, Savepoint, Settle, StoreId, Token, partition};
use std::{sync::Arc, time::UNIX_EPOCH};
use tokio::sync::OwnedMutexGuard;

/// The write commands of a handler, queued until its delivery commits. A handler gets it inside a `Tx<Redis>`; only the
/// store makes one.
///
/// The commit is one script: it checks that the delivery is still this process's and that its mark is not set, runs the
/// commands, writes the mark and the messages of the outbox, and acknowledges. So the effects of a message are there
/// **once, provided that no queued command fails at run time**.
///
/// Redis rolls nothing back. A command that fails at run time, such as an `HSET` on a list, ends the commands of its
/// delivery, and those before it stay: that is reported as partially applied, with how many of how many. The delivery is
/// buried without a retry, which would apply them again; its messages are not sent. Where the queue lies elsewhere it is
/// marked as handled and told in the log alone.
///
/// Reads happen before, not in it: through a connection of one's own, and without seeing what is queued. Keys carry the
/// hash tag of the application's [namespace](crate::RedisOptions::namespace).
///
/// ```
/// use catga_contract::{Result, Tx};
/// use catga_redis::{Redis, redis};
///
/// async fn count(sku: &str, tx: &mut Tx<Redis>) -> Result<()> {
///     tx.queue(redis::cmd("HINCRBY").arg("{shop}:sold").arg(sku).arg(1))
/// }
/// ```
pub struct RedisTx {
    pub(crate) store: StoreId,
    namespace: String,
    pub(crate) ops: Vec<Op>,
    /// How many operations there were when each open savepoint was opened.
    savepoints: Vec<usize>,
    /// The turn to write: given on when this value is dropped.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    _guard: OwnedMutexGuard<()>,
}

/// One step of a commit.
pub(crate) enum Op {
    /// A delivery begins.
    Unit,
    /// A mark to be set.
    Mark(Vec<u8>),
    /// What is kept beside a mark that is set, or will be.
    Answer {
        key: Vec<u8>,
        answer: Vec<u8>,
    },
    Command(Vec<Vec<u8>>),
    Row {
        partition: u8,
        id: [u8; 16],
        subject: String,
        frame: Vec<u8>,
        key: String,
        due: i64,
    },
    Settle {
        member: Arc<Member>,
        token: Token,
        held: Held,
        answer: Settle,
    },
    Letter(Vec<Vec<u8>>),
}

impl RedisTx {
    pub(crate) fn new(
        store: StoreId,
        namespace: String,
        turn: Arc<tokio::sync::Mutex<()>>,
        guard: OwnedMutexGuard<()>,
    ) -> Self {
        Self { store, namespace, ops: vec![Op::Unit], savepoints: Vec::new(), turn, _guard: guard }
    }

    /// Queues a write; it runs with the commit, behind those before it. Its answer is not to be had.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] where it is not one of the writes whose keys are known, such as a read, a script or
    /// `FLUSHALL`; [`ErrorKind::Invalid`] where a key lacks the application's hash tag or is Catga's own, and where there
    /// are more than 4,000 arguments. Nothing is queued then.
    pub fn queue(&mut self, command: &redis::Cmd) -> Result<()> {
        let words: Vec<Vec<u8>> = command
            .args_iter()
            .map(|arg| match arg {
                redis::Arg::Simple(bytes) => bytes.to_vec(),
                _ => b"0".to_vec(),
            })
            .collect();
        commands::check(&words, &self.namespace)?;
        self.ops.push(Op::Command(words));
        Ok(())
    }

    /// How many commands are queued.
    pub fn queued(&self) -> usize {
        self.ops.iter().filter(|op| matches!(op, Op::Command(_))).count()
    }

    /// Whether nothing would be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.ops.iter().all(|op| matches!(op, Op::Unit))
    }

    pub(crate) fn savepoint(&mut self) -> Savepoint {
        let depth = self.savepoints.len();
        self.savepoints.push(self.ops.len());
        if depth == 0 {
            self.ops.push(Op::Unit);
        }
        Savepoint(depth as u32)
    }

    pub(crate) fn release(&mut self, Savepoint(depth): Savepoint, keep: bool) -> Result<()> {
        let Some(ops) = self.savepoints.get(depth as usize).copied() else {
            return Err(Error::new(ErrorKind::Invalid, format!("savepoint {depth} is not open in this transaction")));
        };
        self.savepoints.truncate(depth as usize);
        if !keep {
            self.ops.truncate(ops);
        }
        if depth == 0 {
            // What follows is no part of that delivery.
            self.ops.push(Op::Unit);
        }
        Ok(())
    }

    /// The answer beside a mark that this transaction sets, or has answered.
    pub(crate) fn marked(&self, wanted: &[u8]) -> Option<Bytes> {
        self.ops.iter().rev().find_map(|op| match op {
            Op::Answer { key, answer } if key == wanted => Some(Bytes::copy_from_slice(answer)),
            Op::Mark(key) if key == wanted => Some(Bytes::new()),
            _ => None,
        })
    }

    pub(crate) fn put(&mut self, message: &Outgoing<'_>) {
        let Outgoing { id, subject, frame, key, due } = *message;
        let due = due.and_then(|due| due.duration_since(UNIX_EPOCH).ok());
        self.ops.push(Op::Row {
            partition: partition(key, id),
            id: id.to_bytes(),
            subject: subject.to_string(),
            frame: frame.to_vec(),
            key: key.map_or(String::new(), |key| key.digest().to_string()),
            due: due.map_or(0, |due| i64::try_from(due.as_micros()).unwrap_or(i64::MAX).min(1 << 52)),
        });
    }

    pub(crate) fn bury(&mut self, letter: &NewLetter<'_>) {
        let fields = crate::letters::fields(letter);
        self.ops.push(Op::Letter(fields.iter().flat_map(redis::ToRedisArgs::to_redis_args).collect()));
    }

    /// The operations as `commit.lua` takes them.
    pub(crate) fn args(&self) -> Vec<Arg<'_>> {
        let mut args = Vec::with_capacity(8 * self.ops.len());
        for op in &self.ops {
            match op {
                Op::Unit => args.push(Arg::from("U")),
                Op::Mark(key) => args.extend([Arg::from("M"), Arg::from(&key[..])]),
                Op::Answer { key, answer } => {
                    args.extend([Arg::from("F"), Arg::from(&key[..]), Arg::from(&answer[..])]);
                }
                Op::Command(words) => {
                    args.extend([Arg::from("C"), Arg::from(words.len() as i64)]);
                    args.extend(words.iter().map(|word| Arg::from(&word[..])));
                }
                Op::Row { partition, id, subject, frame, key, due } => args.extend([
                    Arg::from("O"),
                    Arg::from(i64::from(*partition)),
                    Arg::from(&id[..]),
                    Arg::from(&**subject),
                    Arg::from(&frame[..]),
                    Arg::from(&**key),
                    Arg::from(*due),
                ]),
                Op::Settle { member, token, held, answer } => {
                    args.extend([Arg::from("S"), Arg::from(&*member.consumer), Arg::from(&*member.name)]);
                    args.extend(member.item(held, *answer));
                    args.extend([Arg::from(i64::from(held.started)), Arg::from(token.0.to_string())]);
                }
                Op::Letter(fields) => {
                    args.push(Arg::from("L"));
                    args.extend(fields.iter().map(|field| Arg::from(&field[..])));
                }
            }
        }
        args
    }
}

impl std::fmt::Debug for RedisTx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (queued, savepoints) = (self.queued(), self.savepoints.len());
        f.debug_struct("RedisTx").field("queued", &queued).field("savepoints", &savepoints).finish_non_exhaustive()
    }
}
