use super::line::holds_unit;
use catga_contract::{Behavior, Call, Error, Handler, Message, Result};
use std::{fmt, hash::Hash, sync::Arc, time::Duration};

/// A message whose answer depends on nothing but a key.
pub trait CacheKey {
    /// What is looked for.
    type Key: Hash + Eq + Clone + Send + Sync + 'static;

    /// The key: everything that the answer depends on. Where answers differ by tenant or user, that is part of it, and
    /// so part of the message.
    fn cache_key(&self) -> Self::Key;
}

/// Answers a request from memory that was answered before.
///
/// It is for requests that only read. At most so many answers are kept, each at most so long; when there are too many,
/// those go that are asked for least (TinyLFU, by the crate `moka`). Only what a handler answered with `Ok` and would
/// [keep](Message::keep) is kept. Equal requests at the same time run the handler once: the others wait for its answer,
/// and share its failure, under which nothing is kept. Where the one at work is dropped, the next takes over.
///
/// Whoever reaches the cache gets the answer: put [`Authorize`](super::Authorize) outside. In a delivery, and in a call
/// that holds a `Tx`, the handler runs as if there were no cache.
///
/// A cache belongs to one message. Clones share the answers; a clone of one's own can [`forget`](Self::forget) them.
///
/// ```
/// use catga::behavior::{Cache, CacheKey};
/// use catga::{App, HandlerExt, Request, State};
/// use std::{sync::atomic::{AtomicU32, Ordering}, time::Duration};
///
/// #[derive(Request)]
/// #[catga(name = "prices.get", reply = u32, local)]
/// struct GetPrice { sku: &'static str }
///
/// impl CacheKey for GetPrice {
///     type Key = &'static str;
///     fn cache_key(&self) -> &'static str {
///         self.sku
///     }
/// }
///
/// async fn get(_: GetPrice, asked: State<AtomicU32>) -> catga::Result<u32> {
///     Ok(asked.fetch_add(1, Ordering::Relaxed))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> catga::Result<()> {
/// let prices = Cache::new(10_000, Duration::from_secs(60));
/// let app = App::builder("shop").state(AtomicU32::new(0)).handle(get.with(prices.clone())).build().await?;
/// assert_eq!(app.send(GetPrice { sku: "A-1" }).await?, 0);
/// assert_eq!(app.send(GetPrice { sku: "A-1" }).await?, 0);
/// prices.forget(&"A-1").await;
/// assert_eq!(app.send(GetPrice { sku: "A-1" }).await?, 1);
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// A dropped call keeps nothing and holds nobody up.
pub struct Cache<M: Message + CacheKey> {
    answers: moka::future::Cache<M::Key, M::Reply>,
}

/// Beyond it the crate would refuse the time.
const LONGEST: Duration = Duration::from_secs(1000 * 365 * 86_400);

impl<M: Message<Reply: Clone + Sync> + CacheKey> Cache<M> {
    /// At most `answers` are kept, each for at most `time`.
    pub fn new(answers: u64, time: Duration) -> Self {
        let answers =
            moka::future::Cache::builder().max_capacity(answers).time_to_live(time.min(LONGEST)).name(M::NAME).build();
        Self { answers }
    }

    /// Forgets the answer to requests with that key. One that is being found out now may still be kept.
    pub async fn forget(&self, key: &M::Key) {
        self.answers.invalidate(key).await;
    }

    /// Forgets all answers that were kept until now.
    pub fn clear(&self) {
        self.answers.invalidate_all();
    }
}

/// Why an answer is not kept.
enum Unkept<R> {
    Refusal(R),
    Failure(Error),
}

impl<M: Message<Reply: Clone + Sync> + CacheKey> Behavior<M> for Cache<M> {
    async fn around<H: Handler<M>>(&self, call: &mut Call<'_>, message: M, next: &H) -> Result<M::Reply> {
        if holds_unit(call) || !call.context().consumer.is_empty() {
            // Nobody may wait here for a call that could want to write; and nobody waits for the answer.
            return next.handle(call, message).await;
        }
        let key = message.cache_key();
        let find = async {
            match next.handle(call, message).await {
                Ok(reply) if M::keep(&reply) => Ok(reply),
                Ok(reply) => Err(Unkept::Refusal(reply)),
                Err(error) => Err(Unkept::Failure(error)),
            }
        };
        match self.answers.try_get_with(key, find).await {
            Ok(reply) => Ok(reply),
            Err(unkept) => match Arc::try_unwrap(unkept) {
                Ok(Unkept::Refusal(reply)) => Ok(reply),
                Ok(Unkept::Failure(error)) => Err(error),
                Err(shared) => shared_answer::<M>(shared),
            },
        }
    }
}

/// What another call answered for this one, too.
fn shared_answer<M: Message<Reply: Clone + Sync>>(unkept: Arc<Unkept<M::Reply>>) -> Result<M::Reply> {
    let error = match &*unkept {
        Unkept::Refusal(reply) => return Ok(reply.clone()),
        Unkept::Failure(error) => error,
    };
    let (kind, pause) = (error.kind(), error.pause());
    let error = Error::new(kind, Shared::<M>(unkept));
    Err(match pause {
        Some(pause) => error.with_pause(pause),
        None => error,
    })
}

/// A failure that several calls share.
struct Shared<M: Message>(Arc<Unkept<M::Reply>>);

impl<M: Message> Shared<M> {
    fn error(&self) -> Option<&Error> {
        if let Unkept::Failure(error) = &*self.0 { Some(error) } else { None }
    }
}

impl<M: Message> fmt::Display for Shared<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().map_or(Ok(()), |error| fmt::Display::fmt(error, f))
    }
}

impl<M: Message> fmt::Debug for Shared<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error(), f)
    }
}

impl<M: Message<Reply: Sync>> std::error::Error for Shared<M> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.error()?.source())
    }
}

impl<M: Message + CacheKey> Clone for Cache<M> {
    fn clone(&self) -> Self {
        Self { answers: self.answers.clone() }
    }
}

impl<M: Message + CacheKey> fmt::Debug for Cache<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("message", &M::NAME).finish_non_exhaustive()
    }
}
