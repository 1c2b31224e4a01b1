use std::fmt;

/// Decides which handlers fail on purpose. Each handler asks at the two places where a failed call leaves most behind
/// if nothing takes it back: after its first write, and when all is written and published.
pub struct Mishaps(Box<dyn Fn() -> bool + Send + Sync>);

impl Mishaps {
    /// Nothing fails.
    pub fn never() -> Self {
        Self::when(|| false)
    }

    /// A handler fails where it asks and `happens` says so.
    pub fn when(happens: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Box::new(happens))
    }

    /// Fails if it is time to: a part of the handler's work is written.
    ///
    /// # Errors
    ///
    /// [`Mishap`], when it is time to.
    pub fn after_first_write(&self) -> Result<(), Mishap> {
        self.ask()
    }

    /// Fails if it is time to: all of the handler's work is written and published.
    ///
    /// # Errors
    ///
    /// [`Mishap`], when it is time to.
    pub fn before_answer(&self) -> Result<(), Mishap> {
        self.ask()
    }

    fn ask(&self) -> Result<(), Mishap> {
        if (self.0)() { Err(Mishap) } else { Ok(()) }
    }
}

impl fmt::Debug for Mishaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mishaps")
    }
}

/// The failure of a handler, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mishap;

impl fmt::Display for Mishap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mishap, on purpose")
    }
}

impl std::error::Error for Mishap {}
