use crate::block::Block;

/// A list of blocks that goes through the blocks themselves: last in, first out.
#[derive(Default)]
pub(crate) struct Chain {
    head: Option<Block>,
    len: u32,
}

impl Chain {
    #[inline]
    pub(crate) fn push(&mut self, mut block: Block) {
        block.header_mut().next = self.head.take();
        self.head = Some(block);
        self.len += 1;
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Block> {
        let mut block = self.head.take()?;
        self.head = block.header_mut().next.take();
        self.len -= 1;
        Some(block)
    }

    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The bytes that its blocks hold together; they are all of one size.
    pub(crate) fn bytes(&self) -> usize {
        self.head.as_ref().map_or(0, Block::capacity) * self.len as usize
    }
}

impl Iterator for Chain {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        self.pop()
    }
}
