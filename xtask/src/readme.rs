//! The first programs in README.md: copies of examples that compile and run.

use crate::{
    runner::{Line, Runner},
    workspace,
};
use anyhow::{Context, Result, bail, ensure};
use std::fs;

/// The first programs with the number of lines that each may have, blank ones not counted.
const PROGRAMS: [(&str, usize); 2] = [("crates/catga/examples/first.rs", 30), ("crates/catga/examples/shop.rs", 55)];
const README: &str = "README.md";

/// The step: the programs are short, stand in the README, and pass twice in a row.
pub(crate) fn run(runner: &mut Runner) -> Result<()> {
    check()?;
    for example in ["first", "shop"] {
        for _ in 0..2 {
            runner.run(&Line::cargo(&format!("run --quiet -p catga --features sqlite --example {example}")))?;
        }
    }
    Ok(())
}

/// Fails where the README's text of a program is another one, or a program is too long.
pub(crate) fn check() -> Result<()> {
    for (path, most) in PROGRAMS {
        let lines = workspace::read(path)?.lines().filter(|line| !line.trim().is_empty()).count();
        ensure!(lines <= most, "{path} has {lines} lines; at most {most}");
    }
    let readme = workspace::read(README)?;
    ensure!(readme == filled(&readme)?, "README.md shows other programs than the examples: run `cargo xtask readme`");
    Ok(())
}

/// Copies the programs into the README.
pub(crate) fn fill() -> Result<()> {
    let readme = filled(&workspace::read(README)?)?;
    fs::write(workspace::root().join(README), readme).context("cannot write README.md")
}

fn filled(readme: &str) -> Result<String> {
    PROGRAMS
        .iter()
        .try_fold(readme.to_owned(), |readme, (path, _)| with_program(&readme, path, &workspace::read(path)?))
}

/// The README with `program` in the block behind the marker of `path`.
fn with_program(readme: &str, path: &str, program: &str) -> Result<String> {
    let (opening, closing) = (format!("<!-- example: {path} -->\n```rust\n"), "\n```\n");
    let Some((before, rest)) = readme.split_once(&opening) else {
        bail!("README.md has no marker `<!-- example: {path} -->` with a block of rust behind it");
    };
    let after = match rest.strip_prefix("```\n") {
        Some(after) => after,
        None => rest.split_once(closing).with_context(|| format!("the block of {path} in README.md does not end"))?.1,
    };
    ensure!(!after.contains(&opening), "README.md has the marker of {path} twice");
    Ok(format!("{before}{opening}{}{closing}{after}", program.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_replaces_the_one_in_its_block_only() {
        let readme = "a\n<!-- example: x.rs -->\n```rust\n```\nb\n```rust\nother();\n```\n";
        let once = with_program(readme, "x.rs", "fn main() {}\n").unwrap();
        assert_eq!(once, "a\n<!-- example: x.rs -->\n```rust\nfn main() {}\n```\nb\n```rust\nother();\n```\n");
        assert_eq!(with_program(&once, "x.rs", "fn main() {}\n").unwrap(), once);
        let twice = with_program(&once, "x.rs", "fn f() {}").unwrap();
        assert_eq!(twice, once.replace("main", "f"));
        assert!(with_program(readme, "y.rs", "").is_err());
    }
}
