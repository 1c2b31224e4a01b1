//! The book: every page is in its summary and every program on it is a doctest.

use super::files;
use crate::workspace;

const SOURCE: &str = "docs/src/";

#[test]
fn every_page_is_in_the_summary_and_among_the_doctests() {
    let pages = workspace::pages().unwrap();
    assert!(pages.len() > 5, "SUMMARY.md has {} pages", pages.len());
    let doctests = workspace::read("xtask/src/lib.rs").unwrap();
    for page in &pages {
        assert!(doctests.contains(&format!("\"../../{SOURCE}{page}\"")), "xtask/src/lib.rs lacks {page}");
    }
    for (path, _) in files() {
        let page = path.strip_prefix(SOURCE).filter(|page| page.ends_with(".md") && *page != "SUMMARY.md");
        if let Some(page) = page {
            assert!(pages.iter().any(|known| known == page), "SUMMARY.md lacks {page}");
        }
    }
}

/// mdbook complains too, but only where it is installed.
#[test]
fn pages_include_what_exists() {
    let mut included = 0;
    for (path, content) in files().iter().filter(|(path, _)| path.starts_with(SOURCE)) {
        let folder = workspace::root().join(SOURCE);
        for target in content.split("{{#include ").skip(1).filter_map(|rest| rest.split_once("}}")) {
            assert!(folder.join(target.0).is_file(), "{path} includes {}", target.0);
            included += 1;
        }
    }
    assert!(included > 0, "no page includes anything");
}
