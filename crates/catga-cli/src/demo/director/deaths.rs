//! How workers end: killed by the parent, by themselves, stuck, or in good order.

use super::{CRASHES, Director, Event, STUCK, plain};
use crate::demo::{check::uncommitted, report::grouped, worker_link::Worker};
use anyhow::{Context as _, Result};
use std::time::Instant;

impl Director<'_> {
    /// Kills the worker, counts what that hit, and starts the next one at once.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.worker.kill().context("killing the worker")?;
        self.drain()?;
        self.worker.wait().context("waiting for the killed worker")?;
        let running = self.deliveries.take_running();
        let path = &self.plan.worker.store;
        let store = self.runtime.block_on(catga::sqlite::Sqlite::open_tool(path)).map_err(plain)?;
        let hit = store.read(|db| uncommitted(db, &running)).map_err(plain)?;
        drop(store);
        let counts = self.kills.hit(hit, self.plan.orders);
        let lost_answers = self.lose_answers();
        self.restart()?;
        self.resuming = Some(Instant::now());
        let orders = grouped(self.journal.counts().ok);
        self.progress.note(&if counts {
            format!(
                "kill {} of {} after {orders} orders, deliveries started and uncommitted: {hit}, orders unanswered: \
                 {lost_answers}",
                self.kills.per_kill().len(),
                self.kills.wanted()
            )
        } else {
            format!("a kill after {orders} orders found all started deliveries committed: it does not count")
        });
        Ok(())
    }

    /// Takes everything in that the dead worker had said.
    fn drain(&mut self) -> Result<()> {
        loop {
            match self.events.recv()? {
                Event::WorkerEnded => return Ok(()),
                event => drop(self.take(event)?),
            }
        }
    }

    /// The end of every open attempt is unknown: each is sent again. Answers how many.
    fn lose_answers(&mut self) -> usize {
        let mut lost: Vec<_> = self.open.drain().collect();
        lost.sort_unstable_by_key(|(attempt, _)| *attempt);
        for (_, (ticket, order)) in lost.iter().rev() {
            self.journal.unknown(*ticket);
            self.again.push_front((*ticket, order.clone()));
        }
        lost.len()
    }

    fn restart(&mut self) -> Result<()> {
        let mut args = self.plan.worker.clone();
        // The next worker's mishaps are others: with the same ones it might fail the same way for ever.
        args.seed = args.seed.wrapping_add(self.workers);
        self.worker = Worker::spawn(&args, self.sender.clone()).context("starting the next worker")?;
        self.workers += 1;
        (self.ready, self.asked_for_idle, self.idle) = (false, false, false);
        self.moved = Instant::now();
        Ok(())
    }

    /// The worker ended by itself. Answers whether another one was started.
    pub(super) fn crashed(&mut self) -> Result<bool> {
        let status = self.worker.wait().context("waiting for the worker")?;
        self.totals.crashes += 1;
        self.progress.warn(&format!("the worker ended by itself: {status}. The last it said:"));
        for line in self.worker.last_errors() {
            self.progress.warn(&format!("  {line}"));
        }
        self.deliveries.take_running();
        self.lose_answers();
        if self.totals.crashes > CRASHES {
            self.totals.problems.push(format!("the worker ended by itself {} times", self.totals.crashes));
            return Ok(false);
        }
        self.restart()?;
        Ok(true)
    }

    /// Nothing moves any more: what there is will be checked.
    pub(super) fn give_up(&mut self) -> Result<()> {
        let (open, seconds) = (self.open.len() + self.again.len(), STUCK.as_secs());
        let what = match (self.ready, open) {
            (false, _) => "the worker did not get ready".to_owned(),
            (true, 0) => "outbox and queues did not get empty".to_owned(),
            (true, open) => format!("{open} orders had no answer"),
        };
        self.totals.problems.push(format!("stuck: nothing moved for {seconds} s; {what}"));
        self.totals.time = self.began.map(|began| began.elapsed()).unwrap_or_default();
        self.worker.kill().context("killing the worker that is stuck")?;
        self.drain()?;
        self.worker.wait().context("waiting for the worker that was stuck")?;
        for line in self.worker.last_errors() {
            self.progress.warn(&format!("  {line}"));
        }
        self.lose_answers();
        Ok(())
    }

    /// Lets the last worker end in good order.
    pub(super) fn end_worker(&mut self) -> Result<()> {
        self.worker.close();
        let deadline = Instant::now() + STUCK;
        loop {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::WorkerEnded) => break,
                Ok(event) => drop(self.take(event)?),
                Err(_) => {
                    self.totals.problems.push(format!("the worker did not end within {} s", STUCK.as_secs()));
                    self.worker.kill().context("killing the worker that did not end")?;
                    self.drain()?;
                    break;
                }
            }
        }
        let status = self.worker.wait().context("waiting for the worker")?;
        if !status.success() {
            self.totals.problems.push(format!("the worker ended badly: {status}"));
            for line in self.worker.last_errors() {
                self.progress.warn(&format!("  {line}"));
            }
        }
        Ok(())
    }
}
