use crate::{
    Context, Envelope, Error, ErrorKind, MessageId, Needs, Resources, Result, SendOptions, StoreId, Str, Unit,
    UnitOfWork, unit::AnyUnit,
};
use std::{
    any::{Any, type_name},
    future::Future,
    ops::Deref,
    sync::{Arc, atomic::AtomicBool},
};

/// One call of a handler: its context, the application's resources, and the unit of work that is open.
pub struct Call<'a> {
    resources: &'a Resources,
    delivered: Option<Delivered<'a>>,
    context: Option<Context>,
    unit: Option<Box<dyn AnyUnit>>,
    /// What few calls have: apart, so that making and dropping the others costs little.
    rare: Option<Box<Rare>>,
}

#[derive(Default)]
struct Rare {
    options: SendOptions,
    late: Option<Late>,
    commit_anyway: bool,
    duplicate: bool,
    held: Vec<Box<dyn Any + Send + Sync>>,
}

struct Delivered<'a> {
    envelope: &'a Envelope,
    consumer: &'a Str,
    attempt: u32,
}

/// What marks a delivery as handled.
#[derive(Clone)]
pub(crate) struct Mark {
    pub(crate) consumer: Str,
    pub(crate) id: MessageId,
}

impl Mark {
    /// The error of a call whose message was handled before.
    pub(crate) fn duplicate(&self) -> Error {
        let text = format!("message {} was handled by consumer `{}` already", self.id, self.consumer);
        Error::permanent(text)
    }
}

/// A transaction that the handler may begin while it runs.
pub(crate) struct Late {
    pub(crate) store: StoreId,
    /// Whether it has begun.
    pub(crate) began: Arc<AtomicBool>,
    /// Where the unit of work is found afterwards.
    pub(crate) place: Box<dyn Any + Send>,
    /// Takes it from there, for a handler that was dropped or panicked.
    pub(crate) reclaim: fn(&(dyn Any + Send)) -> Option<Box<dyn AnyUnit>>,
}

impl<'a> Call<'a> {
    /// A call from within this process.
    #[inline]
    pub fn direct(resources: &'a Resources) -> Self {
        Self { resources, delivered: None, context: None, unit: None, rare: None }
    }

    /// A call from within this process whose caller said more than the request.
    pub fn direct_with(resources: &'a Resources, options: SendOptions) -> Self {
        Self { rare: Some(Box::new(Rare { options, ..Default::default() })), ..Self::direct(resources) }
    }

    /// The call for a delivery: `attempt` is 1 on the first try.
    #[inline]
    pub fn delivered(resources: &'a Resources, envelope: &'a Envelope, consumer: &'a Str, attempt: u32) -> Self {
        Self { delivered: Some(Delivered { envelope, consumer, attempt }), ..Self::direct(resources) }
    }

    /// The call for a request that another process sent, and waits for.
    pub fn asked(resources: &'a Resources, envelope: &Envelope) -> Self {
        let context = Context {
            id: envelope.id,
            correlation: envelope.correlation,
            causation: envelope.causation,
            attempt: 1,
            deadline: envelope.deadline,
            consumer: Str::default(),
            headers: envelope.headers.clone(),
            principal: None,
            idempotency_key: None,
        };
        Self::within(resources, context, envelope.trace)
    }

    /// The call of a handler from within another handler's.
    pub fn within(resources: &'a Resources, context: Context, trace: Option<[u8; 55]>) -> Self {
        let options = SendOptions { trace, ..Default::default() };
        Self { context: Some(context), ..Self::direct_with(resources, options) }
    }

    /// The context. Made at first use: before, neither the clock nor a random source is read.
    pub fn context(&mut self) -> &Context {
        let (delivered, rare) = (&self.delivered, &self.rare);
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
                let options = rare.as_ref().map(|rare| rare.options.clone()).unwrap_or_default();
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
            None => self.rare.as_ref().and_then(|rare| rare.options.trace),
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
        self.reclaim();
        self.unit.take()
    }

    /// Takes the unit of work back that a handler had begun which was dropped or panicked.
    pub(crate) fn reclaim(&mut self) {
        if let Some(late) = self.take_late()
            && let Some(unit) = (late.reclaim)(&*late.place)
        {
            self.unit = Some(unit);
        }
    }

    /// The unit of work that is open in a store of type `S`: the worker's, or the one that a `Tx` of this call opened.
    /// What is written into it outside a handler's own savepoint commits with the call's work.
    pub fn open_unit<S: UnitOfWork>(&mut self) -> Option<&mut Unit<S>> {
        let unit: &mut dyn Any = self.unit.as_deref_mut()?;
        unit.downcast_mut()
    }

    /// Holds a guard until the call has ended and its work is committed or undone.
    pub fn hold(&mut self, guard: impl Send + Sync + 'static) {
        self.rare().held.push(Box::new(guard));
    }

    /// Asks for the commit of the open unit although the answer does not keep the handler's work, which was undone
    /// already: for behaviors that keep the answer itself.
    pub fn commit_anyway(&mut self) {
        self.rare().commit_anyway = true;
    }

    /// Whether a behavior asked for the commit.
    pub fn commits_anyway(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.commit_anyway)
    }

    /// Whether it came out that the delivery was handled before: the call did nothing, and its error says so.
    pub fn is_duplicate(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.duplicate)
    }

    pub(crate) fn set_duplicate(&mut self) {
        self.rare().duplicate = true;
    }

    /// What marks this call's delivery as handled, if it is one.
    pub(crate) fn mark(&self) -> Option<Mark> {
        let Delivered { envelope, consumer, .. } = self.delivered.as_ref()?;
        Some(Mark { consumer: (*consumer).clone(), id: envelope.id })
    }

    pub(crate) fn late(&self) -> Option<&Late> {
        self.rare.as_ref()?.late.as_ref()
    }

    pub(crate) fn set_late(&mut self, late: Late) {
        self.rare().late = Some(late);
    }

    pub(crate) fn take_late(&mut self) -> Option<Late> {
        self.rare.as_mut()?.late.take()
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
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

/// What a plain `async fn` may take after its message: [`State<T>`], [`Context`], [`Tx<S>`](crate::Tx), or a type of
/// one's own.
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}`",
    note = "after its message a handler may take `State<T>`, `Context`, `Bus`, `Tx<Store>` and `Later<Tx<Store>>`, or any type that implements `FromCall`"
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

/// The error of a call that found another store's unit of work open.
pub(crate) fn other_unit<S: UnitOfWork>() -> Error {
    let text =
        format!("this call works in another store already; it cannot take a transaction of `{}`", type_name::<S>());
    Error::new(ErrorKind::Unsupported, text)
}
