//! Where the next order comes from: made up, or read from an input by a thread of its own, which reads a line for
//! each that was asked for. So the input may be endless and nothing piles up.

use super::{
    director::Event,
    generate::Generator,
    input::{Line, Lines},
};
use catga_order_system::PlaceOrder;
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
    sync::mpsc::{Sender, channel},
    thread,
};

/// How many lines are read ahead.
const AHEAD: usize = 256;

/// The source of orders.
#[derive(Debug)]
pub(crate) enum Feed {
    /// Made up, endlessly.
    Generated {
        /// Makes them.
        orders: Generator,
        /// The number of the last one.
        number: u64,
    },
    /// From a file or a pipe.
    Input(Input),
}

/// An input that is being read.
#[derive(Debug)]
pub(crate) struct Input {
    wanted: Sender<()>,
    read: VecDeque<Line>,
    ended: bool,
    /// How many lines it has, where that could be told.
    lines: Option<u64>,
    /// The last line that was taken.
    taken: u64,
}

/// What a feed answers.
#[derive(Debug)]
pub(crate) enum Next {
    /// An order and its line; or why that line is none.
    Line(Line),
    /// The next line is not there yet; an [`Event::Line`] comes.
    Wait,
    /// There are no more.
    End,
}

impl Feed {
    /// Orders made up from a seed.
    pub(crate) fn generated(seed: u64) -> Self {
        Self::Generated { orders: Generator::new(seed), number: 0 }
    }

    /// Orders from a file, or from standard input where the path is `-`.
    pub(crate) fn input(path: &Path, events: Sender<Event>) -> io::Result<Self> {
        let (reader, lines): (Box<dyn BufRead + Send>, _) = if path == Path::new("-") {
            (Box::new(BufReader::new(io::stdin())), None)
        } else {
            let file = File::open(path)?;
            // A pipe can be read once only.
            let lines = if file.metadata()?.is_file() { Some(count(BufReader::new(File::open(path)?))?) } else { None };
            (Box::new(BufReader::new(file)), lines)
        };
        let (wanted, asked) = channel();
        thread::Builder::new().name("input".into()).spawn(move || {
            let mut reader = Lines::new(reader);
            while asked.recv().is_ok() {
                let line = reader.next();
                let last = !matches!(line, Ok(Some(_)));
                if events.send(Event::Line(line)).is_err() || last {
                    return;
                }
            }
        })?;
        for _ in 0..AHEAD {
            // The thread may have ended with the input.
            let _ = wanted.send(());
        }
        Ok(Self::Input(Input { wanted, read: VecDeque::new(), ended: false, lines, taken: 0 }))
    }

    /// The next order.
    pub(crate) fn next(&mut self) -> Next {
        match self {
            Self::Generated { orders, number } => {
                *number += 1;
                let order: Option<PlaceOrder> = orders.next();
                order.map_or(Next::End, |order| Next::Line(Line { number: *number, order: Ok(order) }))
            }
            Self::Input(input) => match input.read.pop_front() {
                Some(line) => {
                    // The thread may have ended with the input.
                    let _ = input.wanted.send(());
                    input.taken = line.number;
                    Next::Line(line)
                }
                None if input.ended => Next::End,
                None => Next::Wait,
            },
        }
    }

    /// A line was read; `None` at the end.
    pub(crate) fn take(&mut self, line: Option<Line>) {
        if let Self::Input(input) = self {
            match line {
                Some(line) => input.read.push_back(line),
                None => input.ended = true,
            }
        }
    }

    /// Whether it is an input, to which no order may be added.
    pub(crate) fn is_input(&self) -> bool {
        matches!(self, Self::Input(_))
    }

    /// How many lines the whole input has, as far as that can be told by now.
    pub(crate) fn lines(&self) -> Option<u64> {
        match self {
            Self::Generated { .. } => None,
            Self::Input(input) if input.ended => Some(input.taken + input.read.len() as u64),
            Self::Input(input) => input.lines,
        }
    }
}

/// How many lines there are.
fn count(mut reader: impl BufRead) -> io::Result<u64> {
    let (mut lines, mut open) = (0, false);
    loop {
        let chunk = reader.fill_buf()?;
        let Some(last) = chunk.last() else { return Ok(lines + u64::from(open)) };
        open = *last != b'\n';
        lines += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
        let length = chunk.len();
        reader.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn lines_are_counted_with_and_without_a_last_newline() {
        for (text, lines) in [("", 0), ("a", 1), ("a\n", 1), ("\n\nb", 3)] {
            assert_eq!(count(text.as_bytes()).unwrap(), lines, "{text:?}");
        }
    }

    #[test]
    fn an_input_is_read_ahead_and_no_further() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all("\n".repeat(AHEAD * 2).as_bytes()).unwrap();
        let (sender, events) = channel();
        let mut feed = Feed::input(file.path(), sender).unwrap();
        assert_eq!(feed.lines(), Some(AHEAD as u64 * 2));
        let mut seen = 0;
        while seen < AHEAD as u64 * 2 {
            match feed.next() {
                Next::Line(line) => {
                    seen += 1;
                    assert_eq!(line.number, seen);
                }
                Next::Wait => match events.recv().unwrap() {
                    Event::Line(line) => feed.take(line.unwrap()),
                    other => panic!("{other:?}"),
                },
                Next::End => panic!("there are more"),
            }
        }
        let Event::Line(Ok(end)) = events.recv().unwrap() else { panic!("no line") };
        assert_eq!(end, None);
        feed.take(end);
        assert!(matches!(feed.next(), Next::End));
        assert_eq!(feed.lines(), Some(seen));
    }
}
