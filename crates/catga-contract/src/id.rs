use crate::{Error, ErrorKind};
use std::{
    cell::Cell,
    fmt,
    hash::{BuildHasher, RandomState},
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

/// Who a message is: 128 bits in the layout of a UUID version 7, so that ids sort by time.
///
/// ```
/// use catga_contract::MessageId;
///
/// let order = MessageId::new();
/// let first = order.child("shop.billing", 0);
/// assert_eq!(first, order.child("shop.billing", 0)); // a second run publishes the same ids
/// assert_ne!(first, order.child("shop.billing", 1));
/// assert_eq!(order.to_string().parse::<MessageId>()?, order);
/// # Ok::<(), catga_contract::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub u128);

/// The bits of a UUID version 7 that are not time: four of version, two of variant, 74 free ones.
const FREE: u128 = 0x0000_0000_0000_0FFF_3FFF_FFFF_FFFF_FFFF;
const FIXED: u128 = 0x0000_0000_0000_7000_8000_0000_0000_0000;
const TIME: u128 = 0xFFFF_FFFF_FFFF_0000_0000_0000_0000_0000;

impl MessageId {
    /// The id of nothing: all bits zero.
    pub const NIL: Self = Self(0);

    /// A fresh id; rises within a thread, as long as the clock does not go back.
    pub fn new() -> Self {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        LAST.with(|last| last.next(millis & 0xFFFF_FFFF_FFFF))
    }

    /// The id of the `ordinal`th message that `consumer` publishes while it handles this one.
    ///
    /// It keeps this id's 48 bits of time and takes the 74 free bits from XXH3-128 over this id's bytes, the
    /// consumer's name and the ordinal; `docs/frame.md` has the formula and test vectors. A handler that runs again
    /// publishes the same ids, which is what lets its successors tell a repetition from news.
    #[must_use]
    pub fn child(self, consumer: &str, ordinal: u32) -> Self {
        let (id, name, ordinal) = (self.to_bytes(), consumer.as_bytes(), ordinal.to_be_bytes());
        // On the stack: it is made for every message that a handler publishes. Names are at most 255 bytes.
        let mut input = [0; 16 + 255 + 4];
        let hash = match input.get_mut(..20 + name.len()) {
            Some(input) => {
                input[..16].copy_from_slice(&id);
                input[16..16 + name.len()].copy_from_slice(name);
                input[16 + name.len()..].copy_from_slice(&ordinal);
                xxh3_128(input)
            }
            None => xxh3_128(&[&id, name, &ordinal].concat()),
        };
        Self(self.0 & TIME | FIXED | hash & FREE)
    }

    /// Sixteen bytes, the highest first: as a UUID stands in memory and in the frame.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The id of these sixteen bytes, the highest first.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

thread_local! {
    static LAST: Last = const { Last { millis: Cell::new(u128::MAX), free: Cell::new(0), random: Cell::new(0) } };
}

/// The last id that this thread made, and its source of randomness.
struct Last {
    millis: Cell<u128>,
    /// The 74 free bits of the last id, as a number.
    free: Cell<u128>,
    /// The state of a generator that is seeded from the system's, 0 until then.
    random: Cell<u128>,
}

impl Last {
    /// Within a millisecond the free bits rise by a random step of up to 2^32 (RFC 9562, 6.2, method 2), else they are
    /// drawn anew.
    fn next(&self, millis: u128) -> MessageId {
        const BITS: u128 = (1 << 74) - 1;
        let free = match self.millis.replace(millis) == millis {
            true => (self.free.get() + 1 + (self.random() & 0xFFFF_FFFF)) & BITS,
            false => self.random() & (BITS >> 1),
        };
        self.free.set(free);
        let (high, low) = (free >> 62, free & 0x3FFF_FFFF_FFFF_FFFF);
        MessageId(millis << 80 | FIXED | high << 64 | low)
    }

    /// A permuted congruential generator of 128 bits (PCG, XSL-RR): quick, and good enough to keep ids apart. Ids are no
    /// secrets.
    fn random(&self) -> u128 {
        let mut state = self.random.get();
        if state == 0 {
            // Two keys of 64 bits, which the standard library draws from the system.
            let seed = || u128::from(RandomState::new().hash_one(0));
            state = seed() << 64 | seed() | 1;
        }
        let mut draw = || {
            state = state
                .wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645)
                .wrapping_add(0x5851_F42D_4C95_7F2D_1405_7B7E_F767_814F);
            let mixed = (state >> 64) as u64 ^ state as u64;
            u128::from(mixed.rotate_right((state >> 122) as u32))
        };
        let drawn = draw() << 64 | draw();
        self.random.set(state);
        drawn
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_u128(self.0).hyphenated().fmt(f)
    }
}

impl FromStr for MessageId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let id = Uuid::parse_str(text)
            .map_err(|cause| Error::new(ErrorKind::Invalid, cause).context(format!("`{text}` is no message id")))?;
        Ok(Self(id.as_u128()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_id_is_a_version_7_uuid_and_so_is_its_child() {
        let parent = MessageId::new();
        for id in [parent, parent.child("a", 0)] {
            let uuid = Uuid::from_u128(id.0);
            assert_eq!(uuid.get_version_num(), 7);
            assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
            assert_eq!(id.0 >> 80, parent.0 >> 80, "the time is the parent's");
        }
    }

    #[test]
    fn fresh_ids_rise_and_never_meet() {
        let make = || (0..50_000).map(|_| MessageId::new()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(make)).collect();
        let mut all = Vec::new();
        for thread in threads {
            let ids = thread.join().unwrap();
            assert!(ids.is_sorted_by(|a, b| a < b));
            all.extend(ids);
        }
        all.sort();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let stated = MessageId::new().0 >> 80;
        assert!(stated.abs_diff(millis) <= 1_000, "the time is the clock's: {stated} and {millis}");
    }

    // These vectors stand in docs/frame.md: a change here is a change of the format.
    #[test]
    fn children_are_those_of_the_specification() {
        let parent: MessageId = "0193f2a0-7c00-7000-8000-000000000001".parse().unwrap();
        let children = [
            ("shop.billing", 0, "0193f2a0-7c00-7460-9833-1b172db8cfb8"),
            ("shop.billing", 1, "0193f2a0-7c00-7088-9ecf-350294a725de"),
            ("", 0, "0193f2a0-7c00-7a05-b480-90051e139df0"),
        ];
        for (consumer, ordinal, id) in children {
            assert_eq!(parent.child(consumer, ordinal).to_string(), id, "{consumer:?} {ordinal}");
        }
    }
}
