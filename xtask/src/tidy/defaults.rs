//! The page of defaults against the constants that it names.

use crate::workspace;

/// A number as the page writes it, made of what the code says; `None` where that is no number.
fn written(value: &str) -> Option<String> {
    let value = value.trim().trim_end_matches(',').trim();
    let wrapped = |head: &str| value.split_once(head).and_then(|(_, rest)| rest.split(')').next());
    for (head, unit) in [("from_secs(", "s"), ("from_millis(", "ms"), ("from_micros(", "µs")] {
        if let Some(inner) = wrapped(head) {
            return Some(format!("{} {unit}", thousands(product(inner)?)));
        }
    }
    if let Some(inner) = wrapped("Semaphore::new(") {
        return Some(thousands(product(inner)?));
    }
    if let Ok(fraction) = value.parse::<f64>()
        && value.contains('.')
    {
        return Some(fraction.to_string());
    }
    let number = product(value)?;
    // Sizes stand in the code as so many times 1024.
    match (value.matches("1024").count(), value.contains('*')) {
        (2, true) => Some(format!("{} MiB", number >> 20)),
        (1, true) => Some(format!("{} KiB", number >> 10)),
        _ => Some(thousands(number)),
    }
}

fn product(text: &str) -> Option<u64> {
    text.split('*').map(|factor| factor.trim().replace('_', "").parse::<u64>().ok()).product()
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What the code gives that name first, as a constant or as a field; comments are no code.
fn value(code: &str, name: &str) -> Option<String> {
    let code: Vec<_> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    code.match_indices(name).find_map(|(at, _)| {
        let before = code[..at].chars().next_back();
        let rest = code[at + name.len()..].strip_prefix(':')?;
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            return None;
        }
        // `NAME: Type = value;` or `name: value,` and ` }`.
        let line = rest.lines().next()?;
        let end = |text: &str| text.split([';', '}']).next().map(str::to_owned);
        match line.split_once(" = ") {
            Some((_, constant)) => written(&end(constant)?),
            None => written(&field(&end(line)?)),
        }
    })
}

/// A field's value: up to the comma outside brackets.
fn field(text: &str) -> String {
    let mut depth = 0_i32;
    let inside = |c: &char| {
        depth += i32::from(*c == '(') - i32::from(*c == ')');
        depth > 0 || *c != ','
    };
    text.chars().take_while(inside).collect()
}

#[test]
fn values_are_read_as_the_page_writes_them() {
    let code = "struct A { calls: u32 }\nconst CALLS: usize = 16;\n/// A { calls: 7 }\nA { calls: 1_024, wait: Duration::from_millis(20), share: 0.5 }";
    assert_eq!(value(code, "CALLS").unwrap(), "16");
    assert_eq!(value(code, "calls").unwrap(), "1,024");
    assert_eq!(value(code, "wait").unwrap(), "20 ms");
    assert_eq!(value(code, "share").unwrap(), "0.5");
    assert_eq!(value("const MAX: usize = 16 * 1024 * 1024;", "MAX").unwrap(), "16 MiB");
    assert_eq!(value("pub const MAX: usize = 64 * 1024;", "MAX").unwrap(), "64 KiB");
    assert_eq!(value("A { places: Arc::new(Semaphore::new(1024)), x }", "places").unwrap(), "1,024");
    assert_eq!(value("const CALLS: usize = other();", "CALLS"), None);
}

/// Rows end with the constant's place, such as `catga/worker::CALLS`; their second cell is its value.
#[test]
fn defaults_are_those_of_the_code() {
    let page = workspace::read("docs/src/defaults.md").unwrap();
    let mut checked = 0;
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let place = cells.last().and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`')?.split_once("::"));
        let (Some((module, name)), true) = (place, cells.len() > 2) else { continue };
        let (krate, module) = module.split_once('/').expect("crate/module::NAME");
        let path = format!("crates/{krate}/src/{module}.rs");
        let found = value(&workspace::read(&path).unwrap(), name);
        let found = found.unwrap_or_else(|| panic!("{path} gives `{name}` no number"));
        assert_eq!(cells[1], found, "docs/src/defaults.md says of {}: {}; {path} says {found}", cells[0], cells[1]);
        checked += 1;
    }
    assert!(checked >= 25, "only {checked} rows name their constant");
}
