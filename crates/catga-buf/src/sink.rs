use std::io;

/// Where encoders write: anything that takes bytes and can be told how many more are coming.
///
/// ```
/// use catga_buf::Sink;
/// use std::io::Write;
///
/// fn encode<W: Sink>(out: &mut W) -> std::io::Result<()> {
///     out.reserve(5)?;
///     out.write_all(b"hello")
/// }
/// let mut bytes = Vec::new();
/// encode(&mut bytes)?;
/// assert_eq!(bytes, b"hello");
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Sink: io::Write {
    /// Makes room for `additional` more bytes.
    ///
    /// # Errors
    ///
    /// A sink of fixed size answers an error of kind [`io::ErrorKind::WriteZero`] that says how many bytes are
    /// needed. The default does nothing.
    fn reserve(&mut self, additional: usize) -> io::Result<()> {
        let _ = additional;
        Ok(())
    }

    /// The vector that this is, for encoders that write straight into one. The default is `None`.
    fn as_vec(&mut self) -> Option<&mut Vec<u8>> {
        None
    }
}

impl Sink for Vec<u8> {
    fn as_vec(&mut self) -> Option<&mut Vec<u8>> {
        Some(self)
    }

    fn reserve(&mut self, additional: usize) -> io::Result<()> {
        Self::reserve(self, additional);
        Ok(())
    }
}

impl Sink for &mut [u8] {
    fn reserve(&mut self, additional: usize) -> io::Result<()> {
        if additional <= self.len() {
            return Ok(());
        }
        let text = format!("{additional} bytes are needed but only {} are left", self.len());
        Err(io::Error::new(io::ErrorKind::WriteZero, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_full_slice_says_how_much_is_needed() {
        let mut room = [0; 4];
        let mut slice = &mut room[..];
        Sink::reserve(&mut slice, 4).unwrap();
        slice.write_all(b"abc").unwrap();
        let error = Sink::reserve(&mut slice, 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
        assert_eq!(error.to_string(), "2 bytes are needed but only 1 are left");
    }
}
