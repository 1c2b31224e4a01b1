//! `catga wire`, as a user calls it.
#![allow(clippy::unwrap_used)]

use std::{
    io::Write,
    process::{Command, Stdio},
};

fn wire(arguments: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catga"));
    command.arg("wire").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_message_is_made_read_and_taken_apart() {
    let (code, hex, _) = wire(&["encode", "orders.placed", "-", "--key", "c-17"], br#"{"id":7}"#);
    assert_eq!(code, 0);
    let (code, json, _) = wire(&["decode", "--hex", hex.trim()], b"");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["payload"]["id"], &json["key"]), (0, &7.into(), &"c-17".into()));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("frame");
    let digits = hex.trim().as_bytes().as_chunks::<2>().0;
    let bytes = digits.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    std::fs::write(&file, bytes.collect::<Vec<_>>()).unwrap();
    let (code, text, _) = wire(&["explain", file.to_str().unwrap()], b"");
    assert_eq!(code, 0);
    assert!(text.lines().any(|line| line.ends_with("key              c-17")), "{text}");
    assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
}

#[test]
fn what_is_no_frame_is_said() {
    let (code, out, error) = wire(&["explain", "-"], b"no frame");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(error.starts_with("wire: unreadable message"), "{error}");
    assert_eq!(wire(&["decode", "--hex", "0"], b"").0, 2);
    assert_eq!(wire(&["decode", "no/such/file"], b"").0, 2);
    assert_eq!(wire(&["decode"], b"").0, 2);
}
