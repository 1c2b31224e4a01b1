//! What an application counts. To count is to add to an atomic number that was there already: no lock and, after the
//! first message to a destination and the first error of a kind, no allocation. Texts are made when somebody asks.

mod count;
mod snapshot;

pub(crate) use self::count::{Client, Consumed};
pub use self::snapshot::Metrics;

use self::snapshot::{Sample, Value};
use crate::App;
use catga_contract::ErrorKind;

/// What the conventions say for what has no name of its own.
const OTHER: &str = "_OTHER";

/// The kinds of errors as values of `error.type`.
const KINDS: [(ErrorKind, &str); 12] = [
    (ErrorKind::Handler, "handler"),
    (ErrorKind::Permanent, "permanent"),
    (ErrorKind::NoHandler, "no_handler"),
    (ErrorKind::Codec, "codec"),
    (ErrorKind::Invalid, "invalid"),
    (ErrorKind::Unsupported, "unsupported"),
    (ErrorKind::Conflict, "conflict"),
    (ErrorKind::NotFound, "not_found"),
    (ErrorKind::Timeout, "timeout"),
    (ErrorKind::Unavailable, "unavailable"),
    (ErrorKind::Busy, "busy"),
    (ErrorKind::Closed, "closed"),
];

/// The value of `error.type` for that kind.
pub(crate) fn error_type(kind: ErrorKind) -> &'static str {
    KINDS.iter().find(|(known, _)| *known == kind).map_or(OTHER, |(_, name)| name)
}

/// The kind with that name.
pub(crate) fn kind_of(name: &str) -> Option<ErrorKind> {
    KINDS.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
}

const SENT: &str = "messaging.client.sent.messages";
const OPERATION: &str = "messaging.client.operation.duration";
const CONSUMED: &str = "messaging.client.consumed.messages";
const PROCESS: &str = "messaging.process.duration";
const PENDING: &str = "catga.outbox.pending";
const DUPLICATES: &str = "catga.inbox.duplicates";
const BURIED: &str = "catga.dlq.buried";

const NAME: &str = "messaging.operation.name";
const TYPE: &str = "messaging.operation.type";
const DESTINATION: &str = "messaging.destination.name";
const GROUP: &str = "messaging.consumer.group.name";
const ERROR: &str = "error.type";

fn help(name: &str) -> &'static str {
    match name {
        SENT => "Messages handed to the transport, by outcome; those of unknown outcome are sent and counted again.",
        OPERATION => "How long the transport took to take a batch, or the store to commit what settles one.",
        CONSUMED => "Deliveries that were settled, by outcome: a message that is tried again is counted again.",
        PROCESS => "How long handlers took, by outcome.",
        PENDING => "Messages that were committed and have not left yet.",
        DUPLICATES => "Deliveries of messages whose effects had been committed before: nothing was done.",
        BURIED => "Messages that became dead letters since the process started.",
        _ => "",
    }
}

impl App {
    /// What this application counted since it was built, by the names of OpenTelemetry's semantic conventions for
    /// messaging, and how many messages wait in its outboxes now:
    ///
    /// | name | counts | by, beside `messaging.operation.name` |
    /// |---|---|---|
    /// | `messaging.client.sent.messages` | messages handed to the transport | destination, `error.type` |
    /// | `messaging.client.operation.duration` | seconds of sending and settling a batch | `error.type` |
    /// | `messaging.client.consumed.messages` | settled deliveries | consumer, destination, `error.type` |
    /// | `messaging.process.duration` | seconds of handlers' calls | consumer, destination, `error.type` |
    /// | `catga.inbox.duplicates` | deliveries that had been handled before | consumer, destination |
    /// | `catga.dlq.buried` | messages that became dead letters | consumer, destination |
    /// | `catga.outbox.pending` | messages that wait to be sent, now | `catga.store` |
    ///
    /// The first 128 destinations of sent messages are counted each by its name, those beyond as `_OTHER`. A store that
    /// cannot be asked has no number.
    ///
    /// ```
    /// use catga::{App, Event, sqlite::Sqlite};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Clone, Serialize, Deserialize)]
    /// #[catga(name = "orders.placed")]
    /// struct Placed(u64);
    ///
    /// async fn mail(_: Placed) -> catga::Result<()> {
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> catga::Result<()> {
    /// let app = App::builder("shop").store(Sqlite::temporary().await?).on("mail", mail).build().await?;
    /// app.publish(Placed(7)).await?;
    /// app.run_until_idle().await?;
    /// let metrics = app.metrics().await;
    /// let mail = [("messaging.consumer.group.name", "shop.mail"), ("error.type", "")];
    /// assert_eq!(metrics.count("messaging.client.consumed.messages", &mail), 1);
    /// assert!(metrics.to_prometheus().contains("\ncatga_outbox_pending{"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// It changes nothing.
    pub async fn metrics(&self) -> Metrics {
        let core = &self.0;
        let mut samples = Vec::new();
        core.client.tell(&mut samples);
        let followers = core.followers.iter().map(|follower| &follower.consumer);
        for consumer in core.consumers.iter().chain(followers) {
            for route in &consumer.routes {
                let destination = core.resources.subject(route.about.message);
                route.consumed.tell(&consumer.name, Some(&destination), &mut samples);
            }
            let mut unknown = Vec::new();
            consumer.unknown.tell(&consumer.name, None, &mut unknown);
            samples.extend(unknown.into_iter().filter(|sample| sample.value.count() > 0));
        }
        for store in &core.stores {
            match store.unsent().await {
                Ok(count) => {
                    let attributes = [("catga.store", store.name().to_owned())];
                    samples.push(Sample::new(PENDING, attributes, Value::Gauge(count)));
                }
                Err(error) => tracing::warn!(error = format_args!("{error:#}"), "the pending messages are not known"),
            }
        }
        samples.retain(|sample| !sample.is(DESTINATION, OTHER) || sample.value.count() > 0);
        samples.sort_by_key(|sample| sample.name);
        Metrics(samples.into())
    }
}
