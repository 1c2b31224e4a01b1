//! The golden cases of .NET's library, and what it does with bytes that nobody should write.
//!
//! `CATGA_VECTORS=FILE` runs another file of the same types and kinds.
#![allow(clippy::unwrap_used)]
#![forbid(unsafe_code)]

mod wire;

use catga_memorypack::Text;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// What is done with messages that .NET's reader takes and nobody writes, by their kind.
const KINDS: &[(&str, Rule)] = &[
    // The bytes end before the value does.
    ("truncated", Rule::Refuse),
    // Bytes behind the value at the top.
    ("trailing", Rule::Refuse),
    // Fewer members are defaults; null for a struct is refused.
    ("member_count", Rule::Either),
    // -1 is null where the type has one; other negative lengths are refused.
    ("length", Rule::Either),
    // A UTF-16 length that is not positive says nothing; one that is has to be right.
    ("string_header", Rule::Either),
    ("utf8", Rule::Refuse),
    ("utf16", Rule::Either),
    // The wide form of a small tag is read; codes 251 to 254 are not null to us.
    ("union_tag", Rule::Either),
    ("bool", Rule::Refuse),
    // The bytes behind an absent flag mean nothing.
    ("null_payload", Rule::Accept),
    // An enum refuses a number without a name; a transparent struct of an integer takes all.
    ("enum", Rule::Either),
    // What the types cannot hold is refused.
    ("range", Rule::Either),
    // What lies in padding means nothing.
    ("padding", Rule::Accept),
    // A set has equal values once, a map refuses them.
    ("duplicate", Rule::Either),
    // An `Option` has null and everything else has not.
    ("null", Rule::Either),
    // A member has the length that the header says, or it is refused.
    ("member_length", Rule::Either),
    // All codes are read; -120 to -1 are negative lengths, which are refused.
    ("varint", Rule::Either),
    ("reference", Rule::Either),
    // As many values as the dimensions say.
    ("dims", Rule::Refuse),
    // A link is a string.
    ("uri", Rule::Accept),
    ("mode", Rule::Either),
    ("mutated", Rule::Either),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// It is read as .NET reads it.
    Accept,
    /// It is an error.
    Refuse,
    /// It is read as .NET reads it where it is a value of the type, and is an error otherwise.
    Either,
}

#[test]
fn every_golden_case_passes() {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/memorypack.json");
    let path = std::env::var("CATGA_VECTORS").unwrap_or_else(|_| own.to_owned());
    let file: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(file["format"], 1);
    let mut failures = String::new();
    for (list, judge) in
        [("cases", case as fn(&Value) -> Result<Outcome, String>), ("evolution", evolution), ("reject", reject)]
    {
        let cases = file[list].as_array().unwrap();
        let mut outcomes = BTreeMap::new();
        let mut failed = 0;
        for case in cases {
            match catch_unwind(AssertUnwindSafe(|| judge(case))).unwrap_or_else(|_| Err("it panicked".to_owned())) {
                Ok(outcome) => *outcomes.entry((text(&case["kind"]), outcome)).or_insert(0) += 1,
                Err(why) => {
                    failed += 1;
                    writeln!(failures, "{list}: {}: {why}", text(&case["name"])).unwrap();
                }
            }
        }
        println!("{list}: {} cases, {} passed, {failed} failed: {outcomes:?}", cases.len(), cases.len() - failed);
        assert!(!cases.is_empty() || list != "cases", "{path} has no cases");
    }
    assert!(failures.is_empty(), "\n{failures}");
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Read,
    Refused,
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn bytes(case: &Value) -> Result<Vec<u8>, String> {
    let hex = text(&case["hex"]);
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).map_err(|error| error.to_string());
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn read(name: &Value, bytes: &[u8], form: Text) -> Result<Result<wire::Read, catga_memorypack::Error>, String> {
    let run = wire::find(text(name)).ok_or_else(|| format!("the type {name} is not known"))?;
    Ok(run(bytes, form))
}

fn case(case: &Value) -> Result<Outcome, String> {
    let form = match text(&case["options"]) {
        "utf8" => Text::Utf8,
        "utf16" => Text::Utf16,
        other => return Err(format!("the options {other:?} are not known")),
    };
    let bytes = bytes(case)?;
    let read = read(&case["type"], &bytes, form)?.map_err(|error| error.to_string())?;
    if read.value != case["value"] {
        return Err(format!("read {} for {}", read.value, case["value"]));
    }
    if read.again != bytes {
        return Err(format!("wrote {:02x?} for {:02x?}", read.again, bytes));
    }
    Ok(Outcome::Read)
}

fn evolution(case: &Value) -> Result<Outcome, String> {
    if wire::find(text(&case["write"])).is_none() {
        return Err(format!("the type {} is not known", case["write"]));
    }
    let result = read(&case["read"], &bytes(case)?, Text::Utf8)?;
    match (result, case.get("error")) {
        (Ok(read), None) if same_but_for_null(&read.value, &case["value"]) => Ok(Outcome::Read),
        (Ok(read), None) => Err(format!("read {} for {}", read.value, case["value"])),
        (Err(_), Some(_)) => Ok(Outcome::Refused),
        (Err(error), None) => Err(error.to_string()),
        (Ok(read), Some(error)) => Err(format!("read {} where .NET says {error}", read.value)),
    }
}

/// Whether the values are equal where an empty value is as good as null, for members that are missing.
fn same_but_for_null(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::String(text), Value::Null) => text.is_empty(),
        (Value::Array(items), Value::Null) => items.is_empty(),
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(key, ours)| theirs.get(key).is_some_and(|theirs| same_but_for_null(ours, theirs)))
        }
        (ours, theirs) => ours == theirs,
    }
}

fn reject(case: &Value) -> Result<Outcome, String> {
    let kind = text(&case["kind"]);
    let Some((_, rule)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        return Err(format!("the kind {kind:?} is not known"));
    };
    let result = read(&case["type"], &bytes(case)?, Text::Utf8)?;
    let accepted = case["accepted"] == true;
    match result {
        // .NET 10 reads 32 bits of an offset where older versions wrote 16.
        Ok(_) if accepted && case.get("note").is_some() => Ok(Outcome::Read),
        Ok(read) if accepted && read.value != case["value"] => {
            Err(format!("read {} for {}", read.value, case["value"]))
        }
        Ok(read) if accepted && *rule == Rule::Refuse => Err(format!("read {} though {kind} is refused", read.value)),
        Ok(_) if accepted => Ok(Outcome::Read),
        // A link is a string here: nobody asks whether it is a good one.
        Ok(_) if kind == "uri" => Ok(Outcome::Read),
        Ok(read) => Err(format!("read {} where .NET says {}", read.value, case["error"])),
        Err(error) if accepted && *rule == Rule::Accept => Err(error.to_string()),
        Err(_) => Ok(Outcome::Refused),
    }
}
