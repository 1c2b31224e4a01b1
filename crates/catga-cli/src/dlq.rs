//! `catga dlq`: dead letters, looked at, replayed, discarded.

use crate::rows::{self, Output, seconds};
use anyhow::{Result, anyhow};
use catga::{DeadLetters, Letter, LetterId, sqlite::Sqlite};
use clap::Subcommand;
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

/// What `catga dlq` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file of the store
    #[arg(long, value_name = "FILE", env = "CATGA_STORE", global = true)]
    store: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List letters in the order in which they were buried
    Ls {
        /// Only of this consumer, such as shop.mail
        #[arg(long, value_name = "NAME")]
        consumer: Option<String>,
        /// How to print them: a table on a terminal and tab-separated lines elsewhere, or JSON
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Show one letter with its whole reason and its message
    Show {
        /// The letter's number
        id: u64,
    },
    /// Hand letters to their consumers once more
    Replay(Which),
    /// Remove letters for good
    Discard(Which),
}

/// Which letters a verb is about.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Which {
    /// The letters' numbers
    #[arg(value_name = "ID")]
    ids: Vec<u64>,
    /// All letters, or with --consumer all of that one
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// Only of this consumer
    #[arg(long, value_name = "NAME", requires = "all")]
    consumer: Option<String>,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb: 0 done, 1 a letter is not there or cannot be replayed, 2 usage or input/output.
pub(crate) fn run(args: &Args) -> ExitCode {
    match work(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("catga dlq: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn work(args: &Args) -> Result<bool> {
    let path = args.store.as_ref().ok_or_else(|| anyhow!("which file? Give --store FILE or set CATGA_STORE"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let store = Sqlite::open_tool(path).await.map_err(plain)?;
        match &args.verb {
            Verb::Ls { consumer, output } => list(&store, &all(&store, consumer.as_deref()).await?, *output),
            Verb::Show { id } => show(&store, *id).await,
            Verb::Replay(which) => each(&store, which, Deed::Replay).await,
            Verb::Discard(which) => each(&store, which, Deed::Discard).await,
        }
    })
}

fn plain(error: catga::Error) -> anyhow::Error {
    anyhow!("{error:#}")
}

/// All letters, or those of one consumer.
async fn all(store: &Sqlite, consumer: Option<&str>) -> Result<Vec<Letter>> {
    let (mut letters, mut after) = (Vec::new(), LetterId::default());
    loop {
        let page = store.list(after, 500).await.map_err(plain)?;
        let Some(last) = page.last() else { return Ok(letters) };
        after = last.id;
        letters.extend(page.into_iter().filter(|letter| consumer.is_none_or(|name| letter.consumer == *name)));
    }
}

/// The name and id of the message, as far as it can be read.
fn message(letter: &Letter) -> (String, String) {
    letter.open().map_or_else(
        |_| ("unreadable".into(), String::new()),
        |envelope| (envelope.name.to_string(), envelope.id.to_string()),
    )
}

fn list(store: &Sqlite, letters: &[Letter], output: Output) -> Result<bool> {
    let mut out = io::stdout().lock();
    let parked = |letter: &Letter| store.parked(letter).map_err(plain);
    if output.is_json() {
        for letter in letters {
            let (name, message) = message(letter);
            let line = serde_json::json!({
                "id": letter.id.0, "consumer": &*letter.consumer, "handler": &*letter.handler, "message": name,
                "message_id": message, "attempts": letter.attempts, "first": seconds(letter.first),
                "last": seconds(letter.last), "parked": letter.parks.is_some().then(|| parked(letter)).transpose()?,
                "node": &*letter.node, "reason": letter.reason,
            });
            writeln!(out, "{line}")?;
        }
        return Ok(true);
    }
    let heads =
        ["id", "consumer", "message", "attempts", "first (s since 1970)", "last (s since 1970)", "parked", "reason"];
    let mut lines = Vec::with_capacity(letters.len());
    for letter in letters {
        // Nothing where nobody would wait.
        let parked = if letter.parks.is_some() { parked(letter)?.to_string() } else { String::new() };
        let (first, last) = (seconds(letter.first).to_string(), seconds(letter.last).to_string());
        let (id, attempts) = (letter.id.0.to_string(), letter.attempts.to_string());
        let reason = letter.reason.replace(['\t', '\n'], " ");
        lines.push([id, letter.consumer.to_string(), message(letter).0, attempts, first, last, parked, reason]);
    }
    rows::print(&mut out, &heads, lines.into_iter())?;
    Ok(true)
}

async fn show(store: &Sqlite, id: u64) -> Result<bool> {
    let letter = find(store, id).await?;
    let Some(letter) = letter else {
        eprintln!("there is no letter {id}");
        return Ok(false);
    };
    let mut out = io::stdout().lock();
    writeln!(out, "letter    {}\nconsumer  {}\nhandler   {}", letter.id.0, letter.consumer, letter.handler)?;
    writeln!(out, "attempts  {}\nby        {}", letter.attempts, letter.node)?;
    let (first, last) = (seconds(letter.first), seconds(letter.last));
    writeln!(out, "first     {first} s since 1970\nlast      {last} s since 1970")?;
    if letter.parks.is_some() {
        writeln!(out, "parked    {} later messages of its key wait for it", store.parked(&letter).map_err(plain)?)?;
    }
    writeln!(out, "reason    {}", letter.reason)?;
    match letter.open() {
        Ok(envelope) => {
            writeln!(out, "message   {} {} version {}", envelope.name, envelope.id, envelope.version)?;
            writeln!(out, "of        {} (conversation), {} (cause)", envelope.correlation, envelope.causation)?;
            for (name, value) in envelope.headers.iter() {
                writeln!(out, "header    {name}: {}", String::from_utf8_lossy(value))?;
            }
            // Only what describes itself can be shown without knowing the type.
            match (&*envelope.codec, std::str::from_utf8(&envelope.payload)) {
                ("json", Ok(text)) => writeln!(out, "json      {text}")?,
                (codec, _) => writeln!(out, "{codec:9} {}", hex(&envelope.payload))?,
            }
        }
        Err(error) => writeln!(out, "bytes     {}\n          {error:#}", hex(&letter.frame))?,
    }
    Ok(true)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn find(store: &Sqlite, id: u64) -> Result<Option<Letter>> {
    let Some(before) = id.checked_sub(1) else { return Ok(None) };
    let page = store.list(LetterId(before), 1).await.map_err(plain)?;
    Ok(page.into_iter().find(|letter| letter.id.0 == id))
}

#[derive(Clone, Copy)]
enum Deed {
    Replay,
    Discard,
}

/// Prints the plan, then does it, letter by letter.
async fn each(store: &Sqlite, which: &Which, deed: Deed) -> Result<bool> {
    let mut letters = Vec::new();
    let mut fine = true;
    if which.all {
        letters = all(store, which.consumer.as_deref()).await?;
    }
    for id in &which.ids {
        match find(store, *id).await? {
            Some(letter) => letters.push(letter),
            None => {
                eprintln!("there is no letter {id}");
                fine = false;
            }
        }
    }
    let verb = match deed {
        Deed::Replay => "replay",
        Deed::Discard => "discard",
    };
    for letter in &letters {
        println!("{verb} {}: {} of {}", letter.id.0, message(letter).0, letter.consumer);
    }
    if which.dry_run {
        println!("nothing was done (--dry-run)");
        return Ok(fine);
    }
    let mut done = 0_u64;
    for letter in letters {
        let result = match deed {
            Deed::Replay => store.replay(letter.id).await,
            Deed::Discard => store.remove(letter.id).await,
        };
        match result {
            Ok(true) => done += 1,
            Ok(false) => {
                eprintln!("letter {} is gone: somebody else took it", letter.id.0);
                fine = false;
            }
            Err(error) => {
                eprintln!("{error:#}");
                fine = false;
            }
        }
    }
    println!("{done} done");
    Ok(fine)
}
