//! What the demo found, for a person and for a machine. Every figure is counted by the run.

use super::{
    check::{Count, Findings},
    director::{Director, Totals},
    effects::Kind,
};
use comfy_table::{Cell, CellAlignment, Color, Row, Table, presets};
use serde::Serialize;
use std::io::{self, IsTerminal};

/// Everything that was counted; with `--json` this is the one object.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// Orders that were answered with ok.
    orders: u64,
    /// Distinct events that reached a handler, by the reports of started deliveries.
    events: u64,
    /// Rows that must follow from the ok answers.
    effects_expected: u64,
    /// Rows in the store.
    effects_found: u64,
    /// Expected rows that are missing.
    lost: u64,
    /// Rows beyond the expected ones, of orders that stand.
    doubled: u64,
    /// Rows of orders that nobody was told to stand.
    phantom: u64,
    /// Orders of which some rows are as many as they must, with other contents.
    altered: u64,
    /// Orders that stood after nothing but failed answers.
    kept_after_failure: u64,
    /// Handler starts beyond the first of their delivery.
    redelivered: u64,
    /// Parcels that were handed over twice under one id.
    duplicates: u64,
    /// Attempts whose answer died with a worker: those that had placed their order, those that had left nothing, and
    /// orders of which that is still unknown.
    unknown_kept: u64,
    unknown_gone: u64,
    unknown_open: u64,
    /// Attempts that were answered with a failure, or with a refusal.
    failed: u64,
    refused: u64,
    /// Lines of the input that are no order, and lines with an order that came before.
    rejected: u64,
    repeated: u64,
    /// Kills that hit started work, how many deliveries each found started and uncommitted, and kills that found none.
    kills: u64,
    per_kill: Vec<u64>,
    kills_missed: u64,
    /// Workers that ended by themselves.
    crashes: u64,
    /// Deliveries that became dead letters, by the reports, and dead letters in the store.
    buried: u64,
    letters: u64,
    /// What waits in the store at the end.
    left_in_outbox: u64,
    left_in_queue: u64,
    /// From the first worker's readiness until nothing waited any more.
    seconds: f64,
    orders_per_second: f64,
    /// From the commit of an order to the commit of an effect of a consumer; none was measured if null.
    p50_us: Option<u64>,
    p99_us: Option<u64>,
    /// The longest time from the start of a killed worker's successor to its first commit.
    resumed_us: u64,
    /// Memory of the first worker when it was ready and of the last one when it ended, in bytes.
    rss_start: u64,
    rss_end: u64,
    /// Why this run is no success; empty if it is one.
    problems: Vec<String>,
    #[serde(skip)]
    by_kind: [Count; Kind::ALL.len()],
}

impl Summary {
    /// Puts together what the run and the checker counted.
    pub(crate) fn new(run: &Director<'_>, findings: &Findings) -> Self {
        let (counts, total, totals) = (run.journal.counts(), findings.total(), &run.totals);
        let Totals { rejected, repeated, duplicates, rss_start, rss_end, crashes, .. } = *totals;
        let seconds = totals.time.as_secs_f64();
        let mut summary = Self {
            orders: counts.ok,
            events: run.deliveries.events(),
            effects_expected: total.expected,
            effects_found: total.found,
            lost: total.lost,
            doubled: total.doubled,
            phantom: total.phantom,
            altered: total.altered,
            kept_after_failure: counts.kept_after_failure,
            redelivered: run.deliveries.redelivered(),
            duplicates,
            unknown_kept: counts.unknown_kept,
            unknown_gone: counts.unknown_gone,
            unknown_open: run.journal.unresolved(),
            failed: counts.failed,
            refused: counts.refused,
            rejected,
            repeated,
            kills: run.kills.per_kill().len() as u64,
            per_kill: run.kills.per_kill().to_vec(),
            kills_missed: run.kills.missed(),
            crashes,
            buried: run.deliveries.buried(),
            letters: findings.letters,
            left_in_outbox: findings.in_outbox,
            left_in_queue: findings.in_queue,
            seconds,
            orders_per_second: if seconds > 0.0 { counts.ok as f64 / seconds } else { 0.0 },
            p50_us: run.deliveries.latency_us(0.50),
            p99_us: run.deliveries.latency_us(0.99),
            resumed_us: u64::try_from(totals.resumed.as_micros()).unwrap_or(u64::MAX),
            rss_start,
            rss_end,
            problems: totals.problems.clone(),
            by_kind: findings.by_kind,
        };
        summary.judge();
        summary
    }

    /// Names what must not be.
    fn judge(&mut self) {
        let must_be_none = [
            (self.lost, "effects were lost"),
            (self.doubled, "effects happened more than once"),
            (self.phantom, "effects belong to orders that nobody was told to stand"),
            (self.altered, "times an order's rows say something else than the order"),
            (self.kept_after_failure, "orders stood after they were answered with a failure"),
            (self.unknown_open, "orders were never answered after their worker died"),
            (self.letters.max(self.buried), "messages became dead letters"),
            (self.left_in_outbox, "messages never left the outbox"),
            (self.left_in_queue, "deliveries were never settled"),
        ];
        for (count, what) in must_be_none {
            if count > 0 {
                self.problems.push(format!("{} {what}", grouped(count)));
            }
        }
    }

    /// Whether nothing went wrong.
    pub(crate) fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    /// One line of JSON.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| unreachable!("it is plain data: {error}"))
    }

    /// Two tables and a verdict.
    pub(crate) fn text(&self) -> String {
        let styled = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let painted = |text: String, good: bool| {
            let color = if good { "32" } else { "31" };
            if styled { format!("\x1b[1;{color}m{text}\x1b[0m") } else { text }
        };
        let mut text = format!("{}\n\n{}\n\n", self.effects(styled), self.figures(styled));
        if self.is_good() {
            let (orders, effects) = (grouped(self.orders), grouped(self.effects_found));
            let kills = match self.kills {
                0 => "no kill".to_owned(),
                1 => "1 kill".to_owned(),
                kills => format!("{} kills", grouped(kills)),
            };
            let verdict = format!("✔ Nothing lost, nothing doubled: {orders} orders, {effects} effects, {kills}.");
            text.push_str(&painted(verdict, true));
        } else {
            text.push_str(&painted("✘ This went wrong:".to_owned(), false));
            for problem in &self.problems {
                text.push_str(&painted(format!("\n  - {problem}"), false));
            }
        }
        text
    }

    fn effects(&self, styled: bool) -> Table {
        let mut table = table(styled);
        table.set_header(["effects", "expected", "found", "lost", "doubled", "phantom", "altered"]);
        let total = self.by_kind.into_iter().fold(Count::default(), |sum, count| sum + count);
        let kinds = Kind::ALL.into_iter().map(Kind::name).zip(self.by_kind);
        for (name, count) in kinds.chain([("all", total)]) {
            let mut row = Row::from([Cell::new(name), number(count.expected), number(count.found)]);
            for bad in [count.lost, count.doubled, count.phantom, count.altered] {
                let color = if bad > 0 { Color::Red } else { Color::Green };
                row.add_cell(if styled { number(bad).fg(color) } else { number(bad) });
            }
            table.add_row(row);
        }
        table
    }

    fn figures(&self, styled: bool) -> Table {
        let micros = |value: Option<u64>| value.map_or("none measured".to_owned(), |value| milliseconds(value));
        let (least, most) = (self.per_kill.iter().min(), self.per_kill.iter().max());
        let mut rows = vec![
            ("orders", grouped(self.orders), format!("{:.0} a second, {:.1} s in all", self.orders_per_second, self.seconds)),
            ("events", grouped(self.events), format!("{} of them handed over twice", grouped(self.duplicates))),
            ("failed answers", grouped(self.failed), "mishaps on purpose; each order was sent again".to_owned()),
            (
                "unknown answers",
                grouped(self.unknown_kept + self.unknown_gone + self.unknown_open),
                format!(
                    "{} had placed their order, {} had left nothing",
                    grouped(self.unknown_kept),
                    grouped(self.unknown_gone)
                ),
            ),
            ("redelivered", grouped(self.redelivered), "handlers started again after a mishap or a kill".to_owned()),
        ];
        if let (Some(least), Some(most)) = (least, most) {
            let hit = format!("each hit {least} to {most} deliveries that were started and uncommitted");
            rows.push(("kills", grouped(self.kills), hit));
            rows.push(("resumed after", milliseconds(self.resumed_us), "at most, from restart to first commit".to_owned()));
        }
        if self.rejected + self.repeated > 0 {
            rows.push(("lines rejected", grouped(self.rejected), format!("{} repeated", grouped(self.repeated))));
        }
        if self.crashes > 0 {
            rows.push(("crashes", grouped(self.crashes), "workers that ended by themselves".to_owned()));
        }
        rows.push(("order → effect", micros(self.p50_us), format!("median of commit to commit; p99 {}", micros(self.p99_us))));
        rows.push(("memory", bytes(self.rss_end), format!("of the last worker at its end; {} at first", bytes(self.rss_start))));
        let mut table = table(styled);
        for (name, value, remark) in rows {
            table.add_row([Cell::new(name), Cell::new(value).set_alignment(CellAlignment::Right), Cell::new(remark)]);
        }
        table
    }
}

fn table(styled: bool) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    if !styled {
        table.force_no_tty();
    }
    table
}

fn number(value: u64) -> Cell {
    Cell::new(grouped(value)).set_alignment(CellAlignment::Right)
}

/// A number with its thousands apart: `12,345`.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Microseconds as a person reads them.
fn milliseconds(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// Bytes as a person reads them.
fn bytes(value: u64) -> String {
    format!("{:.1} MiB", value as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let numbers = [0, 999, 1_000, 12_345, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,000", "12,345", "1,234,567"]);
        assert_eq!([999, 1_500, 12_000_000].map(milliseconds), ["999 µs", "1.5 ms", "12.0 s"]);
        assert_eq!(bytes(3 << 19), "1.5 MiB");
    }
}
