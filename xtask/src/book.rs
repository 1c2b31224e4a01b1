//! The book in `docs/`: rendered by mdbook, which is installed under the target folder where it is missing.

use crate::{
    runner::{Line, Runner},
    workspace::{self, text},
};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// The program that renders it. Without its server and its search index it builds in half the time.
const VERSION: &str = "0.5.4";

/// The step: every page renders, and mdbook has nothing to say. The programs on the pages are doctests of this crate.
pub(crate) fn run(runner: &mut Runner) -> Result<()> {
    let metadata = workspace::metadata(&["--no-deps"])?;
    let target = PathBuf::from(text(&metadata["target_directory"]));
    let mdbook = mdbook(runner, &target.join("tools"))?;
    let out = target.join("book");
    let line = Line::program(&mdbook, ["build", "docs", "--dest-dir"]).argument(out.to_string_lossy()).listening();
    let output = runner.capture(&line)?;
    ensure!(output.code == Some(0), "`{line}` exited with {:?}", output.code);
    let complaint = output.stderr.iter().find(|line| line.contains("WARN") || line.contains("ERROR"));
    ensure!(complaint.is_none(), "mdbook says: {}", complaint.map_or("", String::as_str));
    for page in workspace::pages()? {
        let page = out.join(page).with_extension("html");
        ensure!(page.is_file(), "mdbook made no {}", page.display());
    }
    Ok(())
}

/// The program in `root`, installed where it is missing or of another version.
fn mdbook(runner: &mut Runner, root: &Path) -> Result<String> {
    let program = root.join("bin").join("mdbook").with_extension(std::env::consts::EXE_EXTENSION);
    let path = program.to_str().context("the target folder's path is no text")?.to_owned();
    let ours = program.is_file()
        && runner.capture(&Line::program(&path, ["--version"]))?.stdout.concat().trim() == format!("mdbook v{VERSION}");
    if !ours {
        println!("  mdbook {VERSION} is built once, into {}", root.display());
        let line = Line::cargo(&format!("install --quiet --locked mdbook --version ={VERSION} --no-default-features"));
        runner.run(&line.argument("--root").argument(root.to_string_lossy()))?;
    }
    Ok(path)
}
