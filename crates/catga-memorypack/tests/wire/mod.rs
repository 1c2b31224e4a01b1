//! The contract types of the golden cases, by the names the file calls them, and their values in its notation.
//!
//! Shared by the test that runs the file and the example that answers line by line.
#![allow(dead_code, non_snake_case, unreachable_pub)]

mod kept;
mod ring;
pub mod show;
mod types;

use catga_memorypack::{Decode, Encode, Error, Options, Text, check, decode, decode_in_place, decode_shared};
use kept::{Amount, Money};
use serde_json::Value;
use show::Show;
use types::*;

/// What reading a message came to.
pub struct Read {
    /// The value, in the notation of the file.
    pub value: Value,
    /// The bytes of that value.
    pub again: Vec<u8>,
}

type Run = fn(&[u8], Text) -> Result<Read, Error>;

/// The function that reads a type, shows its value and writes it again.
pub fn find(name: &str) -> Option<Run> {
    TYPES.iter().find(|(known, _)| *known == name).map(|(_, run)| *run)
}

/// Classes and unions may be null where they stand alone.
const TYPES: &[(&str, Run)] = &[
    ("Scalars", run::<Option<Scalars>>),
    ("Nullables", run::<Option<Nullables>>),
    ("MoreNullables", run::<Option<MoreNullables>>),
    ("Color", run::<Color>),
    ("Small", run::<Small>),
    ("Wide", run::<Wide>),
    ("Bits", run::<Bits>),
    ("Padded", run::<Padded>),
    ("Point3", run::<Point3>),
    ("Mixed", run::<Mixed>),
    ("Nested", run::<Nested>),
    ("WithGuid", run::<WithGuid>),
    ("Stamps", run::<Stamps>),
    ("Aligned", run::<Aligned>),
    ("Money", run::<Money>),
    ("Amount", run::<Amount>),
    ("Strings", run::<Option<Strings>>),
    ("Enums", run::<Option<Enums>>),
    ("Tiny", run::<Option<Tiny>>),
    ("OrderItem", run::<Option<OrderItem>>),
    ("Order", run::<Option<Order>>),
    ("OrderCreated", run::<Option<OrderCreated>>),
    ("Collections", run::<Option<Collections>>),
    ("Maps", run::<Option<Maps>>),
    ("Tuples", run::<Option<Tuples>>),
    ("Node", run::<Option<Node>>),
    ("Generic<int>", run::<Option<Generic<i32>>>),
    ("Generic<string>", run::<Option<Generic<Option<String>>>>),
    ("Generic<Tiny>", run::<Option<Generic<Option<Tiny>>>>),
    ("Generic<Padded>", run::<Option<Generic<Padded>>>),
    ("Generic<Money>", run::<Option<Generic<Money>>>),
    ("BaseClass", run::<Option<BaseClass>>),
    ("Derived", run::<Option<Derived>>),
    ("Empty", run::<Option<Empty>>),
    ("Ordered", run::<Option<Ordered>>),
    ("Ignoring", run::<Option<Ignoring>>),
    ("PersonV1", run::<Option<PersonV1>>),
    ("PersonV2", run::<Option<PersonV2>>),
    ("DocV1", run::<Option<DocV1>>),
    ("DocV2", run::<Option<DocV2>>),
    ("DocV3", run::<Option<DocV3>>),
    ("Folder", run::<Option<Folder>>),
    ("IShape", run::<Option<IShape>>),
    ("Circle", run::<Option<Circle>>),
    ("Square", run::<Option<Square>>),
    ("Edge", run::<Option<Edge>>),
    ("Disc", run::<Option<Disc>>),
    ("Text", run::<Option<Words>>),
    ("Drawing", run::<Option<Drawing>>),
    ("Ring", run::<Option<ring::Ring>>),
    ("Odd", run::<Option<Odd>>),
];

fn run<T: for<'de> Decode<'de> + Encode + Show>(bytes: &[u8], text: Text) -> Result<Read, Error> {
    let read = read::<T>(bytes, text);
    // All ways to read are of one mind.
    let shared = bytes::Bytes::copy_from_slice(bytes);
    let shared = decode_shared::<T>(&shared).map(|value| value.show());
    let mut old = T::missing().ok();
    let over = old.as_mut().map(|old| decode_in_place(bytes, old));
    match &read {
        Ok(read) => {
            check::<T>(bytes).expect("what can be read passes the check");
            assert_eq!(shared.expect("what can be read can be shared"), read.value);
            if let (Some(over), Some(old)) = (over, old.as_mut()) {
                over.expect("what can be read can be read over an old value");
                assert_eq!(old.show(), read.value);
                decode_in_place(bytes, old).expect("and again");
                assert_eq!(old.show(), read.value);
            }
        }
        Err(error) => {
            assert!(shared.is_err(), "shared, {error} is none");
            assert!(!matches!(over, Some(Ok(()))), "in place, {error} is none");
        }
    }
    read
}

fn read<T: for<'de> Decode<'de> + Encode + Show>(bytes: &[u8], text: Text) -> Result<Read, Error> {
    let value: T = decode(bytes)?;
    let options = Options::new().text(text);
    let again = options.to_vec(&value)?;
    let mut room = vec![0xAA; again.len() + 1];
    assert_eq!(options.encode_to_slice(&value, &mut room)?, again.len());
    assert_eq!(room[..again.len()], again);
    assert!(options.encode_to_slice(&value, &mut room[..again.len().saturating_sub(1)]).is_err() || again.is_empty());
    Ok(Read { value: value.show(), again })
}
