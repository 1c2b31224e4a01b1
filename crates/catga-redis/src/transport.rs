use crate::{
    member::StreamSettler,
    pubsub::{Drops, PubSub, PubSubSettler, PubSubSubscription},
    store::Redis,
    streams::Streams,
    subscription::StreamSubscription,
};
use catga_contract::{
    Capabilities, Delivery, Outcome, Parcel, Registration, Result, Settle, Settler, StoreId, Str, SubscribeOptions,
    Subscription, Token, Transport,
};
use std::time::Duration;

/// Carries messages by Redis, with one quality: [`pubsub`](Self::pubsub) or [`streams`](Self::streams).
///
/// ```no_run
/// use catga_redis::{Redis, RedisTransport};
/// use std::time::Duration;
///
/// # async fn wired() -> catga_contract::Result<()> {
/// let redis = Redis::open("redis://localhost:6379/?namespace=shop").await?;
/// let events = RedisTransport::streams(&redis).dedupe(Duration::from_secs(120));
/// let prices = RedisTransport::pubsub(&redis);
/// # let _ = (events, prices);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RedisTransport(Quality);

#[derive(Clone, Debug)]
enum Quality {
    PubSub(PubSub),
    Streams(Streams),
}

impl RedisTransport {
    /// At most once, on pub/sub: who listens gets it, in every process; what nobody hears is gone.
    /// [`drops`](Self::drops) counts what a listener lost, [`Redis::unheard`] what nobody listened to. A batch leaves in
    /// one pipeline, on a connection of its own.
    pub fn pubsub(redis: &Redis) -> Self {
        Self(Quality::PubSub(PubSub::new(redis.clone())))
    }

    /// At least once, on streams: one stream a subject, one group a consumer. A batch is one call of the server, kept
    /// whole or not at all. A failed message waits beside the others for its time; the entries of a member that died go to the
    /// others after the [lease](crate::RedisOptions::lease), each tried alone; only what every consumer has settled is
    /// trimmed.
    pub fn streams(redis: &Redis) -> Self {
        Self(Quality::Streams(redis.streams()))
    }

    /// Has an id published once only within `window`, 1 ms or more: a second publish is answered as a duplicate. On
    /// pub/sub this is for [`dotnet`](Self::dotnet) alone, where the window is .NET's 5 minutes; elsewhere it does
    /// nothing there.
    #[must_use]
    pub fn dedupe(mut self, window: Duration) -> Self {
        match &mut self.0 {
            Quality::PubSub(pubsub) => pubsub.dedupe = true,
            Quality::Streams(streams) => streams.dedupe = Some(window),
        }
        self
    }

    /// Speaks as .NET Catga does: channels are subjects, payloads Base64 without id, correlation or trace. On streams it
    /// publishes only, into `stream:{subject}`, which is always trimmed to [`max_len`](crate::RedisOptions::max_len),
    /// acknowledged or not, because .NET never says what it has given up.
    #[must_use]
    pub fn dotnet(mut self) -> Self {
        match &mut self.0 {
            Quality::PubSub(pubsub) => pubsub.dotnet = true,
            Quality::Streams(streams) => streams.dotnet = true,
        }
        self
    }

    /// What was lost on pub/sub since this transport was made; nothing on streams.
    pub fn drops(&self) -> Drops {
        match &self.0 {
            Quality::PubSub(pubsub) => pubsub.drops(),
            Quality::Streams(_) => Drops::default(),
        }
    }
}

impl Transport for RedisTransport {
    type Subscription = RedisSubscription;

    fn capabilities(&self) -> Capabilities {
        match &self.0 {
            Quality::PubSub(pubsub) => pubsub.capabilities(),
            Quality::Streams(streams) => streams.capabilities(),
        }
    }

    fn shares(&self) -> Option<StoreId> {
        match &self.0 {
            Quality::Streams(streams) if !streams.dotnet => Some(streams.redis.inner.id),
            _ => None,
        }
    }

    async fn register(&self, consumers: &[Registration]) -> Result<()> {
        match &self.0 {
            Quality::PubSub(pubsub) => {
                pubsub.register(consumers);
                Ok(())
            }
            Quality::Streams(streams) => streams.register(consumers).await,
        }
    }

    async fn publish(&self, parcels: &[Parcel], outcomes: &mut Vec<Outcome>) -> Result<()> {
        match &self.0 {
            _ if parcels.is_empty() => Ok(()),
            Quality::PubSub(pubsub) => pubsub.publish(parcels, outcomes).await,
            Quality::Streams(streams) => streams.publish(parcels, outcomes).await,
        }
    }

    async fn subscribe(&self, options: SubscribeOptions) -> Result<RedisSubscription> {
        Ok(RedisSubscription(match &self.0 {
            Quality::PubSub(pubsub) => Receives::PubSub(pubsub.subscribe(options).await?),
            Quality::Streams(streams) => Receives::Streams(Box::new(streams.subscribe(options).await?)),
        }))
    }

    async fn unsettled(&self, consumer: &Str) -> Result<u64> {
        match &self.0 {
            Quality::PubSub(pubsub) => Ok(pubsub.unsettled(consumer)),
            Quality::Streams(streams) => streams.redis.count_unsettled(consumer).await,
        }
    }
}

/// A store is its own queue, on streams with the settings of its options.
impl Transport for Redis {
    type Subscription = RedisSubscription;

    fn capabilities(&self) -> Capabilities {
        self.streams().capabilities()
    }
    fn shares(&self) -> Option<StoreId> {
        Some(self.inner.id)
    }
    async fn register(&self, consumers: &[Registration]) -> Result<()> {
        RedisTransport::streams(self).register(consumers).await
    }
    async fn publish(&self, parcels: &[Parcel], outcomes: &mut Vec<Outcome>) -> Result<()> {
        RedisTransport::streams(self).publish(parcels, outcomes).await
    }
    async fn subscribe(&self, options: SubscribeOptions) -> Result<RedisSubscription> {
        RedisTransport::streams(self).subscribe(options).await
    }
    async fn unsettled(&self, consumer: &Str) -> Result<u64> {
        self.count_unsettled(consumer).await
    }
}

/// Receives for one consumer. It holds a connection of its own and a task that says that it lives, or on pub/sub one that
/// receives; both end with it.
pub struct RedisSubscription(Receives);

enum Receives {
    PubSub(PubSubSubscription),
    Streams(Box<StreamSubscription>),
}

impl Subscription for RedisSubscription {
    type Settler = RedisSettler;

    async fn next_batch(&mut self, most: usize, deliveries: &mut Vec<Delivery>) -> Result<()> {
        match &mut self.0 {
            Receives::PubSub(pubsub) => pubsub.next_batch(most, deliveries).await,
            Receives::Streams(streams) => streams.next_batch(most, deliveries).await,
        }
    }

    fn settler(&self) -> RedisSettler {
        RedisSettler(match &self.0 {
            Receives::PubSub(pubsub) => Answers::PubSub(pubsub.settler()),
            Receives::Streams(streams) => Answers::Streams(streams.settler()),
        })
    }
}

impl std::fmt::Debug for RedisSubscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let quality = match &self.0 {
            Receives::PubSub(_) => "pubsub",
            Receives::Streams(_) => "streams",
        };
        f.debug_tuple("RedisSubscription").field(&quality).finish()
    }
}

/// Answers the deliveries of a [`RedisSubscription`].
#[derive(Clone, Debug)]
pub struct RedisSettler(Answers);

#[derive(Clone, Debug)]
enum Answers {
    PubSub(PubSubSettler),
    Streams(StreamSettler),
}

impl Settler for RedisSettler {
    async fn settle(&self, answers: &[(Token, Settle)]) -> Result<()> {
        match &self.0 {
            Answers::PubSub(settler) => settler.settle(answers).await,
            Answers::Streams(settler) => settler.settle(answers).await,
        }
    }
}
