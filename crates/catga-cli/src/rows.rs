//! How the verbs that list things print them.

use anyhow::Result;
use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use std::{
    io::{IsTerminal, Write},
    time::{SystemTime, UNIX_EPOCH},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A table on a terminal, tab-separated lines elsewhere
    Text,
    /// One JSON object a line
    #[value(alias = "jsonl")]
    Json,
}

impl Output {
    pub(crate) fn is_json(self) -> bool {
        self == Self::Json
    }
}

pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A table on a terminal, tab-separated lines elsewhere.
pub(crate) fn print<const N: usize>(
    out: &mut (impl Write + IsTerminal),
    heads: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> Result<()> {
    if out.is_terminal() {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(heads).add_rows(rows);
        writeln!(out, "{table}")?;
    } else {
        writeln!(out, "{}", heads.join("\t"))?;
        for row in rows {
            writeln!(out, "{}", row.join("\t"))?;
        }
    }
    Ok(())
}
