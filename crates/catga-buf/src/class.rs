//! The sizes of blocks: powers of two from 256 bytes to 1 MiB.

use std::fmt;

/// How many size classes there are.
pub(crate) const CLASSES: usize = 13;

/// The class of blocks that are larger than what is pooled.
pub(crate) const HUGE: u8 = CLASSES as u8;

/// The smallest block, in bytes.
const LEAST: usize = 256;

/// The largest block that is pooled, in bytes.
pub(crate) const MOST: usize = LEAST << (CLASSES - 1);

/// The class whose blocks hold `bytes`; [`HUGE`] above [`MOST`].
#[inline]
pub(crate) fn class_of(bytes: usize) -> u8 {
    if bytes <= LEAST {
        0
    } else if bytes <= MOST {
        // At most 19, less 7.
        ((bytes - 1).ilog2() - 7) as u8
    } else {
        HUGE
    }
}

/// The bytes that a block of this class holds.
#[inline]
pub(crate) fn size_of_class(class: usize) -> usize {
    LEAST << class
}

/// How many blocks of a class go to the shared store and back at once. Long chains of large blocks would hoard.
pub(crate) fn chain_len(class: usize) -> u32 {
    match size_of_class(class) {
        0..=4_096 => 16,
        4_097..=32_768 => 4,
        _ => 1,
    }
}

/// Which third of the statistics a block counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// Below 4 KiB.
    Small,
    /// From 4 KiB to 64 KiB.
    Medium,
    /// Above 64 KiB, also beyond what is pooled.
    Large,
}

impl Tier {
    /// All of them, from small to large.
    pub const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// The tier of a block that holds so many bytes.
    pub const fn of(capacity: usize) -> Self {
        match capacity {
            0..4_096 => Self::Small,
            4_096..=65_536 => Self::Medium,
            _ => Self::Large,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_what_is_asked_for_and_no_smaller_one_does() {
        for bytes in (0..5_000).chain((1..=MOST).step_by(509)).chain([MOST - 1, MOST]) {
            let class = usize::from(class_of(bytes));
            assert!(size_of_class(class) >= bytes, "{bytes}");
            assert!(class == 0 || size_of_class(class - 1) < bytes, "{bytes}");
        }
        assert_eq!((class_of(MOST + 1), class_of(usize::MAX)), (HUGE, HUGE));
    }
}
