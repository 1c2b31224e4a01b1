//! Receiving from Redis Streams.

use crate::{
    args::Arg,
    entry::{Arrived, read_reply, taken_reply},
    error::{fault, kind},
    member::{Held, Member, StreamSettler, live},
    scripts::SCRIPTS,
    store::Redis,
};
use catga_contract::{Delivery, Error, ErrorKind, Result, Settle, SubscribeOptions, Token};
use event_listener::EventListener;
use futures_util::{FutureExt, future::BoxFuture};
use redis::{AsyncConnectionConfig, RedisResult, Value, aio::MultiplexedConnection};
use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, UNIX_EPOCH},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

/// How long the server keeps a read that finds nothing.
const BLOCK: Duration = Duration::from_secs(2);
/// How often retries and due messages are looked for that others may have left.
const TICK: Duration = Duration::from_millis(500);
/// The same while a member of this process has just left.
const QUICK: Duration = Duration::from_millis(20);

/// A member of a consumer on Redis Streams.
///
/// Futures that wait for an answer of the server are kept here, not in [`next_batch`](Self::next_batch): a dropped one
/// loses no entry that the server has handed over.
pub(crate) struct StreamSubscription {
    member: Arc<Member>,
    keys: Vec<String>,
    reader: Option<MultiplexedConnection>,
    reading: Option<BoxFuture<'static, RedisResult<Value>>>,
    taking: Option<BoxFuture<'static, Result<Value>>>,
    /// A lonely try that is being counted.
    starting: Option<Starting>,
    ready: VecDeque<Delivery>,
    /// What a member that died had: each is tried alone.
    alone: VecDeque<Delivery>,
    /// Replays for other consumers, to be settled unhandled.
    foreign: Vec<(Token, Settle)>,
    next_take: Instant,
    next_claim: Instant,
    /// An answer to a read was lost: the server may have given this member entries that it has not seen.
    missed: bool,
    own: EventListener,
    all: EventListener,
    beat: JoinHandle<()>,
}

/// The call that counts a try, and what will be tried.
type Starting = (BoxFuture<'static, Result<(i64, u64)>>, Delivery);

enum Woke {
    Read(RedisResult<Value>),
    Stirred,
    Tick,
}

impl StreamSubscription {
    pub(crate) async fn open(redis: Redis, options: SubscribeOptions) -> Result<Self> {
        let consumer = options.consumer;
        if options.park {
            let text = format!("consumer `{consumer}` parks, but streams keep no order by key");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let takes = redis::cmd("SMEMBERS").arg(redis.key(&format!("takes:{consumer}"))).to_owned();
        let subjects: RedisResult<Vec<String>> = takes.query_async(&mut redis.main()).await;
        let mut subjects = subjects.map_err(|error| fault(error, "subscribing"))?;
        if subjects.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, format!("consumer `{consumer}` is not registered")));
        }
        subjects.sort_unstable();
        // What is replayed to this consumer alone comes first.
        let mut suffixes = vec![format!("q:{consumer}")];
        suffixes.extend(subjects.iter().map(|subject| format!("s:{subject}")));
        let keys = suffixes.iter().map(|suffix| redis.key(suffix)).collect();
        let member = loop {
            let number = redis.next_member();
            let member = Arc::new(Member::new(redis.clone(), consumer.clone(), suffixes.clone(), number));
            if redis.enrol(member.number(), &member) {
                break member;
            }
        };
        let now = Instant::now();
        Ok(Self {
            keys,
            reader: None,
            reading: None,
            taking: None,
            starting: None,
            ready: VecDeque::new(),
            alone: VecDeque::new(),
            foreign: Vec::new(),
            next_take: now,
            next_claim: now,
            missed: false,
            own: member.stir.listen(),
            all: redis.inner.stir.listen(),
            beat: tokio::spawn(live(Arc::downgrade(&member), redis.inner.options.lease / 3)),
            member,
        })
    }

    pub(crate) fn settler(&self) -> StreamSettler {
        StreamSettler(self.member.clone())
    }

    pub(crate) async fn next_batch(&mut self, most: usize, deliveries: &mut Vec<Delivery>) -> Result<()> {
        let most = most.clamp(1, 10_000);
        loop {
            if !self.foreign.is_empty() {
                self.member.settle(&self.foreign).await?;
                self.foreign.clear();
            }
            if let Some(delivery) = self.start_alone().await? {
                deliveries.push(delivery);
                return Ok(());
            }
            if !self.ready.is_empty() {
                let many = most.min(self.ready.len());
                deliveries.extend(self.ready.drain(..many));
                return Ok(());
            }
            if self.taking.is_some() || self.stirred() || Instant::now() >= self.next_take {
                self.take(most).await?;
                continue;
            }
            self.read(most).await?;
            match self.wait().await {
                Woke::Read(read) => {
                    self.reading = None;
                    match read.map(read_reply) {
                        Ok(arrived) => self.arrive(arrived),
                        Err(error) => self.trouble(error).await?,
                    }
                }
                Woke::Stirred => self.next_take = Instant::now(),
                Woke::Tick => {}
            }
        }
    }

    /// Whether something may have become due meanwhile.
    fn stirred(&mut self) -> bool {
        let redis = &self.member.redis;
        let own = (&mut self.own).now_or_never().is_some();
        let all = (&mut self.all).now_or_never().is_some();
        if own {
            self.own = self.member.stir.listen();
        }
        if all {
            self.all = redis.inner.stir.listen();
        }
        own || all
    }

    async fn wait(&mut self) -> Woke {
        let mut tick = pin!(sleep_until(self.next_take));
        let (own, all, reading) = (&mut self.own, &mut self.all, &mut self.reading);
        let woke = poll_fn(|cx| {
            if let Some(reading) = reading
                && let Poll::Ready(read) = reading.poll_unpin(cx)
            {
                return Poll::Ready(Woke::Read(read));
            }
            if own.poll_unpin(cx).is_ready() {
                return Poll::Ready(Woke::Stirred);
            }
            if all.poll_unpin(cx).is_ready() {
                return Poll::Ready(Woke::Stirred);
            }
            tick.as_mut().poll(cx).map(|()| Woke::Tick)
        })
        .await;
        if matches!(woke, Woke::Stirred) {
            self.own = self.member.stir.listen();
            self.all = self.member.redis.inner.stir.listen();
        }
        woke
    }

    /// Has a read under way, on a connection that nothing else waits behind.
    async fn read(&mut self, most: usize) -> Result<()> {
        if self.reading.is_some() {
            return Ok(());
        }
        let Member { redis, consumer, name, .. } = &*self.member;
        let answers = redis.inner.options.timeout;
        let reader = match &self.reader {
            Some(reader) => reader.clone(),
            None => {
                let config = AsyncConnectionConfig::new()
                    .set_response_timeout(None)
                    .set_connection_timeout(Some(answers.min(Duration::from_secs(2))));
                let connected = redis.inner.client.get_multiplexed_async_connection_with_config(&config).await;
                let reader = connected.map_err(|error| fault(error, "connecting to receive"))?;
                self.reader.insert(reader).clone()
            }
        };
        let mut call = redis::cmd("XREADGROUP");
        call.arg("GROUP").arg(&**consumer).arg(name).arg("COUNT").arg(most);
        call.arg("BLOCK").arg(BLOCK.as_millis() as u64).arg("STREAMS").arg(&self.keys);
        call.arg(vec![">"; self.keys.len()]);
        let mut reader = reader;
        self.reading = Some(
            async move {
                // The server answers after `BLOCK` at the latest: one that does not is gone, whatever the socket says.
                match timeout(BLOCK + answers, call.query_async(&mut reader)).await {
                    Ok(answer) => answer,
                    Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
                }
            }
            .boxed(),
        );
        Ok(())
    }

    /// A read failed: a missing group is made again, anything else is told.
    async fn trouble(&mut self, error: redis::RedisError) -> Result<()> {
        self.missed = true;
        self.next_take = Instant::now();
        let consumer = &self.member.consumer;
        if matches!(error.code(), Some("NOGROUP" | "UNBLOCKED")) {
            let mut args = vec![Arg::from(&**consumer)];
            let subjects = || self.member.suffixes.iter().filter_map(|suffix| suffix.strip_prefix("s:"));
            args.push(Arg::from(subjects().count() as i64));
            args.extend(subjects().map(Arg::from));
            let restored: u64 = self.member.redis.run(&SCRIPTS.register, &args, "making a missing group again").await?;
            tracing::error!(%consumer, restored, "its group or stream was gone; it goes on where it had settled");
            return Ok(());
        }
        if kind(&error) != ErrorKind::Handler {
            self.reader = None;
        }
        Err(fault(error, format_args!("receiving for consumer `{consumer}`")))
    }

    /// Takes what reads do not bring: retries, due messages, what others left.
    async fn take(&mut self, most: usize) -> Result<()> {
        let lease = self.member.redis.inner.options.lease;
        if self.taking.is_none() {
            self.taking = Some(self.call_take(most, lease));
        }
        let Some(taking) = &mut self.taking else { return Ok(()) };
        let answer = taking.await;
        self.taking = None;
        let consumer = &self.member.consumer;
        let taken = match answer.and_then(taken_reply) {
            Ok(taken) => taken,
            Err(error) => {
                self.next_take = Instant::now() + TICK;
                self.missed = true;
                return Err(error.context(format_args!("receiving for consumer `{consumer}`")));
            }
        };
        let redis = &self.member.redis;
        redis.close_graves(consumer, &taken.empty, BLOCK + Duration::from_secs(1));
        let most = if redis.graves(consumer).is_empty() { TICK } else { QUICK };
        let pause = taken.pause.map_or(most, |pause| pause.min(most));
        self.next_take = Instant::now() + pause;
        self.arrive(taken.arrived);
        Ok(())
    }

    fn call_take(&mut self, most: usize, lease: Duration) -> BoxFuture<'static, Result<Value>> {
        let now = Instant::now();
        let claims = now >= self.next_claim;
        if claims {
            self.next_claim = now + lease / 2;
        }
        let mut left = self.member.redis.graves(&self.member.consumer);
        if std::mem::take(&mut self.missed) {
            left.push(self.member.name.clone());
        }
        let member = self.member.clone();
        async move {
            let mut args = vec![
                Arg::from(&*member.consumer),
                Arg::from(&*member.name),
                Arg::from(lease.as_millis() as i64),
                Arg::from(most as i64),
                Arg::from(i64::from(claims)),
                Arg::from(left.len() as i64),
            ];
            args.extend(left.iter().chain(&member.suffixes).map(|text| Arg::from(&**text)));
            member.redis.run(&SCRIPTS.take, &args, "taking what is due").await
        }
        .boxed()
    }

    /// Counts the next lonely try, before it starts.
    async fn start_alone(&mut self) -> Result<Option<Delivery>> {
        loop {
            if self.starting.is_none() {
                let Some(delivery) = self.alone.pop_front() else { return Ok(None) };
                let Some(held) = self.member.held(delivery.token).filter(|held| !held.stale) else { continue };
                let member = self.member.clone();
                let call = async move {
                    let args = [
                        Arg::from(&*member.consumer),
                        Arg::from(&*member.name),
                        Arg::from(member.suffix(held.place)),
                        Arg::from(held.place.1.to_string()),
                    ];
                    member.redis.run(&SCRIPTS.start, &args, "counting a try").await
                };
                self.starting = Some((call.boxed(), delivery));
            }
            let Some((call, _)) = &mut self.starting else { return Ok(None) };
            let counted = call.await;
            let Some((_, mut delivery)) = self.starting.take() else { return Ok(None) };
            match counted {
                Ok((-1, _)) => {
                    if let Some(held) = self.member.held(delivery.token) {
                        self.member.lose(held.place);
                    }
                }
                Ok((started, first)) => {
                    delivery.started = u32::try_from(started).unwrap_or(u32::MAX);
                    delivery.first = UNIX_EPOCH.checked_add(Duration::from_micros(first));
                    self.member.counted(delivery.token, delivery.started);
                    return Ok(Some(delivery));
                }
                Err(error) => {
                    self.alone.push_front(delivery);
                    return Err(error);
                }
            }
        }
    }

    fn arrive(&mut self, mut arrived: Vec<Arrived>) {
        let member = &self.member;
        // Entries of several streams come in the order in which the server took them in.
        arrived.sort_by_key(|entry| entry.id);
        for entry in arrived {
            let Some(stream) = self.keys.iter().position(|key| entry.stream.is(key, &member.redis.inner.base)) else {
                continue;
            };
            let mut delivery = Delivery::new(Token(0), entry.frame, entry.started);
            delivery.first = entry.first;
            let held = Held {
                place: (stream as u32, entry.id),
                message: delivery.message.as_ref().ok().map(|envelope| envelope.id),
                counted: false,
                started: entry.started,
                stale: false,
            };
            let Some(token) = member.hold(held) else { continue };
            delivery.token = token;
            if entry.to.is_some_and(|to| to[..] != *member.consumer.as_bytes()) {
                self.foreign.push((token, Settle::Done));
            } else if entry.alone {
                self.alone.push_back(delivery);
            } else {
                self.ready.push_back(delivery);
            }
        }
    }
}

impl Drop for StreamSubscription {
    fn drop(&mut self) {
        self.beat.abort();
        self.member.redis.bury_member(&self.member.consumer, &self.member.name);
    }
}
