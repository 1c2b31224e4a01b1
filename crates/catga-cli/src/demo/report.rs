//! The summary as a person reads it.

use super::{check::Count, effects::Kind, summary::Summary};
use comfy_table::{Cell, CellAlignment, Color, Row, Table, presets};
use std::io::{self, IsTerminal};

impl Summary {
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
        let micros = |value: Option<u64>| value.map_or("none measured".to_owned(), milliseconds);
        let (least, most) = (self.per_kill.iter().min(), self.per_kill.iter().max());
        let mut rows = vec![
            (
                "orders",
                grouped(self.orders),
                format!("{:.0} a second, {:.1} s in all", self.orders_per_second, self.seconds),
            ),
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
            let range = if least == most { least.to_string() } else { format!("{least} to {most}") };
            let hit = format!("deliveries started and uncommitted at each: {range}");
            rows.push(("kills", grouped(self.kills), hit));
            rows.push((
                "resumed after",
                milliseconds(self.resumed_us),
                "at most, from restart to first commit".to_owned(),
            ));
        }
        if self.rejected + self.repeated > 0 {
            rows.push(("lines rejected", grouped(self.rejected), format!("{} repeated", grouped(self.repeated))));
        }
        if self.crashes > 0 {
            rows.push(("crashes", grouped(self.crashes), "workers that ended by themselves".to_owned()));
        }
        rows.push((
            "order → effect",
            micros(self.p50_us),
            format!("median of commit to commit; p99 {}", micros(self.p99_us)),
        ));
        rows.push((
            "memory",
            bytes(self.rss_end),
            format!("of the last worker at its end; {} at first", bytes(self.rss_start)),
        ));
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
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
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
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", micros as f64 / 1e6),
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
        assert_eq!([999, 1_500, 12_000_000].map(milliseconds), ["999 µs", "1.5 ms", "12.00 s"]);
        assert_eq!(bytes(3 << 19), "1.5 MiB");
    }
}
