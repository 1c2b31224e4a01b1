use catga_contract::{Codec, Error, ErrorKind, Result, Sink};

/// Protocol Buffers, with the crate `prost`: for types that derive `prost::Message`. Encoding allocates once, because
/// what prost writes into is not a [`Sink`].
///
/// ```
/// use catga::{Codec, Protobuf};
///
/// let mut bytes = Vec::new();
/// Protobuf::encode(&"A-1".to_owned(), &mut bytes)?; // a `StringValue`: field 1, three bytes
/// assert_eq!(bytes, b"\x0a\x03A-1");
/// let back: String = Protobuf::decode(&bytes)?;
/// assert_eq!(back, "A-1");
/// # Ok::<(), catga::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Protobuf;

impl<T: prost::Message + Default> Codec<T> for Protobuf {
    const NAME: &'static str = "protobuf";

    fn encode<W: Sink>(value: &T, out: &mut W) -> Result<()> {
        let written = out.write_all(&value.encode_to_vec());
        written.map_err(|cause| Error::new(ErrorKind::Codec, cause).context("encoding Protocol Buffers"))
    }

    fn size_hint(value: &T) -> usize {
        value.encoded_len()
    }

    fn decode(bytes: &[u8]) -> Result<T> {
        T::decode(bytes).map_err(|cause| Error::new(ErrorKind::Codec, cause).context("decoding Protocol Buffers"))
    }
}
