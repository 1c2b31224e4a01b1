//! What rustc and the derive say to what .NET cannot represent, word for word. `TRYBUILD=overwrite` writes the texts anew.
#![cfg(feature = "derive")]
#![forbid(unsafe_code)]

#[test]
fn mistakes() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
