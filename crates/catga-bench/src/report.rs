use crate::harness::{Outcome, Report, Verdict};
use comfy_table::{CellAlignment, Table, presets};
use serde::Deserialize;
use std::io::{self, Write};

/// Writes a report for a person to read; it is Markdown, too.
///
/// # Errors
///
/// What `out` answers.
pub fn print(report: &Report, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", report.machine)?;
    writeln!(out, "Medians of {} interleaved rounds, with the middle half of the rounds.", report.rounds)?;
    if let Some(resident) = report.resident {
        writeln!(out, "In memory at the end: {:.1} MiB.", resident as f64 / f64::from(1 << 20))?;
    }
    writeln!(out)?;
    let latency = report.figures.iter().any(|figure| figure.latency.is_some());
    let mut head = vec!["candidate", "ns an operation", "allocations", "bytes", "page faults a round"];
    let counted = report.figures.iter().any(|figure| figure.instructions.is_some());
    head.extend(counted.then_some("instructions"));
    head.extend(latency.then_some("single ones, ns: p50 / p99 / p99.9"));
    let rows = report.figures.iter().map(|figure| {
        let mut row =
            vec![figure.name.clone(), figure.ns.to_string(), number(figure.allocations), number(figure.bytes)];
        row.push(figure.faults.map_or_else(String::new, number));
        row.extend(counted.then(|| figure.instructions.map_or_else(String::new, |count| format!("{count:.0}"))));
        let single = figure.latency.map(|at| format!("{} / {} / {}", at.p50, at.p99, at.p999));
        row.extend(latency.then(|| single.unwrap_or_default()));
        row
    });
    writeln!(out, "{}", table(&head, rows))?;
    if !report.outcomes.is_empty() {
        writeln!(out, "\n{}", table(&["bound", "of", "found", ""], report.outcomes.iter().map(outcome)))?;
    }
    Ok(())
}

/// What an earlier run found, as `--json` printed it.
#[derive(Debug, Deserialize)]
pub struct Baseline {
    machine: BaselineMachine,
    figures: Vec<BaselineFigure>,
}

#[derive(Debug, Deserialize)]
struct BaselineMachine {
    command: String,
    cpu: String,
}

#[derive(Debug, Deserialize)]
struct BaselineFigure {
    name: String,
    ns: BaselineSpread,
    allocations: f64,
}

#[derive(Debug, Deserialize)]
struct BaselineSpread {
    median: f64,
}

impl Baseline {
    /// Writes how the report differs: times another run found are of another moment, so they are shown and never
    /// judged; allocations are exact.
    ///
    /// # Errors
    ///
    /// What `out` answers.
    pub fn compare(&self, report: &Report, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\nBeside `{}` on {}:\n", self.machine.command, self.machine.cpu)?;
        let rows = report.figures.iter().map(|now| {
            let before = self.figures.iter().find(|before| before.name == now.name);
            let beside = |pair: Option<(f64, f64)>| {
                pair.map_or_else(|| "new".into(), |(now, then)| format!("{now:.2} × of {then:.1}"))
            };
            let time = before.map(|before| (now.ns.median / before.ns.median, before.ns.median));
            let allocations = before.map_or_else(
                || "new".into(),
                |before| format!("{} → {}", number(before.allocations), number(now.allocations)),
            );
            vec![now.name.clone(), beside(time), allocations]
        });
        writeln!(out, "{}", table(&["candidate", "ns", "allocations"], rows))
    }
}

/// A table in Markdown.
pub(crate) fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(head).add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Left);
    }
    table
}

fn outcome(outcome: &Outcome) -> Vec<String> {
    let found = match outcome.verdict {
        Verdict::NoPeer => String::new(),
        _ => format!("{:.2} ({:.2}–{:.2})", outcome.found.median, outcome.found.low, outcome.found.high),
    };
    let verdict = match outcome.verdict {
        Verdict::Held => "held",
        Verdict::Missed => "MISSED",
        Verdict::Short => "short of the goal",
        Verdict::NoPeer => "no peer",
    };
    vec![format!("{} {}", outcome.name, outcome.bound), outcome.by.to_owned(), found, verdict.to_owned()]
}

/// Without a fraction where there is none.
pub(crate) fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.4}") }
}
