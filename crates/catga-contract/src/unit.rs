use crate::{
    Error, ErrorKind, NewLetter, Outbox, Outgoing, Resources, Result, Settle, Token,
    boxed::{BoxFuture, BoxTransport},
    call::Mark,
    resources::Fault,
    tx::{Home, Messages},
};
use bytes::Bytes;
use std::{
    any::{Any, type_name},
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A store in whose transaction a consumer's whole work commits: mark, business writes, outgoing messages, settlement.
///
/// It has more required methods than the house likes, because each is one step of a delivery and none can be left
/// out: begin, `enter` the mark, a `savepoint` around each try, `put` what it publishes, `finish` the mark, `settle`
/// or `bury` the delivery, commit.
pub trait UnitOfWork: Outbox {
    /// The open transaction. Dropped without [`commit`](Self::commit) it rolls back.
    type Tx: Send + 'static;

    /// Which store this is: equal for all handles of one store in this process.
    fn id(&self) -> StoreId;

    /// Opens a transaction that may write; waits for its turn without blocking the runtime.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`] where the turn did not come in the store's time, [`ErrorKind::Unavailable`] where the store
    /// cannot be reached.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the turn to the next.
    fn begin(&self) -> impl Future<Output = Result<Self::Tx>> + Send;

    /// Opens a savepoint inside the last open one.
    ///
    /// # Errors
    ///
    /// Where the transaction has ended by itself; then nothing of it can be committed.
    fn savepoint(&self, tx: &mut Self::Tx) -> impl Future<Output = Result<Savepoint>> + Send;

    /// Ends a savepoint, and with it those inside it that were left open: with `keep` its writes stay in the
    /// transaction, without they are undone.
    ///
    /// # Errors
    ///
    /// As [`savepoint`](Self::savepoint); also where `tx` is not the one that [`begin`](Self::begin) lent.
    fn release(&self, tx: &mut Self::Tx, savepoint: Savepoint, keep: bool) -> impl Future<Output = Result<()>> + Send;

    /// Marks `key` in this transaction, or answers what was answered before.
    ///
    /// # Errors
    ///
    /// Where the store fails; then nothing of the transaction may be committed.
    fn enter(&self, tx: &mut Self::Tx, key: InboxKey<'_>) -> impl Future<Output = Result<Entry>> + Send;

    /// Keeps the answer beside the mark; an empty one costs nothing.
    ///
    /// # Errors
    ///
    /// As [`enter`](Self::enter).
    fn finish(&self, tx: &mut Self::Tx, key: InboxKey<'_>, answer: &[u8]) -> impl Future<Output = Result<()>> + Send;

    /// Writes messages to the outbox, to be visible with the commit.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] where one is larger than the store keeps, naming its subject and both sizes.
    fn put(&self, tx: &mut Self::Tx, messages: &[Outgoing<'_>]) -> impl Future<Output = Result<()>> + Send;

    /// Settles deliveries of this store's own queue in the transaction.
    ///
    /// # Errors
    ///
    /// As [`enter`](Self::enter).
    fn settle(&self, tx: &mut Self::Tx, answers: &[(Token, Settle)]) -> impl Future<Output = Result<()>> + Send;

    /// Keeps a dead letter in the transaction.
    ///
    /// # Errors
    ///
    /// As [`enter`](Self::enter).
    fn bury(&self, tx: &mut Self::Tx, letter: &NewLetter<'_>) -> impl Future<Output = Result<()>> + Send;

    /// Makes the transaction durable; returns when it is.
    ///
    /// # Errors
    ///
    /// Where it did not commit; nothing of it stays then. A store that cannot know answers [`ErrorKind::Timeout`].
    ///
    /// # Cancel safety
    ///
    /// The commit goes on when the future is dropped.
    fn commit(&self, tx: Self::Tx) -> impl Future<Output = Result<()>> + Send;

    /// Says that the transaction lent last left its handler and did not come home: the store takes its connection
    /// back as soon as that `Tx` is dropped, or writes it off.
    fn revoke(&self);

    /// Makes this process the one that works on the store, once for each application that is built.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`] where another process does; the text names it.
    fn attach(&self) -> impl Future<Output = Result<()>> + Send;

    /// Keeps what an application says of itself, for tools that look into the store.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    fn keep_description(&self, application: &str, text: &str) -> impl Future<Output = Result<()>> + Send {
        let _ = (application, text);
        async { Ok(()) }
    }

    /// The queue that lies in this store, if there is one.
    fn queue(&self) -> Option<BoxTransport>;
}

/// Names an open savepoint of a transaction: how many are open around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Savepoint(pub u32);

/// Names a store within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreId(u64);

impl StoreId {
    /// An id that no other store in this process has.
    pub fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Who handled what: two consumers of one event never share a mark.
#[derive(Clone, Copy, Debug)]
pub struct InboxKey<'a> {
    /// The consumer's durable name.
    pub consumer: &'a str,
    /// The message's id, or a key of the user's.
    pub key: &'a [u8],
}

/// What [`UnitOfWork::enter`] found.
#[derive(Debug)]
pub enum Entry {
    /// Nobody was here: the mark is set now.
    New,
    /// Somebody is at it; ask again later.
    Busy {
        /// How long to wait before asking again.
        retry_after: Duration,
    },
    /// It was done, with that answer.
    Done(Bytes),
}

/// An open transaction between worker and handlers: lent to one call after the other, then committed.
pub struct Unit<S: UnitOfWork> {
    store: Arc<S>,
    /// `None` while a handler has it.
    tx: Option<S::Tx>,
    home: Arc<Home<S>>,
    /// The savepoint of the call at hand.
    in_call: Option<Savepoint>,
    /// Emptied and filled again by each call.
    messages: Messages,
    /// What calls published that failed; stays empty unless that defect was asked for.
    leaked: Messages,
}

impl<S: UnitOfWork> Unit<S> {
    /// Takes a transaction that `store` began.
    pub fn new(store: Arc<S>, tx: S::Tx) -> Self {
        let (messages, leaked) = (Messages::default(), Messages::default());
        Self { store, tx: Some(tx), home: Arc::default(), in_call: None, messages, leaked }
    }

    /// The transaction, with nothing in it of calls that were dropped or panicked.
    ///
    /// # Errors
    ///
    /// Where it has not come home from the last handler, or has ended: then nothing of it will be committed.
    pub async fn tx(&mut self) -> Result<&mut S::Tx> {
        self.recover()?;
        if let (Some(savepoint), Some(tx)) = (self.in_call.take(), &mut self.tx) {
            self.store.release(tx, savepoint, false).await?;
            // Else the next call would publish what this one meant to.
            self.messages.clear();
        }
        self.tx.as_mut().ok_or_else(left)
    }

    pub(crate) fn store(&self) -> &Arc<S> {
        &self.store
    }

    /// Marks a delivery as handled; `false` where it was handled before.
    pub(crate) async fn enter(&mut self, mark: &Mark) -> Result<bool> {
        let store = self.store.clone();
        let id = mark.id.to_bytes();
        match store.enter(self.tx().await?, InboxKey { consumer: &mark.consumer, key: &id }).await? {
            Entry::New => Ok(true),
            Entry::Done(_) => Ok(false),
            Entry::Busy { retry_after } => {
                Err(Error::new(ErrorKind::Busy, "it is being handled already").with_pause(retry_after))
            }
        }
    }

    /// Commits what was done; returns when it is durable.
    ///
    /// # Errors
    ///
    /// As [`UnitOfWork::commit`], and where the transaction has not come home.
    pub async fn commit(mut self) -> Result<()> {
        self.tx().await?;
        let mut tx = self.tx.take().ok_or_else(left)?;
        if !self.leaked.is_empty() {
            self.store.put(&mut tx, &self.leaked.outgoing()).await?;
        }
        self.store.commit(tx).await
    }

    /// Opens the savepoint of a call, unless `bare` asks for that defect, and hands the transaction out.
    pub(crate) async fn open_call(&mut self, bare: bool) -> Result<(S::Tx, Arc<Home<S>>, Messages)> {
        self.tx().await?;
        let mut tx = self.tx.take().ok_or_else(left)?;
        if !bare {
            match self.store.savepoint(&mut tx).await {
                Ok(savepoint) => self.in_call = Some(savepoint),
                Err(error) => {
                    self.tx = Some(tx);
                    return Err(error);
                }
            }
        }
        Ok((tx, self.home.clone(), std::mem::take(&mut self.messages)))
    }

    /// Ends the savepoint of a call: with `keep`, its messages and writes stay.
    pub(crate) async fn close_call(&mut self, resources: &Resources, keep: bool) -> Result<()> {
        self.recover()?;
        let tx = self.tx.as_mut().ok_or_else(left)?;
        let abandoned = self.messages.is_abandoned();
        let keep = keep && !abandoned;
        if keep && !self.messages.is_empty() {
            self.store.put(tx, &self.messages.outgoing()).await?;
        }
        if let Some(savepoint) = self.in_call.take() {
            self.store.release(tx, savepoint, keep).await?;
        }
        if !keep && resources.sabotaged(Fault::OutboxOutside) {
            self.leaked.append(&self.messages);
        }
        self.messages.clear();
        if abandoned {
            let text = "it dropped a call within its transaction before that one had answered; nothing of both was kept. \
                        Let `Bus::send_in` answer, or put the time limit around the outer call";
            return Err(Error::new(ErrorKind::Handler, text));
        }
        Ok(())
    }

    /// The transaction, to be given back to the call that this unit was made for; `None` where it left its handler.
    pub(crate) fn into_tx(mut self) -> Option<S::Tx> {
        self.recover().ok()?;
        self.tx
    }

    /// Takes the transaction from where a dropped `Tx` left it.
    fn recover(&mut self) -> Result<()> {
        if self.tx.is_none() {
            match self.home.take() {
                Some((tx, messages)) => (self.tx, self.messages) = (Some(tx), messages),
                None => {
                    self.store.revoke();
                    return Err(left());
                }
            }
        }
        Ok(())
    }
}

fn left() -> Error {
    let text = "its transaction left it (`Tx` was moved into a task or kept); nothing of it was committed. \
                A handler must drop its `Tx` before it answers";
    Error::new(ErrorKind::Handler, text)
}

impl<S: UnitOfWork> std::fmt::Debug for Unit<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let store = type_name::<S>();
        f.debug_struct("Unit").field("store", &store).field("home", &self.tx.is_some()).finish_non_exhaustive()
    }
}

/// A [`Unit`] whose store's type is forgotten: what a [`Call`](crate::Call) carries. Only `Unit` implements it.
pub trait AnyUnit: Any + Send + sealed::Sealed {
    /// Commits, as [`Unit::commit`].
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<()>>;

    /// Which store it works in.
    fn store(&self) -> StoreId;

    /// Whether something must be committed although the call failed; never without the feature `sabotage`.
    #[doc(hidden)]
    fn leaks(&self) -> bool;
}

impl<S: UnitOfWork> AnyUnit for Unit<S> {
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(Unit::commit(*self))
    }

    fn store(&self) -> StoreId {
        self.store.id()
    }

    fn leaks(&self) -> bool {
        !self.leaked.is_empty()
    }
}

mod sealed {
    pub trait Sealed {}
    impl<S: super::UnitOfWork> Sealed for super::Unit<S> {}
}
