//! What is told while the demo runs, on standard error: a bar on a terminal, plain lines elsewhere, nothing but
//! warnings with `--json`.

use super::report::grouped;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};

/// Tells how far the demo is.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    total: Option<u64>,
    /// The count at which the next plain line is due.
    next: u64,
}

impl Progress {
    /// Of so many orders, where that is known.
    pub(crate) fn new(total: Option<u64>, quiet: bool) -> Self {
        let bar = (!quiet && io::stderr().is_terminal()).then(|| bar(total));
        let mut progress = Self { bar, quiet, total, next: 0 };
        progress.next = progress.step();
        progress
    }

    /// So many orders stand.
    pub(crate) fn orders(&mut self, count: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(count);
        } else if count >= self.next {
            self.next = count + self.step();
            match self.total {
                Some(total) => self.note(&format!("{} of {} orders", grouped(count), grouped(total))),
                None => self.note(&format!("{} orders", grouped(count))),
            }
        }
    }

    /// Something worth knowing.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.warn(text);
        }
    }

    /// Something that must be known.
    pub(crate) fn warn(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// The run is over.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn step(&self) -> u64 {
        self.total.map_or(1_000, |total| (total / 10).max(1))
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => "{bar:40} {human_pos} of {human_len} orders, {elapsed}",
        None => "{spinner} {human_pos} orders, {elapsed}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr()).with_style(style)
}
