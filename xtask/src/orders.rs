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
    report.is("orders", ORDERS as u64)?;
    report.is("rejected", BROKEN.len() as u64)?;
    report.is("repeated", REPEATED as u64)?;
    report.is("lost", 0)?;
    report.is("doubled", 0)?;
    let missing: Vec<_> = named.iter().filter(|number| !is_named(&output.stderr, **number)).collect();
    ensure!(missing.is_empty(), "stderr does not name the lines {missing:?}");
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

/// Whether a line says `line N`, with exactly that number.
fn is_named(stderr: &[String], number: usize) -> bool {
    let wanted = format!("line {number}");
    stderr.iter().any(|text| {
        text.match_indices(&wanted).any(|(at, _)| !text[at + wanted.len()..].starts_with(|next: char| next.is_ascii_digit()))
    })
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
    fn a_longer_number_is_another_line() {
        let said = ["orders.jsonl: line 1018: no JSON".to_owned()];
        assert!(is_named(&said, 1018));
        assert!(!is_named(&said, 101));
    }
}
