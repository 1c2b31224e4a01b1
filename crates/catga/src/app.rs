use crate::{
    backoff::Backoff,
    build::Builder,
    handlers::{About, Consumer, Handlers},
    metrics::Client,
    registry::TypeRegistry,
    stop::{Stop, Stopped},
    store::AnyStore,
    worker::Work,
};
use catga_contract::{BoxTransport, Error, ErrorKind, Resources, Result, Str, Transport};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// The running application; cheap to clone.
#[derive(Clone)]
pub struct App(pub(crate) Arc<Core>);

/// What all parts of an application share.
pub(crate) struct Core {
    pub(crate) name: String,
    pub(crate) resources: Resources,
    pub(crate) handlers: Handlers,
    pub(crate) types: TypeRegistry,
    /// What the handlers in process are called, in the order in which they were added.
    pub(crate) about: Vec<About>,
    pub(crate) consumers: Vec<Arc<Consumer>>,
    pub(crate) stores: Vec<Arc<dyn AnyStore>>,
    pub(crate) transport: Option<BoxTransport>,
    pub(crate) backoff: Backoff,
    pub(crate) drain: Duration,
    /// Counts what relays and workers committed.
    pub(crate) work: watch::Sender<u64>,
    /// Consumers that wait for a newer program, and why.
    pub(crate) paused: Mutex<BTreeMap<Str, String>>,
    pub(crate) client: Client,
}

impl Core {
    /// Something was committed by a relay or a worker.
    pub(crate) fn worked(&self) {
        self.work.send_modify(|count| *count += 1);
    }

    /// A consumer waits for a newer program.
    pub(crate) fn paused(&self, consumer: &Str, report: String) {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner).insert(consumer.clone(), report);
    }

    /// Why a consumer waits, if it does.
    pub(crate) fn pause_of(&self, consumer: &Str) -> Option<String> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner).get(consumer).cloned()
    }
}

impl App {
    /// Begins an application of that name. The name is part of its consumers' durable names, so it stays.
    pub fn builder(name: impl Into<String>) -> Builder {
        Builder::new(name.into())
    }

    /// The messages that it can name at run time: those that its consumers take, and those that were added by
    /// [`Builder::knows`].
    pub fn types(&self) -> &TypeRegistry {
        &self.0.types
    }

    pub(crate) fn new(core: Core) -> Self {
        Self(Arc::new(core))
    }

    /// Runs consumers and relays until `shutdown`, then finishes what is at hand. Nothing runs after it returned;
    /// what was not finished comes again with the next run.
    ///
    /// # Errors
    ///
    /// Where a consumer cannot start, naming it: then all end. [`ErrorKind::Timeout`] where something at hand did not
    /// end in the time for draining (30 s unless [`Builder::drain`] says otherwise); it is undone.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it stops at once: what is at hand is undone and comes again.
    pub async fn run(&self, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
        let Some(transport) = &self.0.transport else {
            shutdown.await;
            return Ok(());
        };
        let ((stop_work, work), (stop_relay, relay)) = (Stop::new(), Stop::new());
        let mut workers = self.workers(transport, &work);
        let relays: FuturesUnordered<_> =
            self.0.stores.iter().map(|store| store.relay(self.0.clone(), transport.clone(), relay.clone())).collect();
        let mut relays = relays.collect::<Vec<_>>().fuse();
        let mut shutdown = std::pin::pin!(shutdown.fuse());
        let mut ended = Ok(());
        let drained = async {
            while !workers.is_empty() {
                futures_util::select_biased! {
                    () = shutdown => break,
                    result = workers.select_next_some() => {
                        if let Err(error) = result {
                            ended = Err(error);
                            return;
                        }
                    }
                    _ = relays => unreachable!("relays end when they are told to"),
                }
            }
            if self.0.consumers.is_empty() {
                futures_util::select_biased! { () = shutdown => {}, _ = relays => {} }
            }
        };
        drained.await;
        stop_work.stop();
        let finish = async {
            // The relays go on while the workers finish, and end with what is at hand.
            loop {
                futures_util::select_biased! {
                    result = workers.next() => match result {
                        Some(Err(error)) if ended.is_ok() => ended = Err(error),
                        Some(_) => {}
                        None => break,
                    },
                    _ = relays => unreachable!("relays end when they are told to"),
                }
            }
            stop_relay.stop();
            relays.await;
        };
        match tokio::time::timeout(self.0.drain, finish).await {
            Ok(()) => ended,
            Err(_) => {
                let text = format!(
                    "application `{}`: not everything at hand ended within {:?}; it was undone and comes again",
                    self.0.name, self.0.drain
                );
                Err(Error::new(ErrorKind::Timeout, text))
            }
        }
    }

    /// Runs until nothing waits any more: no outbox row, no delivery, none that comes again later. For programs that
    /// end and for tests.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run) and [`idle`](Self::idle).
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn run_until_idle(&self) -> Result<()> {
        let mut idle = Ok(());
        self.run(async { idle = self.idle().await }).await?;
        idle
    }

    /// Returns when nothing waits any more, while [`run`](Self::run) runs elsewhere.
    ///
    /// # Errors
    ///
    /// Where a store or the transport cannot be asked, and [`ErrorKind::Unsupported`] where a consumer
    /// [pauses](Self::paused), because then it would never be.
    ///
    /// # Cancel safety
    ///
    /// It changes nothing.
    pub async fn idle(&self) -> Result<()> {
        let mut work = self.0.work.subscribe();
        loop {
            let before = *work.borrow_and_update();
            if let Some((consumer, report)) = self.paused().into_iter().next() {
                let text =
                    format!("what waits for consumer `{consumer}` will not be handled by this program: {report}");
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
            // A message that moves is always in one of the places; it is nowhere only if nothing was committed while
            // they were looked at.
            if !self.is_waiting().await? && *work.borrow() == before {
                return Ok(());
            }
            // Looking costs more the more waits, so a busy application is not asked after each commit. The sender lives
            // as long as this application; the longer pause is for what others wrote into the store.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let _ = tokio::time::timeout(Duration::from_millis(50), work.changed()).await;
        }
    }

    /// The consumers that wait for a newer program, by durable name, and why: a message of a version came that this
    /// program does not know.
    pub fn paused(&self) -> Vec<(Str, String)> {
        let paused = self.0.paused.lock().unwrap_or_else(PoisonError::into_inner);
        paused.iter().map(|(name, report)| (name.clone(), report.clone())).collect()
    }

    async fn is_waiting(&self) -> Result<bool> {
        for store in &self.0.stores {
            if store.unsent().await? > 0 {
                return Ok(true);
            }
        }
        if let Some(transport) = &self.0.transport {
            for consumer in &self.0.consumers {
                if transport.unsettled(&consumer.name).await? > 0 {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn workers(&self, transport: &BoxTransport, stop: &Stopped) -> FuturesUnordered<BoxFuture<'static, Result<()>>> {
        let worker = |consumer: &Arc<Consumer>| {
            // `build` has seen to it that there is one.
            let store = self.store_of(consumer, transport)?;
            let name = consumer.name.clone();
            let work = Work {
                core: self.0.clone(),
                consumer: consumer.clone(),
                transport: transport.clone(),
                stop: stop.clone(),
            };
            let work = store.work(work);
            Some(async move { work.await.map_err(|error| error.context(format_args!("consumer `{name}`"))) }.boxed())
        };
        self.0.consumers.iter().filter_map(worker).collect()
    }

    /// The store that keeps a consumer's marks and dead letters: that of its `Tx`, else the queue's own, else the
    /// first.
    fn store_of(&self, consumer: &Consumer, transport: &BoxTransport) -> Option<&Arc<dyn AnyStore>> {
        let stores = &self.0.stores;
        match consumer.unit {
            Some(unit) => stores.iter().find(|store| store.type_id() == unit),
            None => stores.iter().find(|store| Some(store.id()) == transport.shares()).or_else(|| stores.first()),
        }
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let consumers: Vec<_> = self.0.consumers.iter().map(|consumer| &consumer.name).collect();
        f.debug_struct("App").field("name", &self.0.name).field("consumers", &consumers).finish_non_exhaustive()
    }
}
