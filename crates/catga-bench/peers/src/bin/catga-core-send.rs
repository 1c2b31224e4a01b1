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

/// Runs one candidate so often; answers nanoseconds, allocations, bytes.
fn run(mediator: &Mediator, three: &Pipeline<Place>, name: &str, iterations: u64) -> anyhow::Result<String> {
    let send = || ready(mediator.send(black_box(Place([7; 6]))));
    let send_through = || ready(mediator.send_with(black_box(Place([7; 6])), three));
    anyhow::ensure!(matches!(name, "send" | "three"), "no candidate is named `{name}`");
    let started = Instant::now();
    let mut failed = false;
    let allocations = CountingAlloc::count(|| match name {
        "send" => (0..iterations).for_each(|_| failed |= black_box(send()).is_err()),
        _ => (0..iterations).for_each(|_| failed |= black_box(send_through()).is_err()),
    });
    let ns = started.elapsed().as_nanos();
    anyhow::ensure!(!failed, "the mediator answered an error");
    let (count, bytes) = (allocations.count, allocations.bytes);
    Ok(format!(r#"{{"name":"{name}","iterations":{iterations},"ns":{ns},"allocations":{count},"bytes":{bytes}}}"#))
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
            let (name, iterations) = line.split_once(' ').unwrap_or((&line, "1"));
            writeln!(out, "{}", run(&mediator, &three, name, iterations.parse()?)?)?;
            out.flush()?;
        }
        return Ok(());
    }
    for name in ["send", "three"] {
        run(&mediator, &three, name, 1_000)?;
        let (mut figures, iterations) = (Vec::new(), 200_000);
        for _ in 0..9 {
            let started = Instant::now();
            let line = run(&mediator, &three, name, iterations)?;
            figures.push((started.elapsed().as_nanos() as f64 / iterations as f64, line));
        }
        figures.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (ns, line) = &figures[figures.len() / 2];
        writeln!(out, r#"{{"name":"{name}","ns_per_op":{ns:.1},"sample":{line}}}"#)?;
    }
    Ok(())
}
