use super::Problem;
use ::axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Serialize, Serializer, ser::Impossible};
use std::fmt;

/// `()` is 204, and anything else is JSON with 200; of a `Result`, `Ok` is what is in it, `Err` the problem of a
/// refusal.
pub(super) fn answer<T: Serialize + ?Sized>(reply: &T) -> Response {
    reply.serialize(Special).unwrap_or_else(|_| Json(reply).into_response())
}

/// Answers `()` and `Result` and refuses all else: serde sees what they are where a type parameter cannot say it.
struct Special;

impl Serializer for Special {
    type Ok = Response;
    type Error = fmt::Error;

    fn serialize_unit(self) -> Result<Response, fmt::Error> {
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    #[rustfmt::skip]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self, name: &'static str, _: u32, variant: &'static str, value: &T,
    ) -> Result<Response, fmt::Error> {
        let refused = || Problem::new(StatusCode::UNPROCESSABLE_ENTITY).member("kind", "Refused");
        match (name, variant) {
            ("Result", "Ok") => Ok(answer(value)),
            ("Result", "Err") => Ok(refused().member("refusal", value).into_response()),
            _ => Err(fmt::Error),
        }
    }
}
