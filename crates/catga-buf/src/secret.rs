use crate::{BufferPool, PooledBuf};
use std::{
    fmt,
    ops::{Deref, DerefMut},
};

/// A buffer whose contents are overwritten with zeros before its block goes home: for keys, tokens and what they open.
///
/// It never moves to a larger block by itself without wiping the one that it leaves, and its `Debug` shows no contents.
/// What the operating system swaps out or dumps is beyond it.
///
/// ```
/// use catga_buf::{BufferPool, SecretBuf};
///
/// let mut token = SecretBuf::acquire(BufferPool::global(), 32);
/// token.put_slice(b"hunter2");
/// assert_eq!(&token[..], b"hunter2");
/// ```
pub struct SecretBuf {
    buf: PooledBuf,
    pool: BufferPool,
}

impl SecretBuf {
    /// An empty buffer with room for at least `bytes`.
    pub fn acquire(pool: &BufferPool, bytes: usize) -> Self {
        Self { buf: pool.acquire(bytes), pool: pool.clone() }
    }

    /// Adds bytes at the end.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        if bytes.len() > self.buf.capacity() - self.buf.len() {
            let needed = self.buf.len().saturating_add(bytes.len());
            let mut larger = self.pool.acquire(needed.max(self.buf.capacity() * 2));
            larger.put_slice(&self.buf);
            self.buf.wipe();
            self.buf = larger;
        }
        self.buf.put_slice(bytes);
    }

    /// Overwrites the contents and forgets them.
    pub fn clear(&mut self) {
        self.buf.wipe();
    }
}

impl Drop for SecretBuf {
    fn drop(&mut self) {
        self.buf.wipe();
    }
}

impl Deref for SecretBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buf
    }
}

impl DerefMut for SecretBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buf
    }
}

impl fmt::Debug for SecretBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretBuf").field("len", &self.buf.len()).finish_non_exhaustive()
    }
}
