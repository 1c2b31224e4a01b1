//! The unit of work: what a delivery commits together, in one script.

use crate::{
    args::Arg,
    error::{fault, is_unknown, strange},
    inbox::{Mark, mark},
    member::Member,
    scripts::SCRIPTS,
    store::{Redis, lock},
    streams::MAX_FRAME,
    tx::{Op, RedisTx},
};
use catga_contract::{
    __private::refuse_if_held, BoxTransport, Entry, Error, ErrorKind, InboxKey, NewLetter, Outgoing, Result, Savepoint,
    Settle, StoreId, Token, UnitOfWork,
};
use futures_util::future::{Either, select};
use redis::Value;
use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long to wait for a turn to write.
const TURN: Duration = Duration::from_secs(30);
/// How long to wait before a key is asked for again that somebody else is at.
const BUSY: Duration = Duration::from_millis(500);

/// What `commit.lua` answers.
enum Committed {
    /// With what was applied in part only.
    Done(Vec<Partial>),
    /// A mark is set already.
    Marked,
    /// A delivery has gone to somebody else.
    Lost(Token),
}

/// A delivery whose commands failed at run time: its number, how many were applied, of how many, the error, and whether
/// it was a delivery of this store's queue.
type Partial = (usize, usize, usize, String, usize);

impl UnitOfWork for Redis {
    type Tx = RedisTx;

    fn id(&self) -> StoreId {
        self.inner.id
    }

    /// One transaction at a time for each handle and its clones: a worker's batch is one, so that turns are few.
    async fn begin(&self) -> Result<RedisTx> {
        refuse_if_held(self.inner.id)?;
        let waits = async {
            loop {
                let revoked = self.inner.revoked.listen();
                let turn = lock(&self.inner.turn).clone();
                if let Either::Left((guard, _)) = select(pin!(turn.clone().lock_owned()), revoked).await {
                    return RedisTx::new(self.inner.id, self.inner.options.namespace.clone(), turn, guard);
                }
            }
        };
        tokio::time::timeout(TURN, waits).await.map_err(|_| {
            Error::new(ErrorKind::Busy, format!("no turn to write came in {TURN:?}: another transaction is open"))
        })
    }

    async fn savepoint(&self, tx: &mut RedisTx) -> Result<Savepoint> {
        self.check(tx)?;
        Ok(tx.savepoint())
    }

    async fn release(&self, tx: &mut RedisTx, savepoint: Savepoint, keep: bool) -> Result<()> {
        self.check(tx)?;
        tx.release(savepoint, keep)
    }

    async fn enter(&self, tx: &mut RedisTx, key: InboxKey<'_>) -> Result<Entry> {
        self.check(tx)?;
        let wanted = mark(key);
        if let Some(answer) = tx.marked(&wanted) {
            return Ok(Entry::Done(answer));
        }
        let name = [self.inner.base.as_bytes(), b":in:", &wanted].concat();
        let get = redis::cmd("GET").arg(name).to_owned();
        let kept: Value = get.query_async(&mut self.main()).await.map_err(|error| fault(error, "reading a mark"))?;
        match Mark::read(kept) {
            Mark::Done(answer) => return Ok(Entry::Done(answer)),
            Mark::Claimed => {
                let (state, value): (u8, String) =
                    self.run(&SCRIPTS.look, &[Arg::from(&wanted[..])], "reading a claim").await?;
                if state == 1 {
                    let micros = value.parse().map_err(|_| strange("reading a claim"))?;
                    return Ok(Entry::Busy { retry_after: Duration::from_micros(micros) });
                }
            }
            Mark::Free => {}
        }
        let lost = lock(&self.inner.lost).get(&wanted).copied();
        if lost.is_some_and(|since| since.elapsed() < self.inner.options.lease) {
            // Its delivery has gone to another process: that one is at it.
            return Ok(Entry::Busy { retry_after: BUSY });
        }
        tx.ops.push(Op::Mark(wanted));
        Ok(Entry::New)
    }

    async fn finish(&self, tx: &mut RedisTx, key: InboxKey<'_>, answer: &[u8]) -> Result<()> {
        if !answer.is_empty() {
            tx.ops.push(Op::Answer { key: mark(key), answer: answer.to_vec() });
        }
        Ok(())
    }

    async fn put(&self, tx: &mut RedisTx, messages: &[Outgoing<'_>]) -> Result<()> {
        self.check(tx)?;
        for message in messages {
            let (size, subject) = (message.frame.len(), message.subject);
            if size > MAX_FRAME {
                let text = format!("a message of {size} bytes for `{subject}`; this store keeps at most {MAX_FRAME}");
                return Err(Error::new(ErrorKind::Invalid, text));
            }
        }
        messages.iter().for_each(|message| tx.put(message));
        Ok(())
    }

    async fn settle(&self, tx: &mut RedisTx, answers: &[(Token, Settle)]) -> Result<()> {
        self.check(tx)?;
        for (token, answer) in answers {
            // One that is not known was settled before.
            let Some(member) = self.member(Member::of(*token)) else { continue };
            let Some(held) = member.held(*token) else { continue };
            if held.stale {
                // Its new owner answers it; only a done is never refused.
                if *answer != Settle::Done {
                    if let Some(message) = held.message {
                        let key = mark(InboxKey { consumer: &member.consumer, key: &message.to_bytes() });
                        lock(&self.inner.lost).remove(&key);
                    }
                    continue;
                }
            }
            tx.ops.push(Op::Settle { member, token: *token, held, answer: *answer });
        }
        Ok(())
    }

    async fn bury(&self, tx: &mut RedisTx, letter: &NewLetter<'_>) -> Result<()> {
        self.check(tx)?;
        tx.bury(letter);
        Ok(())
    }

    /// It runs in a task of its own, so that it goes on when the future is dropped.
    async fn commit(&self, tx: RedisTx) -> Result<()> {
        self.check(&tx)?;
        if tx.is_empty() {
            return Ok(());
        }
        let store = self.clone();
        let committing = tokio::spawn(async move { store.commit_now(tx).await });
        committing.await.map_err(|error| Error::new(ErrorKind::Timeout, error).context("committing"))?
    }

    fn revoke(&self) {
        *lock(&self.inner.turn) = Arc::default();
        self.inner.revoked.notify(usize::MAX);
    }

    /// Several processes may work on one namespace.
    async fn attach(&self) -> Result<()> {
        Ok(())
    }

    async fn keep_description(&self, application: &str, text: &str) -> Result<()> {
        let set = redis::cmd("HSET").arg(self.key("applications")).arg(application).arg(text).to_owned();
        set.query_async(&mut self.main()).await.map_err(|error| fault(error, "keeping a description"))
    }

    fn queue(&self) -> Option<BoxTransport> {
        Some(BoxTransport::new(self.clone()))
    }
}

impl Redis {
    /// Refuses a transaction that another store lent, or that this one lent earlier.
    fn check(&self, tx: &RedisTx) -> Result<()> {
        if tx.store == self.inner.id && Arc::ptr_eq(&tx.turn, &lock(&self.inner.turn)) {
            return Ok(());
        }
        let text = "this is not the transaction that the store lent last: a `Tx` was swapped for another one";
        Err(Error::new(ErrorKind::Handler, text))
    }

    async fn commit_now(&self, tx: RedisTx) -> Result<()> {
        let mut args = vec![
            Arg::from(self.inner.options.marks.as_millis() as i64),
            Arg::from(format!("process {}", std::process::id())),
        ];
        args.extend(tx.args());
        let answer: Value = self.try_run(&SCRIPTS.commit, &args).await.map_err(|error| {
            if is_unknown(&error) {
                return Error::new(ErrorKind::Timeout, error).context("committing: it is unknown whether it did");
            }
            fault(error, "committing")
        })?;
        drop(args);
        match committed(answer).ok_or_else(|| strange("committing"))? {
            Committed::Done(partial) => {
                self.applied(&tx);
                self.report(&tx, partial)
            }
            Committed::Marked => {
                let text = "a message was handled by somebody else meanwhile; nothing was written";
                Err(Error::new(ErrorKind::Conflict, text))
            }
            Committed::Lost(token) => {
                self.lose(&tx, token);
                let text = "a delivery has gone to somebody else meanwhile; nothing was written";
                Err(Error::new(ErrorKind::Conflict, text))
            }
        }
    }

    /// What became true in memory with the commit.
    fn applied(&self, tx: &RedisTx) {
        let mut rows = false;
        for op in &tx.ops {
            match op {
                Op::Settle { member, token, answer, .. } => member.settled(*token, *answer),
                Op::Row { .. } => rows = true,
                _ => {}
            }
        }
        if rows {
            self.inner.bell.ring();
        }
    }

    /// Tells what was applied in part. A delivery was buried for it; anything else is an error of the caller's.
    fn report(&self, tx: &RedisTx, partial: Vec<Partial>) -> Result<()> {
        let mut failed = None;
        for (number, applied, commands, error, deliveries) in partial {
            let text = format!("partially applied, {applied} of {commands} commands: {error}");
            let consumer = unit(&tx.ops, number).find_map(|op| match op {
                Op::Settle { member, .. } => Some(member.consumer.as_str()),
                _ => None,
            });
            tracing::error!(consumer, "{text}");
            if deliveries == 0 {
                failed.get_or_insert(text);
            }
        }
        failed.map_or(Ok(()), |text| Err(Error::permanent(text)))
    }

    /// A delivery was lost: its member knows, and its message is not entered again here.
    fn lose(&self, tx: &RedisTx, lost: Token) {
        for op in &tx.ops {
            if let Op::Settle { member, token, held, .. } = op
                && *token == lost
            {
                member.lose(held.place);
                if let Some(message) = held.message {
                    let key = mark(InboxKey { consumer: &member.consumer, key: &message.to_bytes() });
                    lock(&self.inner.lost).insert(key, Instant::now());
                }
            }
        }
    }
}

/// The operations of the delivery with that number, from 1.
fn unit(ops: &[Op], number: usize) -> impl Iterator<Item = &Op> {
    let mut starts = ops.iter().enumerate().filter(|(_, op)| matches!(op, Op::Unit)).map(|(at, _)| at);
    let start = starts.nth(number.saturating_sub(1)).map_or(ops.len(), |at| at + 1);
    ops[start..].iter().take_while(|op| !matches!(op, Op::Unit))
}

fn committed(answer: Value) -> Option<Committed> {
    let Value::Array(answer) = answer else { return None };
    let [kind, what] = <[Value; 2]>::try_from(answer).ok()?;
    Some(match redis::from_redis_value::<u8>(kind).ok()? {
        0 => Committed::Done(redis::from_redis_value(what).ok()?),
        1 => Committed::Marked,
        2 => Committed::Lost(Token(redis::from_redis_value(what).ok()?)),
        _ => return None,
    })
}
