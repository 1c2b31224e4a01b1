//! What was done, and what that must show.
//!
//! Long because the checker stands beside what it reads and the tests that see it find each fault.

use catga_contract::{MessageId, Str};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Mutex, PoisonError},
};

/// What somebody did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Handed a message to a transport: an intent.
    Publish,
    /// Committed a transaction that sends a message: an intent.
    Commit,
    /// Had the effect of a message, as a consumer.
    Effect,
    /// Settled a delivery for good, as a consumer.
    Ack,
}

/// How it ended, as far as who did it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is done.
    Ok,
    /// It is not done and will not be.
    Fail,
    /// The answer was lost.
    Unknown,
}

/// What an operation was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The message.
    pub id: MessageId,
    /// Who had the effect; empty for intents.
    pub consumer: Str,
    /// The message's key and its place among those of that key.
    pub place: Option<(u64, u64)>,
}

impl Claim {
    /// About message `id`.
    pub fn of(id: MessageId) -> Self {
        Self { id, consumer: Str::default(), place: None }
    }

    /// By that consumer.
    #[must_use]
    pub fn by(self, consumer: &str) -> Self {
        Self { consumer: consumer.into(), ..self }
    }

    /// With its key and its place among those of the key.
    #[must_use]
    pub fn at(self, key: u64, seq: u64) -> Self {
        Self { place: Some((key, seq)), ..self }
    }
}

/// One operation: what, when from and to, and how it ended.
#[derive(Clone, Debug)]
pub struct Record {
    /// What was done.
    pub op: Op,
    /// About what.
    pub claim: Claim,
    /// When it began, in steps of the history: each start and each end is one.
    pub start: u64,
    /// When it ended, in the same steps.
    pub end: u64,
    /// How it ended.
    pub outcome: End,
}

/// When an operation began.
#[derive(Clone, Copy, Debug)]
pub struct Start(u64);

/// What was done, by all who did something; a checker reads it afterwards.
///
/// ```
/// use catga_contract::MessageId;
/// use catga_testkit::{Claim, Demands, End, History, Op};
///
/// let (history, id) = (History::new(), MessageId::new());
/// let start = history.start();
/// history.end(start, Op::Publish, Claim::of(id), End::Ok);
/// // Nobody had the effect.
/// let verdict = history.verdict(&Demands::new(&["shop.mail"])).unwrap_err();
/// assert_eq!(verdict.lost, [(id, "shop.mail".into())]);
/// ```
#[derive(Debug, Default)]
pub struct History(Mutex<Steps>);

#[derive(Debug, Default)]
struct Steps {
    now: u64,
    records: Vec<Record>,
    /// Bytes, each time they were counted.
    memory: Vec<u64>,
}

/// What a history must show.
#[derive(Clone, Debug)]
pub struct Demands {
    /// Those who must have the effect of each intent.
    pub consumers: Vec<Str>,
    /// Whether more than one effect for (message, consumer) is a fault; else it is counted as repeated.
    pub once: bool,
    /// Whether a consumer's effects of one key must follow the places of their messages.
    pub order: bool,
    /// What deliveries may be out when all is done, because their owner died and its lease runs; 0 by default.
    pub owned: u64,
    /// The most memory that may have been counted, in bytes; unbounded by default.
    pub memory: u64,
}

impl Demands {
    /// Every effect at least once for each of `consumers`.
    pub fn new(consumers: &[&str]) -> Self {
        let consumers = consumers.iter().map(|name| Str::from(*name)).collect();
        Self { consumers, once: false, order: false, owned: 0, memory: u64::MAX }
    }
}

/// What a history shows. The lists are faults; the numbers are for the reader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Acknowledged intents without an effect.
    pub lost: Vec<(MessageId, Str)>,
    /// Effects beyond the first, where each must be once.
    pub doubled: Vec<(MessageId, Str)>,
    /// Effects of what failed, or of what nobody meant, or before anybody meant it.
    pub phantom: Vec<(MessageId, Str)>,
    /// Effects that began before the effect of an earlier message of their key was done: (earlier, later).
    pub overtaken: Vec<(MessageId, MessageId)>,
    /// Acknowledged deliveries without an effect before.
    pub unearned: Vec<(MessageId, Str)>,
    /// Effects whose delivery was never settled, beyond those that may be owned.
    pub owned: Vec<(MessageId, Str)>,
    /// The most memory, in bytes, where it was too much.
    pub memory: Option<u64>,
    /// Intents of unknown end whose effect is there with every consumer.
    pub unknown_kept: u64,
    /// Intents of unknown end without any effect.
    pub unknown_gone: u64,
    /// Intents of unknown end with the effects of some consumers and not of others.
    pub torn: Vec<MessageId>,
    /// Effects beyond the first, where that is allowed.
    pub repeated: u64,
}

impl Verdict {
    fn is_whole(&self) -> bool {
        let Self { lost, doubled, phantom, overtaken, unearned, owned, memory, torn, .. } = self;
        let faults =
            [lost.len(), doubled.len(), phantom.len(), overtaken.len(), unearned.len(), owned.len(), torn.len()];
        faults.iter().all(|count| *count == 0) && memory.is_none()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lost, {} doubled, {} phantom, {} overtaken, {} unearned, {} owned, {} torn",
            self.lost.len(),
            self.doubled.len(),
            self.phantom.len(),
            self.overtaken.len(),
            self.unearned.len(),
            self.owned.len(),
            self.torn.len()
        )
    }
}

/// What is known of the intents of one message.
#[derive(Default)]
struct Intent {
    ok: bool,
    unknown: bool,
    began: u64,
}

impl History {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn steps<T>(&self, work: impl FnOnce(&mut Steps) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An operation begins.
    pub fn start(&self) -> Start {
        self.steps(|steps| {
            steps.now += 1;
            Start(steps.now)
        })
    }

    /// An operation ended.
    pub fn end(&self, start: Start, op: Op, claim: Claim, outcome: End) {
        self.steps(|steps| {
            steps.now += 1;
            steps.records.push(Record { op, claim, start: start.0, end: steps.now, outcome });
        });
    }

    /// So much memory was in use just now, in bytes.
    pub fn used(&self, bytes: u64) {
        self.steps(|steps| steps.memory.push(bytes));
    }

    /// Everything that was recorded, in the order in which it ended.
    pub fn records(&self) -> Vec<Record> {
        self.steps(|steps| steps.records.clone())
    }

    /// Holds what happened against the demands.
    ///
    /// # Errors
    ///
    /// The verdict, where one of its lists is not empty or memory went beyond its bound.
    pub fn verdict(&self, demands: &Demands) -> Result<Verdict, Box<Verdict>> {
        let records = self.records();
        let mut verdict = Verdict::default();
        let intents = intents(&records);
        let effects = effects(&records);
        for ((id, consumer), begins) in &effects {
            let extra = begins.len() - 1;
            match demands.once {
                true => verdict.doubled.extend(std::iter::repeat_n((*id, consumer.clone()), extra)),
                false => verdict.repeated += extra as u64,
            }
            let meant = intents.get(id).filter(|intent| intent.ok || intent.unknown);
            if meant.is_none_or(|intent| begins.iter().any(|begin| *begin < intent.began)) {
                verdict.phantom.push((*id, consumer.clone()));
            }
        }
        for (id, intent) in &intents {
            let has = |consumer: &&Str| effects.contains_key(&(*id, (*consumer).clone()));
            let found = demands.consumers.iter().filter(has).count();
            if intent.ok {
                let missing = demands.consumers.iter().filter(|consumer| !has(consumer));
                verdict.lost.extend(missing.map(|consumer| (*id, consumer.clone())));
            } else if intent.unknown {
                match found {
                    0 => verdict.unknown_gone += 1,
                    all if all == demands.consumers.len() => verdict.unknown_kept += 1,
                    _ => verdict.torn.push(*id),
                }
            }
        }
        acks(&records, demands, &mut verdict);
        if demands.order {
            order(&records, &mut verdict);
        }
        let most = self.steps(|steps| steps.memory.iter().copied().max());
        verdict.memory = most.filter(|most| *most > demands.memory);
        if verdict.is_whole() { Ok(verdict) } else { Err(Box::new(verdict)) }
    }
}

fn intents(records: &[Record]) -> BTreeMap<MessageId, Intent> {
    let mut intents: BTreeMap<MessageId, Intent> = BTreeMap::new();
    for record in records.iter().filter(|record| matches!(record.op, Op::Publish | Op::Commit)) {
        let intent = intents.entry(record.claim.id).or_insert(Intent { began: record.start, ..Intent::default() });
        intent.ok |= record.outcome == End::Ok;
        intent.unknown |= record.outcome == End::Unknown;
        intent.began = intent.began.min(record.start);
    }
    intents
}

/// When each effect began, by message and consumer.
fn effects(records: &[Record]) -> BTreeMap<(MessageId, Str), Vec<u64>> {
    let mut effects: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for Record { claim, start, .. } in
        records.iter().filter(|record| record.op == Op::Effect && record.outcome == End::Ok)
    {
        effects.entry((claim.id, claim.consumer.clone())).or_default().push(*start);
    }
    effects
}

/// Every acknowledgement has its effect before, and every effect its acknowledgement after, where any is recorded.
fn acks(records: &[Record], demands: &Demands, verdict: &mut Verdict) {
    let mut acked: HashMap<(MessageId, &Str), u64> = HashMap::new();
    let mut done: HashMap<(MessageId, &Str), u64> = HashMap::new();
    for Record { op, claim, end, .. } in records.iter().filter(|record| record.outcome == End::Ok) {
        let key = (claim.id, &claim.consumer);
        match op {
            Op::Effect => drop(done.entry(key).or_insert(*end)),
            Op::Ack => {
                if done.get(&key).is_none_or(|done| done > end) {
                    verdict.unearned.push((claim.id, claim.consumer.clone()));
                }
                acked.insert(key, *end);
            }
            Op::Publish | Op::Commit => {}
        }
    }
    if !acked.is_empty() {
        let mut owned: Vec<_> = done.keys().filter(|key| !acked.contains_key(*key)).collect();
        owned.sort();
        let owned = owned.into_iter().map(|(id, consumer)| (*id, (*consumer).clone()));
        verdict.owned.extend(owned.skip(usize::try_from(demands.owned).unwrap_or(usize::MAX)));
    }
}

/// The first effects of each consumer and key, one after the other by their places.
fn order(records: &[Record], verdict: &mut Verdict) {
    let mut by_key: BTreeMap<(&Str, u64), BTreeMap<u64, &Record>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.op == Op::Effect && record.outcome == End::Ok) {
        if let Some((key, seq)) = record.claim.place {
            by_key.entry((&record.claim.consumer, key)).or_default().entry(seq).or_insert(record);
        }
    }
    for firsts in by_key.values() {
        let firsts: Vec<_> = firsts.values().collect();
        for pair in firsts.windows(2).filter(|pair| pair[1].start < pair[0].end) {
            verdict.overtaken.push((pair[0].claim.id, pair[1].claim.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "shop.a";
    const B: &str = "shop.b";

    fn note(history: &History, op: Op, claim: Claim, outcome: End) {
        history.end(history.start(), op, claim, outcome);
    }

    fn id(number: u128) -> MessageId {
        MessageId(number)
    }

    fn once() -> Demands {
        Demands { once: true, order: true, ..Demands::new(&[A]) }
    }

    #[test]
    fn what_is_whole_is_found_so() {
        let history = History::new();
        for number in 1..=5 {
            note(&history, Op::Publish, Claim::of(id(number)).at(1, number as u64), End::Ok);
        }
        for number in 1..=5 {
            let claim = Claim::of(id(number)).by(A).at(1, number as u64);
            note(&history, Op::Effect, claim.clone(), End::Ok);
            note(&history, Op::Ack, claim, End::Ok);
        }
        assert_eq!(history.verdict(&once()), Ok(Verdict::default()));
    }

    #[test]
    fn a_lost_a_doubled_and_a_phantom_effect_are_told_apart() {
        let history = History::new();
        note(&history, Op::Commit, Claim::of(id(1)), End::Ok);
        note(&history, Op::Commit, Claim::of(id(2)), End::Ok);
        note(&history, Op::Commit, Claim::of(id(3)), End::Fail);
        for number in [2, 2, 3, 4] {
            note(&history, Op::Effect, Claim::of(id(number)).by(A), End::Ok);
        }
        let verdict = history.verdict(&once()).unwrap_err();
        assert_eq!(verdict.lost, [(id(1), A.into())]);
        assert_eq!(verdict.doubled, [(id(2), A.into())]);
        assert_eq!(verdict.phantom, [(id(3), A.into()), (id(4), A.into())]);
        let tolerant = history.verdict(&Demands::new(&[A])).unwrap_err();
        assert_eq!((tolerant.repeated, tolerant.doubled.len()), (1, 0));
    }

    #[test]
    fn an_effect_before_its_intent_is_a_phantom() {
        let history = History::new();
        note(&history, Op::Effect, Claim::of(id(1)).by(A), End::Ok);
        note(&history, Op::Publish, Claim::of(id(1)), End::Ok);
        assert_eq!(history.verdict(&once()).unwrap_err().phantom, [(id(1), A.into())]);
    }

    #[test]
    fn the_unknown_resolves_either_way_but_for_all() {
        let history = History::new();
        for number in 1..=3 {
            note(&history, Op::Publish, Claim::of(id(number)), End::Unknown);
        }
        note(&history, Op::Effect, Claim::of(id(1)).by(A), End::Ok);
        note(&history, Op::Effect, Claim::of(id(1)).by(B), End::Ok);
        note(&history, Op::Effect, Claim::of(id(2)).by(B), End::Ok);
        let verdict = history.verdict(&Demands::new(&[A, B])).unwrap_err();
        assert_eq!((verdict.unknown_kept, verdict.unknown_gone, verdict.torn), (1, 1, vec![id(2)]));
        assert!(verdict.lost.is_empty());
    }

    #[test]
    fn who_overtakes_is_found_also_where_both_overlap() {
        let history = History::new();
        for number in 1..=3 {
            note(&history, Op::Publish, Claim::of(id(number)), End::Ok);
        }
        let at = |number: u128| Claim::of(id(number)).by(A).at(7, number as u64);
        note(&history, Op::Effect, at(2), End::Ok);
        let (first, third) = (history.start(), history.start());
        history.end(first, Op::Effect, at(1), End::Ok);
        history.end(third, Op::Effect, at(3), End::Ok);
        let verdict = history.verdict(&once()).unwrap_err();
        assert_eq!(verdict.overtaken, [(id(1), id(2))]);
        // Another key, and the same order in another consumer's hands, are nobody's business.
        assert_eq!(history.verdict(&Demands::new(&[A])).unwrap().repeated, 0);
    }

    #[test]
    fn an_acknowledgement_without_effect_and_an_effect_without_one_are_found() {
        let history = History::new();
        for number in 1..=2 {
            note(&history, Op::Publish, Claim::of(id(number)), End::Ok);
        }
        note(&history, Op::Ack, Claim::of(id(1)).by(A), End::Ok);
        note(&history, Op::Effect, Claim::of(id(1)).by(A), End::Ok);
        note(&history, Op::Effect, Claim::of(id(2)).by(A), End::Ok);
        let verdict = history.verdict(&once()).unwrap_err();
        assert_eq!((verdict.unearned, verdict.owned), (vec![(id(1), A.into())], vec![(id(2), A.into())]));
        let died = Demands { owned: 1, ..once() };
        assert!(history.verdict(&died).unwrap_err().owned.is_empty());
    }

    #[test]
    fn memory_has_its_bound() {
        let history = History::new();
        [10, 30, 20].into_iter().for_each(|bytes| history.used(bytes));
        assert_eq!(history.verdict(&Demands { memory: 30, ..once() }), Ok(Verdict::default()));
        assert_eq!(history.verdict(&Demands { memory: 29, ..once() }).unwrap_err().memory, Some(30));
    }
}
