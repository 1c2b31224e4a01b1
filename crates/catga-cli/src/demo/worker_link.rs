//! The worker process as the parent sees it: spawned, spoken to by pipes, killed.

use super::{
    WorkerArgs,
    director::Event,
    protocol::{Command, Report},
};
use catga_order_system::PlaceOrder;
use std::{
    borrow::Cow,
    collections::VecDeque,
    io::{self, BufRead, BufReader, Write},
    process::{self, Child, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Sender, channel},
    },
    thread::{self, JoinHandle},
};

/// How many of its last lines on standard error are kept for the report of an unexpected end.
const TAIL: usize = 20;

/// A running worker. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    /// `None` once its input was closed.
    commands: Option<Sender<Vec<u8>>>,
    errors: Arc<Mutex<VecDeque<String>>>,
    errors_read: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts this program again as a worker. What it reports becomes events; [`Event::WorkerEnded`] comes last, when
    /// the pipe is empty and nobody writes to it any more.
    pub(crate) fn spawn(args: &WorkerArgs, events: Sender<Event>) -> io::Result<Self> {
        let mut command = process::Command::new(std::env::current_exe()?);
        command.arg("demo-worker").args(args.to_arguments());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // The terminal's interrupt is the parent's to handle.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let missing = || io::Error::other("a pipe to the worker is missing");
        let mut input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let error_output = child.stderr.take().ok_or_else(missing)?;

        let (commands, lines) = channel::<Vec<u8>>();
        thread::Builder::new().name("commands".into()).spawn(move || {
            // Ends when the parent closes the input, or at the first line after the worker's death.
            while lines.recv().is_ok_and(|line| input.write_all(&line).is_ok()) {}
        })?;
        thread::Builder::new().name("reports".into()).spawn(move || {
            read_reports(BufReader::new(output), &events);
            let _ = events.send(Event::WorkerEnded);
        })?;
        let errors = Arc::new(Mutex::new(VecDeque::new()));
        let kept = errors.clone();
        let errors_read = thread::Builder::new().name("errors".into()).spawn(move || {
            for line in BufReader::new(error_output).split(b'\n').map_while(Result::ok) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push_back(String::from_utf8_lossy(&line).into_owned());
                if kept.len() > TAIL {
                    kept.pop_front();
                }
            }
        })?;
        Ok(Self { child, commands: Some(commands), errors, errors_read: Some(errors_read) })
    }

    /// Asks it to place an order. Whether it gets there shows in its answer.
    pub(crate) fn place(&self, attempt: u64, order: &PlaceOrder) {
        self.say(&Command::Place { attempt, order: Cow::Borrowed(order) });
    }

    /// Asks it to say when nothing waits any more.
    pub(crate) fn await_idle(&self) {
        self.say(&Command::AwaitIdle);
    }

    /// Closes its input: it finishes what is at hand and ends.
    pub(crate) fn close(&mut self) {
        self.commands = None;
    }

    /// Kills it, without a word (SIGKILL).
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// What it said last on standard error. Waits until all was read: call it after its end.
    pub(crate) fn last_errors(&mut self) -> Vec<String> {
        if let Some(thread) = self.errors_read.take() {
            let _ = thread.join();
        }
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    fn say(&self, command: &Command<'_>) {
        let Some(commands) = &self.commands else { return };
        let mut line = serde_json::to_vec(command).unwrap_or_else(|error| unreachable!("it is plain data: {error}"));
        line.push(b'\n');
        // A worker that died takes no more; its end is on the way as an event.
        let _ = commands.send(line);
    }
}

/// Passes reports on. What is no report ends the reading: a line is written in one piece, so only a worker that is
/// not ours writes anything else. A last line without an end was cut off by the kill.
fn read_reports(mut output: impl BufRead, events: &Sender<Event>) {
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) && line.ends_with(b"\n") {
        let report = serde_json::from_slice::<Report>(&line)
            .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&line).trim_end()));
        if events.send(Event::Report(report)).is_err() {
            return;
        }
        line.clear();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_the_kill_cut_off_is_no_report() {
        let (sender, events) = channel();
        read_reports(&b"\"Idle\"\nnonsense\n{\"Twice\":{\"id\":\"x\"}}\n{\"Twi"[..], &sender);
        drop(sender);
        let reports: Vec<_> = events.iter().collect();
        assert!(matches!(reports[0], Event::Report(Ok(Report::Idle))));
        assert!(matches!(reports[1], Event::Report(Err(_))));
        assert!(matches!(reports[2], Event::Report(Ok(Report::Twice { .. }))));
        assert_eq!(reports.len(), 3);
    }
}
