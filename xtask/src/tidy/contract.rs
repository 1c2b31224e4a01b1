//! How much the contract asks of those who implement it, and how much axum costs.

use super::files;
use crate::workspace;

/// Public traits of `catga-contract`, those that only its own types implement among them.
const TRAITS: usize = 30;
/// Required methods of a trait, unless ARCHITECTURE.md says why there are more.
const REQUIRED: usize = 4;
/// Lines of code of `catga::axum`, comments and blank ones not counted.
const AXUM: usize = 300;

/// The name of each public trait and the number of methods that an implementation must have. Read as text: a trait
/// stands at the margin, its methods four spaces in.
fn traits(code: &str) -> Vec<(String, usize)> {
    let mut traits: Vec<(String, usize)> = Vec::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let Some(head) = line.strip_prefix("pub trait ") else { continue };
        let name = head.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        let mut required = 0;
        let body: Vec<_> = match line.ends_with('}') {
            true => Vec::new(),
            false => lines.by_ref().take_while(|line| *line != "}").collect(),
        };
        for (at, line) in body.iter().enumerate() {
            if line.starts_with("    fn ") || line.starts_with("    async fn ") {
                let rest = body[at..].join("\n");
                required += usize::from(ends_without_body(&rest));
            }
        }
        traits.push((name.to_owned(), required));
    }
    traits
}

/// Whether a method ends at a semicolon outside all brackets before a body begins.
fn ends_without_body(method: &str) -> bool {
    let mut depth = 0_i32;
    for c in method.chars() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ';' if depth == 0 => return true,
            '{' if depth == 0 => return false,
            _ => {}
        }
    }
    false
}

#[test]
fn required_methods_are_told_from_provided_ones() {
    let code = "\
pub trait Marker: Sized {}
pub trait Two<T>:
    Send
{
    /// One { that; misleads.
    const NAME: &'static str;
    type Out: Send;
    fn one(&self, bytes: [u8; 16]) -> impl Future<Output = Result<()>> + Send;
    fn two(
        &self,
        other: &Self,
    );
    fn provided(&self) -> usize {
        let _: [u8; 2] = [1; 2];
        2
    }
}
pub(crate) trait Hidden {
    fn hidden();
}";
    assert_eq!(traits(code), [("Marker".to_owned(), 0), ("Two".to_owned(), 2)]);
}

#[test]
fn the_contract_has_few_traits_and_those_ask_for_little() {
    let code = files().into_iter().filter(|(path, _)| path.starts_with("crates/catga-contract/src/"));
    let traits: Vec<_> = code.flat_map(|(_, code)| traits(&code)).collect();
    assert!(traits.iter().any(|(name, required)| name == "Behavior" && *required == 1), "the traits were not read");
    assert!(traits.len() <= TRAITS, "{} public traits; at most {TRAITS}", traits.len());

    let page = workspace::read("ARCHITECTURE.md").unwrap();
    let opening = "more than four required methods.**";
    let defended = page.lines().find(|line| line.contains(opening)).expect("ARCHITECTURE.md says why of no trait");
    let defended = defended.split(opening).next().unwrap_or_default();
    for (name, required) in &traits {
        let named = defended.contains(&format!("`{name}`"));
        assert!(*required <= REQUIRED || named, "`{name}` has {required} required methods; at most {REQUIRED}");
        assert!(*required > REQUIRED || !named, "ARCHITECTURE.md defends `{name}`, which has {required}");
    }
}

#[test]
fn axum_costs_few_lines() {
    let code = files().into_iter().filter(|(path, _)| path.starts_with("crates/catga/src/axum/"));
    let code: Vec<_> =
        code.flat_map(|(_, code)| code.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>()).collect();
    let lines = code.iter().filter(|line| !line.is_empty() && !line.starts_with("//")).count();
    assert!((50..=AXUM).contains(&lines), "crates/catga/src/axum has {lines} lines of code; at most {AXUM}");
}
