//! What an application counts. To count is to add to an atomic number that was there already: no lock and, after the
//! first message to a destination and the first error of a kind, no allocation. Texts are made when somebody asks.

use crate::App;
use catga_contract::{Error, ErrorKind, Outcome, Parcel, Result, Str};
use std::{
    fmt::{self, Write},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use xxhash_rust::xxh3::xxh3_64;

/// The upper bounds of the histograms' buckets, in seconds, as the conventions advise.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// How many destinations are counted each by its name; those that come later share one series.
const DESTINATIONS: usize = 128;

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

/// One `T` for what went well, and one for each kind of error that came up.
#[derive(Default)]
struct ByError<T> {
    fine: T,
    failed: [OnceLock<Box<T>>; KINDS.len() + 1],
}

impl<T: Default> ByError<T> {
    fn of(&self, error: Option<ErrorKind>) -> &T {
        let Some(error) = error else { return &self.fine };
        let at = KINDS.iter().position(|(known, _)| *known == error).unwrap_or(KINDS.len());
        self.failed[at].get_or_init(Box::default)
    }

    fn each(&self) -> impl Iterator<Item = (Option<&'static str>, &T)> {
        let names = KINDS.iter().map(|(_, name)| *name).chain([OTHER]);
        let failed = self.failed.iter().zip(names).filter_map(|(slot, name)| Some((Some(name), &**slot.get()?)));
        std::iter::once((None, &self.fine)).chain(failed)
    }
}

/// How often something took how long.
#[derive(Default)]
struct Histogram {
    /// By the bound that a duration does not exceed; the last one is for those beyond all.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Histogram {
    fn add(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.buckets[BOUNDS.partition_point(|bound| *bound < seconds)].fetch_add(1, Relaxed);
        self.nanoseconds.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
}

/// What became of the deliveries of one message to one consumer.
#[derive(Default)]
pub(crate) struct Consumed {
    calls: ByError<Histogram>,
    messages: ByError<AtomicU64>,
    duplicates: AtomicU64,
    buried: AtomicU64,
}

impl Consumed {
    /// A call of the handler ended.
    pub(crate) fn called(&self, took: Duration, error: Option<&Error>) {
        self.calls.of(error.map(Error::kind)).add(took);
    }

    /// A delivery was handled, or comes again.
    pub(crate) fn settled(&self, error: Option<&Error>) {
        self.messages.of(error.map(Error::kind)).fetch_add(1, Relaxed);
    }

    /// A delivery had been handled before.
    pub(crate) fn duplicate(&self) {
        self.settled(None);
        self.duplicates.fetch_add(1, Relaxed);
    }

    /// A delivery became a dead letter.
    pub(crate) fn buried(&self, error: &Error) {
        self.settled(Some(error));
        self.buried.fetch_add(1, Relaxed);
    }

    fn tell(&self, consumer: &str, destination: Option<&str>, samples: &mut Vec<Sample>) {
        let attributes = |error: Option<&'static str>| {
            let group = [(GROUP, consumer.to_owned())];
            let rest = [(DESTINATION, destination), (ERROR, error)];
            group.into_iter().chain(rest.into_iter().filter_map(|(name, value)| Some((name, value?.to_owned()))))
        };
        let process = [(NAME, "process".to_owned()), (TYPE, "process".to_owned())];
        for (error, messages) in self.messages.each() {
            let attributes = process.iter().take(1).cloned().chain(attributes(error));
            samples.push(Sample::new(CONSUMED, attributes, Value::Counter(messages.load(Relaxed))));
        }
        for (error, calls) in self.calls.each() {
            let attributes = process.iter().cloned().chain(attributes(error));
            samples.push(Sample::new(PROCESS, attributes, Value::of(calls)));
        }
        for (name, count) in [(DUPLICATES, &self.duplicates), (BURIED, &self.buried)] {
            samples.push(Sample::new(name, attributes(None), Value::Counter(count.load(Relaxed))));
        }
    }
}

/// What an application does as a client of its transport.
pub(crate) struct Client {
    /// A hash table that only grows, so that finding a destination takes no lock.
    sent: Box<[OnceLock<Destination>]>,
    others: Destination,
    send: ByError<Histogram>,
    settle: ByError<Histogram>,
}

struct Destination {
    name: Str,
    sent: ByError<AtomicU64>,
}

impl Destination {
    fn new(name: Str) -> Self {
        Self { name, sent: ByError::default() }
    }
}

impl Default for Client {
    fn default() -> Self {
        let others = Destination::new(Str::from_static(OTHER));
        let sent = (0..DESTINATIONS).map(|_| OnceLock::new()).collect();
        Self { sent, others, send: ByError::default(), settle: ByError::default() }
    }
}

impl Client {
    /// A batch was handed to the transport; answers the first error.
    pub(crate) fn sent(
        &self,
        parcels: &[Parcel],
        published: &Result<()>,
        outcomes: &[Outcome],
        took: Duration,
    ) -> Option<ErrorKind> {
        let mut first = None;
        for (at, parcel) in parcels.iter().enumerate() {
            let error = match (published, outcomes.get(at)) {
                (Err(error), _) | (_, Some(Outcome::Refused(error))) => Some(error.kind()),
                (_, Some(Outcome::Stored | Outcome::Duplicate)) => None,
                (_, Some(Outcome::Unknown) | None) => Some(ErrorKind::Timeout),
            };
            self.destination(&parcel.subject).sent.of(error).fetch_add(1, Relaxed);
            first = first.or(error);
        }
        self.send.of(first).add(took);
        first
    }

    /// What settles a batch was committed, or not.
    pub(crate) fn settled(&self, settled: &Result<()>, took: Duration) {
        self.settle.of(settled.as_ref().err().map(Error::kind)).add(took);
    }

    fn destination(&self, name: &Str) -> &Destination {
        let start = xxh3_64(name.as_bytes()) as usize % DESTINATIONS;
        let (before, after) = self.sent.split_at(start);
        let mut kept = after.iter().chain(before).map(|slot| slot.get_or_init(|| Destination::new(name.clone())));
        kept.find(|kept| kept.name == *name).unwrap_or(&self.others)
    }

    fn tell(&self, samples: &mut Vec<Sample>) {
        let operation = |name: &str| [(NAME, name.to_owned()), (TYPE, name.to_owned())];
        let failed = |error: Option<&str>| error.map(|error| (ERROR, error.to_owned()));
        for Destination { name, sent } in self.sent.iter().filter_map(OnceLock::get).chain([&self.others]) {
            for (error, messages) in sent.each() {
                let attributes = [(NAME, "send".to_owned()), (DESTINATION, name.to_string())];
                let attributes = attributes.into_iter().chain(failed(error));
                samples.push(Sample::new(SENT, attributes, Value::Counter(messages.load(Relaxed))));
            }
        }
        for (name, durations) in [("send", &self.send), ("settle", &self.settle)] {
            for (error, durations) in durations.each() {
                let attributes = operation(name).into_iter().chain(failed(error));
                samples.push(Sample::new(OPERATION, attributes, Value::of(durations)));
            }
        }
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
        for consumer in &core.consumers {
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

/// What [`App::metrics`] found; cheap to clone. It prints one line for each series.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<[Sample]>);

#[derive(Debug)]
struct Sample {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Counter(u64),
    Gauge(u64),
    Durations { buckets: [u64; BOUNDS.len() + 1], seconds: f64 },
}

impl Value {
    fn of(histogram: &Histogram) -> Self {
        let buckets = histogram.buckets.each_ref().map(|bucket| bucket.load(Relaxed));
        Self::Durations { buckets, seconds: Duration::from_nanos(histogram.nanoseconds.load(Relaxed)).as_secs_f64() }
    }

    fn count(&self) -> u64 {
        match self {
            Self::Counter(count) | Self::Gauge(count) => *count,
            Self::Durations { buckets, .. } => buckets.iter().sum(),
        }
    }
}

impl Sample {
    fn new(name: &'static str, attributes: impl IntoIterator<Item = (&'static str, String)>, value: Value) -> Self {
        Self { name, attributes: attributes.into_iter().collect(), value }
    }

    fn is(&self, attribute: &str, value: &str) -> bool {
        self.attributes.iter().find(|(name, _)| *name == attribute).map_or("", |(_, value)| value) == value
    }
}

impl Metrics {
    /// The sum over the series of that name with all these attributes; of durations, how many there were. An empty
    /// value means that the attribute is absent, so `("error.type", "")` asks for what went well.
    pub fn count(&self, name: &str, attributes: &[(&str, &str)]) -> u64 {
        let fits = |sample: &&Sample| {
            sample.name == name && attributes.iter().all(|(attribute, value)| sample.is(attribute, value))
        };
        self.0.iter().filter(fits).map(|sample| sample.value.count()).sum()
    }

    /// The text that Prometheus scrapes, of the type `text/plain; version=0.0.4`. As OpenTelemetry's exporters do, it
    /// writes `_` for the dots in names, and counters end in `_total`, durations in `_seconds`.
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        // Writing to a string never fails.
        let _ =
            self.0.chunk_by(|one, other| one.name == other.name).try_for_each(|family| prometheus(family, &mut text));
        text
    }
}

fn prometheus(family: &[Sample], out: &mut String) -> fmt::Result {
    let Some(Sample { name, value, .. }) = family.first() else { return Ok(()) };
    let (kind, ending) = match value {
        Value::Counter(_) => ("counter", "_total"),
        Value::Gauge(_) => ("gauge", ""),
        Value::Durations { .. } => ("histogram", "_seconds"),
    };
    let full = format!("{}{ending}", name.replace('.', "_"));
    writeln!(out, "# HELP {full} {}\n# TYPE {full} {kind}", help(name))?;
    for Sample { attributes, value, .. } in family {
        let mut labels = String::new();
        for (name, value) in attributes {
            let value = value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
            write!(labels, "{}{}=\"{value}\"", if labels.is_empty() { "" } else { "," }, name.replace('.', "_"))?;
        }
        let Value::Durations { buckets, seconds } = value else {
            writeln!(out, "{full}{{{labels}}} {}", value.count())?;
            continue;
        };
        let mut up_to = 0;
        for (at, count) in buckets.iter().enumerate() {
            up_to += count;
            let bound = BOUNDS.get(at).map_or("+Inf".to_owned(), f64::to_string);
            writeln!(out, "{full}_bucket{{{labels},le=\"{bound}\"}} {up_to}")?;
        }
        writeln!(out, "{full}_sum{{{labels}}} {seconds}\n{full}_count{{{labels}}} {up_to}")?;
    }
    Ok(())
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Sample { name, attributes, value } in &*self.0 {
            write!(f, "{name}")?;
            attributes.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))?;
            match value {
                Value::Durations { seconds, .. } => writeln!(f, ": {} in {seconds} s", value.count())?,
                _ => writeln!(f, ": {}", value.count())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for milliseconds in [0, 5, 6, 10_000, 10_001] {
            histogram.add(Duration::from_millis(milliseconds));
        }
        let Value::Durations { buckets, seconds } = Value::of(&histogram) else { panic!("no durations") };
        assert_eq!(buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert!((seconds - 20.012).abs() < 1e-9, "{seconds}");
    }

    #[test]
    fn destinations_beyond_the_bound_share_a_series() {
        let client = Client::default();
        let parcel = |number: usize| Parcel::new(number.to_string().into(), Default::default(), Default::default());
        let parcels: Vec<_> = (0..DESTINATIONS + 7).map(parcel).collect();
        let outcomes: Vec<_> = parcels.iter().map(|_| Outcome::Stored).collect();
        for _ in 0..2 {
            assert_eq!(client.sent(&parcels, &Ok(()), &outcomes, Duration::ZERO), None);
        }
        assert!(client.sent.iter().all(|slot| slot.get().unwrap().sent.fine.load(Relaxed) == 2));
        assert_eq!(client.others.sent.fine.load(Relaxed), 14);
    }

    #[test]
    fn what_the_transport_does_not_say_counts_as_unknown() {
        let client = Client::default();
        let parcel = || Parcel::new("a".into(), Default::default(), Default::default());
        let parcels = [parcel(), parcel(), parcel(), parcel()];
        let refused = Outcome::Refused(Error::new(ErrorKind::Invalid, "too large"));
        let outcomes = [Outcome::Duplicate, refused, Outcome::Unknown];
        assert_eq!(client.sent(&parcels, &Ok(()), &outcomes, Duration::ZERO), Some(ErrorKind::Invalid));
        let mut samples = Vec::new();
        client.tell(&mut samples);
        let metrics = Metrics(samples.into());
        let count = |error: &str| metrics.count(SENT, &[(DESTINATION, "a"), (ERROR, error)]);
        assert_eq!([count(""), count("invalid"), count("timeout")], [1, 1, 2]);
        assert_eq!(metrics.count(OPERATION, &[(NAME, "send"), (ERROR, "invalid")]), 1);
    }

    #[test]
    fn labels_are_escaped() {
        let sample = Sample::new(BURIED, [(GROUP, "a\\b\"c\nd".to_owned())], Value::Counter(1));
        let text = Metrics([sample].into()).to_prometheus();
        let line = r#"catga_dlq_buried_total{messaging_consumer_group_name="a\\b\"c\nd"} 1"#;
        assert_eq!(text.lines().last(), Some(line));
    }
}
