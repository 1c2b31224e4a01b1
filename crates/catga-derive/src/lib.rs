//! The derives of Catga: [`Request`](macro@Request), [`Event`](macro@Event), [`EventSet`](macro@EventSet) and
//! [`MemoryPack`](macro@MemoryPack).
//!
//! It is a crate of its own because rustc wants procedural macros in one; nobody depends on it but `catga` and
//! `catga-memorypack`, which re-export them. The derives only save typing: what they emit are the few `impl`s
//! that one would write by hand, and neither needs anything else of this crate.
//!
//! # Attributes
//!
//! All stand on the type, in one `#[catga(...)]` or in several.
//!
//! | attribute | on | default | means |
//! |---|---|---|---|
//! | `name = "orders.place"` | both | none: required | The wire name: 1 to 255 bytes of ASCII letters, digits, `.`, `_` and `-`, no part between dots empty. |
//! | `reply = Receipt` | `Request` | `()` | What the handler answers, `Send + 'static`. Where it is a `Result`, also behind an alias, work that answered `Err` is undone. |
//! | `key = customer`, `key = 0` | structs | no key | The field that is the partition key: text, an integer, a UUID, a message id, or an `Option` of one; at most 255 bytes when it is published. |
//! | `version = 2` | both | `1` | The version of the contract, 1 to 65,535. Messages of a newer version than a program knows pause its consumer. |
//! | `from = OrderPlacedV1` | both | none | The type of the version before: older data is decoded as that and brought up by `From`. |
//! | `alias = "orders.put"` | both | none | A name that the message had before; consumers take it, too. May stand several times. |
//! | `codec = Json` | both | `catga::Json` | The type that turns message and reply into bytes: `Codec<Self> + Codec<Reply>`. A pair `(New, Old)` writes the first and reads both. |
//! | `local` | both | off | No `Wire`: the message never leaves the process and needs no codec. Excludes `codec`. |
//! | `crate = framework::catga` | both | `::catga` | Where the emitted code finds Catga, for a dependency that is renamed or re-exported. |
//!
//! # Generic messages
//!
//! Type and const parameters are fine; lifetimes are refused, because a message owns its data. The `impl`s repeat the
//! where clauses of the type and ask for what they need of the message as a whole, not of each parameter:
//! `Self: Send + Sync + 'static`, for an event `Self: Clone`, for `Wire` that the codec carries it. A reply that is a
//! bare type parameter is never taken for a `Result`: its type is not known where the derive is expanded.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attributes;
mod event_set;
mod expand;
mod handler;
mod memorypack;

use attributes::Kind;
use proc_macro::TokenStream;

/// Makes the type a message that exactly one handler answers: `Message`, `Request`, and `Wire` unless it is `local`.
///
/// The [crate's table](crate#attributes) lists what `#[catga(...)]` takes.
///
/// ```
/// use catga::{Key, Message, Request};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Request)]
/// #[catga(name = "orders.place", reply = Result<Receipt, SoldOut>, key = customer)]
/// struct PlaceOrder {
///     customer: u64,
///     item: String,
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct Receipt {
///     total: u64,
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct SoldOut;
///
/// let order = PlaceOrder { customer: 17, item: "tea".to_owned() };
/// assert_eq!(PlaceOrder::NAME, "orders.place");
/// assert_eq!(order.key(), Some(Key::new("17")));
/// assert!(PlaceOrder::keep(&Ok(Receipt { total: 3 })));
/// assert!(!PlaceOrder::keep(&Err(SoldOut))); // a refusal undoes the writes
/// ```
#[proc_macro_derive(Request, attributes(catga))]
pub fn derive_request(input: TokenStream) -> TokenStream {
    expand::expand(Kind::Request, input.into()).into()
}

/// Makes the type a message that any number of handlers hear: `Message`, `Event`, and `Wire` unless it is `local`.
///
/// An event is `Clone`, because each of its handlers is given one, and has no reply. The
/// [crate's table](crate#attributes) lists what `#[catga(...)]` takes.
///
/// ```
/// use catga::{Event, Key, Message};
///
/// // No serde: a `local` event reaches the handlers of this process only.
/// #[derive(Clone, Event)]
/// #[catga(name = "cart.changed", key = 0, local)]
/// struct CartChanged(u64);
///
/// assert_eq!(CartChanged::NAME, "cart.changed");
/// assert_eq!(CartChanged(17).key(), Some(Key::new("17")));
/// ```
#[proc_macro_derive(Event, attributes(catga))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    expand::expand(Kind::Event, input.into()).into()
}

/// Makes an enum of events what streams take and give: each variant holds one event. It emits `ToEvents`, `FromEvent`
/// and, for each variant, `From`.
///
/// A variant without a field that is marked `#[catga(other)]` is what all other events are read as; without one they
/// are an error. It cannot be appended. On the enum, `#[catga(crate = framework::catga)]` says where Catga is.
///
/// ```
/// use catga::{Event, EventSet};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Clone, Serialize, Deserialize)]
/// #[catga(name = "orders.placed")]
/// struct Placed;
///
/// #[derive(EventSet)]
/// enum OrderEvent {
///     Placed(Placed),
///     #[catga(other)]
///     Other,
/// }
///
/// assert!(matches!(OrderEvent::from(Placed), OrderEvent::Placed(Placed)));
/// # let _ = OrderEvent::Other;
/// ```
#[proc_macro_derive(EventSet, attributes(catga))]
pub fn derive_event_set(input: TokenStream) -> TokenStream {
    event_set::expand(input.into()).into()
}

/// Gives the type its MemoryPack bytes: `Shape`, `Encode` and `Decode` of `catga-memorypack`, which re-exports this.
///
/// | attribute | on | means |
/// |---|---|---|
/// | none | a struct | An object: a class or record of .NET. Old data with fewer members reads with defaults. |
/// | `#[repr(C)]` | a struct | A struct without references: its memory, padding as zeros. All fields are raw. |
/// | none, `#[repr(u8)]` … `#[repr(i64)]` | an enum without fields | The underlying integer, `i32` by default. |
/// | `#[memorypack(version_tolerant)]` | a struct | `GenerateType.VersionTolerant`: data with more members reads, too. |
/// | `#[memorypack(union)]` | an enum | `[MemoryPackUnion]`: each variant has a `#[memorypack(tag = 0)]` up to 65535, and holds one object or has named fields and is one. |
/// | `#[memorypack(value_type)]` | a struct | A struct with references, whose `Option` is written differently than that of a class. |
/// | `#[memorypack(exact)]` | a struct | Neither fewer nor more members, as for `System.Tuple`. |
/// | `#[memorypack(transparent)]` | a struct of one field | What the field is, for ids and sets of flags. |
/// | `#[memorypack(order = 2)]` | a field | `[MemoryPackOrder]`; on all fields or none. Gaps only where version tolerant. |
/// | `#[memorypack(skip)]` | a field | `[MemoryPackIgnore]`: not written, read as its `Default`. |
/// | `#[memorypack(crate = "my::memorypack")]` | both | Where the emitted code finds `catga-memorypack`. |
#[proc_macro_derive(MemoryPack, attributes(memorypack))]
pub fn derive_memorypack(input: TokenStream) -> TokenStream {
    memorypack::expand(input.into(), "::catga_memorypack").into()
}

/// [`MemoryPack`](macro@MemoryPack) for those who depend on `catga` alone, which re-exports it under that name.
#[proc_macro_derive(CatgaMemoryPack, attributes(memorypack))]
pub fn derive_catga_memorypack(input: TokenStream) -> TokenStream {
    memorypack::expand(input.into(), "::catga::memorypack").into()
}

/// Checks a handler where it is written: its message, each of its parameters, and that its future is `Send`. Optional:
/// a handler needs no attribute, but what is wrong with it is hard to see where it is added.
///
/// ```
/// use catga::{Context, Request};
///
/// #[derive(Request)]
/// #[catga(name = "ping", reply = String, local)]
/// struct Ping;
///
/// #[catga::handler]
/// async fn ping(_: Ping, cx: Context) -> catga::Result<String> {
///     Ok(cx.id.to_string())
/// }
/// # let _ = ping;
/// ```
#[proc_macro_attribute]
pub fn handler(arguments: TokenStream, item: TokenStream) -> TokenStream {
    handler::expand(arguments.into(), item.into()).into()
}
