use bytes::Bytes;
use catga_contract::{Codec, Error, ErrorKind, Result, Sink};
use catga_memorypack::{Decode, Encode};

/// The bytes of .NET's MemoryPack, for types that derive [`MemoryPack`](macro@crate::MemoryPack). A reply that is `()` is
/// an object without members; one that is a `Result` is a union, `Ok` with tag 0 and `Err` with tag 1, which is ours:
/// .NET has no such type. Text that is a [`Str`](crate::Str), and `Bytes`, share the message's frame.
///
/// ```
/// use catga::{Event, MemoryPack, Wire, Codec};
///
/// #[derive(Event, Clone, Debug, PartialEq, MemoryPack)]
/// #[catga(name = "orders.placed", codec = MemoryPack)]
/// struct Placed {
///     id: i32,
///     sku: String,
/// }
///
/// let mut bytes = Vec::new();
/// MemoryPack::encode(&Placed { id: 7, sku: "ab".into() }, &mut bytes)?;
/// assert_eq!(bytes, b"\x02\x07\0\0\0\xfd\xff\xff\xff\x02\0\0\0ab");
/// let back: Placed = MemoryPack::decode(&bytes)?;
/// assert_eq!(back, Placed { id: 7, sku: "ab".into() });
/// # Ok::<(), catga::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MemoryPack;

impl<T: Encode + for<'de> Decode<'de>> Codec<T> for MemoryPack {
    const NAME: &'static str = "memorypack";

    fn encode<W: Sink>(value: &T, out: &mut W) -> Result<()> {
        catga_memorypack::encode_to_sink(value, out).map_err(|cause| failed(cause, "encoding MemoryPack"))
    }

    fn decode(bytes: &[u8]) -> Result<T> {
        catga_memorypack::decode(bytes).map_err(|cause| failed(cause, "decoding MemoryPack"))
    }

    fn decode_shared(bytes: &Bytes) -> Result<T> {
        catga_memorypack::decode_shared(bytes).map_err(|cause| failed(cause, "decoding MemoryPack"))
    }

    fn decode_in_place(bytes: &[u8], value: &mut T) -> Result<()> {
        catga_memorypack::decode_in_place(bytes, value).map_err(|cause| failed(cause, "decoding MemoryPack"))
    }
}

fn failed(cause: catga_memorypack::Error, doing: &str) -> Error {
    Error::new(ErrorKind::Codec, cause).context(doing)
}
