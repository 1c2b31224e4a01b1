use std::{error::Error as StdError, fmt, time::Duration};

/// What fails in Catga.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error that a handler may answer with `?`.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Why something failed: one word wide; [`kind`](Self::kind) says what can be done, [`source`](Self::source) why.
///
/// Like `anyhow::Error` it is not a `std::error::Error` itself, so that every such error converts into it by `?`. An
/// `Error` that comes back inside another error keeps its kind: it is looked for along `source()`.
///
/// `{}` prints this level, `{:#}` the whole chain in one line.
///
/// ```
/// use catga_contract::{Error, ErrorKind};
///
/// fn parse(text: &str) -> Result<u32, Error> {
///     Ok(text.parse::<u32>()?) // any std error: kind `Handler`
/// }
/// assert_eq!(parse("x").unwrap_err().kind(), ErrorKind::Handler);
///
/// let refused = Error::permanent("no such account").context("order o-1");
/// assert_eq!(refused.to_string(), "order o-1: no such account");
/// assert_eq!(refused.kind(), ErrorKind::Permanent);
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    pause: Option<Duration>,
    context: Option<String>,
    cause: BoxError,
}

/// Named after what can be done about it. What a worker does with a delivery that ended so stands beside each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The handler failed: retried by policy, then buried.
    Handler,
    /// The handler says that no retry will help: buried at once.
    Permanent,
    /// Nobody handles this message, which is a fault in the wiring: buried at once.
    NoHandler,
    /// The bytes are not what the codec expects: buried at once.
    Codec,
    /// An argument breaks a documented bound: refused before anything is sent; buried when consumed.
    Invalid,
    /// This backend does not do that, see its capabilities: buried when consumed.
    Unsupported,
    /// Somebody else was first: read and decide again. Retried by policy.
    Conflict,
    /// It does not exist. Treated like `Handler`.
    NotFound,
    /// Too late; it may have happened nevertheless. Retried with the same id.
    Timeout,
    /// The backend cannot be reached now: the subscription pauses, the attempt does not count.
    Unavailable,
    /// Somebody is at it: again after the pause, the attempt does not count.
    Busy,
    /// Closed on purpose. Treated like `Handler`.
    Closed,
}

impl Error {
    /// An error of `kind`.
    pub fn new(kind: ErrorKind, cause: impl Into<BoxError>) -> Self {
        Self(Box::new(Inner { kind, pause: None, context: None, cause: cause.into() }))
    }

    /// A failure that no retry will mend: a consumed message that ends so is buried at once.
    pub fn permanent(cause: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Permanent, cause)
    }

    /// A failure of kind [`Handler`](ErrorKind::Handler) that shall be tried again after `pause`, whatever the
    /// consumer's backoff says.
    pub fn retry_after(cause: impl Into<BoxError>, pause: Duration) -> Self {
        Self::new(ErrorKind::Handler, cause).with_pause(pause)
    }

    /// Takes any boxed error. One that was made from an `Error`, or has one among its sources, keeps that kind and
    /// pause; every other one is of kind [`Handler`](ErrorKind::Handler).
    pub fn from_boxed(cause: BoxError) -> Self {
        let cause = match cause.downcast::<Wrapped>() {
            Ok(wrapped) => return wrapped.0,
            Err(cause) => cause,
        };
        let mut inner: Option<&(dyn StdError + 'static)> = cause.source();
        let mut found = (ErrorKind::Handler, None);
        while let Some(source) = inner {
            if let Some(Wrapped(error)) = source.downcast_ref() {
                found = (error.0.kind, error.0.pause);
                break;
            }
            inner = source.source();
        }
        Self(Box::new(Inner { kind: found.0, pause: found.1, context: None, cause }))
    }

    /// Says what was being done. The newest text comes first when printed; kind and cause stay.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.0.context = Some(match self.0.context.take() {
            Some(inner) => format!("{what}: {inner}"),
            None => what.to_string(),
        });
        self
    }

    /// Says how long to wait before another try.
    #[must_use]
    pub fn with_pause(mut self, pause: Duration) -> Self {
        self.0.pause = Some(pause);
        self
    }

    /// What can be done about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// How long to wait before another try, where somebody said so.
    pub fn pause(&self) -> Option<Duration> {
        self.0.pause
    }

    /// The error behind this one.
    pub fn source(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self.0.cause.as_ref()
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self::from_boxed(Box::new(error))
    }
}

impl From<Error> for BoxError {
    fn from(error: Error) -> Self {
        Box::new(Wrapped(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(context) = &self.0.context {
            write!(f, "{context}: ")?;
        }
        write!(f, "{}", self.0.cause)?;
        if f.alternate() {
            let mut source = self.0.cause.source();
            while let Some(error) = source {
                write!(f, ": {error}")?;
                source = error.source();
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self:#}", self.0.kind)
    }
}

/// An [`Error`] in the clothes of a `std::error::Error`, for the way through a `BoxError`.
struct Wrapped(Error);

impl fmt::Display for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl StdError for Wrapped {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.0.cause.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(BoxError);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }
    impl StdError for Outer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(self.0.as_ref())
        }
    }

    #[test]
    fn is_one_word_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }

    #[test]
    fn keeps_its_kind_on_the_way_through_other_errors() {
        let pause = Duration::from_millis(7);
        let error = Error::retry_after("later", pause).context("first").context("second");
        let boxed: BoxError = error.into();
        let again = Error::from_boxed(boxed);
        assert_eq!((again.kind(), again.pause()), (ErrorKind::Handler, Some(pause)));
        assert_eq!(again.to_string(), "second: first: later");

        let hidden = Error::from(Outer(Error::permanent("inner").into()));
        assert_eq!(hidden.kind(), ErrorKind::Permanent);
        assert_eq!(format!("{hidden}|{hidden:#}"), "outer|outer: inner");
    }
}
