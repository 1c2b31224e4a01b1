use crate::{
    Nats,
    error::{fault, unavailable, within},
    log::{Log, foreign},
    names::{name, token},
};
use async_nats::jetstream::{
    context::PublishErrorKind,
    message::{PublishMessage, StreamMessage},
    stream::RawMessageErrorKind,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use catga_contract::{Error, ErrorKind, EventStore, Expect, MessageId, NewEvent, Recorded, Result, Str};
use futures_util::StreamExt;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Mutex, Notify},
    time::{Instant, sleep, timeout_at},
};

/// The version of a commit's first event.
const FIRST: &str = "Catga-First";
/// The bits of a position that number the events of a commit.
const INDEX_BITS: u32 = 12;
const COMMIT_MAX: usize = 1 << INDEX_BITS;
const NAME_MAX: usize = 255;
/// How often an append is tried that meets others.
const TRIES: u32 = 32;
/// More streams than that are not remembered.
const STREAMS: usize = 1_024;
/// How long a reader that was woken before the server had written waits to look again.
const SETTLING: Duration = Duration::from_millis(2);

/// Events in one stream of JetStream. A commit is one message, so that it is there whole or not at all, on every server;
/// it holds at most 4,096 events and no more bytes than the server's largest message. A position is the message's number
/// times 4,096 and the event's place in its commit.
///
/// The version that an append expects is checked by the server, against the last message of the stream's subject. What
/// a stream holds is remembered here (16 bytes of id for each event, 1,024 streams), so that an append is one round trip
/// and a repeated one is known; the first append to a stream in a process reads it.
#[derive(Clone, Debug)]
pub struct NatsEvents {
    log: Log,
    prefix: String,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    streams: StdMutex<HashMap<String, Arc<Mutex<Known>>>>,
    appended: Notify,
}

/// What this process knows of a stream.
#[derive(Debug, Default)]
struct Known {
    /// The number of its last message.
    last: u64,
    version: u64,
    ids: HashMap<MessageId, u64>,
}

impl NatsEvents {
    /// Opens the stream `name`, such as `CATGA_EVENTS`, and makes it where it is missing. It keeps everything.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] where the server does not answer, [`ErrorKind::Invalid`] where it refuses the stream.
    pub async fn open(nats: &Nats, name: &str) -> Result<Self> {
        let prefix = format!("{}.event", token(name));
        let log = Log::open(nats, name, format!("{prefix}.>"), 1).await?;
        Ok(Self { log, prefix, shared: Arc::default() })
    }

    fn subject(&self, stream: &str) -> Result<String> {
        match stream.len() {
            1..=NAME_MAX => Ok(format!("{}.{}", self.prefix, token(stream))),
            length => {
                let text = format!("a stream's name of {length} bytes; 1 to {NAME_MAX}");
                Err(Error::new(ErrorKind::Invalid, text))
            }
        }
    }

    fn known(&self, subject: &str) -> Arc<Mutex<Known>> {
        let mut streams = self.shared.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.len() >= STREAMS {
            // Those that nobody uses at this moment are read again when they are needed.
            streams.retain(|_, known| Arc::strong_count(known) > 1);
        }
        streams.entry(subject.to_owned()).or_default().clone()
    }

    /// Reads what came to a stream since it was last looked at.
    async fn catch_up(&self, subject: &str, known: &mut Known) -> Result<()> {
        while let Some(message) = self.log.next_on(subject, known.last + 1).await? {
            let (first, events) = open(&message)?;
            for (at, (id, _)) in events.iter().enumerate() {
                known.ids.insert(*id, first + at as u64);
            }
            (known.last, known.version) = (message.sequence, first + events.len() as u64 - 1);
        }
        Ok(())
    }

    /// Publishes a commit behind message `last` of its subject; answers its number.
    async fn commit(&self, subject: &str, known: &Known, payload: Bytes) -> Result<u64> {
        let message = PublishMessage::build()
            .payload(payload)
            .header(FIRST, (known.version + 1).to_string())
            .expected_last_subject_sequence(known.last);
        let context = &self.log.nats.context;
        let asked = async { context.send_publish(subject.to_owned(), message).await?.await };
        let answer = tokio::time::timeout(self.log.nats.request_timeout, asked).await;
        let error = match answer {
            Ok(Ok(ack)) => return Ok(ack.sequence),
            Ok(Err(error)) => error,
            Err(_) => return Err(unavailable("no answer", "appending")),
        };
        Err(match error.kind() {
            PublishErrorKind::WrongLastSequence => fault(ErrorKind::Conflict, error, "appending"),
            PublishErrorKind::MaxPayloadExceeded => fault(ErrorKind::Invalid, error, "appending"),
            _ => unavailable(error, "appending"),
        })
    }

    /// The message whose commit holds version `from`, or the first behind it: by halving the stream's numbers.
    async fn find(&self, subject: &str, from: u64) -> Result<Option<StreamMessage>> {
        let Some(mut best) = self.log.next_on(subject, 1).await? else { return Ok(None) };
        if from <= 1 {
            return Ok(Some(best));
        }
        let last = match self.log.stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => message,
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok(None),
            Err(error) => return Err(unavailable(error, format_args!("reading `{subject}`"))),
        };
        if open(&last)?.0 <= from {
            return Ok(Some(last));
        }
        let (mut low, mut high) = (best.sequence, last.sequence);
        // The commit wanted begins at `low` or behind it, and before `high`.
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            match self.log.next_on(subject, middle).await? {
                Some(message) if message.sequence < high && open(&message)?.0 <= from => {
                    low = message.sequence;
                    best = message;
                }
                _ => high = middle,
            }
        }
        Ok(Some(best))
    }
}

impl EventStore for NatsEvents {
    async fn append(&self, stream: &str, expect: Expect, events: &[NewEvent<'_>]) -> Result<u64> {
        let subject = self.subject(stream)?;
        let payload = encode(events)?;
        let most = self.log.nats.max_payload().saturating_sub(1_024);
        if payload.len() > most {
            let text = format!("a commit of {} bytes to `{stream}`; this server takes at most {most}", payload.len());
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let known = self.known(&subject);
        let mut known = known.lock().await;
        // Where nothing is known yet, or nothing is written, the server is asked first.
        let mut fresh = false;
        if known.last == 0 || events.is_empty() {
            self.catch_up(&subject, &mut known).await?;
            fresh = true;
        }
        let mut failed = None;
        for _ in 0..TRIES {
            if let Some(version) = repeated(&known, stream, events)? {
                return Ok(version);
            }
            let fits = match expect {
                Expect::Any => true,
                Expect::Empty => known.version == 0,
                Expect::Version(version) => known.version == version,
            };
            if !fits && fresh {
                let text = format!("stream `{stream}` is of version {}, expected {expect:?}", known.version);
                return Err(Error::new(ErrorKind::Conflict, text));
            }
            if fits && events.is_empty() {
                return Ok(known.version);
            }
            if fits {
                match self.commit(&subject, &known, payload.clone()).await {
                    Ok(sequence) => {
                        for (at, event) in events.iter().enumerate() {
                            let version = known.version + 1 + at as u64;
                            known.ids.insert(event.id, version);
                        }
                        known.last = sequence;
                        known.version += events.len() as u64;
                        self.shared.appended.notify_waiters();
                        return Ok(known.version);
                    }
                    Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
                    // Somebody was quicker, or the answer was lost: what is there now tells.
                    Err(error) => failed = Some(error),
                }
            }
            self.catch_up(&subject, &mut known).await?;
            fresh = true;
        }
        let text = format!("stream `{stream}` changed {TRIES} times meanwhile");
        Err(failed.unwrap_or_else(|| Error::new(ErrorKind::Conflict, text)))
    }

    async fn read(&self, stream: &str, from: u64, most: usize) -> Result<Vec<Recorded>> {
        let subject = self.subject(stream)?;
        let mut found = Vec::new();
        let mut next = if most == 0 { None } else { self.find(&subject, from).await? };
        while let Some(message) = next {
            let all = recorded(&message, &self.prefix)?;
            found.extend(all.into_iter().filter(|event| event.version >= from).take(most - found.len()));
            if found.len() == most {
                break;
            }
            next = self.log.next_on(&subject, message.sequence + 1).await?;
        }
        Ok(found)
    }

    async fn read_all(&self, after: u64, most: usize) -> Result<Vec<Recorded>> {
        let state = self.log.info().await?.state;
        let from = (after >> INDEX_BITS).max(state.first_sequence).max(1);
        let messages = self.log.range(from, state.last_sequence, most.saturating_add(1)).await?;
        let mut found = Vec::new();
        for message in &messages {
            let all = recorded(message, &self.prefix)?;
            found.extend(all.into_iter().filter(|event| event.position > after).take(most - found.len()));
            if found.len() == most {
                break;
            }
        }
        Ok(found)
    }

    async fn wait(&self, after: u64, time: Duration) -> Result<()> {
        let deadline = Instant::now() + time;
        let appended = self.shared.appended.notified();
        if !self.read_all(after, 1).await?.is_empty() {
            return Ok(());
        }
        // What others publish is heard as the server hears it, a moment before it is written.
        let heard = self.log.nats.client.subscribe(format!("{}.>", self.prefix));
        let mut heard = within(self.log.nats.request_timeout, "listening for events", heard).await?;
        let mut appended = std::pin::pin!(appended);
        loop {
            if !self.read_all(after, 1).await?.is_empty() {
                return Ok(());
            }
            let woken = async {
                tokio::select! {
                    _ = heard.next() => {}
                    () = appended.as_mut() => {}
                }
            };
            if timeout_at(deadline, woken).await.is_err() {
                return Ok(());
            }
            appended.set(self.shared.appended.notified());
            sleep(SETTLING).await;
        }
    }
}

/// The version of the last event, where the stream has exactly these, one behind the other.
fn repeated(known: &Known, stream: &str, events: &[NewEvent<'_>]) -> Result<Option<u64>> {
    let versions: Vec<u64> = events.iter().filter_map(|event| known.ids.get(&event.id).copied()).collect();
    if versions.is_empty() {
        return Ok(None);
    }
    if versions.len() == events.len() && versions.windows(2).all(|pair| pair[0] + 1 == pair[1]) {
        return Ok(versions.last().copied());
    }
    let text =
        format!("stream `{stream}` has {} of {} ids, and not one behind the other", versions.len(), events.len());
    Err(Error::new(ErrorKind::Conflict, text))
}

fn encode(events: &[NewEvent<'_>]) -> Result<Bytes> {
    if events.len() > COMMIT_MAX {
        let text = format!("{} events in one commit; at most {COMMIT_MAX}", events.len());
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    let mut bytes = BytesMut::with_capacity(events.iter().map(|event| 21 + event.name.len() + event.frame.len()).sum());
    for event in events {
        let name = u8::try_from(event.name.len());
        let length = u32::try_from(event.frame.len());
        let (Ok(name), Ok(length)) = (name, length) else {
            let text = format!("an event of {} bytes with a name of {}", event.frame.len(), event.name.len());
            return Err(Error::new(ErrorKind::Invalid, text));
        };
        bytes.put_u128(event.id.0);
        bytes.put_u8(name);
        bytes.put_slice(event.name.as_bytes());
        bytes.put_u32(length);
        bytes.put_slice(event.frame);
    }
    Ok(bytes.freeze())
}

/// The version of a commit's first event, and the ids and frames of all.
fn open(message: &StreamMessage) -> Result<(u64, Vec<(MessageId, Bytes)>)> {
    let first = message.headers.get(FIRST).and_then(|first| first.as_str().parse().ok());
    let mut events = Vec::new();
    let mut bytes = message.payload.clone();
    let mut next = || {
        let (id, name) = if bytes.len() >= 17 { (bytes.get_u128(), usize::from(bytes.get_u8())) } else { return None };
        if bytes.len() < name + 4 {
            return None;
        }
        bytes.advance(name);
        let length = bytes.get_u32() as usize;
        (length <= bytes.len()).then(|| (MessageId(id), bytes.split_to(length), bytes.is_empty()))
    };
    while let Some((id, frame, last)) = next() {
        events.push((id, frame));
        if last {
            return first.map(|first| (first, events)).ok_or_else(|| foreign(message));
        }
    }
    Err(foreign(message))
}

fn recorded(message: &StreamMessage, prefix: &str) -> Result<Vec<Recorded>> {
    let (first, events) = open(message)?;
    let stream = message.subject.strip_prefix(prefix).and_then(|rest| name(rest.strip_prefix('.')?));
    let stream = Str::from(stream.ok_or_else(|| foreign(message))?);
    let position = message.sequence << INDEX_BITS;
    let event = |(at, (_, frame))| Recorded::new(position | at as u64, stream.clone(), first + at as u64, frame);
    Ok(events.into_iter().enumerate().map(event).collect())
}
