//! What rustc and the derives say to a mistake, word for word. `TRYBUILD=overwrite` writes the texts anew.
#![cfg(feature = "json")]

#[test]
fn mistakes() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
