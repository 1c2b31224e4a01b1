//! Codecs that come along, each behind a feature of its own.

#[cfg(feature = "json")]
pub(crate) mod json;
#[cfg(feature = "memorypack")]
pub(crate) mod memory_pack;
#[cfg(feature = "msgpack")]
pub(crate) mod message_pack;
#[cfg(feature = "protobuf")]
pub(crate) mod protobuf;
