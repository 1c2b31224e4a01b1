//! Reads lines of `TYPE HEX [utf16]` and answers each with `ok HEX VALUE`, the bytes of the value written again and the
//! value in the notation of the golden cases, or with `err REASON`.
//!
//! ```text
//! $ echo 'PersonV1 0207000000fdffffff020000006162' | cargo run -p catga-memorypack --example vectors_echo
//! ok 0207000000fdffffff020000006162 {"Id":7,"Name":"ab"}
//! ```
#![forbid(unsafe_code)]

#[path = "../tests/wire/mod.rs"]
mod wire;

use catga_memorypack::Text;
use std::io::{self, BufRead as _, Write as _};

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        match answer(&line?) {
            Ok(text) => writeln!(out, "ok {text}")?,
            Err(text) => writeln!(out, "err {text}")?,
        }
    }
    out.flush()
}

fn answer(line: &str) -> Result<String, String> {
    // Names of types hold no spaces; an empty message has two in a row behind it, or nothing at all.
    let mut words = line.trim_end_matches(['\r', '\n']).split(' ');
    let name = words.next().unwrap_or_default();
    let hex = words.next().unwrap_or_default();
    let form = match words.next() {
        None | Some("" | "utf8") => Text::Utf8,
        Some("utf16") => Text::Utf16,
        Some(other) => return Err(format!("the options {other:?} are not known")),
    };
    let run = wire::find(name).ok_or_else(|| format!("the type {name:?} is not known"))?;
    let read = run(&bytes(hex)?, form).map_err(|error| error.to_string())?;
    Ok(format!("{} {}", wire::show::hex(&read.again), read.value))
}

fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    if !hex.len().is_multiple_of(2) || !hex.is_ascii() {
        return Err("an odd number of hex digits".to_owned());
    }
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).map_err(|error| error.to_string());
    (0..hex.len()).step_by(2).map(byte).collect()
}
