//! Where the workspace lies and what cargo says about it.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// The root of the checkout. Cargo says at run time where this crate lies, so a moved checkout is found, too.
pub(crate) fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| OsString::from(env!("CARGO_MANIFEST_DIR")));
    let here = PathBuf::from(here);
    here.parent().map(Path::to_path_buf).unwrap_or(here)
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"))
}

/// The text of a file, named from the root.
pub(crate) fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
}

/// The pages that the book's summary links to, by their paths from `docs/src`, in its order.
pub(crate) fn pages() -> Result<Vec<String>> {
    let summary = read("docs/src/SUMMARY.md")?;
    let targets = summary.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    Ok(targets.map(|(target, _)| target.to_owned()).collect())
}

/// What `cargo metadata` answers; `arguments` such as `--no-deps`.
pub(crate) fn metadata(arguments: &[&str]) -> Result<Value> {
    let output = Command::new(cargo())
        .args(["metadata", "--format-version", "1"])
        .args(arguments)
        .current_dir(root())
        .output()
        .context("cannot start cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    serde_json::from_slice(&output.stdout).context("cargo metadata answered something else than JSON")
}

/// The elements of a JSON array; none where it is something else.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A JSON text; empty where it is something else.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
