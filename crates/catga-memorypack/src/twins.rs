//! The module with `unsafe` code against the one without: the same calls give the same bytes.

use crate::{raw, safe};
use proptest::{collection::vec, prelude::*};

#[derive(Clone, Debug)]
enum Step {
    Word(u64),
    Byte(u8),
    Slice(Vec<u8>),
    Text(u64, Vec<u8>),
    Zeros(usize),
    Shorts(Vec<i16>),
    Floats(Vec<f64>),
    /// Through a cursor that was split off.
    Split(Vec<u8>),
}

impl Step {
    fn size(&self) -> usize {
        match self {
            Self::Word(_) => 8,
            Self::Byte(_) => 1,
            Self::Slice(bytes) | Self::Split(bytes) => bytes.len(),
            Self::Text(_, bytes) => 8 + bytes.len(),
            Self::Zeros(count) => *count,
            Self::Shorts(numbers) => 2 * numbers.len(),
            Self::Floats(numbers) => 8 * numbers.len(),
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = || vec(any::<u8>(), 0..70);
    let step = prop_oneof![
        any::<u64>().prop_map(Step::Word),
        any::<u8>().prop_map(Step::Byte),
        bytes().prop_map(Step::Slice),
        (any::<u64>(), bytes()).prop_map(|(header, bytes)| Step::Text(header, bytes)),
        (0..20_usize).prop_map(Step::Zeros),
        vec(any::<i16>(), 0..20).prop_map(Step::Shorts),
        vec(any::<f64>(), 0..10).prop_map(Step::Floats),
        bytes().prop_map(Step::Split),
    ];
    vec(step, 0..12)
}

macro_rules! walk {
    ($module:ident, $steps:expr, $cursor:expr) => {
        for step in $steps {
            match step {
                Step::Word(word) => $cursor.put(word.to_le_bytes()),
                Step::Byte(byte) => $cursor.put([*byte]),
                Step::Slice(bytes) => $cursor.put_slice(bytes),
                Step::Text(header, bytes) => $cursor.put_text(bytes, |ascii| (header ^ u64::from(ascii)).to_le_bytes()),
                Step::Zeros(count) => $cursor.zeros(*count),
                Step::Shorts(numbers) => $cursor.put_numbers(numbers),
                Step::Floats(numbers) => $cursor.put_numbers(numbers),
                Step::Split(bytes) => {
                    let mut inner = $cursor.split(bytes.len());
                    inner.put_slice(bytes);
                    assert_eq!(inner.remaining(), 0);
                }
            }
        }
    };
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_cursors_write_the_same_bytes(start in vec(any::<u8>(), 0..9), steps in steps()) {
        let size = steps.iter().map(Step::size).sum::<usize>();
        let (mut fast, mut slow) = (start.clone(), start.clone());
        raw::append(&mut fast, size, |cursor| walk!(raw, &steps, cursor));
        safe::append(&mut slow, size, |cursor| walk!(safe, &steps, cursor));
        prop_assert_eq!(&fast, &slow);

        let mut room = vec![0xAA; size];
        raw::fill(&mut room, |cursor| walk!(raw, &steps, cursor));
        prop_assert_eq!(&room, &slow[start.len()..]);

        let mut buf = bytes::BytesMut::with_capacity(size);
        prop_assert!(raw::advance(&mut buf, size, |cursor| walk!(raw, &steps, cursor)));
        prop_assert_eq!(&buf[..], &slow[start.len()..]);
    }

    #[test]
    fn both_judge_text_alike(mut bytes in vec(0_u8..128, 0..70), at in any::<prop::sample::Index>(), high: u8) {
        prop_assert_eq!(raw::ascii_text(&bytes), safe::ascii_text(&bytes));
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = high;
            prop_assert_eq!(raw::ascii_text(&bytes), safe::ascii_text(&bytes));
            prop_assert_eq!(raw::ascii(&bytes), safe::ascii(&bytes));
        }
    }

    #[test]
    fn both_judge_any_text_alike(text: String) {
        prop_assert_eq!(raw::ascii_text(text.as_bytes()), safe::ascii_text(text.as_bytes()));
        prop_assert_eq!(raw::ascii_text(text.as_bytes()), text.is_ascii().then_some(&text[..]));
    }

    #[test]
    fn both_read_the_same_numbers(bytes in vec(any::<u8>(), 0..130)) {
        fn twins<T: raw::Plain + safe::Plain + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
            let bytes = &bytes[..bytes.len() / size_of::<T>() * size_of::<T>()];
            let (mut fast, mut slow) = (Vec::<T>::new(), Vec::<T>::new());
            raw::extend(&mut fast, bytes);
            safe::extend(&mut slow, bytes);
            assert_eq!(fast, slow);
        }
        twins::<u8>(&bytes);
        twins::<i16>(&bytes);
        twins::<u32>(&bytes);
        twins::<i64>(&bytes);
        twins::<u128>(&bytes);
    }
}

#[test]
#[should_panic(expected = "another number of bytes")]
fn a_cursor_without_room_panics() {
    raw::append(&mut Vec::new(), 3, |cursor| cursor.put([0; 4]));
}

#[test]
#[should_panic(expected = "another number of bytes")]
fn a_cursor_that_is_not_filled_panics() {
    raw::append(&mut Vec::new(), 5, |cursor| cursor.put([0; 4]));
}
