//! Codecs that come along, each behind a feature of its own.

#[cfg(feature = "json")]
pub(crate) mod json;
#[cfg(feature = "msgpack")]
pub(crate) mod message_pack;
#[cfg(feature = "protobuf")]
pub(crate) mod protobuf;
