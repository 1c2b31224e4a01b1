//! Messages whose type is known only at run time.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "json")]

use catga::{App, Codec, Envelope, Error, ErrorKind, Event, MessageId, Result, Sink, TypeRegistry};
use serde::{Deserialize, Serialize};

/// One byte a number.
#[derive(Debug)]
enum Bytes {}

impl Codec<Small> for Bytes {
    const NAME: &'static str = "bytes";
    fn encode<W: Sink>(value: &Small, out: &mut W) -> Result<()> {
        out.write_all(&[value.0])?;
        Ok(())
    }
    fn decode(bytes: &[u8]) -> Result<Small> {
        bytes.first().map(|byte| Small(*byte)).ok_or_else(|| Error::new(ErrorKind::Codec, "no byte"))
    }
}

impl Codec<Bare> for Bytes {
    const NAME: &'static str = "bytes";
    fn encode<W: Sink>(_: &Bare, _: &mut W) -> Result<()> {
        Ok(())
    }
    fn decode(_: &[u8]) -> Result<Bare> {
        Ok(Bare)
    }
}

impl Codec<()> for Bytes {
    const NAME: &'static str = "bytes";
    fn encode<W: Sink>(_: &(), _: &mut W) -> Result<()> {
        Ok(())
    }
    fn decode(_: &[u8]) -> Result<()> {
        Ok(())
    }
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[catga(name = "small", alias = "tiny", codec = Bytes)]
struct Small(u8);

/// Without serde's traits.
#[derive(Event, Clone, Debug)]
#[catga(name = "bare", codec = Bytes)]
struct Bare;

fn envelope(name: &str, payload: &'static [u8]) -> Envelope {
    Envelope::new(MessageId::new(), name.into(), "bytes".into(), payload.into())
}

#[tokio::test]
async fn an_application_names_what_it_knows_by_name_and_alias() {
    let app = App::builder("shop").knows::<Small>().knows::<Bare>().build().await.unwrap();
    let types = app.types();
    assert_eq!(types.names(), ["bare", "small"]);
    assert_eq!(*types.decode(&envelope("tiny", &[7])).unwrap().downcast::<Small>().unwrap(), Small(7));
    assert_eq!(types.encode("small", &Small(9)).unwrap(), [9]);
    assert_eq!(types.to_json(&envelope("small", &[7])).unwrap(), "7", "JSON whatever the codec");
    assert_eq!(types.from_json("tiny", "255").unwrap(), [255]);
}

#[test]
fn what_cannot_be_done_is_said() {
    let mut types = TypeRegistry::default();
    let error = types.decode(&envelope("small", &[7])).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::NotFound, "no message type is named `small`; none is known")
    );
    types.add::<Small>();
    types.add::<Bare>();
    let error = types.encode("small", &7_u8).unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("types::Small"), "{error}");
    let error = types.to_json(&envelope("bare", &[])).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("`bare` has no JSON"), "{error}");
    let error = types.from_json("small", "256").unwrap_err();
    assert!(error.kind() == ErrorKind::Codec && format!("{error:#}").contains("`small`"), "{error:#}");
    let error = types.decode(&envelope("small", &[])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
}
