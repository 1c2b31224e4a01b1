use crate::harness::Sample;
use catga::{Error, Result};
use serde::Deserialize;
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

/// A program of `peers/` that waits for its turns: for each line `name iterations` it answers one line of JSON.
#[derive(Debug)]
pub struct Peer {
    program: String,
    child: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

#[derive(Deserialize)]
struct Answer {
    ns: u64,
    allocations: u64,
    bytes: u64,
}

impl Peer {
    /// Builds that program where it is not built yet, by cargo and out of its own workspace, and starts it.
    ///
    /// # Errors
    ///
    /// Where cargo fails; it says why on stderr.
    pub fn start(program: &str) -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/Cargo.toml");
        let cargo = |verb: &str| {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.args([verb, "--quiet", "--release", "--ignore-rust-version", "--bin", program]);
            cargo.arg("--manifest-path").arg(&manifest);
            cargo
        };
        let built = cargo("build").status()?;
        if !built.success() {
            return Err(Error::permanent(format!("the peer `{program}` cannot be built: {built}")));
        }
        let mut child = cargo("run").args(["--", "--serve"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (ask, answers) = pipes.ok_or_else(|| Error::permanent("a child without pipes"))?;
        Ok(Self { program: program.to_owned(), child, ask: Some(ask), answers: BufReader::new(answers) })
    }

    /// Lets the program do so many operations.
    ///
    /// # Errors
    ///
    /// Where it ends or answers something else.
    pub fn run(&mut self, name: &str, iterations: u64) -> Result<Sample> {
        self.ask(name, iterations).map_err(|error| error.context(format_args!("peer `{}`", self.program)))
    }

    fn ask(&mut self, name: &str, iterations: u64) -> Result<Sample> {
        let mut line = String::new();
        if let Some(ask) = &mut self.ask {
            writeln!(ask, "{name} {iterations}")?;
            self.answers.read_line(&mut line)?;
        }
        let answer = serde_json::from_str(&line);
        let Answer { ns, allocations, bytes } =
            answer.map_err(|error| Error::from(error).context(format_args!("it answered `{}`", line.trim())))?;
        Ok(Sample { elapsed: Duration::from_nanos(ns), allocations, bytes })
    }
}

impl Drop for Peer {
    /// It ends when it is asked nothing more.
    fn drop(&mut self) {
        drop(self.ask.take());
        let _ = self.child.wait();
    }
}
