//! How many tests ran, read from what the test programs print.

use std::ops::AddAssign;

/// Tests by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Counts {
    /// Reads a closing line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`; `None` for any other line.
    pub(crate) fn of_line(line: &str) -> Option<Self> {
        let line = without_colors(line);
        let (_, tail) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
        let mut counts = Self::default();
        for part in tail.split("; ") {
            let Some((number, what)) = part.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse() else { continue };
            match what {
                "passed" => counts.passed = number,
                "failed" => counts.failed = number,
                "ignored" => counts.ignored = number,
                _ => {}
            }
        }
        Some(counts)
    }

    /// Those that did not pass: one that was skipped has shown nothing.
    pub(crate) fn not_passed(self) -> u64 {
        self.failed + self.ignored
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

fn without_colors(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(next) = rest.next() {
        if next == '\u{1b}' {
            // A color is `ESC [ … m`.
            rest.by_ref().find(|end| *end == 'm');
        } else {
            plain.push(next);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_read_and_others_are_not() {
        let line = "test result: FAILED. 12 passed; 3 failed; 2 ignored; 0 measured; 9 filtered out; finished in 0.02s";
        let counts = Counts { passed: 12, failed: 3, ignored: 2 };
        assert_eq!(Counts::of_line(line), Some(counts));
        assert_eq!(counts.not_passed(), 5);
        let colored = "test result: \u{1b}[32mok\u{1b}(B\u{1b}[m. 1 passed; 0 failed; 0 ignored; 0 measured";
        assert_eq!(Counts::of_line(colored), Some(Counts { passed: 1, ..Counts::default() }));
        for other in ["test tests::a ... ok", "running 3 tests", "", "test result"] {
            assert_eq!(Counts::of_line(other), None, "{other:?}");
        }
    }
}
