//! A member of a consumer: which entries it has, and how they are answered.

use crate::{
    args::Arg,
    scripts::SCRIPTS,
    store::{Redis, lock},
};
use catga_contract::{Error, ErrorKind, MessageId, Result, Settle, Settler, Str, Token};
use event_listener::Event;
use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::{Duration, Instant},
};

/// How many settled entries a trim waits for, at least.
const TRIM_AFTER: usize = 256;
/// How long a trim waits for those.
const TRIM_TIME: Duration = Duration::from_millis(200);
/// A token is the member's number in the upper 16 bits and the delivery's in the lower 48.
const SEQ_BITS: u32 = 48;
const SEQ: u64 = (1 << SEQ_BITS) - 1;

fn seq(token: Token) -> u64 {
    token.0 & SEQ
}

/// An entry of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct EntryId {
    pub(crate) millis: u64,
    pub(crate) seq: u64,
}

impl EntryId {
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let (millis, seq) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(Self { millis: millis.parse().ok()?, seq: seq.parse().ok()? })
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.seq)
    }
}

/// Where an entry lies: the number of its stream among those of the subscription, and its id.
pub(crate) type Place = (u32, EntryId);

/// An entry that this member has.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) place: Place,
    /// The message, where it could be read.
    pub(crate) message: Option<MessageId>,
    /// Its try was counted when it started.
    pub(crate) counted: bool,
    /// How many tries were counted before this one.
    pub(crate) started: u32,
    /// Somebody else has it by now.
    pub(crate) stale: bool,
}

pub(crate) struct Member {
    pub(crate) redis: Redis,
    pub(crate) consumer: Str,
    /// Unique for each subscription of each process start.
    pub(crate) name: String,
    pub(crate) suffixes: Vec<String>,
    number: u16,
    table: Mutex<Table>,
    /// Rings when a retry was asked for.
    pub(crate) stir: Event,
}

struct Table {
    next: u64,
    held: HashMap<u64, Held>,
    by_place: HashMap<Place, u64>,
    settled: usize,
    trimmed: Instant,
}

impl Member {
    pub(crate) fn new(redis: Redis, consumer: Str, suffixes: Vec<String>, number: u64) -> Self {
        let name = format!("{}-{number}", redis.inner.node);
        let table =
            Table { next: 0, held: HashMap::new(), by_place: HashMap::new(), settled: 0, trimmed: Instant::now() };
        let number = (number & 0xFFFF) as u16;
        Self { redis, consumer, name, suffixes, number, table: Mutex::new(table), stir: Event::new() }
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    /// Takes an entry in; `None` where this member has it already.
    pub(crate) fn hold(&self, held: Held) -> Option<Token> {
        let mut table = self.table();
        if table.by_place.contains_key(&held.place) {
            return None;
        }
        let seq = table.next;
        table.next += 1;
        table.by_place.insert(held.place, seq);
        table.held.insert(seq, held);
        Some(Token(u64::from(self.number) << SEQ_BITS | (seq & SEQ)))
    }

    pub(crate) fn held(&self, token: Token) -> Option<Held> {
        self.table().held.get(&seq(token)).cloned()
    }

    /// The number of the member whose delivery a token names.
    pub(crate) fn of(token: Token) -> u16 {
        (token.0 >> SEQ_BITS) as u16
    }

    /// Entries were settled for this member.
    fn release(&self, tokens: impl IntoIterator<Item = Token>) {
        let mut table = self.table();
        for token in tokens {
            if let Some(held) = table.held.remove(&seq(token)) {
                if !held.stale {
                    table.by_place.remove(&held.place);
                }
                table.settled += 1;
            }
        }
    }

    /// Somebody else has an entry by now.
    pub(crate) fn lose(&self, place: Place) {
        let mut table = self.table();
        if let Some(seq) = table.by_place.remove(&place)
            && let Some(held) = table.held.get_mut(&seq)
        {
            held.stale = true;
        }
    }

    /// Its tries were counted when it started.
    pub(crate) fn counted(&self, token: Token, started: u32) {
        if let Some(held) = self.table().held.get_mut(&seq(token)) {
            (held.counted, held.started) = (true, started);
        }
    }

    /// Whether enough was settled for a trim to be worth it.
    pub(crate) fn trims(&self) -> bool {
        let mut table = self.table();
        let worth = table.settled >= TRIM_AFTER || table.trimmed.elapsed() >= TRIM_TIME || table.held.len() < 2;
        if worth {
            (table.settled, table.trimmed) = (0, Instant::now());
        }
        worth
    }

    /// The entries that this member has, for a sign of life.
    pub(crate) fn places(&self) -> Vec<Place> {
        self.table().by_place.keys().copied().collect()
    }

    pub(crate) fn suffix(&self, (stream, _): Place) -> &str {
        self.suffixes.get(stream as usize).map_or("", String::as_str)
    }

    /// An answer as the scripts take it: op, suffix, id, pause in microseconds, by how much the tries rise.
    pub(crate) fn item<'a>(&'a self, held: &Held, answer: Settle) -> [Arg<'a>; 5] {
        let (op, pause, count) = match answer {
            Settle::Done => ("D", 0, 0),
            Settle::Bury => ("B", 0, 0),
            Settle::Again { pause, counts } => {
                // A lonely try was counted when it started; one that does not count is taken back.
                let pause = i64::try_from(pause.as_micros()).unwrap_or(i64::MAX).min(1 << 52);
                ("A", pause, i64::from(counts) - i64::from(held.counted))
            }
        };
        [op.into(), self.suffix(held.place).into(), held.place.1.to_string().into(), pause.into(), count.into()]
    }

    /// Answers deliveries. What was answered before is passed over.
    pub(crate) async fn settle(&self, answers: &[(Token, Settle)]) -> Result<()> {
        let Sorted { mut done, mut others, mut refused } = self.sort(answers);
        // One list of ids for each stream.
        done.sort_unstable_by_key(|(_, place)| *place);
        let mut args = vec![Arg::from(&*self.consumer), Arg::from(&*self.name), Arg::from(i64::from(self.trims()))];
        args.push(Arg::from(done.chunk_by(|a, b| a.1.0 == b.1.0).count() as i64));
        for ids in done.chunk_by(|a, b| a.1.0 == b.1.0) {
            let Some((_, place)) = ids.first() else { continue };
            args.extend([Arg::from(self.suffix(*place)), Arg::from(ids.len() as i64)]);
            args.extend(ids.iter().map(|(_, (_, id))| Arg::from(id.to_string())));
        }
        for (_, held, answer) in &others {
            args.extend(self.item(held, *answer));
        }
        if !done.is_empty() || !others.is_empty() {
            let mut stale: Vec<usize> = self.redis.run(&SCRIPTS.settle, &args, "settling").await?;
            drop(args);
            refused += stale.len();
            stale.reverse();
            for number in stale {
                let (_, held, _) = others.remove(number - 1);
                self.lose(held.place);
            }
            let again = !others.is_empty();
            self.release(done.into_iter().map(|(token, _)| token).chain(others.into_iter().map(|other| other.0)));
            if again {
                self.stir.notify(usize::MAX);
            }
        }
        if refused == 0 {
            return Ok(());
        }
        let text = format!(
            "{refused} of {} answers of consumer `{}` are stale: the deliveries have gone to another member",
            answers.len(),
            self.consumer
        );
        Err(Error::new(ErrorKind::Conflict, text))
    }

    fn sort(&self, answers: &[(Token, Settle)]) -> Sorted {
        let (mut done, mut others, mut refused) = (Vec::with_capacity(answers.len()), Vec::new(), 0);
        let (mut seen, table) = (HashSet::with_capacity(answers.len()), self.table());
        for (token, answer) in answers {
            let Some(held) = table.held.get(&seq(*token)).filter(|_| seen.insert(*token)) else { continue };
            match answer {
                Settle::Done => done.push((*token, held.place)),
                _ if held.stale => refused += 1,
                _ => others.push((*token, held.clone(), *answer)),
            }
        }
        Sorted { done, others, refused }
    }

    /// A transaction settled a delivery.
    pub(crate) fn settled(&self, token: Token, answer: Settle) {
        self.release([token]);
        if let Settle::Again { .. } = answer {
            self.stir.notify(usize::MAX);
        }
    }

    /// Says that this member lives; answers how many entries it has lost meanwhile.
    pub(crate) async fn beat(&self) -> Result<usize> {
        let places = self.places();
        let mut count = 0;
        for some in places.chunks(500) {
            let mut args = vec![Arg::from(&*self.consumer), Arg::from(&*self.name)];
            for place in some {
                args.push(self.suffix(*place).into());
                args.push(place.1.to_string().into());
            }
            let lost: Vec<usize> = self.redis.run(&SCRIPTS.beat, &args, "saying that a member lives").await?;
            // What was settled meanwhile is nobody's: it is not held any more, either.
            let held: HashSet<Place> = self.places().into_iter().collect();
            for place in lost.iter().filter_map(|number| some.get(number - 1)).filter(|place| held.contains(*place)) {
                self.lose(*place);
                count += 1;
            }
        }
        Ok(count)
    }
}

/// Answers by what they ask for.
struct Sorted {
    done: Vec<(Token, Place)>,
    others: Vec<(Token, Held, Settle)>,
    /// How many are known to be stale.
    refused: usize,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("consumer", &self.consumer).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Says that a member lives, as long as it does.
pub(crate) async fn live(member: Weak<Member>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(member) = member.upgrade() else { return };
        let consumer = &member.consumer;
        match member.beat().await {
            Ok(0) => {}
            Ok(lost) => tracing::warn!(%consumer, lost, "deliveries have gone to another member meanwhile"),
            Err(error) => tracing::warn!(%consumer, %error, "the server does not hear that this member lives"),
        }
    }
}

/// Answers deliveries of one member.
#[derive(Clone, Debug)]
pub(crate) struct StreamSettler(pub(crate) Arc<Member>);

impl Settler for StreamSettler {
    async fn settle(&self, answers: &[(Token, Settle)]) -> Result<()> {
        self.0.settle(answers).await
    }
}
