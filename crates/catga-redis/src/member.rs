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
        Some(Token(u64::from(self.number) << SEQ_BITS | (seq & ((1 << SEQ_BITS) - 1))))
    }

    pub(crate) fn held(&self, token: Token) -> Option<Held> {
        self.table().held.get(&(token.0 & ((1 << SEQ_BITS) - 1))).cloned()
    }

    /// The number of the member whose delivery a token names.
    pub(crate) fn of(token: Token) -> u16 {
        (token.0 >> SEQ_BITS) as u16
    }

    /// An entry was settled for this member.
    pub(crate) fn release(&self, token: Token) {
        let mut table = self.table();
        if let Some(held) = table.held.remove(&(token.0 & ((1 << SEQ_BITS) - 1))) {
            if !held.stale {
                table.by_place.remove(&held.place);
            }
            table.settled += 1;
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
        if let Some(held) = self.table().held.get_mut(&(token.0 & ((1 << SEQ_BITS) - 1))) {
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
        let mut seen = HashSet::new();
        let (mut refused, mut asked) = (0, Vec::new());
        let mut args = vec![Arg::from(&*self.consumer), Arg::from(&*self.name), Arg::from(i64::from(self.trims()))];
        for (token, answer) in answers {
            let Some(held) = self.held(*token).filter(|_| seen.insert(*token)) else { continue };
            if held.stale && *answer != Settle::Done {
                refused += 1;
                continue;
            }
            args.extend(self.item(&held, *answer));
            asked.push((*token, *answer, held.place));
        }
        if !asked.is_empty() {
            let stale: Vec<usize> = self.redis.run(&SCRIPTS.settle, &args, "settling").await?;
            refused += stale.len();
            self.settled(&asked, &stale);
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

    /// Answers were given; those with the numbers `stale`, from 1, were refused.
    pub(crate) fn settled(&self, asked: &[(Token, Settle, Place)], stale: &[usize]) {
        let mut again = false;
        for (number, (token, answer, place)) in asked.iter().enumerate() {
            if stale.contains(&(number + 1)) {
                self.lose(*place);
            } else {
                self.release(*token);
                again |= matches!(answer, Settle::Again { .. });
            }
        }
        if again {
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
