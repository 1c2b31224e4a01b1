use bytes::{Bytes, BytesMut};
use std::{cell::RefCell, collections::VecDeque};

/// Makes [`Bytes`] out of slabs of 64 KiB: in steady state without an allocation.
///
/// A piece shares its slab with its neighbours; a slab is used again when all its pieces are gone. So pieces are for
/// what is sent and forgotten. One piece that is kept pins the 64 KiB around it: what is kept for long should be copied
/// with [`Bytes::copy_from_slice`].
///
/// A connection's task owns one; [`BytesSlab::with`] lends that of the thread.
///
/// ```
/// use bytes::BufMut;
/// use catga_buf::BytesSlab;
///
/// let mut slab = BytesSlab::new();
/// let (frame, count) = slab.write(16, |out| {
///     out.put_slice(b"a frame");
///     1
/// });
/// assert_eq!((&frame[..], count), (&b"a frame"[..], 1));
/// ```
#[derive(Debug, Default)]
pub struct BytesSlab {
    current: BytesMut,
    /// Slabs with pieces still about, the oldest first.
    parked: VecDeque<BytesMut>,
}

/// What a slab holds.
const SLAB: usize = 64 << 10;
/// What is larger than this gets memory of its own.
const PIECE: usize = SLAB / 4;
/// How many slabs wait for their pieces, 4 MiB in all; more are left to their pieces, the last of which frees them.
const PARKED: usize = 64;
/// How many parked slabs are looked at before a new one is made.
const LOOKS: usize = 4;

impl BytesSlab {
    /// Without a slab yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `use_slab` with the slab of this thread; with a fresh one where that is in use already or the thread ends.
    pub fn with<R>(use_slab: impl FnOnce(&mut Self) -> R) -> R {
        thread_local!(static SLAB: RefCell<BytesSlab> = RefCell::default());
        let mut use_slab = Some(use_slab);
        let lent = SLAB.try_with(|slab| {
            let mut slab = slab.try_borrow_mut().ok()?;
            use_slab.take().map(|use_slab| use_slab(&mut slab))
        });
        match (lent, use_slab) {
            (Ok(Some(answer)), _) => answer,
            (_, Some(use_slab)) => use_slab(&mut Self::new()),
            (_, None) => unreachable!("what was called has answered"),
        }
    }

    /// Lets `write` add some `size_hint` bytes to an empty buffer and answers them, with what it answered. It may write
    /// more, at the price of an allocation. What is written where it panics is gone.
    pub fn write<R>(&mut self, size_hint: usize, write: impl FnOnce(&mut BytesMut) -> R) -> (Bytes, R) {
        if size_hint > PIECE {
            let mut own = BytesMut::with_capacity(size_hint);
            let answer = write(&mut own);
            return (own.freeze(), answer);
        }
        self.current.clear();
        if self.current.capacity() < size_hint.max(1) {
            self.renew(size_hint);
        }
        let answer = write(&mut self.current);
        (self.current.split().freeze(), answer)
    }

    /// Takes a slab whose pieces are gone, or makes one.
    #[cold]
    fn renew(&mut self, size: usize) {
        let size = size.max(1);
        if self.current.try_reclaim(SLAB) {
            return;
        }
        let full = std::mem::take(&mut self.current);
        if full.capacity() > 0 {
            self.parked.push_back(full);
        }
        for _ in 0..LOOKS.min(self.parked.len()) {
            let Some(mut slab) = self.parked.pop_front() else { break };
            if slab.try_reclaim(SLAB) {
                self.current = slab;
                return;
            }
            self.parked.push_back(slab);
        }
        if self.parked.len() > PARKED {
            self.parked.pop_front();
        }
        self.current = BytesMut::with_capacity(SLAB.max(size));
    }
}
