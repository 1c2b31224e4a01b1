use crate::{Envelope, Error, ErrorKind, Key, Result, Sink};
use bytes::Bytes;

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

    /// The version of the contract, carried beside the name. A message of a newer version pauses its consumer; older
    /// ones are decoded as this type, or brought up by the derive's `from`.
    const VERSION: u16 = 1;

    /// Names that the message had before: a consumer takes those, too.
    const ALIASES: &[&str] = &[];

    /// What the handler answers; `()` for events and plain commands.
    type Reply: Send + 'static;

    /// Whether work that answered `reply` stays. The derive says `is_ok()` where the reply is a `Result`: a refusal
    /// undoes the writes and keeps the answer.
    fn keep(reply: &Self::Reply) -> bool {
        let _ = reply;
        true
    }

    /// The partition key. Messages with the same key leave in the order in which they were committed; a consumer takes
    /// them in that order, until one fails and comes again later.
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
    /// [`ErrorKind::Codec`] where the envelope carries another message or codec, or where its bytes do not decode, and
    /// [`ErrorKind::Unsupported`] where its version is newer than this program's; the text names all of them.
    fn open(envelope: &Envelope) -> Result<Self> {
        open(envelope)
    }

    /// The message as JSON text, for tools that know its type at run time only. The derives answer it for types that
    /// have serde's `Serialize` and `Deserialize`, whatever their codec.
    fn json() -> Option<JsonForm<Self>> {
        None
    }
}

/// How a message is written as JSON text, and read.
#[derive(Debug)]
pub struct JsonForm<M> {
    /// Writes one.
    pub print: fn(&M) -> Result<String>,
    /// Reads one.
    pub parse: fn(&str) -> Result<M>,
}

/// What [`Wire::open`] does by default; the derive's `open` ends with it. Hidden.
pub fn open<M: Wire>(envelope: &Envelope) -> Result<M> {
    check(envelope, M::NAME, M::ALIASES, M::VERSION)?;
    <M::Codec as Codec<M>>::decode_named(&envelope.codec, &envelope.payload)
        .map_err(|error| error.context(format_args!("message {} `{}`", envelope.id, envelope.name)))
}

/// Refuses an envelope of another message, or of a newer version.
fn check(envelope: &Envelope, name: &str, aliases: &[&str], version: u16) -> Result<()> {
    let Envelope { id, name: found, .. } = envelope;
    if *found != name && !aliases.contains(&found.as_str()) {
        return Err(Error::new(ErrorKind::Codec, format!("message {id} is `{found}`; expected `{name}`")));
    }
    if envelope.version > version {
        let text = format!(
            "message {id} `{found}` is of version {}, newer than version {version}, which this program knows: deploy \
             the newer program",
            envelope.version
        );
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    Ok(())
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

    /// Makes a value that may share the block it is decoded from: text and bytes of the message need no copy then.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode), which the default calls.
    fn decode_shared(bytes: &Bytes) -> Result<T> {
        Self::decode(bytes)
    }

    /// Decodes into a value that is there, so that its own memory is used again.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode), which the default calls; `value` is as it was then.
    fn decode_in_place(bytes: &[u8], value: &mut T) -> Result<()> {
        *value = Self::decode(bytes)?;
        Ok(())
    }

    /// Makes a value of bytes that the codec named `codec` wrote. A pair `(New, Old)` reads both.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode), and where `codec` is another one.
    fn decode_named(codec: &str, bytes: &Bytes) -> Result<T> {
        if codec != Self::NAME {
            let text = format!("bytes in codec `{codec}`; expected `{}`", Self::NAME);
            return Err(Error::new(ErrorKind::Codec, text));
        }
        Self::decode_shared(bytes).map_err(|error| error.context(format_args!("codec `{codec}`")))
    }
}

/// A rolling change of codec: `(New, Old)` writes the new one and reads both, by the name in the envelope, so that
/// codecs change while messages are under way.
///
/// ```
/// # use catga_contract::{Codec, Error, ErrorKind, Result, Sink};
/// # macro_rules! text { ($name:ident, $label:literal, $format:literal) => {
/// # struct $name;
/// # impl Codec<u8> for $name {
/// #     const NAME: &'static str = $label;
/// #     fn encode<W: Sink>(value: &u8, out: &mut W) -> Result<()> { Ok(write!(out, $format, value)?) }
/// #     fn decode(bytes: &[u8]) -> Result<u8> {
/// #         let text = std::str::from_utf8(bytes)?.trim_start_matches("0x");
/// #         Ok(u8::from_str_radix(text, if $label == "hex" { 16 } else { 10 })?)
/// #     }
/// # } } }
/// # text!(Hex, "hex", "{:#x}");
/// # text!(Decimal, "decimal", "{}");
/// type Both = (Hex, Decimal);
/// assert_eq!(Both::decode_named("hex", &"0x11".into())?, 17);
/// assert_eq!(Both::decode_named("decimal", &"17".into())?, 17);
/// assert_eq!(<Both as Codec<u8>>::NAME, "hex");
/// # Ok::<(), Error>(())
/// ```
impl<T, New: Codec<T>, Old: Codec<T>> Codec<T> for (New, Old) {
    const NAME: &'static str = New::NAME;

    fn encode<W: Sink>(value: &T, out: &mut W) -> Result<()> {
        New::encode(value, out)
    }

    fn decode(bytes: &[u8]) -> Result<T> {
        New::decode(bytes)
    }

    fn size_hint(value: &T) -> usize {
        New::size_hint(value)
    }

    fn decode_shared(bytes: &Bytes) -> Result<T> {
        New::decode_shared(bytes)
    }

    fn decode_in_place(bytes: &[u8], value: &mut T) -> Result<()> {
        New::decode_in_place(bytes, value)
    }

    fn decode_named(codec: &str, bytes: &Bytes) -> Result<T> {
        if codec == Old::NAME { Old::decode_named(codec, bytes) } else { New::decode_named(codec, bytes) }
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
