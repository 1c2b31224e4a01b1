use std::{fmt, io};

/// What went wrong while a value was read or written, and where: the type, its field and the offset in the bytes.
///
/// It is one word wide, so that results stay small; what it says lies in a box that is made when something fails.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    offset: usize,
    place: Option<(&'static str, &'static str)>,
    source: Option<io::Error>,
}

/// The kinds of [`Error`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes end before the value does, or a length claims more than there is.
    Truncated,
    /// Bytes are left behind the value.
    Trailing,
    /// `null` where the type has none.
    Null,
    /// An object has more members than the type, or not exactly as many where no other number is allowed.
    Members,
    /// A length that is negative, or that what it measures does not have.
    Length,
    /// Text that is not UTF-8, not UTF-16, or not as long as its header says.
    Text,
    /// A union tag that the type does not know.
    Tag,
    /// Bytes that are no value of the type, or a value that has no bytes.
    Value,
    /// The same key twice in one map.
    Duplicate,
    /// Deeper than [`max_depth`](crate::Options::max_depth).
    Depth,
    /// More memory than [`max_memory`](crate::Options::max_memory).
    Memory,
    /// A member is missing, and its type has no default.
    Missing,
    /// More than the 2,147,483,647 bytes that a length can say, or than the room there is.
    TooLarge,
    /// The sink failed; `source()` has its error.
    Io,
}

impl Error {
    /// An error at `offset`, in bytes from the start.
    #[cold]
    #[inline(never)]
    pub fn new(kind: ErrorKind, offset: usize) -> Self {
        Self(Box::new(Inner { kind, offset, place: None, source: None }))
    }

    #[cold]
    pub(crate) fn io(error: io::Error) -> Self {
        Self(Box::new(Inner { kind: ErrorKind::Io, offset: 0, place: None, source: Some(error) }))
    }

    /// Names the type and the field it happened in; the first call, that of the innermost type, counts.
    #[cold]
    #[inline(never)]
    #[must_use]
    pub fn within(mut self, type_name: &'static str, field: &'static str) -> Self {
        self.0.place.get_or_insert((type_name, field));
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Where, in bytes from the start; 0 for what has no place, such as a value that cannot be written.
    pub fn offset(&self) -> usize {
        self.0.offset
    }

    /// The type it happened in, where it is one that derives `MemoryPack`.
    pub fn type_name(&self) -> Option<&'static str> {
        self.0.place.map(|place| place.0)
    }

    /// The field or variant it happened in; empty for what concerns the type as a whole.
    pub fn field(&self) -> Option<&'static str> {
        self.0.place.map(|place| place.1)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.kind {
            ErrorKind::Truncated => "the bytes end before the value does",
            ErrorKind::Trailing => "bytes are left behind the value",
            ErrorKind::Null => "null where the type has none",
            ErrorKind::Members => "another number of members than the type has",
            ErrorKind::Length => "a wrong length",
            ErrorKind::Text => "malformed text",
            ErrorKind::Tag => "an unknown union tag",
            ErrorKind::Value => "no value of the type",
            ErrorKind::Duplicate => "a key stands twice",
            ErrorKind::Depth => "nested too deeply",
            ErrorKind::Memory => "more memory than allowed",
            ErrorKind::Missing => "a member without a default is missing",
            ErrorKind::TooLarge => "too large",
            ErrorKind::Io => "the sink failed",
        })?;
        match self.0.place {
            None => {}
            Some((name, "")) => write!(f, " in {name}")?,
            Some((name, field)) => write!(f, " in {name}.{field}")?,
        }
        match self.0.offset {
            0 => Ok(()),
            offset => write!(f, " at byte {offset}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct("Error");
        s.field("kind", &self.0.kind).field("offset", &self.0.offset).field("place", &self.0.place);
        s.finish_non_exhaustive()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|error| error as _)
    }
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
