//! Quality 0: Redis pub/sub. What nobody hears at once is gone, and counted.

use crate::{
    dotnet,
    error::{fault, is_unknown},
    store::{Redis, lock},
    streams::{MAX_FRAME, fits, too_large},
};
use bytes::Bytes;
use catga_contract::{
    Capabilities, Delivery, Error, ErrorKind, Order, Outcome, Parcel, Registration, Result, Settle, Settler, Str,
    Subject, SubscribeOptions, Token,
};
use event_listener::Event;
use futures_util::StreamExt;
use redis::{
    RedisResult,
    aio::{PubSubSink, PubSubStream},
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{task::JoinHandle, time::timeout};

/// How many messages wait for a handler; what comes then is dropped and counted.
const WAITING: usize = 65_536;
/// A connection that is silent for so long is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(5);

/// The settings of a transport on pub/sub, and what it counts.
#[derive(Clone, Debug)]
pub(crate) struct PubSub {
    pub(crate) redis: Redis,
    pub(crate) dedupe: bool,
    pub(crate) dotnet: bool,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    registered: Mutex<HashMap<Str, Vec<Subject>>>,
    queues: Mutex<HashMap<Str, Arc<Queue>>>,
    overflowed: AtomicU64,
    failed: AtomicU64,
    gaps: AtomicU64,
}

/// What a transport on pub/sub has lost since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drops {
    /// Messages that came while 65,536 waited.
    pub overflowed: u64,
    /// Messages whose handler failed: they do not come again.
    pub failed: u64,
    /// How often a receiving connection was lost. What was published until it was back is gone; nobody knows how much.
    pub gaps: u64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<VecDeque<Bytes>>,
    /// Handed out and not settled.
    out: Mutex<HashSet<u64>>,
    event: Event,
}

impl PubSub {
    pub(crate) fn new(redis: Redis) -> Self {
        Self { redis, dedupe: false, dotnet: false, shared: Arc::default() }
    }

    pub(crate) fn drops(&self) -> Drops {
        let Shared { overflowed, failed, gaps, .. } = &*self.shared;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Drops { overflowed: read(overflowed), failed: read(failed), gaps: read(gaps) }
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none("redis", MAX_FRAME);
        capabilities.order = Order::Stream;
        capabilities.dedupe = self.dedupe;
        capabilities
    }

    pub(crate) fn register(&self, consumers: &[Registration]) {
        let mut registered = lock(&self.shared.registered);
        for Registration { consumer, subjects, .. } in consumers {
            let known = registered.entry(consumer.clone()).or_default();
            known.extend(subjects.iter().filter(|subject| !known.contains(subject)).cloned().collect::<Vec<_>>());
        }
    }

    pub(crate) fn unsettled(&self, consumer: &Str) -> u64 {
        let queue = lock(&self.shared.queues).get(consumer).cloned();
        queue.map_or(0, |queue| (lock(&queue.waiting).len() + lock(&queue.out).len()) as u64)
    }

    fn channel(&self, subject: &Subject) -> String {
        match self.dotnet {
            true => subject.to_string(),
            false => self.redis.key(&format!("c:{subject}")),
        }
    }

    pub(crate) async fn publish(&self, parcels: &[Parcel], outcomes: &mut Vec<Outcome>) -> Result<()> {
        let fresh = match self.dotnet {
            true => dotnet::unseen(&self.redis, self.dedupe, parcels).await?,
            false => vec![true; parcels.len()],
        };
        let (mut calls, mut told, mut sent) = (redis::pipe(), Vec::with_capacity(parcels.len()), Vec::new());
        for (parcel, fresh) in parcels.iter().zip(fresh) {
            let refused = (!fits(parcel)).then(|| too_large(parcel)).or_else(|| dotnet::unsupported(parcel));
            let outcome = match refused {
                Some(error) => Outcome::Refused(error),
                None if !fresh => Outcome::Duplicate,
                None => {
                    let call = calls.cmd("PUBLISH").arg(self.channel(&parcel.subject));
                    match self.dotnet {
                        true => call.arg(dotnet::text(parcel)?),
                        false => call.arg(&parcel.frame[..]),
                    };
                    sent.push(&parcel.subject);
                    Outcome::Stored
                }
            };
            told.push(outcome);
        }
        if !sent.is_empty() {
            let mut connection = self.redis.publisher().await.map_err(|error| fault(error, "connecting to publish"))?;
            let heard: RedisResult<Vec<u64>> = calls.query_async(&mut connection).await;
            match heard {
                Ok(heard) => {
                    let alone = sent.iter().zip(heard).filter(|(_, heard)| *heard == 0);
                    alone.for_each(|(subject, _)| self.redis.count_unheard(subject));
                }
                Err(error) if is_unknown(&error) => {
                    for outcome in told.iter_mut().filter(|outcome| matches!(outcome, Outcome::Stored)) {
                        *outcome = Outcome::Unknown;
                    }
                }
                Err(error) => return Err(fault(error, "publishing")),
            }
        }
        outcomes.extend(told);
        Ok(())
    }

    pub(crate) async fn subscribe(&self, options: SubscribeOptions) -> Result<PubSubSubscription> {
        let consumer = options.consumer;
        if options.park {
            let text = format!("consumer `{consumer}` parks, but pub/sub keeps no order by key");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let Some(subjects) = lock(&self.shared.registered).get(&consumer).cloned() else {
            return Err(Error::new(ErrorKind::NotFound, format!("consumer `{consumer}` is not registered")));
        };
        let queue = Arc::new(Queue::default());
        {
            let mut queues = lock(&self.shared.queues);
            if queues.contains_key(&consumer) {
                let text = format!("consumer `{consumer}` is running in this process already; pub/sub has no groups");
                return Err(Error::new(ErrorKind::Busy, text));
            }
            queues.insert(consumer.clone(), queue.clone());
        }
        // Made before the connection, so that the name is free again where that fails.
        let mut subscription = PubSubSubscription { shared: self.shared.clone(), consumer, queue, next: 0, pump: None };
        let channels: Vec<String> = subjects.iter().map(|subject| self.channel(subject)).collect();
        let connected = connect(&self.redis, &channels).await;
        let (sink, stream) = connected.map_err(|error| fault(error, "connecting to receive"))?;
        let pump = Pump {
            redis: self.redis.clone(),
            dotnet: self.dotnet,
            channels,
            shared: self.shared.clone(),
            queue: subscription.queue.clone(),
        };
        subscription.pump = Some(tokio::spawn(pump.run(sink, stream)));
        Ok(subscription)
    }
}

async fn connect(redis: &Redis, channels: &[String]) -> RedisResult<(PubSubSink, PubSubStream)> {
    let answers = redis.inner.options.timeout;
    let late = |_| redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    let connected = timeout(answers, redis.inner.client.get_async_pubsub()).await.map_err(late)??;
    let (mut sink, stream) = connected.split();
    timeout(answers, sink.subscribe(channels)).await.map_err(late)??;
    Ok((sink, stream))
}

/// Moves messages from the connection, whose buffer has no bound, into a queue that has one.
struct Pump {
    redis: Redis,
    dotnet: bool,
    channels: Vec<String>,
    shared: Arc<Shared>,
    queue: Arc<Queue>,
}

impl Pump {
    async fn run(self, mut sink: PubSubSink, mut stream: PubSubStream) {
        loop {
            self.receive(&mut sink, &mut stream).await;
            self.shared.gaps.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("the connection that receives from pub/sub is lost; what is published meanwhile is gone");
            let mut pause = Duration::from_millis(20);
            (sink, stream) = loop {
                match connect(&self.redis, &self.channels).await {
                    Ok(connected) => break connected,
                    Err(error) => tracing::debug!(%error, "pub/sub is not back yet"),
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            };
        }
    }

    /// Receives until the connection is gone, or does not answer any more.
    async fn receive(&self, sink: &mut PubSubSink, stream: &mut PubSubStream) {
        loop {
            match timeout(SILENCE, stream.next()).await {
                Ok(Some(message)) => self.take(message.get_channel_name(), message.get_payload_bytes()),
                Ok(None) => return,
                Err(_) => match timeout(self.redis.inner.options.timeout, sink.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => {}
                    _ => return,
                },
            }
        }
    }

    fn take(&self, channel: &str, payload: &[u8]) {
        let mut waiting = lock(&self.queue.waiting);
        if waiting.len() >= WAITING {
            if self.shared.overflowed.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(channel, "messages of pub/sub are dropped: {WAITING} wait already");
            }
            return;
        }
        waiting.push_back(match self.dotnet {
            true => dotnet::frame(channel, payload),
            false => Bytes::copy_from_slice(payload),
        });
        drop(waiting);
        self.queue.event.notify(1);
    }
}

pub(crate) struct PubSubSubscription {
    shared: Arc<Shared>,
    consumer: Str,
    queue: Arc<Queue>,
    next: u64,
    pump: Option<JoinHandle<()>>,
}

impl PubSubSubscription {
    pub(crate) async fn next_batch(&mut self, most: usize, deliveries: &mut Vec<Delivery>) -> Result<()> {
        loop {
            let listener = self.queue.event.listen();
            {
                let mut waiting = lock(&self.queue.waiting);
                let many = most.max(1).min(waiting.len());
                let mut out = lock(&self.queue.out);
                for frame in waiting.drain(..many) {
                    out.insert(self.next);
                    deliveries.push(Delivery::new(Token(self.next), frame, 0));
                    self.next += 1;
                }
                if many > 0 {
                    return Ok(());
                }
            }
            listener.await;
        }
    }

    pub(crate) fn settler(&self) -> PubSubSettler {
        PubSubSettler { shared: self.shared.clone(), queue: self.queue.clone() }
    }
}

impl Drop for PubSubSubscription {
    fn drop(&mut self) {
        if let Some(pump) = &self.pump {
            pump.abort();
        }
        lock(&self.shared.queues).remove(&self.consumer);
    }
}

/// Nothing comes again, so an answer only says what was lost.
#[derive(Clone, Debug)]
pub(crate) struct PubSubSettler {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
}

impl Settler for PubSubSettler {
    async fn settle(&self, answers: &[(Token, Settle)]) -> Result<()> {
        let mut out = lock(&self.queue.out);
        for (token, answer) in answers {
            if out.remove(&token.0) && matches!(answer, Settle::Again { .. }) {
                self.shared.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}
