use catga_contract::{Codec, Envelope, Error, ErrorKind, JsonForm, Result, Wire};
use std::{
    any::{Any, TypeId, type_name},
    collections::HashMap,
    fmt,
    sync::Arc,
};

/// Messages whose type is known only at run time: by name, or by an alias, to value, bytes and JSON. An application has
/// one of what its consumers take and what was added by [`Builder::knows`](crate::Builder::knows): [`App::types`](crate::App::types).
///
/// ```
/// use catga::{Envelope, Event, MessageId, TypeRegistry};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
/// #[catga(name = "orders.placed", alias = "orders.put")]
/// struct Placed { id: u64 }
///
/// let mut types = TypeRegistry::default();
/// types.add::<Placed>();
/// let payload = types.encode("orders.placed", &Placed { id: 7 })?;
/// let envelope = Envelope::new(MessageId::new(), "orders.put".into(), "json".into(), payload.into());
/// let placed = types.decode(&envelope)?.downcast::<Placed>().unwrap();
/// assert_eq!(*placed, Placed { id: 7 });
/// assert_eq!(types.to_json(&envelope)?, r#"{"id":7}"#);
/// # Ok::<(), catga::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct TypeRegistry {
    /// By name and by each alias.
    types: HashMap<&'static str, Arc<Type>>,
}

struct Type {
    id: TypeId,
    name: &'static str,
    rust: &'static str,
    codec: &'static str,
    version: u16,
    form: Box<dyn Form>,
}

impl TypeRegistry {
    /// Adds a type under its name and aliases. One that is there stays: a second type of that name is a mistake that
    /// `build()` reports where both are consumed.
    pub fn add<M: Wire>(&mut self) {
        let added = Arc::new(Type {
            id: TypeId::of::<M>(),
            name: M::NAME,
            rust: type_name::<M>(),
            codec: <M::Codec as Codec<M>>::NAME,
            version: M::VERSION,
            form: Box::new(Typed::<M>(M::json())),
        });
        for name in std::iter::once(&M::NAME).chain(M::ALIASES) {
            self.types.entry(name).or_insert_with(|| added.clone());
        }
    }

    /// The names, without aliases, in alphabetical order.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> =
            self.types.iter().filter(|(name, of)| **name == of.name).map(|(name, _)| *name).collect();
        names.sort_unstable();
        names
    }

    /// The message of an envelope as a value of its type: downcast it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] where no type has that name; else as [`Wire::open`].
    pub fn decode(&self, envelope: &Envelope) -> Result<Box<dyn Any + Send>> {
        self.find(&envelope.name)?.form.decode(envelope)
    }

    /// The payload of a message of that name, by its codec.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] where no type has that name, [`ErrorKind::Invalid`] where the value is of another type,
    /// [`ErrorKind::Codec`] where it cannot be encoded.
    pub fn encode(&self, name: &str, message: &dyn Any) -> Result<Vec<u8>> {
        let of = self.find(name)?;
        if message.type_id() != of.id {
            let text = format!("the message `{name}` is a `{}`; the value is of another type", of.rust);
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let mut payload = Vec::new();
        of.form.encode(message, &mut payload)?;
        Ok(payload)
    }

    /// The message of an envelope as JSON text, whatever its codec.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode), and [`ErrorKind::Unsupported`] where the type has no JSON: the derive gives it to
    /// those that have serde's `Serialize` and `Deserialize`.
    pub fn to_json(&self, envelope: &Envelope) -> Result<String> {
        self.find(&envelope.name)?.form.to_json(envelope)
    }

    /// The payload, by its own codec, of the message of that name that the JSON text says.
    ///
    /// # Errors
    ///
    /// As [`to_json`](Self::to_json), and [`ErrorKind::Codec`] where the text does not say such a message.
    pub fn from_json(&self, name: &str, json: &str) -> Result<Vec<u8>> {
        let mut payload = Vec::new();
        self.find(name)?.form.parse(json, &mut payload)?;
        Ok(payload)
    }

    /// The codec and version of the type of that name, if there is one.
    #[cfg(feature = "cli")]
    pub(crate) fn form_of(&self, name: &str) -> Option<(&'static str, u16)> {
        self.types.get(name).map(|of| (of.codec, of.version))
    }

    fn find(&self, name: &str) -> Result<&Type> {
        self.types.get(name).map(|found| &**found).ok_or_else(|| {
            let known = match self.names().join("`, `") {
                none if none.is_empty() => "none is known".into(),
                names => format!("known are `{names}`"),
            };
            Error::new(ErrorKind::NotFound, format!("no message type is named `{name}`; {known}"))
        })
    }
}

impl fmt::Debug for TypeRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types = self.types.iter().map(|(name, of)| (name, (of.rust, of.codec, of.version)));
        f.debug_map().entries(types).finish()
    }
}

/// What can be done with a type that is forgotten.
trait Form: Send + Sync {
    fn decode(&self, envelope: &Envelope) -> Result<Box<dyn Any + Send>>;
    fn encode(&self, message: &dyn Any, payload: &mut Vec<u8>) -> Result<()>;
    fn to_json(&self, envelope: &Envelope) -> Result<String>;
    fn parse(&self, json: &str, payload: &mut Vec<u8>) -> Result<()>;
}

struct Typed<M>(Option<JsonForm<M>>);

impl<M: Wire> Typed<M> {
    fn json(&self) -> Result<&JsonForm<M>> {
        self.0.as_ref().ok_or_else(|| {
            let text = format!("`{}` has no JSON: derive serde's `Serialize` and `Deserialize` for it", M::NAME);
            Error::new(ErrorKind::Unsupported, text)
        })
    }
}

impl<M: Wire> Form for Typed<M> {
    fn decode(&self, envelope: &Envelope) -> Result<Box<dyn Any + Send>> {
        Ok(Box::new(M::open(envelope)?))
    }

    fn encode(&self, message: &dyn Any, payload: &mut Vec<u8>) -> Result<()> {
        // The registry has compared the types.
        message.downcast_ref().map_or(Ok(()), |message: &M| <M::Codec as Codec<M>>::encode(message, payload))
    }

    fn to_json(&self, envelope: &Envelope) -> Result<String> {
        (self.json()?.print)(&M::open(envelope)?)
    }

    fn parse(&self, json: &str, payload: &mut Vec<u8>) -> Result<()> {
        let message = (self.json()?.parse)(json).map_err(|error| error.context(format_args!("`{}`", M::NAME)))?;
        <M::Codec as Codec<M>>::encode(&message, payload)
    }
}
