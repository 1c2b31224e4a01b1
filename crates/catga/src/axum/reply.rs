use super::Problem;
use crate::Error;
use ::axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, Serializer, ser::Impossible};
use std::fmt;

/// A reply as an answer: JSON with 200, `()` as 204; of a `Result`, what is in `Ok`, while `Err` is a [`Problem`] of
/// kind `Refused` with 422 and the member `refusal`.
///
/// ```
/// use axum::response::IntoResponse;
/// use catga::axum::Reply;
///
/// assert_eq!(Reply(17).into_response().status(), 200);
/// assert_eq!(Reply(()).into_response().status(), 204);
/// assert_eq!(Reply(Err::<(), _>("sold out")).into_response().status(), 422);
/// ```
#[derive(Clone, Debug)]
pub struct Reply<T>(pub T);

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        answer(&self.0)
    }
}

fn answer<T: Serialize + ?Sized>(reply: &T) -> Response {
    if let Ok(special) = reply.serialize(Special) {
        return special;
    }
    match serde_json::to_vec(reply) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(cause) => Problem::from(Error::from(cause).context("writing a reply")).into_response(),
    }
}

/// Answers `()` and `Result`, and fails on all else at once. Serde's view tells them apart where a type parameter
/// cannot, without a second trait for replies.
struct Special;

macro_rules! nothing_special {
    ($($name:ident($($argument:ty),*) -> $answer:ident)*) => {
        $(fn $name(self, $(_: $argument),*) -> Result<Self::$answer, fmt::Error> { Err(fmt::Error) })*
    };
}

impl Serializer for Special {
    type Ok = Response;
    type Error = fmt::Error;
    type SerializeSeq = Impossible<Response, fmt::Error>;
    type SerializeTuple = Impossible<Response, fmt::Error>;
    type SerializeTupleStruct = Impossible<Response, fmt::Error>;
    type SerializeTupleVariant = Impossible<Response, fmt::Error>;
    type SerializeMap = Impossible<Response, fmt::Error>;
    type SerializeStruct = Impossible<Response, fmt::Error>;
    type SerializeStructVariant = Impossible<Response, fmt::Error>;

    fn serialize_unit(self) -> Result<Response, fmt::Error> {
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Response, fmt::Error> {
        match (name, variant) {
            ("Result", "Ok") => Ok(answer(value)),
            ("Result", "Err") => {
                let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY).member("kind", "Refused");
                Ok(problem.member("refusal", value).into_response())
            }
            _ => Err(fmt::Error),
        }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Response, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, _: &T) -> Result<Response, fmt::Error> {
        Err(fmt::Error)
    }

    nothing_special! {
        serialize_bool(bool) -> Ok
        serialize_i8(i8) -> Ok
        serialize_i16(i16) -> Ok
        serialize_i32(i32) -> Ok
        serialize_i64(i64) -> Ok
        serialize_u8(u8) -> Ok
        serialize_u16(u16) -> Ok
        serialize_u32(u32) -> Ok
        serialize_u64(u64) -> Ok
        serialize_f32(f32) -> Ok
        serialize_f64(f64) -> Ok
        serialize_char(char) -> Ok
        serialize_str(&str) -> Ok
        serialize_bytes(&[u8]) -> Ok
        serialize_none() -> Ok
        serialize_unit_struct(&'static str) -> Ok
        serialize_unit_variant(&'static str, u32, &'static str) -> Ok
        serialize_seq(Option<usize>) -> SerializeSeq
        serialize_tuple(usize) -> SerializeTuple
        serialize_tuple_struct(&'static str, usize) -> SerializeTupleStruct
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> SerializeTupleVariant
        serialize_map(Option<usize>) -> SerializeMap
        serialize_struct(&'static str, usize) -> SerializeStruct
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> SerializeStructVariant
    }
}
