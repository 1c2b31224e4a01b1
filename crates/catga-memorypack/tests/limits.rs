//! What bytes can make the reader do: nothing but answer.
#![allow(clippy::unwrap_used)]
#![forbid(unsafe_code)]

mod wire;

use catga_buf::CountingAlloc;
use catga_memorypack::{Decode, Encode, ErrorKind, MemoryPack, Options, Text, check, decode, to_vec};
use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet, LinkedList};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc::system();

/// The bytes of all golden cases, with their types.
fn cases() -> Vec<(String, Vec<u8>)> {
    let file = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/memorypack.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    let lists = ["cases", "reject"].map(|list| file[list].as_array().unwrap().clone());
    lists.concat().iter().map(|case| (text(&case["type"]), bytes(&text(&case["hex"])))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Reads as all types do and drops what comes of it: no panic, and little memory where it is refused.
fn survive<T: for<'de> Decode<'de>>(frame: &[u8]) {
    let mut fine = false;
    let made = CountingAlloc::count(|| fine = decode::<T>(frame).is_ok());
    let name = std::any::type_name::<T>();
    let most = 16 * frame.len() as u64 + 4_096;
    assert!(fine || made.bytes <= most, "{name}: {} bytes for {frame:02x?}", made.bytes);
    let mut checked = false;
    let made = CountingAlloc::count(|| checked = check::<T>(frame).is_ok());
    assert!(checked || !fine, "{name}: the check refuses {frame:02x?}");
    // But for the error itself.
    assert!(made.bytes <= 128, "{name}: the check of {frame:02x?} allocates {}", made.bytes);
}

#[derive(MemoryPack, Debug, Default)]
struct Wide {
    words: [u64; 24],
}

#[derive(MemoryPack, Debug)]
struct Tree {
    value: u8,
    left: Option<Box<Tree>>,
    others: Vec<Tree>,
    more: Option<LinkedList<Tree>>,
    named: BTreeMap<u8, Tree>,
    hashed: HashMap<u8, Tree>,
}

#[derive(MemoryPack, Debug)]
#[memorypack(union)]
enum Either {
    #[memorypack(tag = 0)]
    Leaf(Box<Big>),
    #[memorypack(tag = 1)]
    Branch { left: Box<Either>, right: Box<Either> },
}

#[derive(MemoryPack, Debug)]
struct Big {
    a: Option<[i64; 8]>,
    b: (String, String, String, String, String, String),
    c: u128,
}

#[derive(MemoryPack, Debug)]
#[memorypack(version_tolerant)]
struct Tolerant {
    a: Option<Box<Tolerant>>,
    b: Vec<Option<Big>>,
    c: HashSet<String>,
    d: String,
}

fn survive_all(frame: &[u8]) {
    survive::<Tree>(frame);
    survive::<Either>(frame);
    survive::<Tolerant>(frame);
    survive::<Vec<Option<Wide>>>(frame);
    survive::<Vec<Option<Big>>>(frame);
    survive::<Vec<Vec<Vec<Vec<String>>>>>(frame);
    survive::<HashMap<String, HashMap<u8, BTreeMap<u8, String>>>>(frame);
    survive::<BTreeMap<Option<String>, Vec<BTreeMap<u8, u8>>>>(frame);
    survive::<Vec<std::sync::Arc<Big>>>(frame);
    survive::<LinkedList<Option<String>>>(frame);
    survive::<Vec<Result<Big, String>>>(frame);
    survive::<catga_memorypack::Grid<Option<String>>>(frame);
}

/// A value that is in many types the start of something large.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let lengths = prop::sample::select(vec![-1_i32, 0, 1, 2, 7, 100, 1_000, i32::MAX, i32::MIN, -2, -5]);
    let piece = prop_oneof![
        lengths.prop_map(|length| length.to_le_bytes().to_vec()),
        vec(0_u8..8, 1..5),
        vec(any::<u8>(), 1..5),
        prop::sample::select(vec![0_u8, 1, 255, 250]).prop_flat_map(|byte| vec(Just(byte), 1..200)),
    ];
    vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_cost_more_than_they_may(frame in hostile()) {
        survive_all(&frame);
    }

    #[test]
    fn golden_cases_with_a_change_are_read_or_refused(
        case: Index, at: Index, byte: u8, change in 0..4_u8, utf16: bool,
    ) {
        thread_local!(static CASES: Vec<(String, Vec<u8>)> = cases());
        let (name, mut frame) = CASES.with(|cases| case.get(cases).clone());
        if !frame.is_empty() {
            let at = at.index(frame.len());
            match change {
                0 => frame[at] = byte,
                1 => _ = frame.remove(at),
                2 => frame.insert(at, byte),
                _ => frame.truncate(at),
            }
        }
        let run = wire::find(&name).unwrap();
        let form = if utf16 { Text::Utf16 } else { Text::Utf8 };
        if let Ok(read) = run(&frame, form) {
            // What was read is written, and that is read as the same.
            let again = run(&read.again, form).unwrap();
            prop_assert_eq!(again.value, read.value);
            prop_assert_eq!(again.again, read.again);
        }
    }
}

#[test]
fn lists_of_nulls_are_read_though_they_are_large() {
    let nulls: Vec<Option<Wide>> = (0..1_000).map(|_| None).collect();
    let bytes = to_vec(&nulls).unwrap();
    assert_eq!(bytes.len(), 1_004);
    assert_eq!(decode::<Vec<Option<Wide>>>(&bytes).unwrap().len(), 1_000);
    let frugal = Options::new().max_memory(100_000);
    assert_eq!(frugal.decode::<Vec<Option<Wide>>>(&bytes).unwrap_err().kind(), ErrorKind::Memory);
}

#[derive(MemoryPack, Debug)]
struct Link {
    value: u8,
    next: Option<Box<Link>>,
}

fn chain(levels: usize) -> Option<Box<Link>> {
    (0..levels).fold(None, |next, _| Some(Box::new(Link { value: 1, next })))
}

#[test]
fn depth_has_a_bound_both_ways() {
    let deep = to_vec(&chain(998)).unwrap();
    assert!(decode::<Option<Box<Link>>>(&deep).is_ok(), "as deep as .NET writes");
    let deeper = chain(1_001);
    assert_eq!(to_vec(&deeper).unwrap_err().kind(), ErrorKind::Depth);
    let deeper = Options::new().max_depth(2_000).to_vec(&deeper).unwrap();
    assert_eq!(decode::<Option<Box<Link>>>(&deeper).unwrap_err().kind(), ErrorKind::Depth);
    assert_eq!(check::<Option<Box<Link>>>(&deeper).unwrap_err().kind(), ErrorKind::Depth);
    let few = Options::new().max_depth(10);
    assert_eq!(few.decode::<Option<Box<Link>>>(&deep).unwrap_err().kind(), ErrorKind::Depth);
}

/// However many levels are allowed, the stack is not used up.
#[test]
fn the_stack_has_a_bound_both_ways() {
    let endless = Options::new().max_depth(u32::MAX);
    let frame = [2_u8, 1].repeat(1_000_000);
    assert_eq!(endless.decode::<Option<Box<Link>>>(&frame).unwrap_err().kind(), ErrorKind::Depth);
    assert_eq!(endless.check::<Option<Box<Link>>>(&frame).unwrap_err().kind(), ErrorKind::Depth);
    let mut long = chain(100_000);
    assert_eq!(endless.to_vec(&long).unwrap_err().kind(), ErrorKind::Depth);
    // Dropping it at once would use up the stack, too.
    while let Some(mut link) = long {
        long = link.next.take();
    }
}

/// Through members that are lists, maps and variants, for as many levels as a frame has bytes.
#[test]
fn endless_nesting_is_refused() {
    let lists = [6_u8, 0, 255, 1, 0, 0, 0].repeat(40_000);
    assert_eq!(decode::<Tree>(&lists).unwrap_err().kind(), ErrorKind::Depth);
    assert_eq!(check::<Tree>(&lists).unwrap_err().kind(), ErrorKind::Depth);
    let maps = [5_u8, 0, 255, 0, 0, 0, 0, 255, 255, 255, 255, 1, 0, 0, 0, 9].repeat(20_000);
    assert_eq!(decode::<Tree>(&maps).unwrap_err().kind(), ErrorKind::Depth);
    let variants = [1_u8, 2].repeat(40_000);
    assert_eq!(decode::<Either>(&variants).unwrap_err().kind(), ErrorKind::Depth);
}

/// Messages from the notes of the golden cases that end .NET's process or read beyond its buffer.
#[test]
fn what_kills_dotnet_is_refused() {
    for (name, frame) in [
        ("PersonV1", "020700000000000080ffffffff6162e38182"),
        ("PersonV1", "020700000001000080ffffffff6162e38182"),
        ("PersonV1", "020700000003000080ffffffff6162e38182"),
        ("DocV3", "06049c0800000401000000020000000000000000000000"),
        ("Odd", "06ffffffffffffffffff0000000003835a0000835a000000000000ff"),
        ("Odd", "06ffffffffffffffffff0000000003008000000080000000000000ff"),
    ] {
        let run = wire::find(name).unwrap();
        assert!(run(&bytes(frame), Text::Utf8).is_err(), "{name} {frame}");
    }
}

#[test]
fn what_is_written_was_announced() {
    struct Liar;
    impl catga_memorypack::Shape for Liar {
        const KIND: catga_memorypack::Kind = catga_memorypack::Kind::Object;
    }
    impl Encode for Liar {
        fn size(&self, _: &mut catga_memorypack::Sizer) -> usize {
            1
        }
        fn encode(&self, out: &mut catga_memorypack::Writer<'_>) {
            out.put([0; 2]);
        }
    }
    assert!(std::panic::catch_unwind(|| to_vec(&Liar)).is_err());
}
