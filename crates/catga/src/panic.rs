use catga_contract::{Error, ErrorKind};
use std::any::Any;

/// What a handler panicked with, as an error of kind `Handler`.
pub(crate) fn error(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = format!("the handler panicked: {}", text.unwrap_or("with a value that is no text"));
    Error::new(ErrorKind::Handler, text)
}
