use crate::{
    Error, ErrorKind, Text,
    reader::{STACK, stack},
};

/// The first pass of the encoder: adds up sizes and finds what cannot be written.
#[derive(Debug)]
pub struct Sizer {
    pub(crate) text: Text,
    depth: u32,
    /// Where on the stack measuring began.
    stack: usize,
    error: Option<Error>,
}

impl Sizer {
    pub(crate) fn new(text: Text, depth: u32) -> Self {
        Self { text, depth, stack: stack(), error: None }
    }

    /// Refuses the value; the first call counts.
    #[cold]
    #[inline(never)]
    pub fn fail(&mut self, kind: ErrorKind) {
        self.error.get_or_insert_with(|| Error::new(kind, 0));
    }

    /// The size of something that may hold itself, one level deeper; 0 where that is too deep.
    #[inline]
    pub fn nested(&mut self, size: impl FnOnce(&mut Self) -> usize) -> usize {
        let depth = match self.depth.checked_sub(1) {
            Some(depth) if stack().abs_diff(self.stack) < STACK => depth,
            _ => {
                self.fail(ErrorKind::Depth);
                return 0;
            }
        };
        self.depth = depth;
        let size = size(self);
        self.depth += 1;
        size
    }

    /// The bytes of a string of this many bytes of UTF-8.
    #[inline]
    pub(crate) fn text(&mut self, text: &str) -> usize {
        if self.text == Text::Utf16 {
            return 4 + 2 * crate::text::utf16_len(text.as_bytes());
        }
        // Empty text has no second length.
        text.len() + if text.is_empty() { 4 } else { 8 }
    }

    pub(crate) fn finish(self, size: usize) -> Result<usize, Error> {
        match self.error {
            Some(error) => Err(error),
            None if size > i32::MAX as usize => Err(Error::new(ErrorKind::TooLarge, 0)),
            None => Ok(size),
        }
    }
}
