//! The conformance suite over JetStream, inline and in headers, and over the stores.
#![allow(clippy::unwrap_used)]

mod support;

use catga_contract::Result;
use catga_nats::{Framing, Nats, NatsCheckpoints, NatsEvents, NatsInbox, NatsLetters, NatsTransport, TransportOptions};
use catga_testkit::{Backend, Reopens};
use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use support::server::NatsServer;

const AGE: Duration = Duration::from_secs(3_600);

/// A server for each case, and names for each store.
#[derive(Default)]
struct Private {
    server: OnceLock<NatsServer>,
    count: AtomicU32,
}

/// Some cases keep a mebibyte, which is the server's default for a whole message.
const SETTINGS: &str = "max_payload: 4194304";

impl Private {
    async fn connect(&self) -> Nats {
        support::connect(&self.server.get_or_init(|| NatsServer::start_with(SETTINGS)).url()).await
    }

    fn number(&self) -> u32 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Transports {
    private: Private,
    framing: Framing,
}

fn headers() -> Transports {
    Transports { framing: Framing::Headers, ..Transports::default() }
}

impl Transports {
    fn options(&self) -> TransportOptions {
        let mut options = TransportOptions::default();
        options.framing = self.framing;
        // A message that the server sends to an inbox as it goes comes again after this time, and no sooner.
        options.consumer.ack_wait = Duration::from_secs(3);
        options
    }
}

impl Backend for Transports {
    type Store = NatsTransport;

    async fn open(&self) -> Result<NatsTransport> {
        assert_eq!(self.private.number(), 0, "two transports would share the subjects of one stream");
        NatsTransport::jetstream(&self.private.connect().await, self.options()).await
    }
}

impl Reopens for Transports {
    async fn reopen(&self, store: NatsTransport) -> Result<NatsTransport> {
        drop(store);
        NatsTransport::jetstream(&self.private.connect().await, self.options()).await
    }
}

catga_testkit::conformance!(
    jetstream,
    Transports::default(),
    [transport, settlement, order_stream, no_order_key, dedupe, no_delay, groups, no_fenced_settle, bad_data, resource]
);
catga_testkit::conformance!(
    in_headers,
    headers(),
    [transport, settlement, order_stream, no_order_key, dedupe, no_delay, groups, no_fenced_settle, bad_data, resource]
);

#[derive(Default)]
struct Inboxes(Private);

impl Backend for Inboxes {
    type Store = NatsInbox;

    async fn open(&self) -> Result<NatsInbox> {
        NatsInbox::open(&self.0.connect().await, &format!("inbox{}", self.0.number()), AGE).await
    }
}

catga_testkit::conformance!(inbox, Inboxes::default(), [inbox]);

#[derive(Default)]
struct Events(Private);

impl Backend for Events {
    type Store = NatsEvents;

    async fn open(&self) -> Result<NatsEvents> {
        NatsEvents::open(&self.0.connect().await, &format!("EVENTS{}", self.0.number())).await
    }
}

catga_testkit::conformance!(events, Events::default(), [events]);

#[derive(Default)]
struct Readers(Private);

impl Backend for Readers {
    type Store = NatsCheckpoints;

    async fn open(&self) -> Result<NatsCheckpoints> {
        NatsCheckpoints::open(&self.0.connect().await, &format!("readers{}", self.0.number())).await
    }
}

catga_testkit::conformance!(checkpoints, Readers::default(), [checkpoints]);

#[derive(Default)]
struct Letters(Private);

impl Backend for Letters {
    type Store = NatsLetters;

    async fn open(&self) -> Result<NatsLetters> {
        let nats = self.0.connect().await;
        let transport = NatsTransport::jetstream(&nats, TransportOptions::default()).await?;
        NatsLetters::open(&nats, &format!("LETTERS{}", self.0.number()), &transport, None).await
    }
}

catga_testkit::conformance!(letters, Letters::default(), [letters]);
