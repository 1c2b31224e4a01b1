use crate::{Envelope, Error, ErrorKind, Headers, MessageId, Result, Str, Unit, UnitOfWork, unit::AnyUnit};
use std::{
    any::{Any, TypeId, type_name},
    collections::HashMap,
    future::Future,
    ops::Deref,
    sync::{Arc, LazyLock},
    time::SystemTime,
};

/// What a handler may know about the message at hand. Take it as a parameter of the handler.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Context {
    /// The message's id; that of a request that came by a direct call is made when somebody first asks.
    pub id: MessageId,
    /// The conversation: the id of the message that began it.
    pub correlation: MessageId,
    /// The message that caused this one; [`MessageId::NIL`] where there was none.
    pub causation: MessageId,
    /// 1 on the first try that was started.
    pub attempt: u32,
    /// When the answer is of no more use.
    pub deadline: Option<SystemTime>,
    /// The consumer's durable name, such as `shop.mail`; empty in a direct call.
    pub consumer: Str,
    /// The message's headers.
    pub headers: Headers,
    /// Who asks, as the caller of a direct call said: a user's or a service's name.
    pub principal: Option<Str>,
    /// Which attempt of the caller this is: equal keys ask for one effect.
    pub idempotency_key: Option<Str>,
}

/// What the caller of a request may say beside it.
///
/// ```
/// use catga_contract::SendOptions;
/// use std::time::{Duration, SystemTime};
///
/// let options = SendOptions {
///     idempotency_key: Some("order-17".into()),
///     deadline: Some(SystemTime::now() + Duration::from_secs(2)),
///     ..Default::default()
/// };
/// assert!(options.principal.is_none());
/// ```
#[derive(Clone, Debug, Default)]
pub struct SendOptions {
    /// Equal keys ask for one effect; behaviors that know of it answer the second with the first one's answer.
    pub idempotency_key: Option<Str>,
    /// When the answer is of no more use: the call ends with `Timeout` then. Default: never.
    pub deadline: Option<SystemTime>,
    /// The conversation that the request belongs to. Default: it begins one.
    pub correlation: Option<MessageId>,
    /// Headers for the handler.
    pub headers: Headers,
    /// Who asks.
    pub principal: Option<Str>,
    /// W3C trace context, as it stands on the wire; what the handler publishes carries it on.
    pub trace: Option<[u8; 55]>,
}

/// One call of a handler: its context, the application's resources, and the unit of work that is open.
pub struct Call<'a> {
    resources: &'a Resources,
    delivered: Option<Delivered<'a>>,
    options: Option<Box<SendOptions>>,
    context: Option<Context>,
    unit: Option<Box<dyn AnyUnit>>,
    commit_anyway: bool,
    held: Vec<Box<dyn Any + Send + Sync>>,
}

struct Delivered<'a> {
    envelope: &'a Envelope,
    consumer: &'a Str,
    attempt: u32,
}

impl<'a> Call<'a> {
    /// A call from within this process.
    #[inline]
    pub fn direct(resources: &'a Resources) -> Self {
        Self {
            resources,
            delivered: None,
            options: None,
            context: None,
            unit: None,
            commit_anyway: false,
            held: Vec::new(),
        }
    }

    /// A call from within this process whose caller said more than the request.
    pub fn direct_with(resources: &'a Resources, options: SendOptions) -> Self {
        Self { options: Some(Box::new(options)), ..Self::direct(resources) }
    }

    /// The call for a delivery: `attempt` is 1 on the first try.
    #[inline]
    pub fn delivered(resources: &'a Resources, envelope: &'a Envelope, consumer: &'a Str, attempt: u32) -> Self {
        Self { delivered: Some(Delivered { envelope, consumer, attempt }), ..Self::direct(resources) }
    }

    /// The context. Made at first use: before, neither the clock nor a random source is read.
    pub fn context(&mut self) -> &Context {
        let (delivered, options) = (&self.delivered, &self.options);
        self.context.get_or_insert_with(|| match delivered {
            Some(Delivered { envelope, consumer, attempt }) => Context {
                id: envelope.id,
                correlation: envelope.correlation,
                causation: envelope.causation,
                attempt: *attempt,
                deadline: envelope.deadline,
                consumer: (*consumer).clone(),
                headers: envelope.headers.clone(),
                principal: None,
                idempotency_key: None,
            },
            None => {
                let id = MessageId::new();
                let options = options.as_deref().cloned().unwrap_or_default();
                let SendOptions { idempotency_key, deadline, correlation, headers, principal, .. } = options;
                Context {
                    id,
                    correlation: correlation.unwrap_or(id),
                    causation: MessageId::NIL,
                    attempt: 1,
                    deadline,
                    consumer: Str::default(),
                    headers,
                    principal,
                    idempotency_key,
                }
            }
        })
    }

    /// The W3C trace context that the message, or the caller, brought.
    pub fn trace(&self) -> Option<[u8; 55]> {
        match &self.delivered {
            Some(delivered) => delivered.envelope.trace,
            None => self.options.as_ref().and_then(|options| options.trace),
        }
    }

    /// The application's state and stores.
    #[inline]
    pub fn resources(&self) -> &'a Resources {
        self.resources
    }

    /// Lends an open unit of work to this call.
    #[inline]
    pub fn lend(&mut self, unit: Box<dyn AnyUnit>) {
        self.unit = Some(unit);
    }

    /// Whether a unit of work is open.
    #[inline]
    pub fn has_unit(&self) -> bool {
        self.unit.is_some()
    }

    /// Takes the unit of work back: the one that was lent, or the one that an extractor opened.
    #[inline]
    pub fn take_unit(&mut self) -> Option<Box<dyn AnyUnit>> {
        self.unit.take()
    }

    /// The unit of work that is open in a store of type `S`: the worker's, or the one that a `Tx` of this call opened.
    /// What is written into it outside a handler's own savepoint commits with the call's work.
    pub fn open_unit<S: UnitOfWork>(&mut self) -> Option<&mut Unit<S>> {
        let unit: &mut dyn Any = self.unit.as_deref_mut()?;
        unit.downcast_mut()
    }

    /// Holds a guard until the call has ended and its work is committed or undone.
    pub fn hold(&mut self, guard: impl Send + Sync + 'static) {
        self.held.push(Box::new(guard));
    }

    /// Asks for the commit of the open unit although the answer does not keep the handler's work, which was undone
    /// already: for behaviors that keep the answer itself.
    pub fn commit_anyway(&mut self) {
        self.commit_anyway = true;
    }

    /// Whether a behavior asked for the commit.
    pub fn commits_anyway(&self) -> bool {
        self.commit_anyway
    }

    #[inline]
    pub(crate) fn unit(&mut self) -> Option<&mut (dyn AnyUnit + 'static)> {
        self.unit.as_deref_mut()
    }
}

impl std::fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("context", &self.context).finish_non_exhaustive()
    }
}

/// State and stores by type: complete before the first handler is prepared.
pub struct Resources {
    states: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    stores: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    prefix: Str,
    #[cfg(feature = "sabotage")]
    fault: Option<Fault>,
}

/// A deliberate defect, for the demo's self-test. It has no effect unless the hidden feature `sabotage` is on.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Settles a delivery in a commit of its own before its handler runs.
    AckFirst,
    /// Handles without writing or asking for the inbox mark.
    NoMark,
    /// Keeps the messages of a call that failed.
    OutboxOutside,
    /// Keeps the writes of a call that failed.
    NoSavepoint,
}

impl Resources {
    /// No state and no store; messages go to subjects under `prefix`.
    pub fn new(prefix: Str) -> Self {
        Self {
            states: HashMap::new(),
            stores: HashMap::new(),
            prefix,
            #[cfg(feature = "sabotage")]
            fault: None,
        }
    }

    /// No state, no store, no prefix: what a static call has.
    pub fn none() -> &'static Self {
        static NONE: LazyLock<Resources> = LazyLock::new(|| Resources::new(Str::default()));
        &NONE
    }

    /// Adds a state; answers `false` if there was one of this type.
    pub fn add_state<T: Send + Sync + 'static>(&mut self, state: Arc<T>) -> bool {
        self.states.insert(TypeId::of::<T>(), Box::new(state)).is_none()
    }

    /// Adds a store; answers `false` if there was one of this type.
    pub fn add_store<S: UnitOfWork>(&mut self, store: Arc<S>) -> bool {
        self.stores.insert(TypeId::of::<S>(), Box::new(store)).is_none()
    }

    /// The state of type `T`.
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.states.get(&TypeId::of::<T>())?.downcast_ref().cloned()
    }

    /// The store of type `S`.
    pub fn store<S: UnitOfWork>(&self) -> Option<Arc<S>> {
        self.stores.get(&TypeId::of::<S>())?.downcast_ref().cloned()
    }

    /// The subject of messages of that name: `{prefix}.{name}`, or the name alone where the prefix is empty.
    pub fn subject(&self, name: &str) -> Str {
        subject(&self.prefix, name)
    }

    pub(crate) fn prefix(&self) -> Str {
        self.prefix.clone()
    }

    /// Whether that defect is wanted: never without the feature.
    #[doc(hidden)]
    pub fn sabotaged(&self, fault: Fault) -> bool {
        #[cfg(feature = "sabotage")]
        return self.fault == Some(fault);
        #[cfg(not(feature = "sabotage"))]
        {
            let _ = fault;
            false
        }
    }

    /// Asks for a deliberate defect.
    #[cfg(feature = "sabotage")]
    #[doc(hidden)]
    pub fn sabotage(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }
}

impl std::fmt::Debug for Resources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (states, stores) = (self.states.len(), self.stores.len());
        f.debug_struct("Resources").field("states", &states).field("stores", &stores).finish_non_exhaustive()
    }
}

/// What a handler needs of the application, found out when the application is built.
#[derive(Debug)]
pub struct Needs {
    handler: String,
    problems: Vec<String>,
    unit: Option<(TypeId, &'static str)>,
}

impl Needs {
    /// Of the handler with that description.
    pub fn new(handler: impl Into<String>) -> Self {
        Self { handler: handler.into(), problems: Vec::new(), unit: None }
    }

    /// Reports what is missing or wrong, as a sentence without its subject: ``takes `State<Repo>`, but …``.
    pub fn problem(&mut self, text: impl std::fmt::Display) {
        self.problems.push(format!("{} {text}", self.handler));
    }

    /// What was reported.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The store in whose unit of work the handler runs, where it takes a [`Tx`](crate::Tx).
    pub fn unit(&self) -> Option<TypeId> {
        self.unit.map(|(store, _)| store)
    }

    pub(crate) fn take_unit<S: UnitOfWork>(&mut self) {
        let name = type_name::<S>();
        if let Some((_, other)) = self.unit.replace((TypeId::of::<S>(), name)) {
            self.problem(format_args!(
                "takes two transactions, of `{other}` and of `{name}`; one call commits in one store"
            ));
        }
    }
}

/// What a plain `async fn` may take after its message: [`State<T>`], [`Context`], [`Tx<S>`](crate::Tx), or a type of
/// one's own.
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}`",
    note = "after its message a handler may take `State<T>`, `Context` and `Tx<Store>`, or any type that implements `FromCall`"
)]
pub trait FromCall: Sized + Send {
    /// What is looked up once, when the application is built.
    type Prepared: Send + Sync + 'static;

    /// Looks up what calls need; reports to `needs` and answers `None` where something is missing.
    fn prepare(resources: &Resources, needs: &mut Needs) -> Option<Self::Prepared>;

    /// Makes the value for one call.
    fn from_call(prepared: &Self::Prepared, call: &mut Call<'_>) -> impl Future<Output = Result<Self>> + Send;

    /// Runs when the handler has answered, in reverse order of the parameters; `keep` says whether its work stays.
    ///
    /// # Errors
    ///
    /// An error makes the call fail, whatever the handler answered.
    fn after(prepared: &Self::Prepared, call: &mut Call<'_>, keep: bool) -> impl Future<Output = Result<()>> + Send {
        let _ = (prepared, call, keep);
        async { Ok(()) }
    }
}

impl FromCall for Context {
    type Prepared = ();
    fn prepare(_: &Resources, _: &mut Needs) -> Option<()> {
        Some(())
    }
    async fn from_call((): &(), call: &mut Call<'_>) -> Result<Self> {
        Ok(call.context().clone())
    }
}

/// The application's state of type `T`, shared.
#[derive(Debug)]
pub struct State<T>(pub Arc<T>);

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for State<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Send + Sync + 'static> FromCall for State<T> {
    type Prepared = Arc<T>;
    fn prepare(resources: &Resources, needs: &mut Needs) -> Option<Arc<T>> {
        let state = resources.state::<T>();
        if state.is_none() {
            let name = type_name::<T>();
            needs.problem(format_args!(
                "takes `State<{name}>`, but the application has no such state: add it with `.state(…)`"
            ));
        }
        state
    }
    async fn from_call(state: &Arc<T>, _: &mut Call<'_>) -> Result<Self> {
        Ok(Self(state.clone()))
    }
}

/// Refuses a subject out of bounds: 1 to 255 bytes. Hidden.
pub fn check_subject(subject: &str) -> Result<()> {
    if (1..=255).contains(&subject.len()) {
        return Ok(());
    }
    let start: String = subject.chars().take(40).collect();
    let text = format!("the subject `{start}…` has {} bytes; 1 to 255", subject.len());
    Err(Error::new(ErrorKind::Invalid, text))
}

pub(crate) fn subject(prefix: &str, name: &str) -> Str {
    if prefix.is_empty() { name.into() } else { format!("{prefix}.{name}").into() }
}

/// The error of a call that found another store's unit of work open.
pub(crate) fn other_unit<S: UnitOfWork>() -> Error {
    let text =
        format!("this call works in another store already; it cannot take a transaction of `{}`", type_name::<S>());
    Error::new(ErrorKind::Unsupported, text)
}
