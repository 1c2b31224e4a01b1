//! The memory transport of the crate `catga-core` 0.2 under its competing consumer: publish, handle, acknowledge.
//!
//! Without arguments it measures one thread and two, and prints a line of JSON for each. With `--serve` it answers lines
//! `one iterations` and `two iterations`; `bench transport --peers` alternates it with ours.
#![forbid(unsafe_code)]

use catga_buf::CountingAlloc;
use catga_core::{
    CatgaResult, CompetingConsumer, DeliveryHandler, Envelope, MessageMetadata, MessageTransport, memory::MemoryTransport,
};
use std::{
    future::{Future, poll_fn},
    io::{BufRead, Write},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc::system();

/// As ours.
const CAPACITY: usize = 1_024;
const PAYLOAD: [u8; 200] = [7; 200];

/// Adds up what it is given, and ends the consumer with the last message.
struct Sum {
    left: AtomicU64,
    sum: AtomicU64,
    end: CancellationToken,
}

#[async_trait::async_trait]
impl DeliveryHandler for Sum {
    async fn handle(&self, envelope: &Envelope) -> CatgaResult<()> {
        self.sum.fetch_add(u64::from(envelope.payload()[0]), Ordering::Relaxed);
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.end.cancel();
        }
        Ok(())
    }
}

/// What so many messages took: nanoseconds, allocations, bytes.
type Taken = (u128, u64, u64);

/// What a future allocates, whichever threads poll it.
async fn counted<F: Future>(future: F) -> (F::Output, u64, u64) {
    let (mut future, mut count, mut bytes) = (pin!(future), 0, 0);
    let output = poll_fn(|context| {
        let mut polled = std::task::Poll::Pending;
        let counted = CountingAlloc::count(|| polled = future.as_mut().poll(context));
        count += counted.count;
        bytes += counted.bytes;
        polled
    });
    (output.await, count, bytes)
}

fn run(runtime: &Runtime, messages: u64) -> anyhow::Result<Taken> {
    let transport = Arc::new(MemoryTransport::new(CAPACITY)?);
    let end = CancellationToken::new();
    let sum = Arc::new(Sum { left: AtomicU64::new(messages), sum: AtomicU64::new(0), end: end.clone() });
    let consumer = CompetingConsumer::new(transport.clone(), sum.clone(), 1)?;
    let started = Instant::now();
    let taken = runtime.block_on(async {
        let consuming = tokio::spawn(counted(async move { consumer.run_until_cancelled(end).await }));
        let publishing = tokio::spawn(counted(async move {
            for id in 0..messages {
                let metadata = MessageMetadata::new(id, None);
                transport.publish(Envelope::new(id, "bench.placed", PAYLOAD.to_vec(), metadata)).await?;
            }
            CatgaResult::Ok(())
        }));
        let ((run, count, bytes), (published, more, larger)) = (consuming.await?, publishing.await?);
        published?;
        anyhow::ensure!(run?.acknowledged() as u64 == messages, "not all were acknowledged");
        anyhow::Ok((count + more, bytes + larger))
    });
    let (count, bytes) = taken?;
    let ns = started.elapsed().as_nanos();
    anyhow::ensure!(sum.sum.load(Ordering::Relaxed) == 7 * messages, "not all were handled");
    Ok((ns, count, bytes))
}

fn main() -> anyhow::Result<()> {
    let one = Builder::new_current_thread().build()?;
    let two = Builder::new_multi_thread().worker_threads(2).build()?;
    let runtime = |name: &str| if name == "one" { &one } else { &two };
    let mut out = std::io::stdout().lock();
    if std::env::args().any(|argument| argument == "--serve") {
        for line in std::io::stdin().lock().lines() {
            let line = line?;
            let asked = line.split_once(' ').filter(|(name, _)| matches!(*name, "one" | "two"));
            let (name, messages) = asked.ok_or_else(|| anyhow::anyhow!("`{line}` is no `one n` and no `two n`"))?;
            let (ns, allocations, bytes) = run(runtime(name), messages.parse()?)?;
            writeln!(out, r#"{{"ns":{ns},"allocations":{allocations},"bytes":{bytes}}}"#)?;
            out.flush()?;
        }
        return Ok(());
    }
    for name in ["one", "two"] {
        const MESSAGES: u64 = 200_000;
        run(runtime(name), 1_000)?;
        let mut rounds = (0..9).map(|_| run(runtime(name), MESSAGES)).collect::<Result<Vec<_>, _>>()?;
        rounds.sort_unstable();
        let (ns, allocations, bytes) = rounds[rounds.len() / 2];
        let [ns, allocations, bytes] = [ns as f64, allocations as f64, bytes as f64].map(|sum| sum / MESSAGES as f64);
        writeln!(
            out,
            r#"{{"name":"{name}","ns_per_op":{ns:.1},"allocations_per_op":{allocations},"bytes_per_op":{bytes}}}"#
        )?;
    }
    Ok(())
}
