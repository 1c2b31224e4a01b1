//! Stores whose type is forgotten: what the application starts on each.

use crate::app::Core;
use crate::{
    follow::{self, Follow},
    relay::relay,
    stop::Stopped,
    worker::{self, Work},
};
use catga_contract::{BoxTransport, Result, StoreId, UnitOfWork};
use futures_util::future::BoxFuture;
use std::{any::TypeId, sync::Arc, time::Duration};

pub(crate) trait AnyStore: Send + Sync {
    fn type_id(&self) -> TypeId;
    fn id(&self) -> StoreId;
    fn name(&self) -> &'static str;
    fn queue(&self) -> Option<BoxTransport>;
    fn keeps_marks(&self) -> Option<Duration>;
    fn attach(&self) -> BoxFuture<'_, Result<()>>;
    #[cfg(feature = "json")]
    fn keep_description<'a>(&'a self, application: &'a str, text: &'a str) -> BoxFuture<'a, Result<()>>;
    fn unsent(&self) -> BoxFuture<'_, Result<u64>>;
    /// Runs a consumer whose effects, marks and dead letters lie in this store.
    fn work(&self, work: Work) -> BoxFuture<'static, Result<()>>;
    /// Carries this store's outbox to the transport.
    fn relay(&self, core: Arc<Core>, transport: BoxTransport, stop: Stopped) -> BoxFuture<'static, Result<()>>;
    fn has_streams(&self) -> bool;
    /// Whether there are events after that position.
    fn has_events(&self, after: u64) -> BoxFuture<'_, Result<bool>>;
    /// Runs a follower of this store's streams, which has some.
    fn follow(&self, follow: Follow) -> BoxFuture<'static, Result<()>>;
}

pub(crate) struct Stored<S>(pub(crate) Arc<S>);

impl<S: UnitOfWork> AnyStore for Stored<S> {
    fn type_id(&self) -> TypeId {
        TypeId::of::<S>()
    }
    fn id(&self) -> StoreId {
        self.0.id()
    }
    fn name(&self) -> &'static str {
        std::any::type_name::<S>()
    }
    fn queue(&self) -> Option<BoxTransport> {
        self.0.queue()
    }
    fn keeps_marks(&self) -> Option<Duration> {
        self.0.keeps_marks()
    }
    fn attach(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.0.attach())
    }
    #[cfg(feature = "json")]
    fn keep_description<'a>(&'a self, application: &'a str, text: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.0.keep_description(application, text))
    }
    fn unsent(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.0.unsent())
    }
    fn work(&self, work: Work) -> BoxFuture<'static, Result<()>> {
        Box::pin(worker::run(self.0.clone(), work))
    }
    fn relay(&self, core: Arc<Core>, transport: BoxTransport, stop: Stopped) -> BoxFuture<'static, Result<()>> {
        Box::pin(relay(self.0.clone(), core, transport, stop))
    }
    fn has_streams(&self) -> bool {
        self.0.streams().is_some()
    }
    fn has_events(&self, after: u64) -> BoxFuture<'_, Result<bool>> {
        Box::pin(async move {
            match self.0.streams() {
                Some(streams) => Ok(!streams.read_all(after, 1).await?.is_empty()),
                None => Ok(false),
            }
        })
    }
    fn follow(&self, follow: Follow) -> BoxFuture<'static, Result<()>> {
        let store = self.0.clone();
        Box::pin(async move {
            match store.streams() {
                Some(streams) => follow::run(store, streams, follow).await,
                None => Ok(()),
            }
        })
    }
}
