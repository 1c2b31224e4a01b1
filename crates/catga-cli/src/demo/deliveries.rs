//! What the parent was told of deliveries: which were started and not committed, which came again, and how long after
//! its order's commit each effect was committed.

use super::protocol::Step;
use catga::MessageId;
use hdrhistogram::Histogram;
use std::collections::{HashMap, HashSet};

/// The application's name: consumers are `shop.billing`, `shop.stock`, `shop.mail`.
pub(crate) const APP: &str = "shop";

/// A delivery: the consumer's durable name and the message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The durable name, such as `shop.mail`.
    pub(crate) consumer: String,
    /// The message.
    pub(crate) id: MessageId,
}

impl Key {
    fn new(consumer: &str, id: MessageId) -> Self {
        Self { consumer: format!("{APP}.{consumer}"), id }
    }
}

/// What is known of one delivery.
#[derive(Debug, Default)]
struct Track {
    starts: u64,
    /// When its order's commit was answered and when its own commit was reported, in microseconds since 1970.
    ordered: Option<u64>,
    committed: Option<u64>,
}

/// Every delivery that was reported.
#[derive(Debug)]
pub(crate) struct Deliveries {
    tracks: HashMap<Key, Track>,
    running: HashSet<Key>,
    redelivered: u64,
    buried: u64,
    latencies: Histogram<u64>,
}

impl Deliveries {
    /// None yet.
    pub(crate) fn new() -> Self {
        // Three digits up to an hour: what takes longer ends the demo.
        let latencies = Histogram::new_with_max(3_600_000_000, 3);
        Self {
            tracks: HashMap::new(),
            running: HashSet::new(),
            redelivered: 0,
            buried: 0,
            latencies: latencies.unwrap_or_else(|_| unreachable!("these bounds are valid")),
        }
    }

    /// An order's commit was answered at `at`; it published `event`. The effects to come are known from here: ids of
    /// what a consumer publishes derive from what it handles.
    pub(crate) fn ordered(&mut self, event: MessageId, at: u64) {
        let invoiced = event.child(&Key::new("billing", event).consumer, 0);
        for key in [Key::new("billing", event), Key::new("stock", event), Key::new("mail", invoiced)] {
            let track = self.tracks.entry(key).or_default();
            if track.ordered.is_none() {
                track.ordered = Some(at);
                measure(&mut self.latencies, track);
            }
        }
    }

    /// A step of a delivery was reported at `at`. Answers whether it was started for the first time.
    pub(crate) fn step(&mut self, key: Key, step: Step, at: u64) -> bool {
        match step {
            Step::Started => {
                let track = self.tracks.entry(key.clone()).or_default();
                track.starts += 1;
                let first = track.starts == 1;
                self.redelivered += u64::from(!first);
                self.running.insert(key);
                return first;
            }
            Step::Committed => {
                self.running.remove(&key);
                let track = self.tracks.entry(key).or_default();
                if track.committed.is_none() {
                    track.committed = Some(at);
                    measure(&mut self.latencies, track);
                }
            }
            Step::Duplicate | Step::Failed => drop(self.running.remove(&key)),
            Step::Buried => {
                self.running.remove(&key);
                self.buried += 1;
            }
        }
        false
    }

    /// Whether some delivery is reported started and not reported ended.
    pub(crate) fn any_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// The deliveries that were running when the worker died; none is from here on.
    pub(crate) fn take_running(&mut self) -> Vec<Key> {
        self.running.drain().collect()
    }

    /// Distinct events that were handed to a handler.
    pub(crate) fn events(&self) -> u64 {
        let started = self.tracks.iter().filter(|(_, track)| track.starts > 0);
        started.map(|(key, _)| key.id).collect::<HashSet<_>>().len() as u64
    }

    /// Starts beyond the first of each delivery.
    pub(crate) fn redelivered(&self) -> u64 {
        self.redelivered
    }

    /// Deliveries that became dead letters.
    pub(crate) fn buried(&self) -> u64 {
        self.buried
    }

    /// The time from an order's commit to an effect's commit that this share of them did not exceed, in microseconds;
    /// `None` if none was measured.
    pub(crate) fn latency_us(&self, quantile: f64) -> Option<u64> {
        (!self.latencies.is_empty()).then(|| self.latencies.value_at_quantile(quantile))
    }
}

fn measure(latencies: &mut Histogram<u64>, track: &Track) {
    if let (Some(ordered), Some(committed)) = (track.ordered, track.committed) {
        // The order's answer is noted after its commit; an effect may be quicker than that note.
        latencies.saturating_record(committed.saturating_sub(ordered));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_what_was_started_and_did_not_end() {
        let mut deliveries = Deliveries::new();
        let keys: Vec<Key> = (1..=4).map(|id| Key::new("stock", MessageId(id))).collect();
        for key in &keys {
            assert!(deliveries.step(key.clone(), Step::Started, 0));
        }
        deliveries.step(keys[0].clone(), Step::Committed, 1);
        deliveries.step(keys[1].clone(), Step::Failed, 1);
        deliveries.step(keys[2].clone(), Step::Buried, 1);
        assert_eq!(deliveries.take_running(), [keys[3].clone()]);
        assert!(!deliveries.step(keys[1].clone(), Step::Started, 2), "not the first time");
        assert_eq!((deliveries.redelivered(), deliveries.buried(), deliveries.events()), (1, 1, 4));
    }

    #[test]
    fn latency_is_measured_whichever_report_comes_first() {
        let mut deliveries = Deliveries::new();
        let (one, two) = (MessageId(1), MessageId(2));
        deliveries.ordered(one, 100);
        deliveries.step(Key::new("billing", one), Step::Committed, 150);
        deliveries.step(Key::new("stock", two), Step::Committed, 350);
        assert_eq!(deliveries.latency_us(1.0), Some(50));
        deliveries.ordered(two, 100);
        assert_eq!(deliveries.latency_us(1.0), Some(250));
        deliveries.step(Key::new("mail", one.child("shop.billing", 0)), Step::Committed, 600);
        assert_eq!(deliveries.latency_us(1.0), Some(500));
    }
}
