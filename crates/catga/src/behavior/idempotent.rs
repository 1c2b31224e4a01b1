use catga_contract::{
    Behavior, Call, Codec, Context, Entered, Entry, Error, ErrorKind, Handler, Inbox, InboxKey, Message, Result, Str,
    UnitOfWork, Wire,
};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_128;

/// Handles requests with equal keys once and answers the later ones with the first one's answer.
///
/// The key is the caller's ([`SendOptions::idempotency_key`](crate::SendOptions), which the axum extractor fills from
/// the header `Idempotency-Key`), or what a function makes of the message ([`by`](Self::by)); without a key the
/// request is handled as usual. Keys of different messages, and of different principals, do not meet.
///
/// Where the handler takes a `Tx` of the same store, its writes and the answer commit together: the effect happens
/// once. Elsewhere the answer is kept after the work, and a process that dies in between does the work again.
///
/// Answers stay as long as the store keeps its marks, 7 days unless it is told otherwise.
///
/// A second caller while the first one is at work gets [`ErrorKind::Busy`] with the pause after which to ask again,
/// never a made-up answer. A failure keeps nothing: the next caller tries again. A refusal (`Message::keep`) is an
/// answer and is kept. The same key with other contents is [`ErrorKind::Invalid`].
///
/// ```
/// use catga::{App, Request, SendOptions, Tx, behavior::Idempotent, sqlite::Sqlite};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Request, Serialize, Deserialize)]
/// #[catga(name = "orders.place", reply = i64)]
/// struct PlaceOrder(String);
///
/// async fn place(PlaceOrder(sku): PlaceOrder, mut tx: Tx<Sqlite>) -> catga::Result<i64> {
///     tx.execute("INSERT INTO orders (sku) VALUES (?1)", [sku])?;
///     Ok(tx.last_insert_rowid())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> catga::Result<()> {
/// let store = Sqlite::temporary().await?.migrate(&["CREATE TABLE orders (sku TEXT)"]).await?;
/// let once = Idempotent::new(store.clone());
/// let app = App::builder("shop").store(store).with(once).handle(place).build().await?;
/// let options = SendOptions { idempotency_key: Some("key-1".into()), ..Default::default() };
/// let first = app.send_with(PlaceOrder("A-1".into()), options.clone()).await?;
/// let again = app.send_with(PlaceOrder("A-1".into()), options).await?;
/// assert_eq!((first, again), (1, 1));
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// A dropped call gives its claim up; what it wrote is undone.
#[derive(Clone, Debug)]
pub struct Idempotent<S, K = CallersKey> {
    store: S,
    key: K,
    lease: Duration,
}

/// Where a key comes from. Functions from the message to something that prints itself are such.
pub trait IdempotencyKey<M>: Clone + Send + Sync + 'static {
    /// The key of this call; `None` handles it as usual.
    fn key(&self, context: &Context, message: &M) -> Option<Str>;
}

/// The key that the caller gave.
#[derive(Clone, Copy, Debug)]
pub struct CallersKey;

impl<M> IdempotencyKey<M> for CallersKey {
    fn key(&self, context: &Context, _: &M) -> Option<Str> {
        context.idempotency_key.clone()
    }
}

impl<M, T: ToString, F: Fn(&M) -> T + Clone + Send + Sync + 'static> IdempotencyKey<M> for F {
    fn key(&self, _: &Context, message: &M) -> Option<Str> {
        Some(self(message).to_string().into())
    }
}

impl<S> Idempotent<S> {
    /// By the caller's key, with answers kept in `store`.
    pub fn new(store: S) -> Self {
        Self { store, key: CallersKey, lease: Duration::from_secs(30) }
    }

    /// By a key that the message carries.
    pub fn by<M, T: ToString, F: Fn(&M) -> T + Clone + Send + Sync + 'static>(store: S, key: F) -> Idempotent<S, F> {
        Idempotent { store, key, lease: Duration::from_secs(30) }
    }
}

impl<S, K> Idempotent<S, K> {
    /// How long one caller may be at work before another one may try, default 30 s. A handler that takes longer than
    /// this may run twice at a time; its effects in the same store still happen once.
    #[must_use]
    pub fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }
}

/// The largest key, in bytes.
const KEY_MAX: usize = 255;

impl<M, S, K> Behavior<M> for Idempotent<S, K>
where
    M: Wire,
    S: UnitOfWork + Inbox,
    K: IdempotencyKey<M>,
{
    async fn around<H: Handler<M>>(&self, call: &mut Call<'_>, message: M, next: &H) -> Result<M::Reply> {
        let context = call.context();
        let Some(text) = self.key.key(context, &message) else { return next.handle(call, message).await };
        if text.is_empty() || text.len() > KEY_MAX {
            let text = format!("`{}` has an idempotency key of {} bytes; 1 to {KEY_MAX}", M::NAME, text.len());
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let mut bytes = context.principal.as_deref().unwrap_or_default().as_bytes().to_vec();
        bytes.push(0);
        bytes.extend_from_slice(text.as_bytes());
        // No consumer has a blank in its name, so that no consumer's mark is met.
        let consumer = format!("request {}", M::NAME);
        let once = Once { key: InboxKey { consumer: &consumer, key: &bytes }, text: &text, digest: digest(&message)? };
        if call.open_unit::<S>().is_some() {
            self.joined(call, message, next, &once).await
        } else {
            self.claimed(call, message, next, &once).await
        }
    }
}

/// One key with what is asked for under it.
struct Once<'a> {
    key: InboxKey<'a>,
    text: &'a str,
    digest: [u8; 16],
}

impl<S: UnitOfWork + Inbox, K> Idempotent<S, K> {
    /// In the unit of work that is open already: that of a delivery.
    async fn joined<M: Wire, H: Handler<M>>(
        &self,
        call: &mut Call<'_>,
        message: M,
        next: &H,
        once: &Once<'_>,
    ) -> Result<M::Reply> {
        let Some(unit) = call.open_unit::<S>() else { return next.handle(call, message).await };
        let tx = unit.tx().await?;
        // A savepoint of its own: a behavior further out may try again in the same transaction.
        let savepoint = self.store.savepoint(tx).await?;
        let joined = match self.store.enter(tx, once.key).await? {
            Entry::New => self.answered(call, message, next, once).await,
            Entry::Busy { retry_after } => Err(once.busy::<M>(retry_after)),
            Entry::Done(answer) => once.read::<M>(&answer),
        };
        if let Some(unit) = call.open_unit::<S>() {
            self.store.release(unit.tx().await?, savepoint, joined.is_ok()).await?;
        }
        joined
    }

    /// Runs the handler and keeps its answer in the transaction.
    async fn answered<M: Wire, H: Handler<M>>(
        &self,
        call: &mut Call<'_>,
        message: M,
        next: &H,
        once: &Once<'_>,
    ) -> Result<M::Reply> {
        let reply = next.handle(call, message).await?;
        let answer = once.write::<M>(&reply)?;
        if let Some(unit) = call.open_unit::<S>() {
            UnitOfWork::finish(&self.store, unit.tx().await?, once.key, &answer).await?;
        }
        Ok(reply)
    }

    /// With a claim of its own; the answer joins the handler's transaction where it took one of this store.
    async fn claimed<M: Wire, H: Handler<M>>(
        &self,
        call: &mut Call<'_>,
        message: M,
        next: &H,
        once: &Once<'_>,
    ) -> Result<M::Reply> {
        let claim = match self.store.claim(once.key, self.lease).await? {
            Entered::New(claim) => claim,
            Entered::Busy { retry_after } => return Err(once.busy::<M>(retry_after)),
            Entered::Done(answer) => return once.read::<M>(&answer),
        };
        let reply = match next.handle(call, message).await {
            Ok(reply) => reply,
            Err(error) => {
                // Nothing of the call stays, and whoever waits for its turn need not wait for the claim's end.
                drop(call.take_unit());
                self.store.leave(claim).await?;
                return Err(error);
            }
        };
        let answer = once.write::<M>(&reply)?;
        let Some(unit) = call.open_unit::<S>() else {
            Inbox::finish(&self.store, &claim, &answer).await?;
            return Ok(reply);
        };
        let tx = unit.tx().await?;
        match self.store.enter(tx, once.key).await? {
            Entry::New => {}
            Entry::Busy { .. } | Entry::Done(_) => return Err(once.overtaken::<M>()),
        }
        UnitOfWork::finish(&self.store, tx, once.key, &answer).await?;
        // A refusal undid the handler's writes; the answer is kept all the same.
        call.commit_anyway();
        // Until the commit the mark cannot be seen, so the claim stands in for it.
        call.hold(claim);
        Ok(reply)
    }
}

impl Once<'_> {
    fn busy<M: Message>(&self, retry_after: Duration) -> Error {
        let text = format!("`{}` with key `{}` is being handled; ask again later", M::NAME, self.text);
        Error::new(ErrorKind::Busy, text).with_pause(retry_after)
    }

    fn overtaken<M: Message>(&self) -> Error {
        let text =
            format!("`{}` with key `{}` took longer than its lease, and another call finished it", M::NAME, self.text);
        Error::new(ErrorKind::Conflict, text)
    }

    /// The answer as it is kept: the digest of what was asked, then the reply.
    fn write<M: Wire>(&self, reply: &M::Reply) -> Result<Vec<u8>> {
        let mut bytes = self.digest.to_vec();
        <M::Codec as Codec<M::Reply>>::encode(reply, &mut bytes)?;
        Ok(bytes)
    }

    fn read<M: Wire>(&self, kept: &[u8]) -> Result<M::Reply> {
        let about =
            |error: Error| error.context(format_args!("the kept answer of `{}` with key `{}`", M::NAME, self.text));
        let Some((digest, reply)) = kept.split_first_chunk::<16>() else {
            return Err(about(Error::new(ErrorKind::Codec, format!("{} bytes; at least 16", kept.len()))));
        };
        if *digest != self.digest {
            let text = format!("`{}`: key `{}` was used for a request with other contents", M::NAME, self.text);
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        <M::Codec as Codec<M::Reply>>::decode(reply).map_err(about)
    }
}

/// What tells two requests apart: XXH3-128 over the encoded message.
fn digest<M: Wire>(message: &M) -> Result<[u8; 16]> {
    let mut bytes = Vec::with_capacity(<M::Codec as Codec<M>>::size_hint(message));
    <M::Codec as Codec<M>>::encode(message, &mut bytes)?;
    Ok(xxh3_128(&bytes).to_le_bytes())
}
