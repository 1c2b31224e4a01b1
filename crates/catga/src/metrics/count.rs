//! The counters themselves.

use super::{
    BURIED, CONSUMED, DESTINATION, DUPLICATES, ERROR, GROUP, KINDS, NAME, OPERATION, OTHER, PROCESS, SENT, TYPE,
    snapshot::{BOUNDS, Sample, Value},
};
use catga_contract::{Error, ErrorKind, Outcome, Parcel, Result, Str};
use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use xxhash_rust::xxh3::xxh3_64;

/// How many destinations are counted each by its name; those that come later share one series.
const DESTINATIONS: usize = 128;

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

    fn value(&self) -> Value {
        let buckets = self.buckets.each_ref().map(|bucket| bucket.load(Relaxed));
        let seconds = Duration::from_nanos(self.nanoseconds.load(Relaxed)).as_secs_f64();
        Value::Durations { buckets, seconds }
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

    pub(super) fn tell(&self, consumer: &str, destination: Option<&str>, samples: &mut Vec<Sample>) {
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
            samples.push(Sample::new(PROCESS, attributes, calls.value()));
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

    pub(super) fn tell(&self, samples: &mut Vec<Sample>) {
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
                samples.push(Sample::new(OPERATION, attributes, durations.value()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Metrics, *};

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for milliseconds in [0, 5, 6, 10_000, 10_001] {
            histogram.add(Duration::from_millis(milliseconds));
        }
        let Value::Durations { buckets, seconds } = histogram.value() else { panic!("no durations") };
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
}
