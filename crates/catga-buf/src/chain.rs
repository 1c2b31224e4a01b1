use crate::block::{Block, Link};

/// A list of blocks that goes through the blocks themselves: last in, first out.
///
/// It has no destructor, so that a thread's chains move in and out of their cells without a look; whoever has one puts
/// it somewhere or takes its blocks out.
#[derive(Default)]
#[must_use]
pub(crate) struct Chain {
    head: Link,
    len: u32,
}

impl Chain {
    #[inline]
    pub(crate) fn push(&mut self, block: Block) {
        let rest = std::mem::take(&mut self.head);
        self.head = block.link(rest);
        self.len += 1;
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Block> {
        let (block, rest) = std::mem::take(&mut self.head).unlink()?;
        self.head = rest;
        self.len -= 1;
        Some(block)
    }

    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The bytes that its blocks hold together; they are all of one size.
    pub(crate) fn bytes(&self) -> usize {
        self.head.capacity() * self.len as usize
    }
}

impl Iterator for Chain {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        self.pop()
    }
}
