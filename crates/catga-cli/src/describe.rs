//! `catga describe`: what the applications on a file say of themselves.

use anyhow::{Context as _, Result};
use catga::sqlite::Sqlite;
use clap::ValueEnum;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde_json::Value;
use std::{
    io::{self, IsTerminal as _, Write},
    path::PathBuf,
    process::ExitCode,
};

/// What `catga describe` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file of the store
    #[arg(long, value_name = "FILE", env = "CATGA_STORE")]
    store: PathBuf,
    /// How to print it: a table on a terminal and tab-separated lines elsewhere, or JSON
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table on a terminal, tab-separated lines elsewhere
    Text,
    /// One array of objects
    Json,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> ExitCode {
    match describe(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("catga describe: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn describe(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let opened = runtime.block_on(Sqlite::open_tool(&args.store)).map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let kept = opened.descriptions().map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let mut applications = Vec::new();
    for (name, text) in kept {
        let value: Value = serde_json::from_str(&text).with_context(|| format!("the description of `{name}`"))?;
        applications.push(value);
    }
    let mut out = io::stdout().lock();
    if args.output == Output::Json {
        writeln!(out, "{}", serde_json::to_string_pretty(&applications)?)?;
        return Ok(());
    }
    if applications.is_empty() {
        writeln!(out, "no application was built on this file yet")?;
        return Ok(());
    }
    let rows: Vec<[String; 5]> = applications.iter().flat_map(rows).collect();
    let heads = ["application", "what", "name", "how", "behaviors"];
    if out.is_terminal() {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(heads).add_rows(rows);
        writeln!(out, "{table}")?;
    } else {
        writeln!(out, "{}", heads.join("\t"))?;
        for row in rows {
            writeln!(out, "{}", row.join("\t"))?;
        }
    }
    Ok(())
}

/// One line for each part of an application.
fn rows(application: &Value) -> Vec<[String; 5]> {
    let name = text(&application["application"]);
    let row =
        |what: &str, part: String, how: String, behaviors: String| [name.clone(), what.into(), part, how, behaviors];
    let mut rows = Vec::new();
    for store in list(&application["stores"]) {
        rows.push(row("store", text(store), String::new(), String::new()));
    }
    if !application["transport"].is_null() {
        rows.push(row("transport", String::new(), text(&application["transport"]), String::new()));
    }
    for handler in list(&application["handlers"]) {
        rows.push(row("handles", text(&handler["message"]), text(&handler["handler"]), behaviors(handler)));
    }
    for consumer in list(&application["consumers"]) {
        let how = format!("effects {}; {} attempts", text(&consumer["effects"]), application["attempts"]);
        rows.push(row("consumer", text(&consumer["name"]), how, String::new()));
        for message in list(&consumer["messages"]) {
            let (part, subject) = (text(&message["name"]), text(&message["subject"]));
            let (version, codec, handler) = (&message["version"], text(&message["codec"]), text(&message["handler"]));
            let how = format!("version {version} in {codec} from {subject} to {handler}");
            rows.push(row("takes", part, how, behaviors(message)));
        }
        if let Some(report) = consumer["paused"].as_str() {
            rows.push(row("PAUSED", text(&consumer["name"]), report.into(), String::new()));
        }
    }
    rows
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn behaviors(of: &Value) -> String {
    list(&of["behaviors"]).iter().map(text).collect::<Vec<_>>().join(" > ")
}
