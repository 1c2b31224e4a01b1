use crate::{
    ConsumerOptions, Dotnet, Framing, Nats, StreamOptions,
    bucket::Bucket,
    core::Core,
    error::unavailable,
    frame,
    publish::Sent,
    stream::{self, Ensured, ensure},
    subscription::{JetStreamSubscription, NatsSubscription},
};
use async_nats::{Subject as WireSubject, jetstream::stream::Info as StreamInfo};
use catga_contract::{
    Capabilities, Durability, Error, ErrorKind, MessageId, Order, Outcome, Parcel, Registration, Result, Str,
    SubscribeOptions, Transport,
};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// What headers of ours may take of the server's largest message, in bytes.
const RESERVE: usize = 1_024;
/// The longest subject, in bytes.
const SUBJECT_MAX: usize = 255;
/// More subjects than that are not kept for the next publish.
const SUBJECTS: usize = 4_096;

/// What a transport does.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TransportOptions {
    /// Where the envelope goes.
    pub framing: Framing,
    /// Speaks with .NET Catga instead of by `framing`: default none.
    pub dotnet: Option<Dotnet>,
    /// The stream, with JetStream.
    pub stream: StreamOptions,
    /// The consumers, with JetStream.
    pub consumer: ConsumerOptions,
    /// For how long a publish is repeated until its outcome is unknown, and how long it waits for a connection.
    /// Default: 10 s.
    pub publish_timeout: Duration,
    /// How long the server may take to answer before a publish is sent again. Default: 2 s.
    pub answer_timeout: Duration,
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self {
            framing: Framing::Inline,
            dotnet: None,
            stream: StreamOptions::default(),
            consumer: ConsumerOptions::default(),
            publish_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(2),
        }
    }
}

/// NATS as a transport, in one of two qualities; cheap to clone.
#[derive(Clone)]
pub struct NatsTransport(Arc<Quality>);

enum Quality {
    Core(Box<Core>),
    JetStream(Arc<JetStream>),
}

/// What a JetStream transport and its subscriptions share.
pub(crate) struct JetStream {
    pub(crate) nats: Nats,
    pub(crate) options: TransportOptions,
    pub(crate) tries: Bucket,
    pub(crate) consumers: Mutex<HashMap<Str, Vec<String>>>,
    subjects: Subjects,
    drift: Mutex<Vec<String>>,
}

impl NatsTransport {
    /// At most once: nobody acknowledges anything. Messages for members of a consumer wait in this process, and what
    /// does not fit is dropped and counted ([`Nats::dropped`]). A consumer is there from `register` on, while this
    /// transport lives.
    pub fn core(nats: &Nats, options: TransportOptions) -> Self {
        Self(Arc::new(Quality::Core(Box::new(Core::new(nats.clone(), options)))))
    }

    /// At least once: makes the stream where it is missing, and compares it where it is there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] where the options contradict each other or the server refuses the stream,
    /// [`ErrorKind::Unavailable`] where the server does not answer.
    pub async fn jetstream(nats: &Nats, options: TransportOptions) -> Result<Self> {
        check(&options)?;
        let Ensured { drift, window, .. } = ensure(nats, options.stream.config()).await?;
        if window < 2 * options.publish_timeout {
            let text = format!(
                "stream `{}` remembers ids for {window:?}; a publish is repeated for up to {:?}, and needs twice that",
                options.stream.name, options.publish_timeout
            );
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let bucket = format!("{}_tries", options.stream.name);
        let tries = Bucket::open(nats, &bucket, options.stream.max_age, options.stream.replicas).await?;
        let jetstream = JetStream {
            nats: nats.clone(),
            options,
            tries,
            consumers: Mutex::default(),
            subjects: Subjects::default(),
            drift: Mutex::default(),
        };
        drift.into_iter().for_each(|drift| jetstream.note_drift(drift));
        Ok(Self(Arc::new(Quality::JetStream(Arc::new(jetstream)))))
    }

    /// A subject that a consumer takes, for a message of that name; `None` where it takes nothing.
    pub(crate) async fn subject_of(&self, consumer: &Str, name: Option<&Str>) -> Result<Option<Str>> {
        let subjects = match &*self.0 {
            Quality::Core(core) => core.subjects(consumer),
            Quality::JetStream(jetstream) => jetstream.subjects_of(consumer).await?,
        };
        let fits = |subject: &&Str| name.is_some_and(|name| subject.ends_with(name.as_str()));
        Ok(subjects.iter().find(fits).or(subjects.first()).cloned())
    }

    /// Where streams and consumers on the server differ from what this program wants, in words. They are reported
    /// here and in the log, and never changed.
    pub fn drift(&self) -> Vec<String> {
        match &*self.0 {
            Quality::Core(_) => Vec::new(),
            Quality::JetStream(jetstream) => jetstream.drift.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// Contradictions that would show late.
fn check(options: &TransportOptions) -> Result<()> {
    let refuse = |text: String| Err(Error::new(ErrorKind::Invalid, text));
    let TransportOptions { stream, consumer, .. } = options;
    if stream.duplicate_window < 2 * options.publish_timeout {
        let (window, timeout) = (stream.duplicate_window, options.publish_timeout);
        return refuse(format!("a duplicate window of {window:?} is less than twice the {timeout:?} of a publish"));
    }
    if !stream.max_age.is_zero() && stream.max_age < consumer.patience {
        return refuse(format!(
            "messages are kept for {:?}, less than the {:?} that a handler may take",
            stream.max_age, consumer.patience
        ));
    }
    if consumer.batch == 0 || consumer.workers == 0 {
        return refuse("a consumer of no messages or no members".into());
    }
    Ok(())
}

impl Transport for NatsTransport {
    type Subscription = NatsSubscription;

    fn capabilities(&self) -> Capabilities {
        let most = match &*self.0 {
            Quality::Core(core) => core.nats.max_payload(),
            Quality::JetStream(jetstream) => jetstream.nats.max_payload(),
        };
        let mut capabilities = Capabilities::none("nats", most.saturating_sub(RESERVE));
        capabilities.groups = true;
        if let Quality::JetStream(jetstream) = &*self.0 {
            // Every process may die; the machine's power may not, as long as the server does not flush.
            capabilities.durable = match jetstream.options.stream.replicas {
                0 | 1 => Durability::Process,
                _ => Durability::Replicated,
            };
            capabilities.redelivery = true;
            capabilities.order = Order::Stream;
            capabilities.dedupe = true;
        }
        capabilities
    }

    async fn register(&self, consumers: &[Registration]) -> Result<()> {
        match &*self.0 {
            Quality::Core(core) => core.register(consumers).await,
            Quality::JetStream(jetstream) => {
                jetstream.ensure_stream().await?;
                for registration in consumers {
                    jetstream.register_one(registration).await?;
                }
                Ok(())
            }
        }
    }

    async fn publish(&self, parcels: &[Parcel], outcomes: &mut Vec<Outcome>) -> Result<()> {
        match &*self.0 {
            Quality::Core(core) => core.publish(parcels, outcomes).await,
            Quality::JetStream(jetstream) => jetstream.publish(parcels, outcomes).await,
        }
    }

    async fn subscribe(&self, options: SubscribeOptions) -> Result<NatsSubscription> {
        if options.park {
            let text = format!("consumer `{}` would park keys, which NATS keeps no order by", options.consumer);
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        match &*self.0 {
            Quality::Core(core) => Ok(NatsSubscription::core(core.subscribe(&options.consumer).await?)),
            Quality::JetStream(jetstream) => {
                Ok(NatsSubscription::jetstream(JetStreamSubscription::open(jetstream.clone(), options.consumer).await?))
            }
        }
    }

    async fn unsettled(&self, consumer: &Str) -> Result<u64> {
        match &*self.0 {
            Quality::Core(core) => Ok(core.unsettled(consumer)),
            Quality::JetStream(jetstream) => {
                let Some(info) = jetstream.consumer_info(consumer).await? else { return Ok(0) };
                // While members come and go, nats-server 2.9.10 counts a message as waiting and as out at the same time:
                // there are never more than lie behind what is done with.
                let last = jetstream.stream_info().await?.state.last_sequence;
                let open = last.saturating_sub(info.ack_floor.stream_sequence);
                Ok((info.num_pending + info.num_ack_pending as u64).min(open))
            }
        }
    }
}

impl JetStream {
    async fn publish(&self, parcels: &[Parcel], outcomes: &mut Vec<Outcome>) -> Result<()> {
        let deadline = Instant::now() + self.options.publish_timeout;
        let (mut sent, mut refused) = (Vec::with_capacity(parcels.len()), HashMap::new());
        for (at, parcel) in parcels.iter().enumerate() {
            match refuse(parcel, &self.nats) {
                Some(error) => drop(refused.insert(at, Outcome::Refused(error))),
                None => match self.sent(parcel) {
                    Ok(message) => sent.push(message),
                    Err(error) => drop(refused.insert(at, Outcome::Refused(error))),
                },
            }
        }
        let mut answers = self.send(&sent, deadline).await.into_iter();
        for at in 0..parcels.len() {
            outcomes.extend(refused.remove(&at).or_else(|| answers.next()));
        }
        Ok(())
    }

    fn sent(&self, parcel: &Parcel) -> Result<Sent> {
        let (subject, payload, mut headers) = frame::address(parcel, &self.options)?;
        let id = match &parcel.to {
            None => parcel.id.to_string(),
            // A replay is no repetition: the server must not take it for the message that it knows.
            Some(to) => format!("{}:{}:{}", parcel.id, crate::names::escape(to.as_bytes()), MessageId::new()),
        };
        if headers.get("Nats-Msg-Id").is_none() || parcel.to.is_some() {
            headers.insert("Nats-Msg-Id", id);
        }
        let subject = match subject {
            Some(subject) => self.subjects.get(&subject.into()),
            None => self.subjects.get(&parcel.subject),
        };
        Ok(Sent { subject, payload, headers })
    }

    /// The subject of NATS for one of ours.
    pub(crate) fn wire_subject(&self, subject: &Str) -> String {
        self.options.dotnet.as_ref().map_or_else(|| subject.to_string(), |dotnet| dotnet.subject(subject))
    }

    /// Makes the stream where it is missing, and says whether it was.
    pub(crate) async fn ensure_stream(&self) -> Result<bool> {
        Ok(ensure(&self.nats, self.options.stream.config()).await?.made)
    }

    pub(crate) async fn stream_info(&self) -> Result<StreamInfo> {
        let name = &self.options.stream.name;
        let missing = || unavailable("it is not there", format_args!("asking for stream `{name}`"));
        stream::info(&self.nats, name).await?.ok_or_else(missing)
    }

    pub(crate) fn note_drift(&self, text: String) {
        tracing::warn!("{text}; it is left as it is");
        let mut drift = self.drift.lock().unwrap_or_else(PoisonError::into_inner);
        if !drift.contains(&text) {
            drift.push(text);
        }
    }
}

/// Why a parcel cannot be sent, before anything is.
pub(crate) fn refuse(parcel: &Parcel, nats: &Nats) -> Option<Error> {
    let about = |kind, text: String| {
        Some(Error::new(kind, text).context(format_args!("message {} to `{}`", parcel.id, parcel.subject)))
    };
    if parcel.due.is_some_and(|due| due > std::time::SystemTime::now()) {
        return about(ErrorKind::Unsupported, "NATS delivers at once; it cannot be due later".into());
    }
    let most = nats.max_payload().saturating_sub(RESERVE);
    if parcel.frame.len() > most {
        return about(ErrorKind::Invalid, format!("{} bytes; this server takes at most {most}", parcel.frame.len()));
    }
    let subject = &parcel.subject;
    let whole = subject.split('.').all(|token| !token.is_empty() && !token.contains(['*', '>', ' ', '\t', '\r', '\n']));
    if subject.is_empty() || subject.len() > SUBJECT_MAX || !whole {
        return about(
            ErrorKind::Invalid,
            format!("a subject has 1 to {SUBJECT_MAX} bytes, no empty token, no wildcard and no space"),
        );
    }
    None
}

/// Subjects in the client's form, made once each.
#[derive(Default)]
pub(crate) struct Subjects(Mutex<HashMap<Str, WireSubject>>);

impl Subjects {
    pub(crate) fn get(&self, subject: &Str) -> WireSubject {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(subject.as_str()) {
            return found.clone();
        }
        // A copy: what is kept must not pin the block that the text came in.
        let made = WireSubject::from(subject.to_string());
        if known.len() < SUBJECTS {
            known.insert(subject.as_str().into(), made.clone());
        }
        made
    }
}

impl fmt::Debug for NatsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Quality::Core(_) => f.write_str("NatsTransport(core)"),
            Quality::JetStream(jetstream) => {
                f.debug_tuple("NatsTransport").field(&jetstream.options.stream.name).finish()
            }
        }
    }
}
