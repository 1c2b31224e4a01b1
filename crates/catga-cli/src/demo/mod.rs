//! `catga demo`: an order system at work in a process that is killed, and a count of what it lost and doubled.

mod check;
mod child;
mod deliveries;
mod director;
mod effects;
mod feed;
mod generate;
mod input;
mod journal;
mod kills;
mod progress;
mod protocol;
mod report;
mod summary;
mod twice;
mod worker_link;

pub(crate) use child::work;

use crate::demo::{
    director::{Director, Event, Plan, plain},
    feed::Feed,
    kills::Kills,
    progress::Progress,
    summary::Summary,
};
use anyhow::{Context as _, Result};
use catga::{Fault, sqlite::Sqlite};
use clap::ValueEnum;
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc::{Sender, channel},
    time::Duration,
};

/// What `catga demo` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Orders become rows and events in one transaction; three consumers write invoices, stock moves and mails. On the way \
handlers fail at random, messages are handed over twice, and the process that does all this is killed. What must be \
there at the end follows from the answers alone; it is compared with the store row by row.

Exit codes: 0 nothing lost, nothing doubled, nothing left over; 1 something was; 2 usage or input/output.")]
pub(crate) struct Args {
    /// How many orders to make up
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    orders: u64,
    /// How often to kill the worker while it is at work
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    kills: u64,
    /// Issue no more orders after this time, even if there are more
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seconds: Option<u64>,
    /// Take orders from a file (`-`: standard input) instead of making them up: one a line, such as
    /// {"id":"o-1","customer":"c-17","items":[{"sku":"A-1","qty":2,"price_cents":1250}]}
    #[arg(long, value_name = "FILE", conflicts_with = "orders", verbatim_doc_comment)]
    input: Option<PathBuf>,
    /// Print one line of JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Where randomness begins: equal seeds make equal orders
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Break the framework on purpose, to see that it is noticed
    #[arg(long, value_name = "HOW")]
    sabotage: Option<Sabotage>,
    /// Keep the store in this file, which must not exist yet [default: a private temporary folder, removed at the end]
    #[arg(long, value_name = "PATH")]
    store: Option<PathBuf>,
}

/// What the worker process is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct WorkerArgs {
    /// The file of the store
    #[arg(long)]
    pub(crate) store: PathBuf,
    /// Where its mishaps begin
    #[arg(long)]
    pub(crate) seed: u64,
    /// How it is broken
    #[arg(long)]
    pub(crate) sabotage: Option<Sabotage>,
}

impl WorkerArgs {
    /// As the worker's command line.
    fn to_arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> =
            vec!["--store".into(), self.store.clone().into(), "--seed".into(), self.seed.to_string().into()];
        if let Some(name) = self.sabotage.and_then(|sabotage| sabotage.to_possible_value()) {
            arguments.extend(["--sabotage".into(), name.get_name().into()]);
        }
        arguments
    }
}

/// A defect that the demo's checker must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sabotage {
    /// A delivery is settled before its handler runs
    AckFirst,
    /// Nobody notes that a delivery was handled
    NoMark,
    /// What a failed call published leaves nevertheless
    OutboxOutside,
    /// What a failed call wrote stays
    NoSavepoint,
}

impl From<Sabotage> for Fault {
    fn from(sabotage: Sabotage) -> Self {
        match sabotage {
            Sabotage::AckFirst => Self::AckFirst,
            Sabotage::NoMark => Self::NoMark,
            Sabotage::OutboxOutside => Self::OutboxOutside,
            Sabotage::NoSavepoint => Self::NoSavepoint,
        }
    }
}

/// The demo, from start to end.
pub(crate) fn run(args: &Args) -> ExitCode {
    match demo(args) {
        Ok(summary) => {
            println!("{}", if args.json { summary.json() } else { summary.text() });
            if summary.is_good() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            eprintln!("catga: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn demo(args: &Args) -> Result<Summary> {
    let (store, _folder) = place(args.store.as_deref())?;
    let (sender, events) = channel();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.spawn(tell_interrupts(sender.clone()));
    let feed = match &args.input {
        Some(path) => Feed::input(path, sender.clone()).with_context(|| format!("cannot read {}", path.display()))?,
        None => Feed::generated(args.seed),
    };
    let total = if feed.is_input() { feed.lines() } else { Some(args.orders) };
    let mut progress = Progress::new(total, args.json);
    let plan = Plan {
        orders: args.orders,
        time: args.seconds.map(Duration::from_secs),
        worker: WorkerArgs { store: store.clone(), seed: args.seed, sabotage: args.sabotage },
    };
    let kills = Kills::new(args.kills, args.seed);
    let mut director = Director::start(plan, feed, kills, (sender, events), &mut progress, &runtime)?;
    let ran = director.run();
    director.end();
    ran?;

    let store = runtime.block_on(Sqlite::open_tool(&store)).map_err(plain)?;
    let findings = store.read(|db| check::check(db, &director.journal)).map_err(plain)?;
    Ok(Summary::new(&director, &findings))
}

/// The store's path, and the folder to be removed where nobody asked for one.
fn place(path: Option<&Path>) -> Result<(PathBuf, Option<tempfile::TempDir>)> {
    match path {
        Some(path) => {
            let there = path.try_exists().with_context(|| format!("cannot look for {}", path.display()))?;
            anyhow::ensure!(!there, "{} exists already; the demo counts in a store of its own", path.display());
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            anyhow::ensure!(folder.is_dir(), "there is no folder {}", folder.display());
            Ok((path.to_owned(), None))
        }
        None => {
            let folder = tempfile::Builder::new().prefix("catga-demo-").tempdir()?;
            Ok((folder.path().join("shop.db"), Some(folder)))
        }
    }
}

/// Turns interrupts from the terminal into events.
async fn tell_interrupts(events: Sender<Event>) {
    while tokio::signal::ctrl_c().await.is_ok() && events.send(Event::Interrupted).is_ok() {}
}
