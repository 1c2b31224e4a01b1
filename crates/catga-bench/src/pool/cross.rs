//! Candidates of two threads.

use crate::harness::{Candidate, Sample};
use catga::Error;
use catga_buf::CountingAlloc;
use rtrb::{Consumer, Producer, RingBuffer};
use std::{
    sync::{
        Arc, Barrier,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

/// How many items wait between the two threads at most.
const RING: usize = 128;

/// What another thread answers about its part.
type Counted = catga_buf::Allocations;

/// A thread that waits for its turns and then takes so many items; it lives as long as the candidate, so that what it
/// keeps for itself stays warm.
pub(super) struct Cross<T> {
    ring: Producer<T>,
    ask: Option<Sender<u64>>,
    done: Receiver<Counted>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Cross<T> {
    /// Makes items here and takes them there. An operation is one item on its whole way.
    pub(super) fn candidate<'a>(
        name: &str,
        mut make: impl FnMut() -> T + 'a,
        take: impl Fn(T) + Send + 'static,
    ) -> Candidate<'a>
    where
        T: 'a,
    {
        let mut cross = Self::start(take);
        Candidate::new(name, move |iterations| {
            let ask = cross.ask.as_ref().ok_or_else(gone)?;
            ask.send(iterations).map_err(|_| gone())?;
            let (before, started) = (CountingAlloc::thread(), Instant::now());
            for _ in 0..iterations {
                let mut item = make();
                let mut pause = Pause::default();
                while let Err(rtrb::PushError::Full(back)) = cross.ring.push(item) {
                    item = back;
                    pause.wait();
                }
            }
            let there = cross.done.recv().map_err(|_| gone())?;
            let (elapsed, here) = (started.elapsed(), CountingAlloc::thread() - before);
            Ok(Sample { elapsed, allocations: here.count + there.count, bytes: here.bytes + there.bytes })
        })
    }

    fn start(take: impl Fn(T) + Send + 'static) -> Self {
        let (ring, items) = RingBuffer::new(RING);
        let (ask, turns) = channel();
        let (report, done) = channel();
        let thread = thread::spawn(move || serve(&turns, &report, items, take));
        Self { ring, ask: Some(ask), done, thread: Some(thread) }
    }
}

fn serve<T>(turns: &Receiver<u64>, report: &Sender<Counted>, mut items: Consumer<T>, take: impl Fn(T)) {
    for count in turns {
        let before = CountingAlloc::thread();
        for _ in 0..count {
            let mut pause = Pause::default();
            loop {
                match items.pop() {
                    Ok(item) => break take(item),
                    Err(_) => pause.wait(),
                }
            }
        }
        if report.send(CountingAlloc::thread() - before).is_err() {
            return;
        }
    }
}

/// Waits for the other thread, which may be at it, or waiting for this processor on a busy machine.
#[derive(Default)]
struct Pause(u32);

impl Pause {
    fn wait(&mut self) {
        self.0 += 1;
        match self.0 < 200 {
            true => std::hint::spin_loop(),
            false => thread::yield_now(),
        }
    }
}

fn gone() -> Error {
    Error::permanent("the other thread is gone")
}

impl<T> Drop for Cross<T> {
    /// The thread ends when it is asked nothing more.
    fn drop(&mut self) {
        drop(self.ask.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The same operation on two threads at once; what is measured is the one that this thread did its part in, while the
/// other did as much.
pub(super) fn at_once<'a>(name: &str, operation: impl Fn() + Clone + Send + 'static) -> Candidate<'a> {
    let (ask, turns) = channel::<(u64, Arc<Barrier>)>();
    let theirs = operation.clone();
    // It ends with the candidate, which owns the other end of the channel.
    thread::spawn(move || {
        for (iterations, meet) in turns {
            meet.wait();
            (0..iterations).for_each(|_| theirs());
            meet.wait();
        }
    });
    Candidate::new(name, move |iterations| {
        let start = Arc::new(Barrier::new(2));
        ask.send((iterations, Arc::clone(&start))).map_err(|_| gone())?;
        start.wait();
        let (before, started) = (CountingAlloc::thread(), Instant::now());
        (0..iterations).for_each(|_| operation());
        let (elapsed, counted) = (started.elapsed(), CountingAlloc::thread() - before);
        // Whoever has the next turn has both processors.
        start.wait();
        Ok(Sample { elapsed, allocations: counted.count, bytes: counted.bytes })
    })
}
