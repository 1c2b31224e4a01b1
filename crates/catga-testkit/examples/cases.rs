//! Lists every case of the conformance suite, one a line: where it belongs, its group, what that is about, its name, its
//! promise, with tabs between them. `cargo xtask sheet` reads it.

fn main() {
    for group in catga_testkit::GROUPS {
        for case in group.cases {
            println!("{}\t{}\t{}\t{}\t{}", group.letter, group.name, group.about, case.name, case.promise);
        }
    }
}
