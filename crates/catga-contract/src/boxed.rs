//! The twins of [`Transport`], [`RequestReply`] and [`EventStore`] for those who choose theirs at run time.

use crate::{
    Asked, Capabilities, Checkpoints, Delivery, EventStore, EventsInTx, Expect, Fence, NewEvent, Outcome, Parcel,
    Recorded, Registration, RequestReply, Result, Server, Settle, Settler, StoreId, Str, Subject, SubscribeOptions,
    Subscription, Token, Transport, UnitOfWork,
};
use bytes::Bytes;
use catga_buf::PooledFuture;
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Any transport; cheap to clone. The futures of its calls live in blocks of the pool.
#[derive(Clone)]
pub struct BoxTransport(Arc<dyn DynTransport>);

impl BoxTransport {
    /// Forgets the transport's type.
    pub fn new(transport: impl Transport) -> Self {
        Self(Arc::new(transport))
    }
}

impl std::fmt::Debug for BoxTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BoxTransport").field(&self.0.capabilities()).finish()
    }
}

impl Transport for BoxTransport {
    type Subscription = BoxSubscription;

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn shares(&self) -> Option<StoreId> {
        self.0.shares()
    }
    async fn register(&self, consumers: &[Registration]) -> Result<()> {
        self.0.register(consumers).await
    }
    async fn publish(&self, parcels: &[Parcel], outcomes: &mut Vec<Outcome>) -> Result<()> {
        self.0.publish(parcels, outcomes).await
    }
    async fn subscribe(&self, options: SubscribeOptions) -> Result<BoxSubscription> {
        self.0.subscribe(options).await
    }
    async fn unsettled(&self, consumer: &Str) -> Result<u64> {
        self.0.unsettled(consumer).await
    }
}

trait DynTransport: Send + Sync {
    fn capabilities(&self) -> Capabilities;
    fn shares(&self) -> Option<StoreId>;
    fn register<'a>(&'a self, consumers: &'a [Registration]) -> PooledFuture<'a, Result<()>>;
    fn publish<'a>(&'a self, parcels: &'a [Parcel], outcomes: &'a mut Vec<Outcome>) -> PooledFuture<'a, Result<()>>;
    fn subscribe(&self, options: SubscribeOptions) -> PooledFuture<'_, Result<BoxSubscription>>;
    fn unsettled<'a>(&'a self, consumer: &'a Str) -> PooledFuture<'a, Result<u64>>;
}

impl<T: Transport> DynTransport for T {
    fn capabilities(&self) -> Capabilities {
        Transport::capabilities(self)
    }
    fn shares(&self) -> Option<StoreId> {
        Transport::shares(self)
    }
    fn register<'a>(&'a self, consumers: &'a [Registration]) -> PooledFuture<'a, Result<()>> {
        PooledFuture::new(Transport::register(self, consumers))
    }
    fn publish<'a>(&'a self, parcels: &'a [Parcel], outcomes: &'a mut Vec<Outcome>) -> PooledFuture<'a, Result<()>> {
        PooledFuture::new(Transport::publish(self, parcels, outcomes))
    }
    fn subscribe(&self, options: SubscribeOptions) -> PooledFuture<'_, Result<BoxSubscription>> {
        PooledFuture::new(async move { Ok(BoxSubscription(Box::new(Transport::subscribe(self, options).await?))) })
    }
    fn unsettled<'a>(&'a self, consumer: &'a Str) -> PooledFuture<'a, Result<u64>> {
        PooledFuture::new(Transport::unsettled(self, consumer))
    }
}

/// Any subscription.
pub struct BoxSubscription(Box<dyn DynSubscription>);

impl std::fmt::Debug for BoxSubscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BoxSubscription")
    }
}

impl Subscription for BoxSubscription {
    type Settler = BoxSettler;

    async fn next_batch(&mut self, most: usize, deliveries: &mut Vec<Delivery>) -> Result<()> {
        self.0.next_batch(most, deliveries).await
    }
    fn settler(&self) -> BoxSettler {
        self.0.settler()
    }
}

trait DynSubscription: Send {
    fn next_batch<'a>(&'a mut self, most: usize, deliveries: &'a mut Vec<Delivery>) -> PooledFuture<'a, Result<()>>;
    fn settler(&self) -> BoxSettler;
}

impl<S: Subscription> DynSubscription for S {
    fn next_batch<'a>(&'a mut self, most: usize, deliveries: &'a mut Vec<Delivery>) -> PooledFuture<'a, Result<()>> {
        PooledFuture::new(Subscription::next_batch(self, most, deliveries))
    }
    fn settler(&self) -> BoxSettler {
        BoxSettler(Arc::new(Subscription::settler(self)))
    }
}

/// Any settler.
#[derive(Clone)]
pub struct BoxSettler(Arc<dyn DynSettler>);

impl std::fmt::Debug for BoxSettler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BoxSettler")
    }
}

impl Settler for BoxSettler {
    async fn settle(&self, answers: &[(Token, Settle)]) -> Result<()> {
        self.0.settle(answers).await
    }
}

trait DynSettler: Send + Sync {
    fn settle<'a>(&'a self, answers: &'a [(Token, Settle)]) -> PooledFuture<'a, Result<()>>;
}

impl<S: Settler> DynSettler for S {
    fn settle<'a>(&'a self, answers: &'a [(Token, Settle)]) -> PooledFuture<'a, Result<()>> {
        PooledFuture::new(Settler::settle(self, answers))
    }
}

/// Any event store; cheap to clone. The futures of its calls live in blocks of the pool.
#[derive(Clone)]
pub struct BoxEventStore(Arc<dyn DynEventStore>);

impl BoxEventStore {
    /// Forgets the store's type.
    pub fn new(store: impl EventStore) -> Self {
        Self(Arc::new(store))
    }
}

impl std::fmt::Debug for BoxEventStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BoxEventStore")
    }
}

impl EventStore for BoxEventStore {
    async fn append(&self, stream: &str, expect: Expect, events: &[NewEvent<'_>]) -> Result<u64> {
        self.0.append(stream, expect, events).await
    }
    async fn read(&self, stream: &str, from: u64, most: usize) -> Result<Vec<Recorded>> {
        self.0.read(stream, from, most).await
    }
    async fn read_all(&self, after: u64, most: usize) -> Result<Vec<Recorded>> {
        self.0.read_all(after, most).await
    }
    async fn wait(&self, after: u64, time: Duration) -> Result<()> {
        self.0.wait(after, time).await
    }
}

trait DynEventStore: Send + Sync {
    fn append<'a>(
        &'a self,
        stream: &'a str,
        expect: Expect,
        events: &'a [NewEvent<'_>],
    ) -> PooledFuture<'a, Result<u64>>;
    fn read<'a>(&'a self, stream: &'a str, from: u64, most: usize) -> PooledFuture<'a, Result<Vec<Recorded>>>;
    fn read_all(&self, after: u64, most: usize) -> PooledFuture<'_, Result<Vec<Recorded>>>;
    fn wait(&self, after: u64, time: Duration) -> PooledFuture<'_, Result<()>>;
}

impl<S: EventStore> DynEventStore for S {
    fn append<'a>(
        &'a self,
        stream: &'a str,
        expect: Expect,
        events: &'a [NewEvent<'_>],
    ) -> PooledFuture<'a, Result<u64>> {
        PooledFuture::new(EventStore::append(self, stream, expect, events))
    }
    fn read<'a>(&'a self, stream: &'a str, from: u64, most: usize) -> PooledFuture<'a, Result<Vec<Recorded>>> {
        PooledFuture::new(EventStore::read(self, stream, from, most))
    }
    fn read_all(&self, after: u64, most: usize) -> PooledFuture<'_, Result<Vec<Recorded>>> {
        PooledFuture::new(EventStore::read_all(self, after, most))
    }
    fn wait(&self, after: u64, time: Duration) -> PooledFuture<'_, Result<()>> {
        PooledFuture::new(EventStore::wait(self, after, time))
    }
}

/// Any way to ask; cheap to clone. The futures of its calls live in blocks of the pool.
#[derive(Clone)]
pub struct BoxRequestReply(Arc<dyn DynRequestReply>);

impl BoxRequestReply {
    /// Forgets its type.
    pub fn new(requests: impl RequestReply) -> Self {
        Self(Arc::new(requests))
    }
}

impl std::fmt::Debug for BoxRequestReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BoxRequestReply")
    }
}

impl RequestReply for BoxRequestReply {
    type Server = BoxServer;

    async fn ask(&self, request: &Parcel, time: Duration) -> Result<Bytes> {
        self.0.ask(request, time).await
    }
    async fn ask_all(&self, request: &Parcel, time: Duration) -> Result<Vec<Bytes>> {
        self.0.ask_all(request, time).await
    }
    async fn serve(&self, group: &Str, subjects: &[Subject]) -> Result<BoxServer> {
        self.0.serve(group, subjects).await
    }
}

trait DynRequestReply: Send + Sync {
    fn ask<'a>(&'a self, request: &'a Parcel, time: Duration) -> PooledFuture<'a, Result<Bytes>>;
    fn ask_all<'a>(&'a self, request: &'a Parcel, time: Duration) -> PooledFuture<'a, Result<Vec<Bytes>>>;
    fn serve<'a>(&'a self, group: &'a Str, subjects: &'a [Subject]) -> PooledFuture<'a, Result<BoxServer>>;
}

impl<R: RequestReply> DynRequestReply for R {
    fn ask<'a>(&'a self, request: &'a Parcel, time: Duration) -> PooledFuture<'a, Result<Bytes>> {
        PooledFuture::new(RequestReply::ask(self, request, time))
    }
    fn ask_all<'a>(&'a self, request: &'a Parcel, time: Duration) -> PooledFuture<'a, Result<Vec<Bytes>>> {
        PooledFuture::new(RequestReply::ask_all(self, request, time))
    }
    fn serve<'a>(&'a self, group: &'a Str, subjects: &'a [Subject]) -> PooledFuture<'a, Result<BoxServer>> {
        PooledFuture::new(async move { Ok(BoxServer(Box::new(RequestReply::serve(self, group, subjects).await?))) })
    }
}

/// Any server.
pub struct BoxServer(Box<dyn DynServer>);

impl std::fmt::Debug for BoxServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BoxServer")
    }
}

impl Server for BoxServer {
    async fn next(&mut self) -> Result<Asked> {
        self.0.next().await
    }
}

trait DynServer: Send {
    fn next(&mut self) -> PooledFuture<'_, Result<Asked>>;
}

impl<S: Server> DynServer for S {
    fn next(&mut self) -> PooledFuture<'_, Result<Asked>> {
        PooledFuture::new(Server::next(self))
    }
}

/// What a follower needs of any [`EventsInTx`] whose transactions are `Tx`s; cheap to clone.
pub struct BoxStreams<Tx>(Arc<dyn DynStreams<Tx>>);

impl<Tx: 'static> BoxStreams<Tx> {
    /// Forgets the store's type.
    pub fn new(store: impl EventsInTx<Tx = Tx>) -> Self {
        Self(Arc::new(store))
    }

    /// As [`EventStore::read_all`].
    ///
    /// # Errors
    ///
    /// As [`EventStore::read_all`].
    pub async fn read_all(&self, after: u64, most: usize) -> Result<Vec<Recorded>> {
        self.0.read_all(after, most).await
    }

    /// As [`EventStore::wait`].
    ///
    /// # Errors
    ///
    /// As [`EventStore::wait`].
    pub async fn wait(&self, after: u64, time: Duration) -> Result<()> {
        self.0.wait(after, time).await
    }

    /// As [`Checkpoints::load`].
    ///
    /// # Errors
    ///
    /// As [`Checkpoints::load`].
    pub async fn load(&self, name: &str) -> Result<(u64, Fence)> {
        self.0.load(name).await
    }

    /// As [`EventsInTx::save_in`].
    ///
    /// # Errors
    ///
    /// As [`EventsInTx::save_in`].
    pub async fn save_in(&self, tx: &mut Tx, name: &str, position: u64, fence: Fence) -> Result<()> {
        self.0.save_in(tx, name, position, fence).await
    }
}

impl<Tx> Clone for BoxStreams<Tx> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Tx> std::fmt::Debug for BoxStreams<Tx> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BoxStreams")
    }
}

trait DynStreams<Tx>: Send + Sync {
    fn read_all(&self, after: u64, most: usize) -> PooledFuture<'_, Result<Vec<Recorded>>>;
    fn wait(&self, after: u64, time: Duration) -> PooledFuture<'_, Result<()>>;
    fn load<'a>(&'a self, name: &'a str) -> PooledFuture<'a, Result<(u64, Fence)>>;
    fn save_in<'a>(
        &'a self,
        tx: &'a mut Tx,
        name: &'a str,
        position: u64,
        fence: Fence,
    ) -> PooledFuture<'a, Result<()>>;
}

impl<S: EventsInTx + UnitOfWork> DynStreams<S::Tx> for S {
    fn read_all(&self, after: u64, most: usize) -> PooledFuture<'_, Result<Vec<Recorded>>> {
        PooledFuture::new(EventStore::read_all(self, after, most))
    }
    fn wait(&self, after: u64, time: Duration) -> PooledFuture<'_, Result<()>> {
        PooledFuture::new(EventStore::wait(self, after, time))
    }
    fn load<'a>(&'a self, name: &'a str) -> PooledFuture<'a, Result<(u64, Fence)>> {
        PooledFuture::new(Checkpoints::load(self, name))
    }
    fn save_in<'a>(
        &'a self,
        tx: &'a mut S::Tx,
        name: &'a str,
        position: u64,
        fence: Fence,
    ) -> PooledFuture<'a, Result<()>> {
        PooledFuture::new(EventsInTx::save_in(self, tx, name, position, fence))
    }
}
