//! The conformance suite over Redis: its store and queue, its transport on streams with de-duplication, and pub/sub.
#![allow(clippy::unwrap_used)]

mod support;

use catga_contract::Result;
use catga_redis::{Redis, RedisOptions, RedisTransport, RedisTx, redis};
use catga_testkit::{Backend, Reopens, Rows};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use support::Server;
use tokio::sync::OnceCell;

/// A server for each case, and a namespace for each store.
#[derive(Default)]
struct Stores {
    server: OnceCell<Server>,
    count: AtomicU32,
    durable: bool,
}

fn stores() -> Stores {
    Stores::default()
}

fn durable() -> Stores {
    Stores { durable: true, ..Stores::default() }
}

impl Stores {
    async fn options(&self) -> RedisOptions {
        let server = self.server.get_or_init(|| async {
            match self.durable {
                true => Server::durable().await,
                false => Server::fast().await,
            }
        });
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        // A busy machine may stop a member for longer than other tests wait for.
        server.await.options().namespace(&format!("shop{number}")).lease(Duration::from_secs(5))
    }
}

impl Backend for Stores {
    type Store = Redis;

    async fn open(&self) -> Result<Redis> {
        Redis::connect(self.options().await).await
    }
}

impl Rows for Stores {
    async fn write(store: &Redis, tx: &mut RedisTx, row: u64) -> Result<()> {
        tx.queue(redis::cmd("RPUSH").arg(rows(store)).arg(row))
    }

    async fn rows(store: &Redis) -> Result<Vec<u64>> {
        let mut connection = store.connection();
        Ok(redis::cmd("LRANGE").arg(rows(store)).arg(0).arg(-1).query_async(&mut connection).await?)
    }
}

fn rows(store: &Redis) -> String {
    format!("{{{}}}:rows", store.namespace())
}

impl Reopens for Stores {
    async fn reopen(&self, store: Redis) -> Result<Redis> {
        let options = self.options().await.namespace(store.namespace());
        drop(store);
        Redis::connect(options).await
    }
}

/// Streams that publish an id once.
struct Once(Stores);

impl Backend for Once {
    type Store = RedisTransport;

    async fn open(&self) -> Result<RedisTransport> {
        let redis = self.0.open().await?;
        Ok(RedisTransport::streams(&redis).dedupe(Duration::from_secs(60)))
    }
}

catga_testkit::conformance!(
    streams,
    stores(),
    [
        transport,
        settlement,
        order_stream,
        no_order_key,
        no_dedupe,
        atomic_batch,
        delay,
        groups,
        fenced_settle,
        unit,
        unit_queue,
        effects,
        outbox,
        inbox,
        inbox_in_tx,
        events,
        checkpoints,
        letters,
        replay,
        bad_data,
        resource,
        model_inbox,
        model_unit,
        model_queue,
        model_events,
        model_checkpoints,
        model_letters,
    ]
);

catga_testkit::conformance!(once, Once(stores()), [dedupe]);

catga_testkit::conformance!(
    on_disk,
    durable(),
    [durable, durable_unit, durable_inbox, durable_letters, durable_events]
);
