use catga_contract::{Codec, Error, ErrorKind, Result, Sink};
use rmp_serde::Serializer;
use serde::{Serialize, de::DeserializeOwned};

/// MessagePack by serde, with the crate `rmp-serde`. Structs are maps by the names of their fields, so that a field may
/// be added, left out or moved; decoding takes arrays, too. What follows the value is refused.
///
/// ```
/// use catga::{Codec, MessagePack};
///
/// let mut bytes = Vec::new();
/// MessagePack::encode(&("A-1".to_owned(), 2), &mut bytes)?;
/// assert_eq!(bytes, b"\x92\xa3A-1\x02");
/// let back: (String, u32) = MessagePack::decode(&bytes)?;
/// assert_eq!(back, ("A-1".to_owned(), 2));
/// # Ok::<(), catga::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MessagePack;

impl<T: Serialize + DeserializeOwned> Codec<T> for MessagePack {
    const NAME: &'static str = "msgpack";

    fn encode<W: Sink>(value: &T, out: &mut W) -> Result<()> {
        let written = value.serialize(&mut Serializer::new(out).with_struct_map());
        written.map_err(|cause| Error::new(ErrorKind::Codec, cause).context("encoding MessagePack"))
    }

    fn decode(bytes: &[u8]) -> Result<T> {
        let about = |error: Error| error.context("decoding MessagePack");
        let mut rest = rmp_serde::Deserializer::new(std::io::Cursor::new(bytes));
        let value = T::deserialize(&mut rest).map_err(|cause| about(Error::new(ErrorKind::Codec, cause)))?;
        let left = bytes.len() - rest.position() as usize;
        if left > 0 {
            return Err(about(Error::new(ErrorKind::Codec, format!("{left} bytes behind the value"))));
        }
        Ok(value)
    }
}
