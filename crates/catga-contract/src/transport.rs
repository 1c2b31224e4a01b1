use crate::{Envelope, Error, Key, MessageId, Result, StoreId, Str, Subject};
use bytes::Bytes;
use std::{
    future::Future,
    time::{Duration, SystemTime},
};

/// A message with its address.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Parcel {
    /// Where it goes.
    pub subject: Subject,
    /// The message's id.
    pub id: MessageId,
    /// The message as [`Envelope::encode`] makes it.
    pub frame: Bytes,
    /// Its partition key's [digest](crate::Key::digest): within one consumer, messages with equal ones keep their order
    /// where the backend's [order](Capabilities::order) is by key.
    pub key: Option<u64>,
    /// Not before then. Refused with [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where the backend
    /// cannot [delay](Capabilities::delay); a time that has passed is now.
    pub due: Option<SystemTime>,
    /// The durable name of the one consumer that it is for, where it is a replay; `None` is everybody.
    pub to: Option<Str>,
}

impl Parcel {
    /// A parcel for everybody who listens to `subject`.
    pub fn new(subject: Subject, id: MessageId, frame: Bytes) -> Self {
        Self { subject, id, frame, key: None, due: None, to: None }
    }
}

/// What became of one published parcel.
#[derive(Debug)]
pub enum Outcome {
    /// Kept with the durability of the backend's capabilities.
    Stored,
    /// Known already under this id.
    Duplicate,
    /// The answer was lost; publish again with the same id.
    Unknown,
    /// Not kept.
    Refused(Error),
}

/// Carries envelopes. One instance has one quality.
pub trait Transport: Send + Sync + 'static {
    /// What [`subscribe`](Self::subscribe) answers.
    type Subscription: Subscription;

    /// What this transport promises.
    fn capabilities(&self) -> Capabilities;

    /// The store that this transport's queue lies in, where it lies in one: its deliveries can be settled in a
    /// transaction of that store.
    fn shares(&self) -> Option<StoreId> {
        None
    }

    /// Makes consumers durable: from here on each receives what is published, running or not. Those that are known
    /// keep their place.
    ///
    /// # Errors
    ///
    /// Where the backend fails.
    fn register(&self, consumers: &[Registration]) -> impl Future<Output = Result<()>> + Send;

    /// Publishes a batch in order; one is a batch of one. Appends one outcome for each parcel.
    ///
    /// # Errors
    ///
    /// Where none was published, for one common reason.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves each parcel's outcome unknown: publish again with the same ids.
    fn publish(&self, parcels: &[Parcel], outcomes: &mut Vec<Outcome>) -> impl Future<Output = Result<()>> + Send;

    /// Starts to receive what was published for a registered consumer.
    ///
    /// # Errors
    ///
    /// Where the consumer is not registered, or is subscribed already and the backend allows one only.
    fn subscribe(&self, options: SubscribeOptions) -> impl Future<Output = Result<Self::Subscription>> + Send;

    /// How many messages wait for that consumer or are with it, unsettled; those aside that wait for a human because a
    /// message before them was buried ([`SubscribeOptions::park`]).
    ///
    /// # Errors
    ///
    /// Where the backend fails.
    fn unsettled(&self, consumer: &Str) -> impl Future<Output = Result<u64>> + Send;
}

/// A consumer by its durable name, such as `shop.mail`, with the messages it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Registration {
    /// The durable name.
    pub consumer: Str,
    /// The subjects it takes.
    pub subjects: Vec<Subject>,
}

impl Registration {
    /// Of `consumer` for `subjects`.
    pub fn new(consumer: Str, subjects: Vec<Subject>) -> Self {
        Self { consumer, subjects }
    }
}

/// A running subscription. What is not settled comes again.
pub trait Subscription: Send + 'static {
    /// What [`settler`](Self::settler) answers.
    type Settler: Settler;

    /// Appends up to `most` deliveries; waits for the first.
    ///
    /// # Errors
    ///
    /// Where the backend fails; ask again after a pause.
    ///
    /// # Cancel safety
    ///
    /// A dropped future keeps the entries that it read for the next call.
    fn next_batch(&mut self, most: usize, deliveries: &mut Vec<Delivery>) -> impl Future<Output = Result<()>> + Send;

    /// Settles deliveries of this subscription, also while [`next_batch`](Self::next_batch) waits.
    fn settler(&self) -> Self::Settler;
}

/// Answers deliveries.
pub trait Settler: Clone + Send + Sync + 'static {
    /// Answers deliveries. `Done` means that the effect is done and is never refused; the others are fenced where the
    /// backend can.
    ///
    /// # Errors
    ///
    /// Where the backend fails: the deliveries come again.
    fn settle(&self, answers: &[(Token, Settle)]) -> impl Future<Output = Result<()>> + Send;
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// The effect is done.
    Done,
    /// It shall come again after the pause. `counts` says whether the try is one of the limited number.
    Again {
        /// How long to wait.
        pause: Duration,
        /// Whether this try counts towards the consumer's limit.
        counts: bool,
    },
    /// It is kept as a dead letter and shall not come again. Where the subscription [parks](SubscribeOptions::park),
    /// the later messages of its key wait.
    Bury,
}

/// Names a delivery towards its subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// A message on its way to a handler.
#[derive(Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// Names it towards its subscription.
    pub token: Token,
    /// The bytes as they came.
    pub frame: Bytes,
    /// The message, or why it cannot be read.
    pub message: Result<Envelope>,
    /// How many tries were started before this one.
    pub started: u32,
    /// When the first of them started, as far as the backend keeps that.
    pub first: Option<SystemTime>,
    /// The [digest](crate::Key::digest) of its key. Where the order is by key, none of the later ones comes before this
    /// one is settled for good, but for those of the same batch: whoever asks for one again must ask for those, too.
    pub key: Option<u64>,
}

impl Delivery {
    /// Reads the frame of a delivery.
    pub fn new(token: Token, frame: Bytes, started: u32) -> Self {
        let message = Envelope::decode(&frame);
        let key = message.as_ref().ok().and_then(|envelope| envelope.key.as_ref()).map(Key::digest);
        Self { token, frame, message, started, first: None, key }
    }
}

/// How to receive.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscribeOptions {
    /// The consumer's durable name: its members share the work.
    pub consumer: Str,
    /// What happens to the later messages of a key when one is buried: `true`, they wait until it is replayed and done,
    /// or removed; `false`, the default, they pass. It needs an [order](Capabilities::order) by key.
    pub park: bool,
}

impl SubscribeOptions {
    /// As a member of `consumer`.
    pub fn new(consumer: Str) -> Self {
        Self { consumer, park: false }
    }
}

/// What a backend promises.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Capabilities {
    /// Its name as `messaging.system` in spans, such as `catga_sqlite`.
    pub system: &'static str,
    /// What a published message survives.
    pub durable: Durability,
    /// Whether what is not settled comes again.
    pub redelivery: bool,
    /// In which order messages come.
    pub order: Order,
    /// Whether a message published twice under one id is kept once.
    pub dedupe: bool,
    /// Whether a published batch is kept whole and in order or not at all, refused parcels aside. Elsewhere a relay has
    /// at most one unanswered parcel of each partition under way.
    pub atomic_batch: bool,
    /// Whether a published message may be [due](Parcel::due) later.
    pub delay: bool,
    /// Whether several subscriptions of one consumer, its members, share its work.
    pub groups: bool,
    /// Whether an answer other than `Done` is refused where the delivery has gone to somebody else meanwhile.
    pub fenced_settle: bool,
    /// The largest frame, in bytes.
    pub max_payload: usize,
}

impl Capabilities {
    /// No promise, and frames of at most `max_payload` bytes.
    pub fn none(system: &'static str, max_payload: usize) -> Self {
        Self {
            system,
            durable: Durability::None,
            redelivery: false,
            order: Order::None,
            dedupe: false,
            atomic_batch: false,
            delay: false,
            groups: false,
            fenced_settle: false,
            max_payload,
        }
    }
}

/// What a kept message survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Nothing.
    None,
    /// The death of tasks, not of the process.
    Process,
    /// The death of one server.
    Replicated,
    /// The death of every process, and of the machine's power.
    Disk,
}

/// In which order messages come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// In any.
    None,
    /// As they were published, until one fails.
    Stream,
    /// As they were published for each key, whatever fails.
    Key,
}
