use crate::{
    Call, Codec, Context, Envelope, Event, Fault, FromCall, Key, Message, MessageId, Needs, Outgoing, PublishOptions,
    Request, Resources, Result, Str, Unit, UnitOfWork, Wire, call, resources,
};
use bytes::Bytes;
use std::{
    any::type_name,
    ops::{Deref, DerefMut, Range},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

/// The open transaction of a store, in a handler's hands.
///
/// Take it as a parameter: the handler waits there for its turn to write. What is written through it and what is
/// [published](Self::publish) commits when the handler answers `Ok`, together with the mark that the message was
/// handled; when it answers `Err`, panics, or is dropped, nothing of the call stays. A reply that is a refusal
/// ([`Message::keep`](crate::Message::keep)) undoes the writes, too.
///
/// It must not outlive the handler: moved into a task or kept, the delivery fails and nothing commits.
///
/// It derefs to the store's own transaction, which has the methods that write.
pub struct Tx<S: UnitOfWork> {
    /// `None` only while this value is dropped.
    tx: Option<S::Tx>,
    home: Arc<Home<S>>,
    pub(crate) store: Arc<S>,
    pub(crate) messages: Messages,
    pub(crate) parent: Parent,
    /// How many events were appended to streams.
    appended: u32,
}

/// What the messages published here descend from.
#[derive(Clone)]
pub(crate) struct Parent {
    pub(crate) id: MessageId,
    pub(crate) correlation: MessageId,
    pub(crate) consumer: Str,
    pub(crate) trace: Option<[u8; 55]>,
    pub(crate) prefix: Str,
}

impl Parent {
    /// Of what the call publishes.
    pub(crate) fn of(call: &mut Call<'_>) -> Self {
        let (trace, prefix) = (call.trace(), call.resources().prefix());
        let Context { id, correlation, consumer, .. } = call.context();
        Self { id: *id, correlation: *correlation, consumer: consumer.clone(), trace, prefix }
    }
}

/// What an append in this transaction needs.
pub(crate) struct Appending<'a, S: UnitOfWork> {
    pub(crate) store: &'a S,
    pub(crate) tx: &'a mut S::Tx,
    pub(crate) parent: &'a Parent,
    pub(crate) appended: &'a mut u32,
}

impl<S: UnitOfWork> Tx<S> {
    /// Publishes an event with this transaction: it is encoded now, kept with the commit, and carried to its
    /// consumers afterwards. Answers the event's id, which is the same when this message is handled again.
    ///
    /// # Errors
    ///
    /// [`Codec`](crate::ErrorKind::Codec) where the event cannot be encoded and
    /// [`Invalid`](crate::ErrorKind::Invalid) where its key is longer than 255 bytes. The transaction can be used
    /// further.
    pub fn publish<E: Event + Wire>(&mut self, event: E) -> Result<MessageId> {
        self.keep(&event, PublishOptions::default())
    }

    /// As [`publish`](Self::publish), with another key or subject, or with headers.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub fn publish_with<E: Event + Wire>(&mut self, event: E, options: PublishOptions) -> Result<MessageId> {
        self.keep(&event, options)
    }

    /// Enqueues a command with this transaction for the consumer that takes it; nobody waits for its answer.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub fn enqueue<C: Request + Wire>(&mut self, command: C) -> Result<MessageId> {
        self.keep(&command, PublishOptions::default())
    }

    pub(crate) fn appending(&mut self) -> Appending<'_, S> {
        let Self { tx: Some(tx), store, parent, appended, .. } = self else {
            unreachable!("only a `Tx` that is being dropped is empty")
        };
        Appending { store, tx, parent, appended }
    }

    fn keep<M: Message + Wire>(&mut self, message: &M, options: PublishOptions) -> Result<MessageId> {
        let parent = &self.parent;
        let subject = options.subject.unwrap_or_else(|| resources::subject(&parent.prefix, M::NAME));
        resources::check_subject(&subject).map_err(|error| error.context(format_args!("publishing `{}`", M::NAME)))?;
        let id = parent.id.child(&parent.consumer, self.messages.next);
        let codec = Str::from_static(<M::Codec as Codec<M>>::NAME);
        let mut envelope = Envelope::new(id, Str::from_static(M::NAME), codec, Bytes::new());
        envelope.correlation = parent.correlation;
        envelope.causation = parent.id;
        envelope.version = M::VERSION;
        envelope.trace = options.trace.or(parent.trace);
        envelope.key = options.key.or_else(|| message.key());
        envelope.headers = options.headers;
        let _span = created(&subject, &envelope).entered();
        let start = self.messages.frames.len();
        envelope
            .encode_with(&mut self.messages.frames, |out| <M::Codec as Codec<M>>::encode(message, out))
            .map_err(|error| error.context(format_args!("publishing `{}`", M::NAME)))?;
        let frame = start..self.messages.frames.len();
        self.messages.next += 1;
        self.messages.kept.push(Kept { id, subject, key: envelope.key, due: options.due, frame });
        Ok(id)
    }
}

/// The span of a message's making, by the names of OpenTelemetry's conventions: it leaves later, in a batch.
fn created(subject: &Str, envelope: &Envelope) -> tracing::Span {
    if !tracing::span_enabled!(target: "catga::create", tracing::Level::INFO) {
        return tracing::Span::none();
    }
    tracing::info_span!(
        target: "catga::create",
        "create",
        otel.name = format!("create {subject}"),
        otel.kind = "producer",
        messaging.operation.name = "create",
        messaging.operation.r#type = "create",
        messaging.destination.name = subject.as_str(),
        messaging.message.id = %envelope.id,
        messaging.message.conversation_id = %envelope.correlation,
    )
}

impl<S: UnitOfWork> Deref for Tx<S> {
    type Target = S::Tx;
    fn deref(&self) -> &S::Tx {
        let Some(tx) = &self.tx else { panic!("{GONE}") };
        tx
    }
}

impl<S: UnitOfWork> DerefMut for Tx<S> {
    fn deref_mut(&mut self) -> &mut S::Tx {
        let Some(tx) = &mut self.tx else { panic!("{GONE}") };
        tx
    }
}

impl<S: UnitOfWork> Drop for Tx<S> {
    fn drop(&mut self) {
        if let Some(tx) = self.tx.take() {
            self.home.put(tx, std::mem::take(&mut self.messages));
        }
    }
}

impl<S: UnitOfWork> std::fmt::Debug for Tx<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let published = self.messages.kept.len();
        f.debug_struct("Tx").field("store", &type_name::<S>()).field("published", &published).finish_non_exhaustive()
    }
}

impl<S: UnitOfWork> FromCall for Tx<S> {
    type Prepared = Arc<S>;

    fn prepare(resources: &Resources, needs: &mut Needs) -> Option<Arc<S>> {
        needs.take_unit::<S>();
        let store = resources.store::<S>();
        if store.is_none() {
            let name = type_name::<S>();
            needs.problem(format_args!(
                "takes `Tx<{name}>`, but the application has no such store: add it with `.store(…)`"
            ));
        }
        store
    }

    async fn from_call(store: &Arc<S>, call: &mut Call<'_>) -> Result<Self> {
        call.reclaim();
        if call.unit().is_none() {
            let tx = store.begin().await?;
            let mut unit = Unit::new(store.clone(), tx);
            if let Some(mark) = call.mark()
                && !unit.enter(&mark).await?
            {
                call.set_duplicate();
                return Err(mark.duplicate());
            }
            call.lend(Box::new(unit));
        }
        let parent = Parent::of(call);
        let bare = call.resources().sabotaged(Fault::NoSavepoint);
        Self::open(unit::<S>(call)?, parent, bare).await
    }

    async fn after(_: &Arc<S>, call: &mut Call<'_>, keep: bool) -> Result<()> {
        let resources = call.resources();
        unit::<S>(call)?.close_call(resources, keep).await
    }
}

impl<S: UnitOfWork> Tx<S> {
    /// Opens a call in a unit of work, and takes its transaction.
    pub(crate) async fn open(unit: &mut Unit<S>, parent: Parent, bare: bool) -> Result<Self> {
        let store = unit.store().clone();
        let (tx, home, messages) = unit.open_call(bare).await?;
        Ok(Self { tx: Some(tx), home, store, messages, parent, appended: 0 })
    }

    /// Takes the transaction out, for a call within this one.
    pub(crate) fn take(&mut self) -> Option<S::Tx> {
        self.tx.take()
    }

    /// Brings it back; `None` where that call lost it. `abandoned`: that call had not answered.
    pub(crate) fn bring_back(&mut self, tx: Option<S::Tx>, abandoned: bool) {
        self.tx = tx;
        self.messages.abandoned |= abandoned;
    }
}

/// Why a `Tx` can be empty while its handler has it.
const GONE: &str = "a call within this transaction did not give it back (its `Tx` was moved into a task or kept); \
                    nothing of it will be committed";

pub(crate) fn unit<'c, S: UnitOfWork>(call: &'c mut Call<'_>) -> Result<&'c mut Unit<S>> {
    call.open_unit().ok_or_else(call::other_unit::<S>)
}

/// Where a dropped [`Tx`] leaves its transaction and what it published.
pub(crate) struct Home<S: UnitOfWork>(Mutex<Option<(S::Tx, Messages)>>);

impl<S: UnitOfWork> Default for Home<S> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<S: UnitOfWork> Home<S> {
    fn put(&self, tx: S::Tx, messages: Messages) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((tx, messages));
    }

    pub(crate) fn take(&self) -> Option<(S::Tx, Messages)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What one call published: all frames in one buffer.
#[derive(Default)]
pub(crate) struct Messages {
    frames: Vec<u8>,
    kept: Vec<Kept>,
    /// The ordinal of the next child.
    pub(crate) next: u32,
    /// A call within this one was dropped before it had answered.
    abandoned: bool,
}

#[derive(Clone)]
struct Kept {
    id: MessageId,
    subject: Str,
    key: Option<Key>,
    due: Option<SystemTime>,
    frame: Range<usize>,
}

impl Messages {
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.frames.clear();
        self.kept.clear();
        (self.next, self.abandoned) = (0, false);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    pub(crate) fn outgoing(&self) -> Vec<Outgoing<'_>> {
        self.kept
            .iter()
            .map(|Kept { id, subject, key, due, frame }| Outgoing {
                id: *id,
                subject,
                frame: &self.frames[frame.clone()],
                key: key.as_ref(),
                due: *due,
            })
            .collect()
    }

    pub(crate) fn append(&mut self, other: &Self) {
        let offset = self.frames.len();
        self.frames.extend_from_slice(&other.frames);
        let moved = |kept: &Kept| Kept { frame: kept.frame.start + offset..kept.frame.end + offset, ..kept.clone() };
        self.kept.extend(other.kept.iter().map(moved));
    }
}
