//! The tidy rules of the repository, as ordinary tests: `cargo test -p xtask`.

mod book;
mod contract;
mod defaults;

use crate::workspace::{self, list, metadata, root, text};
use serde_json::Value;
use std::{collections::BTreeSet, process::Command};

/// Crates that must not know how messages look or who drives their futures.
const BACKENDS: [&str; 2] = ["catga-contract", "catga-sqlite"];

/// A file may be longer where one of its first lines says why.
const LINES: usize = 400;
const DEFENCE: &str = "Long because";

/// The crates with `unsafe` code, and their modules that have any.
const UNSAFE: [(&str, &[&str]); 2] = [
    ("crates/catga-buf/src/lib.rs", &["alloc", "block", "buf", "future", "local", "shared"]),
    ("crates/catga-memorypack/src/lib.rs", &["raw"]),
];

#[test]
fn unsafe_code_lies_in_seven_modules_of_two_crates() {
    for package in members() {
        for target in list(&package["targets"]) {
            if !matches!(target["kind"][0].as_str(), Some("lib" | "bin" | "proc-macro")) {
                continue;
            }
            let path = text(&target["src_path"]);
            let code = std::fs::read_to_string(path).unwrap();
            let door = |module: &&str| code.contains(&format!("#[allow(unsafe_code)]\nmod {module};"));
            let fine = match UNSAFE.iter().find(|(keeper, _)| path.ends_with(&format!("/{keeper}"))) {
                Some((_, modules)) => code.contains("#![deny(unsafe_code)]") && modules.iter().all(door),
                None => code.contains("#![forbid(unsafe_code)]"),
            };
            assert!(fine, "{path} does not forbid unsafe code");
        }
    }
    let doors = |(path, code): &(String, String)| {
        let ours = path.ends_with(".rs") && !path.starts_with("xtask/");
        let doors = code.matches("allow(unsafe_code").count();
        (ours && doors > 0).then(|| (path.clone(), doors))
    };
    let doors: Vec<_> = files().iter().filter_map(doors).collect();
    let allowed = UNSAFE.map(|(keeper, modules)| (keeper.to_owned(), modules.len()));
    assert_eq!(doors, allowed, "where unsafe code is allowed");
}

#[test]
fn long_files_say_why() {
    let long = |(path, content): &(String, String)| {
        let ours = path.starts_with("crates/") && path.contains("/src/") && path.ends_with(".rs");
        let defended = || content.lines().take(20).any(|line| line.starts_with("//") && line.contains(DEFENCE));
        let lines = content.lines().count();
        (ours && lines > LINES && !defended()).then(|| format!("{path}: {lines}"))
    };
    let long: Vec<_> = files().iter().filter_map(long).collect();
    assert!(long.is_empty(), "over {LINES} lines without a comment `{DEFENCE} …` at the top: {long:#?}");
}

/// What runs, runs in a future that the application owns, or in the one thread of an open file.
#[test]
fn libraries_start_one_thread_and_no_task() {
    let mut starts = Vec::new();
    for (path, content) in files() {
        let library = ["catga", "catga-buf", "catga-contract", "catga-memorypack", "catga-sqlite"];
        if library.iter().any(|name| path.starts_with(&format!("crates/{name}/src/"))) {
            let code = content.split("#[cfg(test)]").next().unwrap_or_default().lines();
            let code = code.filter(|line| !line.trim_start().starts_with("//") && line.contains("spawn"));
            starts.extend(code.map(|_| path.clone()));
        }
    }
    assert_eq!(starts, ["crates/catga-sqlite/src/open.rs"]);
}

#[test]
fn architecture_is_a_page_to_read() {
    let lines = workspace::read("ARCHITECTURE.md").unwrap().lines().count();
    assert!(lines < 200, "ARCHITECTURE.md has {lines} lines");
}

#[test]
fn no_file_names_a_place_on_somebodys_machine() {
    for (path, content) in files() {
        for (number, line) in content.lines().enumerate() {
            assert!(machine_path(line).is_none(), "{path}:{}: {line}", number + 1);
        }
    }
}

/// An absolute path into a home or a workplace; one inside a relative path or an address is none.
fn machine_path(line: &str) -> Option<usize> {
    // In two pieces each, so that this file obeys its own rule.
    [("/wo", "rk/"), ("/ro", "ot/"), ("/ho", "me/"), ("/Us", "ers/")].iter().find_map(|(head, tail)| {
        let whole = format!("{head}{tail}");
        let inner = |before: &str| before.ends_with(|c: char| c.is_alphanumeric() || "._-/}*".contains(c));
        line.match_indices(&whole).map(|(at, _)| at).find(|at| !inner(&line[..*at]))
    })
}

#[test]
fn a_path_on_a_machine_is_told_from_others() {
    let path = |head: &str| format!("{head}ome/me/file");
    assert!(machine_path(&format!("see `{}`", path("/h"))).is_some());
    assert!(machine_path(&path("/h")).is_some());
    assert!(machine_path(&format!("https://docs.rs{}", path("/h"))).is_none());
    assert!(machine_path(&format!("src{}", path("/h"))).is_none());
}

#[test]
fn lines_end_where_their_text_ends() {
    for (path, content) in files() {
        for (number, line) in content.lines().enumerate() {
            // What the compiler says is kept as it says it.
            assert!(line == line.trim_end() || path.ends_with(".stderr"), "{path}:{}: space at its end", number + 1);
        }
        assert!(content.is_empty() || content.ends_with('\n'), "{path} does not end with a line");
    }
}

#[test]
fn backends_know_neither_serde_nor_a_runtime() {
    for package in members() {
        let name = text(&package["name"]);
        if BACKENDS.contains(&name) {
            for dependency in list(&package["dependencies"]).iter().filter(|dependency| dependency["kind"].is_null()) {
                let other = text(&dependency["name"]);
                let refused = ["serde", "tokio", "async-std", "smol"].iter().any(|head| other.starts_with(head));
                assert!(!refused, "{name} depends on {other}");
            }
        }
    }
    assert!(BACKENDS.iter().all(|backend| members().iter().any(|package| package["name"] == *backend)));
}

#[test]
fn plain_cargo_commands_mean_every_library_and_the_program() {
    let metadata = metadata(&["--no-deps"]).unwrap();
    let default: BTreeSet<_> = list(&metadata["workspace_default_members"]).iter().map(text).collect();
    for package in members() {
        // Those that are published; tools and examples are named with `-p`.
        let ours = text(&package["manifest_path"]).contains("/crates/") && package["publish"].is_null();
        assert_eq!(default.contains(text(&package["id"])), ours, "{} among the default members", package["name"]);
    }
    // `cargo run -- demo` is clear only while one program stands among them.
    let programs = members().into_iter().filter(|package| default.contains(text(&package["id"])));
    let programs: Vec<_> = programs.flat_map(|package| list(&package["targets"]).to_vec()).collect();
    let programs: Vec<_> =
        programs.iter().filter(|target| target["kind"][0] == "bin").map(|t| text(&t["name"])).collect();
    assert_eq!(programs, ["catga"]);
}

#[test]
fn folders_are_called_like_their_crates() {
    for package in members() {
        let folder = text(&package["manifest_path"]).rsplit('/').nth(1).unwrap();
        let name = text(&package["name"]);
        assert!(name == folder || name == format!("catga-{folder}"), "{name} lies in {folder}");
    }
}

#[test]
fn no_dependency_wants_a_newer_rust_than_ours() {
    let metadata = metadata(&["--locked"]).unwrap();
    let version = |package: &Value| -> Option<(u32, u32)> {
        let mut parts = package["rust_version"].as_str()?.split('.').map(|part| part.parse().unwrap());
        Some((parts.next()?, parts.next().unwrap_or(0)))
    };
    let ours = members().iter().filter_map(version).min().unwrap();
    for package in list(&metadata["packages"]) {
        assert!(version(package) <= Some(ours), "{} {} wants a newer Rust", package["name"], package["version"]);
    }
    let readme = workspace::read("README.md").unwrap();
    assert!(readme.contains(&format!("Rust {}.{}", ours.0, ours.1)), "README.md names another Rust");
}

#[test]
fn the_readme_shows_both_commands() {
    let readme = workspace::read("README.md").unwrap();
    for command in ["cargo run --release -- demo", "cargo xtask test"] {
        assert!(readme.contains(command), "README.md does not show `{command}`");
    }
    assert!(!readme.to_lowercase().contains("exactly-once delivery"), "nobody can promise that");
}

#[test]
fn pages_link_to_what_exists() {
    for (path, content) in files().iter().filter(|(path, _)| path.ends_with(".md")) {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (at, _) in content.match_indices("](") {
            let target = &content[at + 2..];
            let target = target[..target.find(')').unwrap_or(0)].split('#').next().unwrap_or_default();
            let elsewhere = target.is_empty() || target.contains("://") || target.contains('\n');
            assert!(elsewhere || root().join(folder).join(target).exists(), "{path} links to {target}");
        }
    }
}

#[test]
fn pages_name_tests_that_exist() {
    let code: Vec<_> = files().into_iter().filter(|(path, _)| path.ends_with(".rs")).collect();
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = workspace::read(page).unwrap();
        // The names of our tests are sentences: nothing else has so many words.
        let names = text.split('`').map(|name| name.rsplit("::").next().unwrap_or_default());
        let names = names.filter(|name| name.matches('_').count() >= 4 && !name.contains(char::is_whitespace));
        for name in names {
            let there = code.iter().any(|(_, code)| code.contains(&format!("fn {name}(")));
            assert!(there, "{page} names the test {name}");
        }
    }
}

/// The vectors in the code's tests are the format; the page about it must say the same.
#[test]
fn frame_md_has_the_vectors_of_the_code() {
    let page = workspace::read("docs/frame.md").unwrap();
    let code = workspace::read("crates/catga-contract/src/envelope.rs").unwrap();
    let frames: Vec<_> = code.split('"').filter(|text| text.starts_with("ca7a01") && text.len() > 56).collect();
    assert_eq!(frames.len(), 2, "the frames in envelope.rs");
    for frame in &frames {
        assert!(page.lines().any(|line| line == *frame), "docs/frame.md lacks the frame {frame}");
    }
    // The tables take the same frames apart, byte by byte: `| offset | bytes | … |`.
    let mut annotated = String::new();
    for line in page.lines() {
        let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`'));
        let (Some(offset), Some(bytes)) = (cells.next(), cells.next()) else { continue };
        let bytes: String = bytes.split_whitespace().collect();
        let hex = !bytes.is_empty() && bytes.len().is_multiple_of(2) && bytes.chars().all(|c| c.is_ascii_hexdigit());
        let (Ok(offset), true) = (offset.parse::<usize>(), hex && line.starts_with("| ")) else { continue };
        if offset == 0 {
            annotated.push('\n');
        }
        let row = annotated.rsplit('\n').next().unwrap_or_default();
        if offset * 2 == row.len() {
            annotated.push_str(&bytes);
        }
    }
    for frame in &frames {
        assert!(annotated.lines().any(|line| line == *frame), "no table of docs/frame.md adds up to {frame}");
    }

    let ids = workspace::read("crates/catga-contract/src/id.rs").unwrap();
    let ids: Vec<_> = ids.split('"').filter(|text| text.len() == 36 && text.starts_with("0193")).collect();
    assert_eq!(ids.len(), 4, "the parent and its children in id.rs");
    assert!(ids.iter().all(|id| page.contains(id)), "docs/frame.md lacks an id of id.rs");

    let keys = workspace::read("crates/catga-contract/src/key.rs").unwrap();
    let line = keys.lines().find(|line| line.contains("let vectors = [")).unwrap();
    for vector in line.split("(\"").skip(1) {
        let (key, rest) = vector.split_once("\", ").unwrap();
        let partition = rest.split(')').next().unwrap();
        let key = if key.is_empty() { "(empty)".to_owned() } else { format!("`{key}`") };
        let row = format!("| {key} | {partition} |");
        assert!(page.contains(&row), "docs/frame.md lacks the row {row}");
    }
}

fn members() -> Vec<Value> {
    list(&metadata(&["--no-deps"]).unwrap()["packages"]).to_vec()
}

/// Every text file that is, or is about to be, in the repository, with its path from the root.
fn files() -> Vec<(String, String)> {
    let listed = Command::new("git")
        // The checkout may be another user's, as it is in a container.
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("the tidy rules need git");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).unwrap();
    let names = names.split_terminator('\0').filter(|name| root().join(name).is_file());
    let files: Vec<_> = names
        .filter_map(|name| Some((name.to_owned(), String::from_utf8(std::fs::read(root().join(name)).ok()?).ok()?)))
        .collect();
    assert!(files.len() > 30, "git knows only {} files", files.len());
    files
}
