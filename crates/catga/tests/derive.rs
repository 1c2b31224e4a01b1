//! The derives from outside: what they emit compiles in any module and does what its attributes say.
#![cfg(feature = "json")]
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, missing_debug_implementations, unreachable_pub, unused_qualifications)]
#![deny(clippy::all, clippy::pedantic)]
#![allow(clippy::unwrap_used)]

use catga::{Codec, Event, Json, Key, Message, Request, Wire};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

fn is_request<R: Request>() {}
fn is_event<E: Event>() {}

/// The value after a way through its codec.
fn carried<W: Wire>(value: &W) -> W {
    let mut bytes = Vec::new();
    <W::Codec as Codec<W>>::encode(value, &mut bytes).unwrap();
    <W::Codec as Codec<W>>::decode(&bytes).unwrap()
}

/// A receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    total: u64,
}

/// Why an order is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Refusal {
    /// There is none left.
    SoldOut,
}

/// A public request with everything that can be said of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Request)]
#[catga(name = "orders.place", reply = Result<Receipt, Refusal>, key = customer, codec = Json)]
pub struct PlaceOrder {
    customer: u64,
    item: String,
}

#[test]
fn a_request_is_a_message_with_a_codec() {
    is_request::<PlaceOrder>();
    let order = PlaceOrder { customer: 17, item: "tea".into() };
    assert_eq!(PlaceOrder::NAME, "orders.place");
    assert_eq!(order.key(), Some(Key::new("17")));
    assert_eq!(carried(&order), order);
}

#[test]
fn a_refusal_does_not_keep_the_work() {
    assert!(PlaceOrder::keep(&Ok(Receipt { total: 5 })));
    assert!(!PlaceOrder::keep(&Err(Refusal::SoldOut)));
}

/// A private event with a type only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[catga(name = "orders.placed")]
struct OrderPlaced {
    customer: Option<String>,
}

#[test]
fn an_event_has_no_reply_and_no_key_unless_told() {
    is_event::<OrderPlaced>();
    let event = OrderPlaced { customer: Some("ada".into()) };
    assert_eq!(OrderPlaced::NAME, "orders.placed");
    assert_eq!(event.key(), None);
    assert!(OrderPlaced::keep(&()));
    assert_eq!(carried(&event), event);
}

#[test]
fn replies_are_recognised_by_type() {
    mod aliased {
        use super::{Receipt, Refusal};
        pub(super) type Answer = Result<Receipt, Refusal>;
        pub(super) trait Has {
            type Reply;
        }
        impl Has for Receipt {
            type Reply = Answer;
        }
    }
    #[derive(Debug, Request)]
    #[catga(name = "alias", reply = aliased::Answer, local)]
    struct Alias;
    #[derive(Debug, Request)]
    #[catga(name = "projection", reply = <Receipt as aliased::Has>::Reply, local)]
    struct Projection;
    #[derive(Debug, Request)]
    #[catga(name = "plain", reply = Option<u8>, local)]
    struct Plain;
    #[derive(Debug, Request)]
    #[catga(name = "nothing", local)]
    struct Nothing;

    assert!(!Alias::keep(&Err(Refusal::SoldOut)));
    assert!(!Projection::keep(&Err(Refusal::SoldOut)));
    assert!(Plain::keep(&None));
    assert!(Nothing::keep(&()));
}

#[test]
fn keys_are_named_or_counted() {
    #[derive(Debug, Clone, Event)]
    #[catga(name = "tuple", key = 1, local)]
    struct Tuple(#[expect(dead_code, reason = "only the key is read")] u8, Option<&'static str>);
    #[derive(Debug, Clone, Event)]
    #[catga(name = "raw", key = r#type, local)]
    struct Raw {
        r#type: String,
    }
    #[derive(Debug, Clone, Event)]
    #[catga(name = "keyword", key = type, local)]
    struct Keyword {
        r#type: i8,
    }

    assert_eq!(Tuple(0, Some("b")).key(), Some(Key::new("b")));
    assert_eq!(Tuple(0, None).key(), None);
    assert_eq!(Raw { r#type: "c".into() }.key(), Some(Key::new("c")));
    assert_eq!(Keyword { r#type: -1 }.key(), Some(Key::new("-1")));
}

#[test]
fn every_shape_of_type_is_a_message() {
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
    #[catga(name = "unit")]
    struct Unit;
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
    #[catga(name = "tuple")]
    struct Tuple(u8, String);
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Request)]
    #[catga(name = "choice")]
    enum Choice {
        Nothing,
        One(u8),
        Two { a: u8, b: u8 },
    }
    #[derive(Debug, Clone, Event)]
    #[catga(name = "never", local)]
    enum Never {}
    #[derive(Clone, Copy, Event)]
    #[catga(name = "union", local)]
    union Union {
        _a: u8,
    }
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
    #[catga(name = "raw")]
    #[expect(non_camel_case_types, reason = "raw identifiers are lower case")]
    struct r#struct;

    is_event::<Never>();
    is_event::<Union>();
    assert_eq!(carried(&Unit), Unit);
    assert_eq!(carried(&Tuple(1, "a".into())), Tuple(1, "a".into()));
    for choice in [Choice::Nothing, Choice::One(1), Choice::Two { a: 1, b: 2 }] {
        assert_eq!(carried(&choice), choice);
    }
    assert_eq!(carried(&r#struct), r#struct);
}

/// A generic request whose reply and key depend on its parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Request)]
#[catga(name = "generic", reply = Result<Vec<T>, E>, key = id)]
pub struct Generic<T, I, E = ()>
where
    T: PartialEq,
{
    id: I,
    value: Option<T>,
    error: PhantomData<E>,
}

/// A generic event: `Clone` is asked of the whole.
#[derive(Debug, Serialize, Deserialize, Event)]
#[catga(name = "shared")]
pub struct Shared<T: ?Sized> {
    kind: PhantomData<fn() -> Box<T>>,
}

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { kind: PhantomData }
    }
}

#[test]
fn type_parameters() {
    fn through_a_generic<T>(value: T) -> Generic<T, u8>
    where
        T: PartialEq + Send + Sync + Serialize + for<'de> Deserialize<'de> + 'static,
    {
        carried(&Generic { id: 1, value: Some(value), error: PhantomData })
    }

    let message = through_a_generic("tea".to_owned());
    is_request::<Generic<String, u8>>();
    assert_eq!(message.value.as_deref(), Some("tea"));
    assert_eq!(message.key(), Some(Key::new("1")));
    assert!(Generic::<u8, u8>::keep(&Ok(vec![])));
    assert!(!Generic::<u8, u8>::keep(&Err(())));

    // What cannot be cloned or sent is only named by this one.
    is_event::<Shared<std::cell::Cell<u8>>>();
    is_event::<Shared<str>>();
}

#[test]
fn const_parameters() {
    #[derive(Debug, Clone, Copy, PartialEq, Event)]
    #[catga(name = "array", local, key = 0)]
    struct Array<const N: usize>(u16, [u8; N]);
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Request)]
    #[catga(name = "flags", reply = PhantomData<[u8; N]>)]
    struct Flags<T: Clone, const N: usize, const ON: bool>(T);

    is_event::<Array<3>>();
    assert_eq!(Array([1, 2, 3].len().try_into().unwrap(), [1, 2, 3]).key(), Some(Key::new("3")));
    let flags: Flags<u8, 2, true> = Flags(7);
    assert_eq!(carried(&flags), flags);
}

#[test]
fn replies_may_name_the_message() {
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Request)]
    #[catga(name = "echo", reply = Result<Self, Refusal>)]
    struct Echo<T>(T);

    assert!(Echo::keep(&Ok(Echo(1))));
    assert!(!Echo::<u8>::keep(&Err(Refusal::SoldOut)));
    assert_eq!(carried(&Echo(1)), Echo(1));
}

/// A codec of the user's own, which needs no serde.
#[derive(Debug)]
pub struct OneByte<const BASE: u8>;

impl<const BASE: u8> Codec<Byte> for OneByte<BASE> {
    const NAME: &'static str = "one-byte";
    fn encode<W: catga::Sink>(value: &Byte, out: &mut W) -> catga::Result<()> {
        Ok(out.write_all(&[value.0 + BASE])?)
    }
    fn decode(bytes: &[u8]) -> catga::Result<Byte> {
        Ok(Byte(bytes[0] - BASE))
    }
}

impl<const BASE: u8> Codec<()> for OneByte<BASE> {
    const NAME: &'static str = "one-byte";
    fn encode<W: catga::Sink>((): &(), _: &mut W) -> catga::Result<()> {
        Ok(())
    }
    fn decode(_: &[u8]) -> catga::Result<()> {
        Ok(())
    }
}

/// A message that serde does not know.
#[derive(Debug, Clone, PartialEq, Event)]
#[catga(name = "byte", codec = OneByte<100>)]
pub struct Byte(u8);

#[test]
fn codecs_of_ones_own() {
    let mut bytes = Vec::new();
    <<Byte as Wire>::Codec as Codec<Byte>>::encode(&Byte(5), &mut bytes).unwrap();
    assert_eq!(bytes, [105]);
    assert_eq!(carried(&Byte(5)), Byte(5));
}

/// A message made by a user's macro, which hands its parts in invisible groups.
macro_rules! message {
    ($derive:ident, $name:literal, $type:ident, $reply:ty, $field:ident: $kind:ty) => {
        #[derive(Debug, Clone, $derive)]
        #[catga(name = $name, reply = $reply, key = $field, local)]
        struct $type {
            $field: $kind,
        }
    };
}

#[test]
fn messages_may_be_made_by_a_macro() {
    message!(Request, "made", Made, Result<u8, ()>, id: u8);
    assert_eq!(Made::NAME, "made");
    assert_eq!(Made { id: 1 }.key(), Some(Key::new("1")));
    assert!(!Made::keep(&Err(())));
}

/// A framework that hands Catga on under a name of its own.
mod framework {
    pub(crate) mod messaging {
        pub(crate) use catga::*;
    }
}

#[test]
fn catga_may_be_handed_on() {
    use framework::messaging::Event as Heard;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Heard)]
    #[catga(name = "handed-on", crate = framework::messaging, key = 0)]
    struct HandedOn(String);
    is_event::<HandedOn>();
    assert_eq!(carried(&HandedOn("a".into())), HandedOn("a".into()));
}

/// A macro of such a framework.
macro_rules! framework_event {
    ($type:ident) => {
        #[derive(Debug, Clone, $crate::framework::messaging::Event)]
        #[catga(name = "framework.event", crate = $crate::framework::messaging, key = 0, local)]
        struct $type(u8);
    };
}

#[test]
fn catga_may_be_found_through_dollar_crate() {
    mod elsewhere {
        framework_event!(Made);
        pub(super) fn key() -> Option<catga::Key> {
            catga::Message::key(&Made(1))
        }
    }
    assert_eq!(elsewhere::key(), Some(Key::new("1")));
}

/// Nothing the emitted code uses is taken from the module it stands in.
#[expect(non_camel_case_types, dead_code, reason = "the names are those that the emitted code must not pick up")]
mod hostile {
    pub(crate) struct Result;
    pub(crate) struct Option;
    pub(crate) struct String;
    pub(crate) struct Vec;
    pub(crate) struct Some;
    pub(crate) struct None;
    pub(crate) struct Ok;
    pub(crate) struct Err;
    pub(crate) struct Keep;
    pub(crate) struct Key;
    pub(crate) struct Json;
    pub(crate) struct str;
    pub(crate) struct bool;
    pub(crate) struct reply;
    pub(crate) trait Message {}
    pub(crate) trait Request {}
    pub(crate) trait Event {}
    pub(crate) trait Wire {}
    pub(crate) trait Codec {}
    pub(crate) trait Send {}
    pub(crate) trait Sync {}
    pub(crate) trait Clone {}
    pub(crate) trait ToKey {
        fn to_key(&self) {}
    }
    impl<T> ToKey for T {}
    pub(crate) mod catga {}
    pub(crate) mod core {}
    pub(crate) mod std {}

    #[derive(catga_derives::Request)]
    #[catga(name = "hostile.request", reply = ::core::result::Result<T, u8>, key = id, local)]
    pub(crate) struct Ask<T> {
        pub(crate) id: u8,
        pub(crate) value: T,
    }
    #[derive(catga_derives::Request)]
    #[catga(name = "hostile.choice", local)]
    pub(crate) enum Choice {
        Reply,
        Codec,
    }
    #[derive(::core::clone::Clone, catga_derives::Event)]
    #[catga(name = "hostile.event", local)]
    pub(crate) struct Tell<T>(pub(crate) T);

    mod catga_derives {
        pub(crate) use ::catga::{Event, Request};
    }
}

#[test]
fn the_module_may_shadow_every_name() {
    is_request::<hostile::Ask<u8>>();
    is_request::<hostile::Choice>();
    is_event::<hostile::Tell<u8>>();
    assert_eq!(hostile::Ask { id: 1, value: () }.key(), Some(Key::new("1")));
    assert!(!hostile::Ask::<u8>::keep(&Err(1)));
}

/// A module that re-exports what it does not define.
pub mod exported {
    mod inner {
        use catga::Event;

        /// An event known under another path.
        #[derive(Debug, Clone, Event)]
        #[catga(name = "exported", local, key = 0)]
        pub struct Exported(u8);

        impl Exported {
            /// One of these.
            #[must_use]
            pub const fn new(id: u8) -> Self {
                Self(id)
            }
        }
    }
    pub use inner::Exported;
}

#[test]
fn types_may_be_exported_from_elsewhere() {
    assert_eq!(exported::Exported::new(3).key(), Some(Key::new("3")));
}

/// A message that is being retired: the emitted code must not warn of its own use of it.
mod retired {
    #[derive(Debug, Clone, catga::Event)]
    #[catga(name = "retired", key = id, local)]
    #[deprecated]
    pub(crate) struct Retired {
        #[deprecated]
        id: u8,
    }
}

#[test]
fn messages_may_be_deprecated() {
    #[expect(deprecated, reason = "that is the point")]
    fn event() {
        is_event::<retired::Retired>();
    }
    event();
}
