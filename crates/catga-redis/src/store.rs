//! The handle on a server: its connections, and what all parts of it share.

use crate::{
    error::fault, member::Member, options::RedisOptions, outbox::Bell, promise::Promise, scripts::SCRIPTS,
    streams::Streams,
};
use catga_contract::{Error, ErrorKind, MessageId, Result, StoreId, Str, Subject};
use event_listener::Event;
use redis::{
    Client, FromRedisValue, RedisResult, Script, ServerErrorKind, ToRedisArgs,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::OnceCell;

/// A Redis server as Catga's store and queue; cheap to clone.
///
/// As a store it keeps events, marks, dead letters, positions and an outbox; in a handler it is `Tx<Redis>`, see
/// [`RedisTx`](crate::RedisTx) for what that promises. As a transport it is its own queue on Redis Streams; for other
/// settings, and for pub/sub, see [`RedisTransport`](crate::RedisTransport).
///
/// It shares no transaction with a business database: what a handler writes elsewhere, it may write twice.
///
/// It holds one connection for commands, one more for pub/sub publishes once there are any, and each subscription holds
/// one.
#[derive(Clone)]
pub struct Redis {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) options: RedisOptions,
    /// `catga:{namespace}`.
    pub(crate) base: String,
    main: ConnectionManager,
    /// Publishes of QoS 0 go their own way, so that they never wait behind a large batch.
    publisher: OnceCell<ConnectionManager>,
    promise: Promise,
    pub(crate) id: StoreId,
    /// Unique for each process start.
    pub(crate) node: String,
    next_member: AtomicU64,
    members: Mutex<HashMap<u16, Weak<Member>>>,
    /// Names of members that left in this process and may have left entries behind, by consumer.
    graves: Mutex<HashMap<Str, Vec<(String, Instant)>>>,
    /// Rings when something may have become due, or a member left.
    pub(crate) stir: Event,
    unheard: Mutex<HashMap<Subject, u64>>,
    /// The turn to write, until it is revoked.
    pub(crate) turn: Mutex<Arc<tokio::sync::Mutex<()>>>,
    pub(crate) revoked: Event,
    /// Marks of messages whose deliveries have gone to somebody else, with when, until those are answered here.
    pub(crate) lost: Mutex<HashMap<Vec<u8>, Instant>>,
    pub(crate) bell: Bell,
    /// The number of the newest row of the outbox that somebody here has looked for.
    pub(crate) seen_rows: AtomicU64,
    /// Rings when events were appended in this process.
    pub(crate) appended: Event,
}

impl Redis {
    /// Connects to the server of a URL, see [`RedisOptions::from_url`].
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn open(url: &str) -> Result<Self> {
        Self::connect(RedisOptions::from_url(url)?).await
    }

    /// Connects, asks the server what it keeps, and logs what that promises.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] where an option is out of its bounds, or where `strict` refuses the server;
    /// [`ErrorKind::Unavailable`] where it cannot be reached.
    pub async fn connect(options: RedisOptions) -> Result<Self> {
        options.check()?;
        let place = options.place();
        let client = options.client()?;
        let about = |error| fault(error, format_args!("connecting to Redis at {place}"));
        let mut main = manager(&client, &options).await.map_err(about)?;
        let promise = Promise::ask(&mut main).await;
        promise.hold(options.strict, &place)?;
        let node = format!("{}-{:032x}", std::process::id(), MessageId::new().0);
        let inner = Inner {
            client,
            base: format!("catga:{{{}}}", options.namespace),
            options,
            main,
            publisher: OnceCell::new(),
            promise,
            id: StoreId::fresh(),
            node,
            next_member: AtomicU64::new(0),
            members: Mutex::default(),
            graves: Mutex::default(),
            stir: Event::new(),
            unheard: Mutex::default(),
            turn: Mutex::default(),
            revoked: Event::new(),
            lost: Mutex::default(),
            bell: Bell::default(),
            seen_rows: AtomicU64::new(0),
            appended: Event::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What the server said at start about what it keeps.
    pub fn promise(&self) -> &Promise {
        &self.inner.promise
    }

    /// The namespace that all keys carry as their hash tag.
    pub fn namespace(&self) -> &str {
        &self.inner.options.namespace
    }

    /// The connection for commands, for reads of one's own: it is shared, so nothing that blocks belongs on it, and no
    /// transaction begun with `MULTI` by hand.
    pub fn connection(&self) -> ConnectionManager {
        self.main()
    }

    /// How many messages were published on `subject` by this process that nobody was registered for. They are kept
    /// nowhere; the first on each subject is warned of.
    pub fn unheard(&self, subject: &str) -> u64 {
        lock(&self.inner.unheard).get(subject).copied().unwrap_or_default()
    }

    /// Removes a consumer by its durable name, such as `shop.mail`, with everything that waits for it; answers how many
    /// messages that were. Without this a consumer that is gone from the program keeps its streams from being trimmed,
    /// until they are full. Its marks stay.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] where there is none, and where the server fails.
    pub async fn remove_consumer(&self, consumer: &str) -> Result<u64> {
        let waiting = self.count_unsettled(consumer).await?;
        let removed: u64 = self.run(&SCRIPTS.remove, &[consumer], "removing a consumer").await?;
        if removed == 0 {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no consumer `{consumer}`")));
        }
        Ok(waiting)
    }

    pub(crate) async fn count_unsettled(&self, consumer: &str) -> Result<u64> {
        self.run(&SCRIPTS.unsettled, &[consumer], "counting what waits").await
    }

    /// The queue of this store: streams, as they are without further settings.
    pub(crate) fn streams(&self) -> Streams {
        Streams { redis: self.clone(), dedupe: None, dotnet: false }
    }

    /// The connection for commands.
    pub(crate) fn main(&self) -> ConnectionManager {
        self.inner.main.clone()
    }

    /// The connection for pub/sub publishes.
    pub(crate) async fn publisher(&self) -> RedisResult<ConnectionManager> {
        let Inner { client, options, publisher, .. } = &*self.inner;
        publisher.get_or_try_init(|| manager(client, options)).await.cloned()
    }

    /// Runs a script of ours.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        args: &[impl ToRedisArgs + Sync],
        doing: &str,
    ) -> Result<T> {
        self.try_run(script, args).await.map_err(|error| fault(error, doing))
    }

    pub(crate) async fn try_run<T: FromRedisValue>(
        &self,
        script: &Script,
        args: &[impl ToRedisArgs + Sync],
    ) -> RedisResult<T> {
        let mut main = self.main();
        let mut call = redis::cmd("EVALSHA");
        call.arg(script.get_hash()).arg(1).arg(&self.inner.base);
        for arg in args {
            call.arg(arg);
        }
        match call.query_async(&mut main).await {
            Err(error) if error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript) => {
                script.load_async(&mut main).await?;
                call.query_async(&mut main).await
            }
            answer => answer,
        }
    }

    pub(crate) fn key(&self, suffix: &str) -> String {
        format!("{}:{suffix}", self.inner.base)
    }

    pub(crate) fn next_member(&self) -> u64 {
        self.inner.next_member.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes a member's deliveries known to transactions; `false` where its number is taken.
    pub(crate) fn enrol(&self, number: u16, member: &Arc<Member>) -> bool {
        let mut members = lock(&self.inner.members);
        let taken = members.get(&number).is_some_and(|member| member.strong_count() > 0);
        if !taken {
            members.insert(number, Arc::downgrade(member));
        }
        !taken
    }

    pub(crate) fn member(&self, number: u16) -> Option<Arc<Member>> {
        lock(&self.inner.members).get(&number).and_then(Weak::upgrade)
    }

    /// A member left; whoever comes next looks after its entries.
    pub(crate) fn bury_member(&self, consumer: &Str, name: &str) {
        lock(&self.inner.graves).entry(consumer.clone()).or_default().push((name.into(), Instant::now()));
        self.inner.stir.notify(usize::MAX);
    }

    /// The members that left in this process and may have left entries behind.
    pub(crate) fn graves(&self, consumer: &Str) -> Vec<String> {
        let graves = lock(&self.inner.graves);
        graves.get(consumer).into_iter().flatten().map(|(name, _)| name.clone()).collect()
    }

    /// Forgets members that hold nothing. The server may give something to one that has just left, because it has not
    /// seen yet that its connection is closed; so none is forgotten at once.
    pub(crate) fn close_graves(&self, consumer: &Str, empty: &[String], after: Duration) {
        if let Some(graves) = lock(&self.inner.graves).get_mut(consumer) {
            graves.retain(|(name, since)| since.elapsed() < after || !empty.contains(name));
        }
    }

    /// Counts a message that nobody is registered for, and says so once for each subject.
    pub(crate) fn count_unheard(&self, subject: &Subject) {
        let mut unheard = lock(&self.inner.unheard);
        let count = unheard.entry(subject.clone()).or_default();
        *count += 1;
        if *count == 1 {
            tracing::warn!(%subject, "an event was published that no consumer is registered for; nothing keeps it");
        }
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

/// A connection that comes back by itself. Commands that were under way when it went are never repeated by it.
async fn manager(client: &Client, options: &RedisOptions) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_response_timeout(Some(options.timeout))
        .set_connection_timeout(Some(options.timeout.min(Duration::from_secs(2))))
        .set_min_delay(Duration::from_millis(20))
        .set_max_delay(Duration::from_secs(1))
        .set_number_of_retries(4);
    ConnectionManager::new_with_config(client.clone(), config).await
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
