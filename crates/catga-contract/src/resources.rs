use crate::{Error, ErrorKind, Result, Str, UnitOfWork, holding::Patience};
use std::{
    any::{Any, TypeId, type_name},
    collections::HashMap,
    sync::{Arc, LazyLock},
};

/// State and stores by type: complete before the first handler is prepared.
pub struct Resources {
    states: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    stores: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    prefix: Str,
    patience: Option<Patience>,
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
    /// In a store: marks messages without the consumer's name.
    MarkWithoutConsumer,
    /// In a store: marks what was given up as done.
    FailureIsDone,
    /// In a store: lets who lost a claim finish it.
    NoFence,
    /// In a store: undoes nothing inside a delivery.
    OneSavepoint,
    /// In a store: does not look whether its transaction is still open.
    NoAutocommitCheck,
    /// In a store: replays a letter to every consumer.
    ReplayToAll,
    /// In a store: lets come again at once what shall come after a pause.
    NoPause,
    /// In a store: counts every try.
    EveryTryCounts,
}

impl Resources {
    /// No state and no store; messages go to subjects under `prefix`.
    pub fn new(prefix: Str) -> Self {
        Self {
            states: HashMap::new(),
            stores: HashMap::new(),
            prefix,
            patience: None,
            #[cfg(feature = "sabotage")]
            fault: None,
        }
    }

    /// No state, no store, no prefix: what a static call has.
    pub fn none() -> &'static Self {
        static NONE: LazyLock<Resources> = LazyLock::new(|| Resources::new(Str::default()));
        &NONE
    }

    /// Bounds how long a handler may wait for something else while it holds a store's writer; without this, nothing
    /// does.
    pub fn set_patience(&mut self, patience: Patience) {
        self.patience = Some(patience);
    }

    pub(crate) fn patience(&self) -> Option<&Patience> {
        self.patience.as_ref()
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
    late: bool,
}

impl Needs {
    /// Of the handler with that description.
    pub fn new(handler: impl Into<String>) -> Self {
        Self { handler: handler.into(), problems: Vec::new(), unit: None, late: false }
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

    /// Whether the handler begins its transaction while it runs ([`Later`](crate::Later)).
    pub fn is_late(&self) -> bool {
        self.late
    }

    pub(crate) fn begin_late(&mut self) {
        self.late = true;
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
