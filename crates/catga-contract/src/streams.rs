//! Typed events in and out of streams.

use crate::{
    Codec, Envelope, Error, ErrorKind, Event, EventsInTx, Expect, MessageId, NewEvent, Recorded, Result, Str, Tx, Wire,
    tx::Appending,
};
use bytes::Bytes;
use std::{any::type_name, ops::Range};

/// How many events a fold reads at a time.
const PAGE: usize = 256;

/// What can be appended to a stream: an event, an enum of events with the derive `EventSet`, and several of either as
/// a slice, an array, a `Vec` or a tuple. Events of kinds that are known only when the program runs go as
/// `&[&placed as &dyn ToEvents, &paid]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be appended to a stream",
    note = "an event can, `#[derive(Event)]`, an enum of events, `#[derive(EventSet)]`, and slices, `Vec`s and tuples of them"
)]
pub trait ToEvents: Send + Sync {
    /// Writes the events into the batch, in their order.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] where one cannot be encoded, [`ErrorKind::Invalid`] where its key is longer than 255 bytes.
    fn to_events(&self, batch: &mut EventBatch) -> Result<()>;
}

/// What is read from a stream: an event, or an enum of events with the derive `EventSet`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from a stream",
    note = "an event can, `#[derive(Event)]`, and an enum of events, `#[derive(EventSet)]`"
)]
pub trait FromEvent: Sized + Send {
    /// The event in that envelope, or `None` where it is another one.
    ///
    /// # Errors
    ///
    /// As [`Wire::open`].
    fn from_event(envelope: &Envelope) -> Result<Option<Self>>;
}

impl<E: Event + Wire> ToEvents for E {
    fn to_events(&self, batch: &mut EventBatch) -> Result<()> {
        batch.push(self)
    }
}

impl<E: Event + Wire> FromEvent for E {
    fn from_event(envelope: &Envelope) -> Result<Option<Self>> {
        let is_mine = envelope.name == E::NAME || E::ALIASES.contains(&envelope.name.as_str());
        is_mine.then(|| E::open(envelope)).transpose()
    }
}

impl<T: ToEvents> ToEvents for [T] {
    fn to_events(&self, batch: &mut EventBatch) -> Result<()> {
        self.iter().try_for_each(|events| events.to_events(batch))
    }
}

impl<T: ToEvents, const N: usize> ToEvents for [T; N] {
    fn to_events(&self, batch: &mut EventBatch) -> Result<()> {
        self.as_slice().to_events(batch)
    }
}

impl<T: ToEvents> ToEvents for Vec<T> {
    fn to_events(&self, batch: &mut EventBatch) -> Result<()> {
        self.as_slice().to_events(batch)
    }
}

impl ToEvents for &dyn ToEvents {
    fn to_events(&self, batch: &mut EventBatch) -> Result<()> {
        (**self).to_events(batch)
    }
}

macro_rules! tuples {
    ($($name:ident $index:tt),*) => {
        impl<$($name: ToEvents),*> ToEvents for ($($name,)*) {
            fn to_events(&self, batch: &mut EventBatch) -> Result<()> {
                $(self.$index.to_events(batch)?;)*
                Ok(())
            }
        }
    };
}

tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);

/// Encoded events for one append: all frames in one buffer.
#[derive(Debug, Default)]
pub struct EventBatch {
    frames: Vec<u8>,
    kept: Vec<Kept>,
    descent: Option<Descent>,
}

#[derive(Debug)]
struct Kept {
    id: MessageId,
    name: &'static str,
    frame: Range<usize>,
}

/// What the events of a batch descend from, where they are appended while a message is handled.
#[derive(Debug)]
struct Descent {
    parent: MessageId,
    correlation: MessageId,
    trace: Option<[u8; 55]>,
    /// Who appends, and to which stream: no consumer has a name like it, so no published message has such an id.
    by: String,
    /// How many events the call had appended before.
    before: u32,
}

impl EventBatch {
    /// These events, with fresh ids.
    ///
    /// # Errors
    ///
    /// As [`ToEvents::to_events`].
    pub fn of<E: ToEvents + ?Sized>(events: &E) -> Result<Self> {
        let mut batch = Self::default();
        events.to_events(&mut batch)?;
        Ok(batch)
    }

    /// Encodes an event behind those that are there.
    ///
    /// # Errors
    ///
    /// As [`ToEvents::to_events`]; the batch is as it was then.
    pub fn push<E: Event + Wire>(&mut self, event: &E) -> Result<()> {
        let id = match &self.descent {
            None => MessageId::new(),
            Some(descent) => {
                let ordinal = u32::try_from(self.kept.len()).ok().and_then(|index| descent.before.checked_add(index));
                let ordinal = ordinal
                    .ok_or_else(|| Error::new(ErrorKind::Invalid, "more than 4,294,967,295 events in one call"))?;
                descent.parent.child(&descent.by, ordinal)
            }
        };
        let codec = Str::from_static(<E::Codec as Codec<E>>::NAME);
        let mut envelope = Envelope::new(id, Str::from_static(E::NAME), codec, Bytes::new());
        if let Some(descent) = &self.descent {
            envelope.correlation = descent.correlation;
            envelope.causation = descent.parent;
            envelope.trace = descent.trace;
        }
        envelope.version = E::VERSION;
        envelope.key = event.key();
        let start = self.frames.len();
        envelope
            .encode_with(&mut self.frames, |out| <E::Codec as Codec<E>>::encode(event, out))
            .map_err(|error| error.context(format_args!("appending `{}`", E::NAME)))?;
        self.kept.push(Kept { id, name: E::NAME, frame: start..self.frames.len() });
        Ok(())
    }

    /// The events as a store takes them.
    pub fn events(&self) -> Vec<NewEvent<'_>> {
        let event = |Kept { id, name, frame }: &Kept| NewEvent { id: *id, name, frame: &self.frames[frame.clone()] };
        self.kept.iter().map(event).collect()
    }
}

impl Recorded {
    /// The event, typed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] where its bytes cannot be read, [`ErrorKind::Unsupported`] where it is none of `E`, or of a
    /// newer version than this program knows; the text names stream, version and event.
    pub fn read<E: FromEvent>(&self) -> Result<E> {
        let place = |error: Error| error.context(format_args!("stream `{}`, version {}", self.stream, self.version));
        let envelope = self.open().map_err(place)?;
        let event = E::from_event(&envelope).map_err(place)?;
        event.ok_or_else(|| {
            let text = format!("event {} `{}` is none of `{}`", envelope.id, envelope.name, type_name::<E>());
            place(Error::new(ErrorKind::Unsupported, text))
        })
    }
}

impl<S: EventsInTx> Tx<S> {
    /// Appends events to a stream with this transaction, all or none. Answers the version of the last.
    ///
    /// Their ids derive from the message that is being handled, so that handling it again appends nothing twice. What
    /// was published stays published: an append publishes nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] where the stream is of another version than expected, naming both,
    /// [`ErrorKind::Invalid`] where its name is empty or longer than 255 bytes or an event is too large, and what
    /// [`ToEvents::to_events`] answers. The transaction can be used further.
    pub async fn append<E: ToEvents + ?Sized>(&mut self, stream: &str, expect: Expect, events: &E) -> Result<u64> {
        let Appending { store, tx, parent, appended } = self.appending();
        let by = format!("{}/{stream}", parent.consumer);
        let (id, correlation, trace) = (parent.id, parent.correlation, parent.trace);
        let descent = Descent { parent: id, correlation, trace, by, before: *appended };
        let mut batch = EventBatch { descent: Some(descent), ..EventBatch::default() };
        events.to_events(&mut batch)?;
        let version = store.append_in(tx, stream, expect, &batch.events()).await?;
        // Counted where it succeeded only: what is appended again after a conflict is the same event, not another one.
        *appended = appended.saturating_add(batch.kept.len() as u32);
        Ok(version)
    }

    /// Folds all events of a stream into a state, in their order, this transaction's own among them. Answers the state
    /// and the stream's version, 0 where it does not exist, as [`Expect::Version`] wants it.
    ///
    /// # Errors
    ///
    /// As [`Recorded::read`], and where the store fails.
    pub async fn fold<E: FromEvent, T: Send>(
        &mut self,
        stream: &str,
        mut state: T,
        mut apply: impl FnMut(&mut T, E) + Send,
    ) -> Result<(T, u64)> {
        let Appending { store, tx, .. } = self.appending();
        let mut version = 0;
        loop {
            let page = store.read_in(tx, stream, version + 1, PAGE).await?;
            for event in &page {
                apply(&mut state, event.read()?);
                version = event.version;
            }
            if page.len() < PAGE {
                return Ok((state, version));
            }
        }
    }
}
