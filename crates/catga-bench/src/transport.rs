//! `bench transport`: a message on its way through [`Memory`]: published, received and decoded, handled and settled.
//!
//! A published frame is copied out of a block that many share, as the peer's payload is copied; with "encoded" it is made
//! anew, checksum included, in an allocation of its own.
//! The publisher and the consumer are two tasks, on a runtime of one thread or of two worker threads; the queue has room
//! for 1,024 messages of 200 bytes, ours as the peer's. What both tasks allocate is counted, whichever thread polls them.

use crate::{
    Peer, bare,
    harness::{Bound, Candidate, Plan, Report, Sample, measure},
};
use bytes::{Bytes, BytesMut};
use catga::{
    Delivery, Envelope, Error, MessageId, Parcel, Registration, Result, Settle, Settler, Str, SubscribeOptions,
    Subscription, Transport, memory::Memory,
};
use catga_buf::CountingAlloc;
use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    hint::black_box,
    pin::pin,
    task::Poll,
    time::Instant,
};
use tokio::runtime::{Builder, Runtime};

const ONE: &str = "Memory, one thread";
const TWO: &str = "Memory, two threads";
const ENCODED: &str = "Memory, one thread, each frame encoded";
const KEYED: &str = "Memory, one thread, 100 keys";
const BATCHES: &str = "Memory, one thread, published by 64";
const CHANNEL_ONE: &str = "tokio's channel, one thread, nothing kept";
const CHANNEL_TWO: &str = "tokio's channel, two threads, nothing kept";
const PEER_ONE: &str = "catga-core 0.2 transport, one thread";
const PEER_TWO: &str = "catga-core 0.2 transport, two threads";

/// How many messages may wait, ours as the peer's.
pub const CAPACITY: usize = 1_024;
const PAYLOAD: &[u8] = &[7; 200];

/// What must hold.
pub const BOUNDS: &[Bound] = &[
    Bound::times(ONE, 0.25, PEER_ONE),
    Bound::times(TWO, 0.25, PEER_TWO),
    Bound::times(ENCODED, 0.25, PEER_ONE).as_goal(),
    Bound::times(KEYED, 0.25, PEER_ONE).as_goal(),
    Bound::times(ONE, 1.0, CHANNEL_ONE).as_goal(),
    Bound::times(TWO, 1.0, CHANNEL_TWO).as_goal(),
];

/// Measures all of them; with `peers`, those of others, too.
///
/// # Errors
///
/// Where a runtime cannot start, and where a peer cannot be built or fails.
pub fn run(plan: Plan, peers: bool) -> Result<Report> {
    let one = Builder::new_current_thread().build()?;
    let two = Builder::new_multi_thread().worker_threads(2).build()?;
    let peer = peers.then(|| Peer::start("catga-core-transport")).transpose()?.map(RefCell::new);
    let memory = |runtime, name: &'static str, load: Load| {
        let store = Memory::new().capacity(CAPACITY);
        Candidate::new(name, move |messages| {
            let store = store.as_ref().map_err(|error| Error::permanent(error.to_string()))?;
            through_memory(runtime, store, Load { messages, ..load })
        })
    };
    let mut candidates = vec![
        memory(&one, ONE, PLAIN),
        memory(&two, TWO, PLAIN),
        memory(&one, ENCODED, Load { encodes: true, ..PLAIN }),
        memory(&one, KEYED, Load { keys: 100, ..PLAIN }),
        memory(&one, BATCHES, Load { batch: 64, ..PLAIN }),
        Candidate::new(CHANNEL_ONE, |messages| through_channel(&one, messages)),
        Candidate::new(CHANNEL_TWO, |messages| through_channel(&two, messages)),
    ];
    if let Some(peer) = &peer {
        candidates.push(Candidate::new(PEER_ONE, |messages| peer.borrow_mut().run("one", messages)));
        candidates.push(Candidate::new(PEER_TWO, |messages| peer.borrow_mut().run("two", messages)));
    }
    measure(plan, candidates, BOUNDS)
}

/// What is published.
#[derive(Clone, Copy)]
struct Load {
    messages: u64,
    /// How many partition keys they have in turn; 0 is none.
    keys: u64,
    /// How many are published at a time.
    batch: u64,
    /// Whether each frame is encoded, not copied.
    encodes: bool,
}

const PLAIN: Load = Load { messages: 0, keys: 0, batch: 1, encodes: false };

fn through_memory(runtime: &Runtime, store: &Memory, load: Load) -> Result<Sample> {
    let consumer = Str::from_static("bench.sum");
    let started = Instant::now();
    let (allocations, bytes, sum) = runtime.block_on(async {
        store.register(&[Registration::new(consumer.clone(), vec![Str::from_static("bench.placed")])]).await?;
        let subscription = store.subscribe(SubscribeOptions::new(consumer.clone())).await?;
        let consuming = tokio::spawn(counted(consume(subscription, load.messages)));
        let publishing = tokio::spawn(counted(publish(store.clone(), load)));
        let ((sum, count, bytes), (published, more, larger)) = (consuming.await?, publishing.await?);
        published?;
        Ok::<_, Error>((count + more, bytes + larger, sum?))
    })?;
    check(sum, load.messages)?;
    Ok(Sample { elapsed: started.elapsed(), allocations, bytes })
}

async fn publish(store: Memory, Load { messages, keys, batch, encodes }: Load) -> Result<()> {
    let (mut parcels, mut outcomes, mut frames) = (Vec::new(), Vec::new(), Frames::new()?);
    for number in 0..messages {
        let id = MessageId(u128::from(number));
        let frame = if encodes { frame(id)? } else { frames.copy() };
        let mut parcel = Parcel::new(Str::from_static("bench.placed"), id, black_box(frame));
        parcel.key = number.checked_rem(keys);
        parcels.push(parcel);
        if parcels.len() as u64 >= batch || number + 1 == messages {
            store.publish(&parcels, &mut outcomes).await?;
            parcels.clear();
            outcomes.clear();
        }
    }
    Ok(())
}

/// One frame, copied again and again into blocks of 64 KiB.
struct Frames {
    frame: Bytes,
    block: BytesMut,
}

impl Frames {
    fn new() -> Result<Self> {
        Ok(Self { frame: frame(MessageId(1))?, block: BytesMut::new() })
    }

    fn copy(&mut self) -> Bytes {
        if self.block.capacity() < self.frame.len() {
            self.block = BytesMut::with_capacity(64 * 1024);
        }
        self.block.extend_from_slice(&self.frame);
        self.block.split().freeze()
    }
}

/// A message as it is published.
fn frame(id: MessageId) -> Result<Bytes> {
    let (name, codec) = (Str::from_static("bench.placed"), Str::from_static("raw"));
    Ok(Envelope::new(id, name, codec, Bytes::from_static(PAYLOAD)).encode()?.into())
}

async fn consume(mut subscription: impl Subscription, mut messages: u64) -> Result<u64> {
    let settler = subscription.settler();
    let (mut deliveries, mut answers, mut sum) = (Vec::new(), Vec::new(), 0);
    while messages > 0 {
        subscription.next_batch(64, &mut deliveries).await?;
        messages -= deliveries.len() as u64;
        for Delivery { token, message, .. } in deliveries.drain(..) {
            sum += bare::handle(message?.payload).await;
            answers.push((token, Settle::Done));
        }
        settler.settle(&answers).await?;
        answers.clear();
    }
    Ok(sum)
}

/// The same frames by a channel that forgets them: no answers, no order by key, no redelivery.
fn through_channel(runtime: &Runtime, messages: u64) -> Result<Sample> {
    let started = Instant::now();
    let (allocations, bytes, sum) = runtime.block_on(async {
        let (sender, receiver) = tokio::sync::mpsc::channel(CAPACITY);
        let consuming = tokio::spawn(counted(bare::consume(receiver)));
        let publishing = tokio::spawn(counted(async move {
            let mut frames = Frames::new()?;
            for _ in 0..messages {
                // Nobody takes it any more where this fails; then the sum says so.
                let _ = sender.send(black_box(frames.copy())).await;
            }
            Ok::<_, Error>(())
        }));
        let ((sum, count, bytes), (published, more, larger)) = (consuming.await?, publishing.await?);
        published?;
        Ok::<_, Error>((count + more, bytes + larger, sum?))
    })?;
    check(sum, messages)?;
    Ok(Sample { elapsed: started.elapsed(), allocations, bytes })
}

fn check(sum: u64, messages: u64) -> Result<()> {
    match sum == 7 * messages {
        true => Ok(()),
        false => Err(Error::permanent(format!("of {messages} messages some were not handled: their sum is {sum}"))),
    }
}

/// What a future allocates, whichever threads poll it: how often, and how many bytes.
async fn counted<F: Future>(future: F) -> (F::Output, u64, u64) {
    let (mut future, mut count, mut bytes) = (pin!(future), 0, 0);
    let output = poll_fn(|context| {
        let mut polled = Poll::Pending;
        let counted = CountingAlloc::count(|| polled = future.as_mut().poll(context));
        count += counted.count;
        bytes += counted.bytes;
        polled
    });
    (output.await, count, bytes)
}
