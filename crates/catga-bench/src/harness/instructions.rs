use super::Report;
use catga::{Error, Result};
use std::{
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

/// Operations of the shorter and of the longer run.
const RUNS: [u64; 2] = [1_000, 6_000];

/// Counts the instructions of an operation of each candidate of a report, by callgrind: this program is run again under
/// it, once for fewer and once for more operations, and what the start costs falls out of the difference. The same
/// binary counts the same each time, whatever else the machine does. Peers in other processes are not counted.
///
/// # Errors
///
/// Where valgrind is not there or fails.
pub fn instructions(report: &mut Report, verb: &str) -> Result<()> {
    for figure in &mut report.figures {
        let [fewer, more] = RUNS.map(|iterations| count(verb, &figure.name, iterations));
        let more = more?.saturating_sub(fewer?);
        // A peer does its work elsewhere: here is next to nothing to count.
        figure.instructions = Some(more as f64 / (RUNS[1] - RUNS[0]) as f64);
    }
    Ok(())
}

fn count(verb: &str, name: &str, iterations: u64) -> Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let file = std::env::temp_dir().join(format!("catga-bench-{}-{}.callgrind", std::process::id(), since.as_nanos()));
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--quiet"]).arg(format!("--callgrind-out-file={}", file.display()));
    valgrind.arg(std::env::current_exe()?).args([verb, "--only", name, "--iterations", &iterations.to_string()]);
    let ended = valgrind.stdout(Stdio::null()).status();
    let ended = ended.map_err(|error| Error::from(error).context("running valgrind, which counts instructions"))?;
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let _ = std::fs::remove_file(&file);
    if !ended.success() {
        return Err(Error::permanent(format!("candidate `{name}` under callgrind: {ended}")));
    }
    let total = text.lines().find_map(|line| line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: ")));
    let total = total.and_then(|total| total.split_ascii_whitespace().next()?.parse().ok());
    total.ok_or_else(|| Error::permanent(format!("callgrind told no total for candidate `{name}`")))
}
