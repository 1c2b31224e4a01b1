use catga_contract::{Behavior, BoxError, Call, Error, ErrorKind, Handler, Message, Result};
use std::{borrow::Cow, fmt};

/// A message that can tell whether it is right in itself, without looking anything up.
pub trait Validated {
    /// Looks at the message. [`Problems`] collects what is wrong; any other error will do, such as that of a crate
    /// which validates by derive.
    ///
    /// # Errors
    ///
    /// What is wrong.
    fn validate(&self) -> Result<(), BoxError>;
}

/// Refuses messages that are wrong in themselves, before the handler sees them.
///
/// The error is of kind [`ErrorKind::Invalid`], names the message, and has what `validate` answered as its
/// [source](Error::source). A consumed message that ends so is buried at once.
///
/// ```
/// use catga::behavior::{Problems, Validate, Validated};
/// use catga::{App, BoxError, ErrorKind, Request};
///
/// #[derive(Request)]
/// #[catga(name = "orders.place", local)]
/// struct PlaceOrder { sku: String, quantity: u32 }
///
/// impl Validated for PlaceOrder {
///     fn validate(&self) -> Result<(), BoxError> {
///         Problems::new()
///             .unless(!self.sku.is_empty(), "sku", "must not be empty")
///             .unless((1..=100).contains(&self.quantity), "quantity", "must be 1 to 100")
///             .end()
///     }
/// }
///
/// async fn place(_: PlaceOrder) -> catga::Result<()> {
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> catga::Result<()> {
/// let app = App::builder("shop").with(Validate).handle(place).build().await?;
/// let error = app.send(PlaceOrder { sku: "A-1".into(), quantity: 0 }).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Invalid);
/// assert!(error.to_string().ends_with("`orders.place` is not valid: quantity must be 1 to 100"));
/// let problems = error.source().downcast_ref::<Problems>().unwrap();
/// assert_eq!(problems.iter().collect::<Vec<_>>(), [("quantity", "must be 1 to 100")]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Validate;

impl<M: Message + Validated> Behavior<M> for Validate {
    async fn around<H: Handler<M>>(&self, call: &mut Call<'_>, message: M, next: &H) -> Result<M::Reply> {
        let invalid = |cause| Error::new(ErrorKind::Invalid, cause).context(format_args!("`{}` is not valid", M::NAME));
        message.validate().map_err(invalid)?;
        next.handle(call, message).await
    }
}

/// What is wrong with a message, field by field.
#[derive(Debug, Default)]
pub struct Problems(Vec<(&'static str, Cow<'static, str>)>);

impl Problems {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that `field` has a problem, unless it is `fine`. The text follows the field's name: `must be …`.
    #[must_use = "the problems count when `end` is answered"]
    pub fn unless(mut self, fine: bool, field: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        if !fine {
            self.0.push((field, text.into()));
        }
        self
    }

    /// The fields and what is wrong with each, in the order in which they were noted.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(field, text)| (*field, &**text))
    }

    /// The end of a validation.
    ///
    /// # Errors
    ///
    /// The problems, if there are any.
    pub fn end(self) -> Result<(), BoxError> {
        if self.0.is_empty() { Ok(()) } else { Err(Box::new(self)) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (field, text)) in self.0.iter().enumerate() {
            write!(f, "{}{field} {text}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
