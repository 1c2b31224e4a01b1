//! Values there and back, through each way to write and each way to read.
#![allow(clippy::unwrap_used)]
#![forbid(unsafe_code)]

use bytes::{BufMut as _, Bytes, BytesMut};
use catga_buf::{CountingAlloc, Str};
use catga_memorypack::{
    DateOnly, DateTime, DateTimeKind, DateTimeOffset, Decimal, Decode, Encode, ErrorKind, Grid, Half, Lazy, List,
    MemoryPack, Options, Pair, Rune, Text, TimeOnly, TimeSpan, Utf16, Version, check, decode, decode_in_place,
    decode_shared, encode, encode_to_buf, encode_to_sink, encode_to_slice, to_vec,
};
use proptest::{collection::vec, prelude::*};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, LinkedList, VecDeque},
    fmt::Debug,
    sync::Arc,
    time::{Duration, SystemTime},
};
use uuid::Uuid;

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc::system();

/// Writes the value in all forms and ways, and reads it in all ways.
fn there_and_back<T: Encode + for<'de> Decode<'de> + PartialEq + Debug>(value: &T) {
    for text in [Text::Utf8, Text::Utf8Unmeasured, Text::Utf16] {
        let options = Options::new().text(text);
        let bytes = options.to_vec(value).unwrap();
        assert_eq!(decode::<T>(&bytes).unwrap(), *value);
        check::<T>(&bytes).unwrap();
        let frame = Bytes::from(bytes.clone());
        let mut shared: T = decode_shared(&frame).unwrap();
        assert_eq!(shared, *value);
        decode_in_place(&bytes, &mut shared).unwrap();
        assert_eq!(shared, *value);

        let mut room = vec![0xAA; bytes.len() + 3];
        assert_eq!(options.encode_to_slice(value, &mut room).unwrap(), bytes.len());
        assert_eq!((&room[..bytes.len()], &room[bytes.len()..]), (&bytes[..], &[0xAA; 3][..]));
        let mut sink = b"before".to_vec();
        options.encode_to_sink(value, &mut sink).unwrap();
        assert_eq!(sink[6..], bytes);
        let mut buf = BytesMut::with_capacity(2);
        options.encode_to_buf(value, &mut buf).unwrap();
        assert_eq!(buf, bytes);
        for end in 0..bytes.len() {
            assert!(decode::<T>(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
            assert!(check::<T>(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
        }
    }
}

fn decimal() -> impl Strategy<Value = Decimal> {
    (any::<bool>(), 0..1_u128 << 96, 0..29_u8)
        .prop_map(|(negative, mantissa, scale)| Decimal::new(negative, mantissa, scale).unwrap())
}

fn date_time() -> impl Strategy<Value = DateTime> {
    let kinds = [DateTimeKind::Unspecified, DateTimeKind::Utc, DateTimeKind::Local, DateTimeKind::LocalRepeated];
    (0..3_155_378_976_000_000_000_u64, prop::sample::select(kinds.to_vec()))
        .prop_map(|(ticks, kind)| DateTime::new(ticks, kind).unwrap())
}

#[derive(MemoryPack, Clone, Debug, PartialEq)]
#[repr(C)]
struct Raw {
    a: u8,
    b: Option<i64>,
    c: char,
    d: bool,
}

#[derive(MemoryPack, Clone, Debug, PartialEq)]
struct Texts {
    owned: String,
    boxed: Option<Box<str>>,
    counted: Arc<str>,
    shared: Option<Str>,
    wide: Utf16,
}

#[derive(MemoryPack, Clone, Debug, PartialEq)]
struct Lists {
    vec: Vec<String>,
    deque: VecDeque<Option<u16>>,
    linked: LinkedList<Vec<u8>>,
    hashed: HashSet<String>,
    sorted: BTreeSet<i64>,
    slice: Box<[Raw]>,
    arc: Arc<[String]>,
    array: [Option<String>; 2],
    bytes: Bytes,
    map: HashMap<u8, u64>,
    tree: BTreeMap<String, Vec<Pair<u64, u8>>>,
}

#[derive(MemoryPack, Clone, Debug, PartialEq)]
#[memorypack(version_tolerant)]
struct Odd<T> {
    #[memorypack(order = 1)]
    outcome: Result<T, String>,
    #[memorypack(order = 4)]
    nothing: (),
    #[memorypack(order = 2)]
    lazy: Lazy<Option<Rune>>,
    #[memorypack(order = 7)]
    version: Option<Version>,
    #[memorypack(order = 8)]
    grid: Grid<T, 3>,
}

fn raw() -> impl Strategy<Value = Raw> {
    let bmp = any::<char>().prop_map(|c| if c > '\u{FFFF}' { 'x' } else { c });
    (any::<u8>(), any::<Option<i64>>(), bmp, any::<bool>()).prop_map(|(a, b, c, d)| Raw { a, b, c, d })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn numbers(a: (u8, i8, u16, i16, u32, i32), b: (u64, i64, u128, i128), c: Option<bool>, d: f32, e: f64) {
        prop_assume!(!d.is_nan() && !e.is_nan());
        there_and_back(&(b.0, b.1, a.4, a.5, a.2, a.3, a.0));
        there_and_back(&(b.2, b.3));
        there_and_back(&(Some(b.3), Some(a.1), c, Some(d), Some(e), None::<u64>));
        there_and_back(&(vec![d; 3], vec![e; 2], vec![b.2; 2], vec![a.3; 5], vec![c; 3]));
        there_and_back(&[a.2; 7]);
        there_and_back(&Some(Pair(Half(a.2), b.0)));
    }

    #[test]
    fn times(
        at in date_time(), decimal in decimal(), ticks: i64, day in 0..3_652_059, of_day in 0..864_000_000_000_i64,
        minutes in -840..=840_i16, id: u128,
    ) {
        let offset = DateTimeOffset::new(at.ticks(), minutes).unwrap();
        let (day, time) = (DateOnly::from_day_number(day).unwrap(), TimeOnly::from_ticks(of_day).unwrap());
        there_and_back(&(Some(at), offset, TimeSpan::from_ticks(ticks), String::new(), Some(day), time));
        there_and_back(&vec![(Some(decimal), Uuid::from_u128(id))]);
        prop_assert_eq!(decimal.to_string().trim_start_matches('-').parse::<Decimal>().unwrap().mantissa(), decimal.mantissa());
        let span = Duration::new(ticks.unsigned_abs() / 10_000_000, 1_234_567 * 100);
        if let Ok(bytes) = to_vec(&span) {
            prop_assert_eq!(decode::<Duration>(&bytes).unwrap(), span);
        }
        let utc = DateTime::new(at.ticks(), DateTimeKind::Utc).unwrap();
        if let Ok(system) = SystemTime::try_from(utc) {
            prop_assert_eq!(DateTime::try_from(system).unwrap(), utc);
        }
    }

    #[test]
    fn texts(owned: String, boxed: Option<String>, shared: Option<String>, wide: String) {
        let texts = Texts {
            boxed: boxed.map(Box::from),
            counted: owned.as_str().into(),
            shared: shared.map(Str::from),
            wide: Utf16(wide),
            owned,
        };
        there_and_back(&texts);
    }

    #[test]
    fn lists(
        strings in vec(any::<String>(), 0..4), bytes in vec(any::<u8>(), 0..9), numbers in vec(any::<Option<u16>>(), 0..4),
        sorted: [i64; 3], raws in vec(raw(), 0..3), pairs: [(u64, u8); 2],
    ) {
        let lists = Lists {
            deque: numbers.into(),
            linked: LinkedList::from([bytes.clone(), Vec::new()]),
            hashed: strings.iter().cloned().collect(),
            sorted: sorted.into(),
            slice: raws.into(),
            arc: strings.clone().into(),
            array: [strings.first().cloned(), None],
            map: bytes.iter().map(|byte| (*byte, u64::MAX)).collect(),
            tree: strings.iter().map(|name| (name.clone(), pairs.map(|(a, b)| Pair(a, b)).to_vec())).collect(),
            bytes: bytes.into(),
            vec: strings,
        };
        there_and_back(&lists);
    }

    #[test]
    fn odds(outcome: Result<u32, String>, rune: Option<char>, build in -1..3, values in vec(any::<u32>(), 6)) {
        let odd = Odd {
            outcome,
            nothing: (),
            lazy: Lazy(rune.map(Rune)),
            version: (build >= 0).then_some(Version { major: 1, minor: 0, build, revision: -1 }),
            grid: Grid::new([1, 2, 3], values).unwrap(),
        };
        there_and_back(&odd);
        there_and_back(&vec![Some(Box::new(odd)), None]);
    }
}

#[derive(MemoryPack, Debug)]
struct View<'a> {
    name: &'a str,
    body: &'a [u8],
    lines: List<'a, Line<'a>>,
    note: Option<Cow<'a, str>>,
}

#[derive(MemoryPack, Debug, PartialEq)]
struct Line<'a> {
    item: &'a str,
    count: u32,
}

#[derive(MemoryPack, Debug, PartialEq, Default)]
struct Order {
    name: String,
    body: Vec<u8>,
    lines: Vec<OwnLine>,
    note: Option<Str>,
}

#[derive(MemoryPack, Debug, PartialEq, Default)]
struct OwnLine {
    item: String,
    count: u32,
}

fn order() -> Order {
    let line = |item: &str, count| OwnLine { item: item.to_owned(), count };
    let lines = vec![line("tea", 1), line("緑茶", 2), line("", u32::MAX)];
    Order { name: "a name that is longer than 16".to_owned(), body: vec![1, 2, 3], lines, note: Some("✓".into()) }
}

#[test]
fn a_view_borrows_everything_and_allocates_nothing() {
    let bytes = to_vec(&order()).unwrap();
    let mut count = 0;
    let made = CountingAlloc::count(|| {
        let view: View<'_> = decode(&bytes).unwrap();
        count = view.lines.iter().map(|line| line.count as usize + line.item.len()).sum();
        assert_eq!((view.name, view.body), ("a name that is longer than 16", &[1, 2, 3][..]));
        assert_eq!(view.note.as_deref(), Some("✓"));
    });
    assert_eq!(count, 3 + 6 + 3 + u32::MAX as usize);
    assert_eq!(made.count, 0);
    // A view is written as what it was read from.
    let view: View<'_> = decode(&bytes).unwrap();
    assert_eq!(to_vec(&view).unwrap(), bytes);
    let utf16 = Options::new().text(Text::Utf16).to_vec(&order()).unwrap();
    assert_eq!(decode::<View<'_>>(&utf16).unwrap_err().kind(), ErrorKind::Text, "UTF-16 cannot be borrowed");
}

#[test]
fn a_broken_item_is_found_when_the_view_is_made() {
    let bytes = to_vec(&order()).unwrap();
    let at = bytes.windows(3).position(|window| window == b"tea").unwrap();
    let mut broken = bytes.clone();
    broken[at] = 0xFF;
    let error = decode::<View<'_>>(&broken).unwrap_err();
    assert_eq!((error.kind(), error.type_name(), error.field()), (ErrorKind::Text, Some("Line"), Some("item")));
    assert_eq!(error.offset(), at + 3);
    assert_eq!(error.to_string(), format!("malformed text in Line.item at byte {}", at + 3));
}

#[test]
fn in_place_keeps_what_was_allocated() {
    let bytes = to_vec(&order()).unwrap();
    let mut order: Order = decode(&bytes).unwrap();
    order.note = None;
    let (name, body, item) = (order.name.as_ptr(), order.body.as_ptr(), order.lines[0].item.as_ptr());
    let made = CountingAlloc::count(|| decode_in_place(&bytes, &mut order).unwrap());
    assert_eq!(made.count, 1, "only the note, which was none");
    assert_eq!((name, body, item), (order.name.as_ptr(), order.body.as_ptr(), order.lines[0].item.as_ptr()));
    assert_eq!(order, self::order());
}

#[test]
fn strings_share_the_frame_that_is_shared() {
    let bytes = Bytes::from(to_vec(&vec![Some(Str::from("a text of a frame")), None]).unwrap());
    let range = bytes.as_ptr_range();
    let texts: Vec<Option<Str>> = decode_shared(&bytes).unwrap();
    assert!(range.contains(&texts[0].as_ref().unwrap().as_ptr()));
    let body = Bytes::from(to_vec(&Bytes::from_static(b"bytes of a frame")).unwrap());
    let made = CountingAlloc::count(|| {
        let shared: Bytes = decode_shared(&body).unwrap();
        assert_eq!(&shared[..], b"bytes of a frame");
    });
    assert!(made.count <= 1, "the count of a `Bytes` that was a `Vec`, and nothing else: {made:?}");
}

#[test]
fn writing_again_allocates_nothing() {
    let order = order();
    let size = to_vec(&order).unwrap().len();
    let mut out = Vec::with_capacity(size);
    let mut room = vec![0; size];
    let mut buf = BytesMut::with_capacity(size);
    let mut sink = Vec::with_capacity(2 * size);
    encode_to_sink(&order, &mut sink).unwrap();
    let made = CountingAlloc::count(|| {
        encode(&order, &mut out).unwrap();
        encode_to_slice(&order, &mut room).unwrap();
        encode_to_sink(&order, &mut sink).unwrap();
    });
    assert_eq!(made.count, 0);
    encode_to_buf(&order, &mut buf).unwrap();
    assert_eq!((&out, &room, &buf[..]), (&room, &out, &out[..]));
}

#[test]
fn too_little_room_is_an_error_and_nothing_is_written() {
    let mut room = [0xAA; 6];
    assert_eq!(encode_to_slice("abc", &mut room).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(room, [0xAA; 6]);
    let mut slice = &mut room[..];
    assert_eq!(encode_to_buf("abc", &mut slice).unwrap_err().kind(), ErrorKind::TooLarge);
    let error = encode_to_sink("abc", &mut slice).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("11 bytes are needed"));
    let mut chained = BytesMut::new().limit(5).chain_mut(BytesMut::new().limit(9));
    encode_to_buf("abc", &mut chained).unwrap();
    assert_eq!((chained.first_ref().get_ref().len(), chained.last_ref().get_ref().len()), (5, 6));
}

#[test]
fn what_dotnet_has_not_is_not_written() {
    assert_eq!(to_vec(&'😀').unwrap_err().kind(), ErrorKind::Value);
    assert_eq!(to_vec(&vec!['a', '😀']).unwrap_err().kind(), ErrorKind::Value);
    assert_eq!(to_vec(&Some('😀')).unwrap_err().kind(), ErrorKind::Value);
    assert_eq!(to_vec(&vec![Raw { a: 0, b: None, c: '😀', d: false }]).unwrap_err().kind(), ErrorKind::Value);
    assert_eq!(to_vec(&Duration::MAX).unwrap_err().kind(), ErrorKind::Value);
    assert_eq!(to_vec(&Version::new(-1, 0)).unwrap_err().kind(), ErrorKind::Value);
    assert_eq!(Grid::new([2, 2], vec![0; 3]), None);
    assert_eq!(Decimal::new(false, 1 << 96, 0), None);
    assert!("1.2.3".parse::<Decimal>().is_err() && "".parse::<Decimal>().is_err() && "-".parse::<Decimal>().is_err());
}

#[test]
fn maps_refuse_a_key_twice_and_sets_have_it_once() {
    let twice = to_vec(&vec![Pair(1_u8, 2_u64), Pair(1, 3)]).unwrap();
    assert_eq!(decode::<HashMap<u8, u64>>(&twice).unwrap_err().kind(), ErrorKind::Duplicate);
    assert_eq!(decode::<BTreeMap<u8, u64>>(&twice).unwrap_err().kind(), ErrorKind::Duplicate);
    let twice = to_vec(&["a", "a"]).unwrap();
    assert_eq!(decode::<HashSet<String>>(&twice).unwrap().len(), 1);
    assert_eq!(decode::<BTreeSet<String>>(&twice).unwrap().len(), 1);
}

#[derive(MemoryPack, Debug, PartialEq)]
struct Old {
    id: i32,
}

#[derive(MemoryPack, Debug, PartialEq)]
struct New {
    id: i32,
    name: String,
    when: Option<DateTime>,
    tags: Vec<String>,
    #[memorypack(skip)]
    seen: bool,
}

#[derive(MemoryPack, Debug, PartialEq)]
struct Strict {
    id: i32,
    kind: Level,
}

#[derive(MemoryPack, Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
enum Level {
    Low = 1,
    High = 200,
}

#[test]
fn members_that_are_missing_are_defaults_and_too_many_are_an_error() {
    let old = to_vec(&Old { id: 7 }).unwrap();
    let new = New { id: 7, name: String::new(), when: None, tags: Vec::new(), seen: false };
    assert_eq!(decode::<New>(&old).unwrap(), new);
    let mut over = New { name: "old".to_owned(), seen: true, tags: vec!["x".to_owned()], ..new };
    decode_in_place(&old, &mut over).unwrap();
    assert_eq!((over.name.as_str(), over.tags.len(), over.seen), ("", 0, false));

    let error = decode::<Old>(&to_vec(&over).unwrap()).unwrap_err();
    assert_eq!((error.kind(), error.type_name()), (ErrorKind::Members, Some("Old")));
    let error = decode::<Strict>(&old).unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Missing, Some("kind")), "no level is number 0");
    assert_eq!(decode::<Level>(&[200]).unwrap(), Level::High);
    assert_eq!(decode::<Level>(&[2]).unwrap_err().kind(), ErrorKind::Value);
}

/// What is found in types: `Self`, what is dropped, parameters that no field has, defaults of parameters.
#[derive(MemoryPack, Debug, PartialEq)]
struct Peculiar<T = u8, const N: usize = 2>
where
    T: Clone + PartialEq,
{
    next: Option<Box<Self>>,
    items: [T; N],
    #[memorypack(skip)]
    none: std::marker::PhantomData<fn() -> T>,
}

impl<T: Clone + PartialEq, const N: usize> Drop for Peculiar<T, N> {
    fn drop(&mut self) {}
}

#[test]
fn peculiar_types_derive_too() {
    let inner = Peculiar { next: None, items: ["a".to_owned()], none: std::marker::PhantomData };
    let outer = Peculiar { next: Some(Box::new(inner)), items: ["b".to_owned()], none: std::marker::PhantomData };
    there_and_back(&outer);
    assert_eq!(decode::<Peculiar>(&[0]).unwrap().items, [0, 0]);
}

/// Where somebody else gives the crate away under another name.
mod framework {
    pub(crate) use catga_memorypack as wire;
}

#[derive(MemoryPack, Debug, PartialEq)]
#[memorypack(crate = "crate::framework::wire")]
struct Renamed {
    id: i32,
}

#[derive(MemoryPack, Debug, PartialEq)]
#[memorypack(crate = crate::framework::wire, transparent)]
struct Id(Renamed);

#[test]
fn the_crate_may_have_another_name() {
    there_and_back(&Id(Renamed { id: 7 }));
    assert_eq!(to_vec(&Some(Id(Renamed { id: 7 }))).unwrap(), [1, 7, 0, 0, 0]);
}

#[test]
fn errors_are_one_word() {
    assert_eq!(size_of::<catga_memorypack::Error>(), size_of::<usize>());
    assert_eq!(size_of::<catga_memorypack::Result<()>>(), size_of::<usize>());
}

#[test]
#[cfg(feature = "compact_str")]
fn short_strings_are_inline() {
    use compact_str::CompactString;
    let texts: Vec<CompactString> = vec!["short".into(), "and one that is longer than 24 bytes".into()];
    there_and_back(&texts);
    let bytes = to_vec("short").unwrap();
    assert_eq!(CountingAlloc::count(|| decode::<CompactString>(&bytes).unwrap()).count, 0);
}

/// The forms of null, by what may be null.
#[test]
fn null_has_the_form_of_its_type() {
    assert_eq!(to_vec(&Some(5_u8)).unwrap(), [1, 5]);
    assert_eq!(to_vec(&None::<i32>).unwrap(), [0; 8]);
    assert_eq!(to_vec(&Some(5_i64)).unwrap(), [1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(to_vec(&None::<Uuid>).unwrap(), [0; 20]);
    assert_eq!(to_vec(&None::<Decimal>).unwrap(), [0; 24]);
    assert_eq!(to_vec(&None::<String>).unwrap(), [255; 4]);
    assert_eq!(to_vec(&None::<Vec<u8>>).unwrap(), [255; 4]);
    assert_eq!(to_vec(&None::<Old>).unwrap(), [255]);
    assert_eq!(to_vec(&Some(Old { id: 1 })).unwrap(), [1, 1, 0, 0, 0]);
    assert_eq!(to_vec(&None::<(i32, String)>).unwrap(), [255]);
    assert_eq!(to_vec(&Some((1_u8, ""))).unwrap(), [1, 1, 0, 0, 0, 0]);
    assert_eq!(
        to_vec(&HashMap::from([(1_i64, 2_i32)])).unwrap()[4..],
        [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]
    );
}
