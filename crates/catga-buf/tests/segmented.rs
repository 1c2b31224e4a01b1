//! The stream against a cursor over a vector, step by step, and what is its own.
#![allow(clippy::unwrap_used)]

use bytes::Buf;
use catga_buf::{BufferPool, PoolOptions, SegmentedBuf, Sink};
use proptest::prelude::*;
use std::io::{self, BufRead, Cursor, IoSlice, Read, Seek, SeekFrom, Write};

/// What can be done to a stream; sizes reach over several blocks.
#[derive(Clone, Debug)]
enum Step {
    Write(u8, usize),
    Read(usize),
    Line(u8),
    Consume(usize),
    Seek(SeekFrom),
    Truncate(usize),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let size = || prop_oneof![0_usize..40, 0_usize..9_000, 0_usize..100_000];
    let seek = prop_oneof![
        (0_u64..200_000).prop_map(SeekFrom::Start),
        (-100_000_i64..10_000).prop_map(SeekFrom::End),
        (-20_000_i64..20_000).prop_map(SeekFrom::Current),
    ];
    prop_oneof![
        4 => (any::<u8>(), size()).prop_map(|(byte, count)| Step::Write(byte, count)),
        3 => size().prop_map(Step::Read),
        1 => any::<u8>().prop_map(Step::Line),
        1 => size().prop_map(Step::Consume),
        3 => seek.prop_map(Step::Seek),
        1 => size().prop_map(Step::Truncate),
        1 => Just(Step::Clear),
    ]
}

/// Does a step to both and compares what they answer.
fn both(step: Step, stream: &mut SegmentedBuf, model: &mut Cursor<Vec<u8>>) -> Result<(), TestCaseError> {
    match step {
        // As to a file: nothing written fills no gap, where a cursor would.
        Step::Write(_, 0) => prop_assert_eq!(stream.write(&[]).unwrap(), 0),
        Step::Write(byte, count) => {
            let bytes: Vec<u8> = (0..count).map(|n| byte.wrapping_add((n % 253) as u8)).collect();
            prop_assert_eq!(stream.write(&bytes).unwrap(), model.write(&bytes).unwrap());
        }
        Step::Read(count) => {
            let (mut ours, mut theirs) = (vec![0; count], vec![0; count]);
            prop_assert_eq!(stream.read(&mut ours).unwrap(), model.read(&mut theirs).unwrap());
            prop_assert!(ours == theirs);
        }
        Step::Line(end) => {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            stream.read_until(end, &mut ours).unwrap();
            model.read_until(end, &mut theirs).unwrap();
            prop_assert!(ours == theirs);
        }
        Step::Consume(count) => {
            let count = count.min(stream.remaining());
            stream.advance(count);
            model.advance(count);
        }
        Step::Seek(to) => match (stream.seek(to), model.seek(to)) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
            (ours, theirs) => prop_assert_eq!(ours.unwrap_err().kind(), theirs.unwrap_err().kind()),
        },
        Step::Truncate(len) => {
            stream.truncate(len);
            model.get_mut().truncate(len);
        }
        Step::Clear => {
            stream.clear();
            *model = Cursor::default();
        }
    }
    prop_assert_eq!(stream.position(), model.position());
    prop_assert_eq!((stream.len(), stream.is_empty()), (model.get_ref().len(), model.get_ref().is_empty()));
    prop_assert_eq!((stream.remaining(), stream.has_remaining()), (model.remaining(), model.has_remaining()));
    Ok(())
}

fn joined(slices: &[IoSlice<'_>]) -> Vec<u8> {
    slices.iter().flat_map(|slice| slice.iter().copied()).collect()
}

/// What is seen without moving.
fn compare(stream: &SegmentedBuf, model: &Cursor<Vec<u8>>) -> Result<(), TestCaseError> {
    let bytes = model.get_ref();
    prop_assert!(stream.to_contiguous()[..] == bytes[..]);
    prop_assert!(joined(&stream.io_slices()) == *bytes);
    prop_assert!(stream.as_slice().is_none_or(|slice| slice == &bytes[..]));
    let mut slices = [IoSlice::new(&[]); 64];
    let count = stream.chunks_vectored(&mut slices);
    prop_assert!(joined(&slices[..count]) == model.chunk());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_stream_does_what_a_cursor_does(steps in proptest::collection::vec(step(), 0..40)) {
        let pool = PoolOptions::new().build();
        let (mut stream, mut model) = (pool.segmented("model"), Cursor::new(Vec::new()));
        for step in steps {
            both(step, &mut stream, &mut model)?;
        }
        compare(&stream, &model)?;
        drop(stream);
        prop_assert_eq!(pool.stats().in_use(), 0);
    }

    #[test]
    fn a_stream_with_a_maximum_writes_all_or_nothing(writes in proptest::collection::vec(0_usize..9_000, 0..20), max in 0_u64..40_000) {
        let mut stream = BufferPool::global().segmented("short").with_max(max);
        let mut model = Vec::new();
        for (n, count) in writes.into_iter().enumerate() {
            let bytes = vec![n as u8; count];
            let fits = (model.len() + count) as u64 <= max;
            prop_assert_eq!(stream.write(&bytes).is_ok(), fits || count == 0);
            if fits {
                model.extend(bytes);
            }
        }
        prop_assert!(stream.to_contiguous()[..] == model[..]);
    }
}

#[test]
fn beyond_its_maximum_a_stream_says_so() {
    let mut stream = BufferPool::global().segmented("report").with_max(10);
    stream.write_all(b"12345678").unwrap();
    for error in [stream.write(b"abc").unwrap_err(), Sink::reserve(&mut stream, 3).unwrap_err()] {
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(error.to_string(), "the stream `report` holds at most 10 bytes: 3 more at 8 do not fit");
    }
    Sink::reserve(&mut stream, 2).unwrap();
    stream.write_all(b"ab").unwrap();
    assert_eq!(stream.as_slice(), Some(&b"12345678ab"[..]));
    stream.seek(SeekFrom::Start(u64::MAX)).unwrap();
    assert_eq!(stream.write(b"x").unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    assert_eq!(stream.read(&mut [0; 4]).unwrap(), 0);
}

#[test]
fn blocks_grow_from_4_to_64_kib_and_come_home() {
    let pool = PoolOptions::new().build();
    let mut stream = pool.segmented("blocks");
    (0..300).for_each(|_| stream.write_all(&[1; 1_000]).unwrap());
    let lengths: Vec<_> = stream.slices().map(|slice| slice.len() >> 10).collect();
    assert_eq!(lengths, [4, 8, 16, 32, 64, 64, 64, 40]);
    stream.truncate(5_000);
    assert_eq!(pool.stats().in_use(), 2);
    stream.clear();
    assert_eq!((pool.stats().in_use(), stream.tag()), (0, "blocks"));
    assert_eq!(pool.stats().outstanding[0].tag, "blocks");
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn it_reads_and_writes_for_tokio() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = BufferPool::global().segmented("tokio");
    AsyncWriteExt::write_all(&mut stream, &vec![3; 50_000]).await.unwrap();
    AsyncWriteExt::shutdown(&mut stream).await.unwrap();
    stream.rewind().unwrap();
    let mut copy = Vec::new();
    AsyncReadExt::read_to_end(&mut stream, &mut copy).await.unwrap();
    assert_eq!(copy, vec![3; 50_000]);
}
