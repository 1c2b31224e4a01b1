use crate::probe::JsonProbe;
use catga_contract::{Codec, Error, ErrorKind, JsonForm, Result, Sink};
use serde::{Serialize, de::DeserializeOwned};

/// JSON by serde: the codec of every message that does not name another one.
///
/// ```
/// use catga::{Codec, Json};
///
/// let mut bytes = Vec::new();
/// Json::encode(&("A-1".to_owned(), 2), &mut bytes)?;
/// assert_eq!(bytes, br#"["A-1",2]"#);
/// let back: (String, u32) = Json::decode(&bytes)?;
/// assert_eq!(back, ("A-1".to_owned(), 2));
/// # Ok::<(), catga::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Json;

impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    const NAME: &'static str = "json";

    fn encode<W: Sink>(value: &T, out: &mut W) -> Result<()> {
        serde_json::to_writer(out, value).map_err(|cause| Error::new(ErrorKind::Codec, cause).context("encoding JSON"))
    }

    fn decode(bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes).map_err(|cause| Error::new(ErrorKind::Codec, cause).context("decoding JSON"))
    }
}

/// Types with serde's traits have a JSON form, whatever their codec.
pub trait JsonSerde<M> {
    /// It.
    fn __catga_json(&self) -> Option<JsonForm<M>>;
}

impl<M: Serialize + DeserializeOwned> JsonSerde<M> for JsonProbe<M> {
    fn __catga_json(&self) -> Option<JsonForm<M>> {
        Some(JsonForm {
            print: |message| serde_json::to_string(message).map_err(failed),
            parse: |text| serde_json::from_str(text).map_err(failed),
        })
    }
}

fn failed(cause: serde_json::Error) -> Error {
    Error::new(ErrorKind::Codec, cause)
}
