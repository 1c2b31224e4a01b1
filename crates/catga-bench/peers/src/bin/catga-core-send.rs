//! The mediator of the crate `catga-core` 0.2: a request to a trivial handler, and the same through three behaviors.
//!
//! Without arguments it measures both and prints one line of JSON. With `--serve` it answers lines `name iterations`
//! with the nanoseconds, allocations and bytes that so many calls took; `bench send --peers` alternates it with ours.
#![forbid(unsafe_code)]

use catga_buf::CountingAlloc;
use catga_core::{Behavior, CatgaResult, Mediator, Message, MessageTypeId, Next, Pipeline, Registry, Request};
use std::{
    future::Future,
    hint::black_box,
    io::{BufRead, Write},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Instant,
};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc::system();

/// 48 bytes, as ours.
struct Place([u64; 6]);
struct PlaceName;

impl MessageTypeId for PlaceName {
    const NAME: &'static str = "bench.place";
}

impl Message for Place {}

impl Request for Place {
    type Response = u64;
    type TypeId = PlaceName;
}

struct Noop;

#[async_trait::async_trait]
impl Behavior<Place> for Noop {
    async fn handle(&self, message: Place, next: Next<Place>) -> CatgaResult<u64> {
        next.run(message).await
    }
}

fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}

/// What so many operations took: nanoseconds, allocations, bytes.
type Taken = (u128, u64, u64);

fn run(mediator: &Mediator, three: &Pipeline<Place>, name: &str, iterations: u64) -> anyhow::Result<Taken> {
    let mut failed = false;
    let mut keep = |answer: CatgaResult<u64>| failed |= black_box(answer).is_err();
    let started = Instant::now();
    let counted = CountingAlloc::count(|| match name {
        "send" => (0..iterations).for_each(|_| keep(ready(mediator.send(black_box(Place([7; 6])))))),
        _ => (0..iterations).for_each(|_| keep(ready(mediator.send_with(black_box(Place([7; 6])), three)))),
    });
    let ns = started.elapsed().as_nanos();
    anyhow::ensure!(!failed, "the mediator answered an error");
    Ok((ns, counted.count, counted.bytes))
}

fn main() -> anyhow::Result<()> {
    let mut registry = Registry::new();
    let handler = catga_core::request_handler(|Place(values): Place| async move { Ok(values[0]) });
    registry.register_request::<Place, _>(handler)?;
    let mediator = Mediator::new(registry);
    let three = Pipeline::new().with(Noop).with(Noop).with(Noop);
    let mut out = std::io::stdout().lock();
    if std::env::args().any(|argument| argument == "--serve") {
        for line in std::io::stdin().lock().lines() {
            let line = line?;
            let asked = line.split_once(' ').filter(|(name, _)| matches!(*name, "send" | "three"));
            let (name, iterations) =
                asked.ok_or_else(|| anyhow::anyhow!("`{line}` is no `send n` and no `three n`"))?;
            let (ns, allocations, bytes) = run(&mediator, &three, name, iterations.parse()?)?;
            writeln!(out, r#"{{"ns":{ns},"allocations":{allocations},"bytes":{bytes}}}"#)?;
            out.flush()?;
        }
        return Ok(());
    }
    for name in ["send", "three"] {
        const OPERATIONS: u64 = 200_000;
        run(&mediator, &three, name, 1_000)?;
        let mut rounds = (0..9).map(|_| run(&mediator, &three, name, OPERATIONS)).collect::<Result<Vec<_>, _>>()?;
        rounds.sort_unstable();
        let (ns, allocations, bytes) = rounds[rounds.len() / 2];
        let [ns, allocations, bytes] = [ns as f64, allocations as f64, bytes as f64].map(|sum| sum / OPERATIONS as f64);
        writeln!(
            out,
            r#"{{"name":"{name}","ns_per_op":{ns:.1},"allocations_per_op":{allocations},"bytes_per_op":{bytes}}}"#
        )?;
    }
    Ok(())
}
