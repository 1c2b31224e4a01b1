//! The defects of the demo's self-test are not in a library that did not ask for them.

use crate::runner::{Line, Runner};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{fs, path::PathBuf};

/// A method called `sabotage`, as both of rustc's manglings write it: the length before the name.
const METHOD: &[u8] = b"8sabotage";

/// The step: the method is absent without the feature. That it is there with the feature shows that it can be found.
pub(crate) fn run(runner: &mut Runner) -> Result<()> {
    for (features, wanted) in [("sqlite", false), ("sqlite,sabotage", true)] {
        // Without the program, which would turn the feature on for everybody.
        let line = Line::cargo(&format!("build -p catga --features {features} --message-format=json"));
        let output = runner.capture(&line)?;
        ensure!(output.code == Some(0), "`{line}` failed");
        let library = library(&output.stdout).with_context(|| format!("`{line}` built no library `catga`"))?;
        let bytes = fs::read(&library).with_context(|| format!("cannot read {}", library.display()))?;
        let found = bytes.windows(METHOD.len()).any(|window| window == METHOD);
        ensure!(
            found == wanted,
            "with the features {features} the method `sabotage` is {} in {}",
            if found { "found" } else { "not found" },
            library.display()
        );
    }
    Ok(())
}

/// The library of the crate `catga` among cargo's messages.
fn library(messages: &[String]) -> Option<PathBuf> {
    messages.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|message| {
        let ours = message["reason"] == "compiler-artifact"
            && message["target"]["name"] == "catga"
            && message["target"]["kind"].as_array()?.iter().any(|kind| kind == "lib");
        let files = message["filenames"].as_array()?.iter().filter_map(Value::as_str);
        files.filter(|file| ours && file.ends_with(".rlib")).map(PathBuf::from).next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_told_from_the_program_of_that_name() {
        let message = |kind: &str, file: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"name":"catga","kind":["{kind}"]}},"filenames":["a.d","{file}"]}}"#
            )
        };
        let messages = [r#"{"reason":"build-finished"}"#.into(), message("bin", "x.rlib"), message("lib", "y.rlib")];
        assert_eq!(library(&messages), Some(PathBuf::from("y.rlib")));
        assert_eq!(library(&messages[..2]), None);
    }
}
