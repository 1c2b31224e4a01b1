//! Runs commands, passes on what they print, and ends them when the time is up.

use crate::{counts::Counts, workspace};
use anyhow::{Context, Result, bail};
use std::{
    fmt,
    io::{BufRead, BufReader, IsTerminal, Read, Write, stderr, stdin, stdout},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

/// A command, and how it reads in a shell.
pub(crate) struct Line {
    program: String,
    arguments: Vec<String>,
    variables: Vec<(&'static str, &'static str)>,
    /// Whether what it says on stderr is kept, too.
    listens: bool,
}

impl Line {
    /// `cargo` with these words as its arguments.
    pub(crate) fn cargo(words: &str) -> Self {
        Self::program("cargo", words.split_whitespace())
    }

    pub(crate) fn program<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let arguments = arguments.into_iter().map(str::to_owned).collect();
        Self { program: program.into(), arguments, variables: Vec::new(), listens: false }
    }

    /// One more argument, whatever is in it.
    pub(crate) fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(crate) fn variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    /// Keeps what the command says on stderr, beside passing it on.
    pub(crate) fn listening(mut self) -> Self {
        self.listens = true;
        self
    }

    fn command(&self) -> Command {
        let program = if self.program == "cargo" { workspace::cargo() } else { self.program.clone().into() };
        let mut command = Command::new(program);
        command.args(&self.arguments).envs(self.variables.iter().copied()).current_dir(workspace::root());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        if self.listens {
            command.stderr(Stdio::piped());
        }
        // A group of its own, so that its children can be ended with it. On a terminal it stays in the group that
        // Ctrl-C reaches.
        #[cfg(unix)]
        if !stdin().is_terminal() {
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
        }
        command
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.variables {
            write!(f, "{name}={value:?} ")?;
        }
        f.write_str(&self.program)?;
        for argument in &self.arguments {
            if argument.contains(char::is_whitespace) { write!(f, " {argument:?}")? } else { write!(f, " {argument}")? }
        }
        Ok(())
    }
}

/// What a command left behind.
pub(crate) struct Output {
    /// `None` where a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<String>,
    /// Empty unless the line was [listening](Line::listening).
    pub(crate) stderr: Vec<String>,
}

enum Heard {
    Out(String),
    Err(String),
}

/// Runs the commands of one step after the other within one limit of time.
pub(crate) struct Runner {
    ends: Instant,
    limit: Duration,
    /// Of the tests that ran in the current step.
    pub(crate) counts: Counts,
    /// What the current step found out, for its row in the table.
    pub(crate) note: String,
}

/// The time is up: not the failure of one step.
#[derive(Debug)]
pub(crate) struct TimeIsUp(pub(crate) Duration);

impl fmt::Display for TimeIsUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped: {} are over", crate::steps::humane(self.0))
    }
}

impl std::error::Error for TimeIsUp {}

impl Runner {
    /// Ends what runs `limit` from now.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { ends: Instant::now() + limit, limit, counts: Counts::default(), note: String::new() }
    }

    /// Runs a command, shows what it prints, and fails unless it exits with 0.
    pub(crate) fn run(&mut self, line: &Line) -> Result<()> {
        let output = self.execute(line, true)?;
        match output.code {
            Some(0) => Ok(()),
            Some(code) => bail!("`{line}` exited with {code}"),
            None => bail!("`{line}` was ended by a signal"),
        }
    }

    /// Runs a command and keeps what it prints; its exit code is the caller's to judge.
    pub(crate) fn capture(&mut self, line: &Line) -> Result<Output> {
        self.execute(line, false)
    }

    fn execute(&mut self, line: &Line, shown: bool) -> Result<Output> {
        println!("  $ {line}");
        let mut child = line.command().spawn().with_context(|| format!("cannot start `{line}`"))?;
        let (heard, hears) = mpsc::channel();
        if let Some(out) = child.stdout.take() {
            let heard = heard.clone();
            thread::spawn(move || pass_on(out, shown.then(stdout), &heard, Heard::Out));
        }
        if let Some(err) = child.stderr.take() {
            let heard = heard.clone();
            thread::spawn(move || pass_on(err, Some(stderr()), &heard, Heard::Err));
        }
        drop(heard);

        let mut output = Output { code: None, stdout: Vec::new(), stderr: Vec::new() };
        let mut ended: Option<Instant> = None;
        loop {
            self.in_time(&mut child)?;
            match hears.recv_timeout(Duration::from_millis(50)) {
                Ok(Heard::Out(text)) => {
                    self.counts += Counts::of_line(&text).unwrap_or_default();
                    output.stdout.push(text);
                }
                Ok(Heard::Err(text)) => output.stderr.push(text),
                Err(RecvTimeoutError::Disconnected) => break,
                // A process that the command left behind may hold the pipes open: two seconds, then they are let go.
                Err(RecvTimeoutError::Timeout) if ended.is_none() => {
                    ended = child.try_wait()?.map(|_| Instant::now());
                }
                Err(RecvTimeoutError::Timeout) => {
                    if ended.is_some_and(|at| at.elapsed() > Duration::from_secs(2)) {
                        break;
                    }
                }
            }
        }
        output.code = self.ended(&mut child)?.code();
        Ok(output)
    }

    fn ended(&self, child: &mut Child) -> Result<ExitStatus> {
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            self.in_time(child)?;
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends the child with all that it started where the time is up.
    fn in_time(&self, child: &mut Child) -> Result<()> {
        if Instant::now() < self.ends {
            return Ok(());
        }
        end(child);
        Err(TimeIsUp(self.limit).into())
    }
}

fn end(child: &mut Child) {
    #[cfg(unix)]
    if !stdin().is_terminal() {
        // The standard library ends one process only; every shell knows how to end a group.
        let group = format!("kill -s KILL -- -{}", child.id());
        let _ = Command::new("sh").args(["-c", &group]).stderr(Stdio::null()).status();
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn pass_on<W: Write>(from: impl Read, mut to: Option<W>, heard: &Sender<Heard>, wrap: fn(String) -> Heard) {
    let mut from = BufReader::new(from);
    let mut bytes = Vec::new();
    while from.read_until(b'\n', &mut bytes).is_ok_and(|length| length > 0) {
        if let Some(to) = &mut to {
            // Where nobody reads on, the command goes on nevertheless.
            let _ = to.write_all(&bytes).and_then(|()| to.flush());
        }
        let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned();
        if heard.send(wrap(text)).is_err() {
            return;
        }
        bytes.clear();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Line {
        Line::program("sh", ["-c", script])
    }

    #[test]
    fn what_a_command_prints_is_kept_and_counted() {
        let mut runner = Runner::new(Duration::from_secs(60));
        let script = "echo 'test result: ok. 2 passed; 0 failed; 1 ignored'; echo heard >&2; exit 3";
        let output = runner.capture(&shell(script).listening()).unwrap();
        assert_eq!(output.code, Some(3));
        assert_eq!(output.stdout.len(), 1);
        assert_eq!(output.stderr, ["heard"]);
        assert_eq!((runner.counts.passed, runner.counts.ignored), (2, 1));
        let error = runner.run(&shell("exit 7")).unwrap_err().to_string();
        assert_eq!(error, "`sh -c \"exit 7\"` exited with 7");
    }

    #[test]
    fn at_the_end_of_its_time_a_command_is_ended_with_its_children() {
        let mark = tempfile::tempdir().unwrap();
        let alive = mark.path().join("alive");
        let script = format!("(sleep 1; echo > {}) & sleep 60", alive.display());
        let begun = Instant::now();
        let error = Runner::new(Duration::from_millis(200)).run(&shell(&script)).unwrap_err();
        assert!(error.is::<TimeIsUp>(), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(30));
        if !stdin().is_terminal() {
            thread::sleep(Duration::from_millis(1500));
            assert!(!alive.exists(), "a child of the command outlived it");
        }
    }

    #[test]
    fn a_command_is_not_waited_for_when_only_a_child_holds_its_pipe() {
        let begun = Instant::now();
        Runner::new(Duration::from_secs(60)).run(&shell("sleep 30 & echo done")).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
