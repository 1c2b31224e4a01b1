use crate::{Envelope, Error, ErrorKind, Key, Result, Sink};

/// A value that travels under a stable name; its Rust path is no protocol.
///
/// A message needs no derive: this impl and that of [`Request`] are all that a request needs in process. One that
/// leaves the process implements [`Wire`] too.
///
/// ```
/// use catga_contract::{Message, Request};
///
/// struct Ping;
/// impl Message for Ping {
///     const NAME: &'static str = "ping";
///     type Reply = &'static str;
/// }
/// impl Request for Ping {}
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no message",
    note = "derive it: #[derive(Request)] or #[derive(Event)] with #[catga(name = \"orders.place\")]"
)]
pub trait Message: Send + Sync + 'static {
    /// Wire name, such as `orders.place`: at most 255 bytes of letters, digits, `.`, `_` and `-`.
    const NAME: &'static str;

    /// The version of the contract, carried beside the name.
    const VERSION: u16 = 1;

    /// What the handler answers; `()` for events and plain commands.
    type Reply: Send + 'static;

    /// Whether work that answered `reply` stays. The derive says `is_ok()` where the reply is a `Result`: a refusal
    /// undoes the writes and keeps the answer.
    fn keep(reply: &Self::Reply) -> bool {
        let _ = reply;
        true
    }

    /// Messages with the same key are handled in the order in which they were committed.
    fn key(&self) -> Option<Key> {
        None
    }
}

/// A message that exactly one handler answers.
pub trait Request: Message {}

/// A message that any number of handlers hear.
pub trait Event: Message<Reply = ()> + Clone {}

/// A message that may leave the process: it knows its codec, so publishing what cannot be encoded is a compile error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot leave the process: it has no codec",
    note = "the derives emit `Wire` with JSON unless they are told `#[catga(local)]`; JSON needs serde's `Serialize` and `Deserialize`"
)]
pub trait Wire: Message + Sized {
    /// Turns the message and its reply into bytes and back.
    type Codec: Codec<Self> + Codec<Self::Reply>;

    /// Decodes the message of an envelope.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] where the envelope carries another message or codec, or where its bytes do not decode;
    /// the text names all of them.
    fn open(envelope: &Envelope) -> Result<Self> {
        let codec = <Self::Codec as Codec<Self>>::NAME;
        if envelope.name != Self::NAME || envelope.codec != codec {
            let text = format!(
                "message {} is `{}` in codec `{}`; expected `{}` in codec `{codec}`",
                envelope.id,
                envelope.name,
                envelope.codec,
                Self::NAME
            );
            return Err(Error::new(ErrorKind::Codec, text));
        }
        <Self::Codec as Codec<Self>>::decode(&envelope.payload)
            .map_err(|error| error.context(format!("message {} `{}` in codec `{codec}`", envelope.id, envelope.name)))
    }
}

/// Turns a `T` into bytes and back.
#[diagnostic::on_unimplemented(
    message = "the codec `{Self}` cannot carry `{T}`",
    note = "for JSON, `{T}` must implement serde's `Serialize` and `Deserialize`"
)]
pub trait Codec<T>: 'static {
    /// The codec's name in the envelope, such as `json`: at most 255 bytes.
    const NAME: &'static str;

    /// Appends the bytes of `value` to `out`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] where the value has no encoding; what `out` answers where it is full.
    fn encode<W: Sink>(value: &T, out: &mut W) -> Result<()>;

    /// Makes a value of exactly these bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] where they are not what the codec expects.
    fn decode(bytes: &[u8]) -> Result<T>;

    /// A size in bytes that is enough for most values; it picks the buffer.
    fn size_hint(value: &T) -> usize {
        let _ = value;
        256
    }
}

/// How the derives find out whether a reply is a `Result`: by method resolution on the type, which sees through
/// aliases. The method's name is one that no trait in a user's scope has. `(&Keep(reply)).__catga_keep()` takes the first impl where it fits and the second one elsewhere.
#[allow(missing_docs, reason = "hidden: only the derives name it")]
pub(crate) mod keep {
    #[derive(Debug)]
    pub struct Keep<'a, T>(pub &'a T);

    pub trait KeepResult {
        fn __catga_keep(&self) -> bool;
    }
    impl<T, E> KeepResult for Keep<'_, Result<T, E>> {
        fn __catga_keep(&self) -> bool {
            self.0.is_ok()
        }
    }

    pub trait KeepAny {
        fn __catga_keep(&self) -> bool;
    }
    impl<T> KeepAny for &Keep<'_, T> {
        fn __catga_keep(&self) -> bool {
            true
        }
    }
}
