use crate::{BufferPool, PooledBuf, Sink};
use bytes::Buf;
use std::{
    borrow::Cow,
    fmt,
    io::{self, BufRead, Read, Seek, SeekFrom, Write},
};

#[cfg(feature = "tokio")]
mod asynchronous;

/// The first block of a stream, and the largest one; each block doubles the one before, at least.
const FIRST: usize = 4 << 10;
const LARGEST: usize = 64 << 10;

/// What a stream holds at most unless [`with_max`](SegmentedBuf::with_max) says otherwise.
const MAX: u64 = 1 << 30;

/// A stream in memory over a chain of pooled blocks: it grows without moving what it holds, and its blocks come home
/// when it is dropped.
///
/// Reading and writing share one position, as in a file. The blocks double from 4 KiB to 64 KiB, faster where much is
/// written at once. A stream holds at most
/// 1 GiB unless [`with_max`](Self::with_max) says otherwise.
///
/// ```
/// use catga_buf::BufferPool;
/// use std::io::{Read, Seek, Write};
///
/// let mut stream = BufferPool::global().segmented("report");
/// stream.write_all(&[7; 100_000])?;
/// stream.rewind()?;
/// let mut copy = Vec::new();
/// stream.read_to_end(&mut copy)?;
/// assert_eq!(copy, [7; 100_000]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct SegmentedBuf {
    pool: BufferPool,
    /// In order; all but the last are full.
    segments: Vec<Segment>,
    len: usize,
    position: u64,
    max: u64,
    tag: Cow<'static, str>,
    number: u64,
}

struct Segment {
    /// Where its first byte lies in the stream.
    start: usize,
    buf: PooledBuf,
}

impl SegmentedBuf {
    pub(crate) fn new(pool: BufferPool, tag: Cow<'static, str>) -> Self {
        let number = pool.inner().books.tag(tag.clone());
        Self { pool, segments: Vec::new(), len: 0, position: 0, max: MAX, tag, number }
    }

    /// Holds at most `bytes`: a write beyond fails and says so. Default 1 GiB.
    #[must_use]
    pub fn with_max(mut self, bytes: u64) -> Self {
        self.max = bytes;
        self
    }

    /// What the statistics know the stream by.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// How many bytes it holds, wherever the position is.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the next byte is read or written; may lie beyond the end.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Forgets everything; all blocks go home.
    pub fn clear(&mut self) {
        self.truncate(0);
        self.position = 0;
    }

    /// Forgets all but the first `len` bytes; blocks that hold nothing go home. The position stays.
    pub fn truncate(&mut self, len: usize) {
        self.segments.truncate(self.segments.partition_point(|segment| segment.start < len));
        if let Some(last) = self.segments.last_mut() {
            last.buf.truncate(len - last.start);
        }
        self.len = self.len.min(len);
    }

    /// The whole stream, block by block: for a vectored write.
    pub fn io_slices(&self) -> Vec<io::IoSlice<'_>> {
        self.slices().map(io::IoSlice::new).collect()
    }

    /// The whole stream, block by block.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.segments.iter().map(|segment| segment.buf.as_slice())
    }

    /// The whole stream where it lies in one block, else nothing.
    pub fn as_slice(&self) -> Option<&[u8]> {
        match &self.segments[..] {
            [] => Some(&[]),
            [one] => Some(&one.buf),
            _ => None,
        }
    }

    /// A copy of the whole stream in one block.
    ///
    /// # Panics
    ///
    /// Where the allocator has no such block.
    pub fn to_contiguous(&self) -> PooledBuf {
        let mut whole = self.pool.acquire_tagged(self.len, &self.tag);
        self.slices().for_each(|slice| whole.put_slice(slice));
        whole
    }

    /// The bytes at the position up to the end of their block; none at the end.
    fn ahead(&self) -> &[u8] {
        let Some(at) = usize::try_from(self.position).ok().filter(|at| *at < self.len) else { return &[] };
        let segment = &self.segments[self.segment_of(at)];
        &segment.buf[at - segment.start..]
    }

    /// Which segment holds the byte at `at`, which lies before the end.
    fn segment_of(&self, at: usize) -> usize {
        self.segments.partition_point(|segment| segment.start <= at) - 1
    }

    /// Writes over what is there, up to the end of a block or of the stream.
    fn overwrite(&mut self, at: usize, bytes: &[u8]) -> usize {
        let which = self.segment_of(at);
        let segment = &mut self.segments[which];
        let place = &mut segment.buf[at - segment.start..];
        let count = place.len().min(bytes.len());
        place[..count].copy_from_slice(&bytes[..count]);
        count
    }

    /// The last block where it has room, or a new one behind it for the first of `wanted` bytes.
    fn room(&mut self, wanted: usize) -> &mut PooledBuf {
        let full = self.segments.last().is_none_or(|last| last.buf.len() == last.buf.capacity());
        if full {
            let doubled = self.segments.last().map_or(FIRST, |last| last.buf.capacity() * 2);
            let size = doubled.max(wanted).min(LARGEST);
            let buf = self.pool.acquire_tagged(size, &self.tag);
            self.segments.push(Segment { start: self.len, buf });
        }
        let last = self.segments.len() - 1;
        &mut self.segments[last].buf
    }

    /// Adds at the end as much as the last block takes.
    fn append(&mut self, count: usize, put: impl FnOnce(&mut PooledBuf, usize)) -> usize {
        let buf = self.room(count);
        let count = count.min(buf.capacity() - buf.len());
        put(buf, count);
        self.len += count;
        count
    }

    /// What stops a write of `more` bytes at the position, if anything does.
    fn check(&self, more: usize) -> io::Result<()> {
        let reach = self.position.checked_add(more as u64);
        if reach.is_some_and(|reach| reach <= self.max && usize::try_from(reach).is_ok()) {
            return Ok(());
        }
        let Self { tag, max, position, .. } = self;
        let text = format!("the stream `{tag}` holds at most {max} bytes: {more} more at {position} do not fit");
        Err(io::Error::new(io::ErrorKind::FileTooLarge, text))
    }
}

impl Drop for SegmentedBuf {
    fn drop(&mut self) {
        self.pool.inner().books.untag(self.number);
    }
}

impl fmt::Debug for SegmentedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segments, len, position, max, tag, .. } = self;
        let (tag, segments) = (tag, segments.len());
        f.debug_struct("SegmentedBuf")
            .field("tag", tag)
            .field("len", len)
            .field("position", position)
            .field("max", max)
            .field("segments", &segments)
            .finish()
    }
}

impl Write for SegmentedBuf {
    /// Writes over what is at the position and adds what reaches beyond the end; where the position lies beyond the
    /// end, zeros fill the gap. Writes all or nothing.
    ///
    /// # Errors
    ///
    /// Where it would hold more than its maximum, an error of kind [`io::ErrorKind::FileTooLarge`].
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.check(bytes.len())?;
        // `check` has seen that the position fits.
        let mut at = self.position as usize;
        while self.len < at {
            self.append(at - self.len, |buf, count| buf.put_bytes(0, count));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = match at < self.len {
                true => self.overwrite(at, rest),
                false => self.append(rest.len(), |buf, count| buf.put_slice(&rest[..count])),
            };
            at += count;
            rest = &rest[count..];
        }
        self.position = at as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for SegmentedBuf {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            let ahead = self.ahead();
            let count = ahead.len().min(into.len() - done);
            if count == 0 {
                break;
            }
            into[done..done + count].copy_from_slice(&ahead[..count]);
            self.position += count as u64;
            done += count;
        }
        Ok(done)
    }
}

impl BufRead for SegmentedBuf {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.ahead())
    }

    fn consume(&mut self, count: usize) {
        self.advance(count);
    }
}

impl Seek for SegmentedBuf {
    /// Moves the position, also beyond the end.
    ///
    /// # Errors
    ///
    /// Before the start, an error of kind [`io::ErrorKind::InvalidInput`].
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => (self.len as u64).checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        let outside = || io::Error::new(io::ErrorKind::InvalidInput, "a position before the start of the stream");
        self.position = to.ok_or_else(outside)?;
        Ok(self.position)
    }
}

impl Buf for SegmentedBuf {
    fn remaining(&self) -> usize {
        (self.len as u64).saturating_sub(self.position) as usize
    }

    fn chunk(&self) -> &[u8] {
        self.ahead()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [io::IoSlice<'a>]) -> usize {
        let ahead = self.ahead();
        if ahead.is_empty() {
            return 0;
        }
        let behind = self.segment_of(self.position as usize) + 1;
        let chunks = std::iter::once(ahead).chain(self.segments[behind..].iter().map(|segment| &segment.buf[..]));
        slices.iter_mut().zip(chunks).map(|(slice, chunk)| *slice = io::IoSlice::new(chunk)).count()
    }

    fn advance(&mut self, count: usize) {
        let remaining = self.remaining();
        assert!(count <= remaining, "advanced by {count} bytes where {remaining} remain");
        self.position += count as u64;
    }
}

impl Sink for SegmentedBuf {
    fn reserve(&mut self, additional: usize) -> io::Result<()> {
        self.check(additional)
    }
}
