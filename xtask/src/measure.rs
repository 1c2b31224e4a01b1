//! `cargo xtask ledger` and `cargo xtask bench`: the programs of `catga-bench`, built for release.

use crate::workspace;
use anyhow::{Context, Result};
use std::process::{Command, ExitCode};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// What the program takes: `--json` for both; `send --peers --gate` or `parts` for `bench`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

/// Runs the program; its output and its exit code are this command's own.
pub(crate) fn run(program: &str, options: &Options) -> Result<ExitCode> {
    let status = Command::new(workspace::cargo())
        .args(["run", "--release", "--quiet", "-p", "catga-bench", "--bin", program, "--"])
        .args(&options.arguments)
        .current_dir(workspace::root())
        .status()
        .with_context(|| format!("cannot start `{program}`"))?;
    // A signal has no code.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
