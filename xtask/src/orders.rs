//! A file of orders, some of them broken and some twice, as the demo's `--input` takes it.

use crate::{
    demo::{self, Report},
    runner::Runner,
};
use anyhow::{Context, Result, ensure};
use std::{collections::BTreeSet, fmt::Write};

const ORDERS: usize = 10_000;

/// Each is broken in another way.
const BROKEN: [&str; 7] = [
    "this is no JSON",
    "",
    r#"{"id":"b-3","customer":"c-1","items":[{"sku":"A-1","qty":2,"price_cents":1250}]"#,
    r#"{"id":"b-4","customer":"c-1"}"#,
    r#"{"id":"b-5","customer":"c-1","items":[{"sku":"A-1","qty":0,"price_cents":1250}]}"#,
    r#"{"id":"b-6","customer":"c-1","items":[{"sku":"A-1","qty":2,"price_cents":-1}]}"#,
    r#"{"id":"b-7","customer":"c-1","items":[{"sku":"A-1","qty":"two","price_cents":1250}]}"#,
];

const REPEATED: usize = 5;

/// The step: every good order is taken, and each of the twelve others is named with its line.
pub(crate) fn run(runner: &mut Runner) -> Result<()> {
    demo::build(runner)?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("orders.jsonl");
    let (text, named) = file();
    std::fs::write(&path, text).context("cannot write the orders")?;
    let line = demo::line("--input").argument(path.display().to_string()).listening();
    let output = runner.capture(&line)?;
    ensure!(output.code == Some(0), "`{line}` ended with {:?}", output.code);
    let report = Report::read(&output.stdout)?;
    runner.note = report.note();
    report.is("orders", ORDERS as u64)?;
    report.is("rejected", BROKEN.len() as u64)?;
    report.is("repeated", REPEATED as u64)?;
    report.is("lost", 0)?;
    report.is("doubled", 0)?;
    let told: BTreeSet<_> = output.stderr.iter().filter_map(|text| number(text)).collect();
    ensure!(told == named, "stderr names the lines {told:?}; expected {named:?}");
    Ok(())
}

/// The file's text, and the numbers of the lines that must be named.
fn file() -> (String, BTreeSet<usize>) {
    let order = |number: usize| {
        let (customer, qty, price) = (number % 97, number % 9 + 1, number % 5_000 + 1);
        format!(
            r#"{{"id":"o-{number}","customer":"c-{customer}","items":[{{"sku":"A-{}","qty":{qty},"price_cents":{price}}}]}}"#,
            number % 40
        )
    };
    let (mut lines, mut named) = (Vec::new(), BTreeSet::new());
    for number in 1..=ORDERS {
        lines.push(order(number));
        let broken = BROKEN.get(number / 1_000).filter(|_| number % 1_000 == 17).map(|line| (*line).to_owned());
        // A second time, a good while after the first.
        let repeated = (number % 2_000 == 333).then(|| order(number - 300));
        for line in broken.into_iter().chain(repeated) {
            lines.push(line);
            named.insert(lines.len());
        }
    }
    let text = lines.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    });
    (text, named)
}

/// The number of a line of the input, from what is said about it: `line 1018: rejected: …`.
fn number(said: &str) -> Option<usize> {
    said.strip_prefix("line ")?.split_once(": ")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_ten_thousand_orders_and_twelve_others() {
        let (text, named) = file();
        assert_eq!(text.lines().count(), ORDERS + BROKEN.len() + REPEATED);
        assert_eq!(named.len(), BROKEN.len() + REPEATED);
        let ids: BTreeSet<_> = text.lines().filter(|line| line.contains(r#""id":"o-"#)).collect();
        assert_eq!(ids.len(), ORDERS);
    }

    #[test]
    fn a_line_is_named_where_something_is_said_about_it() {
        assert_eq!(number("line 1018: rejected: empty"), Some(1018));
        assert_eq!(number("the order of line 1018: fine"), None);
    }
}
