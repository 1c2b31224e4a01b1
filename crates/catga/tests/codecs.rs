//! The codecs that come along: round trips, evolution, and bytes that are something else.
#![allow(clippy::unwrap_used)]
#![cfg(all(feature = "msgpack", feature = "protobuf", feature = "json"))]

use catga::{Codec, ErrorKind, Json, MessagePack, Protobuf};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Old {
    id: u64,
    sku: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct New {
    #[serde(default)]
    note: Option<String>,
    sku: String,
    id: u64,
}

fn encoded<C: Codec<T>, T>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    C::encode(value, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_field_may_be_added_and_moved() {
    let old = Old { id: 7, sku: "A-1".into() };
    let new: New = MessagePack::decode(&encoded::<MessagePack, _>(&old)).unwrap();
    assert_eq!(new, New { note: None, sku: "A-1".into(), id: 7 });
    let again: Old = MessagePack::decode(&encoded::<MessagePack, _>(&new)).unwrap();
    assert_eq!(again, old);
    let new: New = Json::decode(&encoded::<Json, _>(&old)).unwrap();
    assert_eq!(new.note, None);
}

#[test]
fn messages_are_written_with_the_names_of_their_fields() {
    let bytes = encoded::<MessagePack, _>(&Old { id: 7, sku: "A".into() });
    assert_eq!(bytes, b"\x82\xa2id\x07\xa3sku\xa1A");
}

#[test]
fn what_is_cut_or_followed_by_more_is_refused() {
    let whole = encoded::<MessagePack, _>(&Old { id: 7, sku: "A-1".into() });
    for end in 0..whole.len() {
        let error = <MessagePack as Codec<Old>>::decode(&whole[..end]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
    }
    let longer = [&whole[..], &[0]].concat();
    let error = <MessagePack as Codec<Old>>::decode(&longer).unwrap_err();
    assert_eq!(error.to_string(), "decoding MessagePack: 1 bytes behind the value");
    let error = <Protobuf as Codec<String>>::decode(&[0x0a, 9, b'a']).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    // A length that nobody has.
    let error = <MessagePack as Codec<String>>::decode(b"\xdb\xff\xff\xff\xffabc").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
}

#[test]
fn protocol_buffers_take_no_space_for_nothing() {
    assert!(encoded::<Protobuf, _>(&()).is_empty());
    assert_eq!(<Protobuf as Codec<u64>>::size_hint(&300), 3);
    let back: u64 = Protobuf::decode(&encoded::<Protobuf, _>(&300_u64)).unwrap();
    assert_eq!(back, 300);
}
