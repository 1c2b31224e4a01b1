use catga_contract::Fault;

/// The deliberate defects by name: what `cargo xtask sabotage` asks for, one after the other.
pub const FAULTS: &[(&str, Fault)] = &[
    ("ack-first", Fault::AckFirst),
    ("no-mark", Fault::NoMark),
    ("outbox-outside", Fault::OutboxOutside),
    ("no-savepoint", Fault::NoSavepoint),
    ("mark-without-consumer", Fault::MarkWithoutConsumer),
    ("failure-is-done", Fault::FailureIsDone),
    ("no-fence", Fault::NoFence),
    ("one-savepoint", Fault::OneSavepoint),
    ("no-autocommit-check", Fault::NoAutocommitCheck),
    ("replay-to-all", Fault::ReplayToAll),
    ("no-pause", Fault::NoPause),
    ("every-try-counts", Fault::EveryTryCounts),
];

/// The defect of that name.
pub fn fault(name: &str) -> Option<Fault> {
    FAULTS.iter().find(|(known, _)| *known == name).map(|(_, fault)| *fault)
}

/// The defect that the environment variable `CATGA_SABOTAGE` asks for: for the factories of conformance tests, which
/// `cargo xtask sabotage` runs. No library reads it.
///
/// # Panics
///
/// Where there is no defect of that name: the cases would pass without one.
pub fn wanted_fault() -> Option<Fault> {
    let name = std::env::var("CATGA_SABOTAGE").ok().filter(|name| !name.is_empty())?;
    Some(fault(&name).unwrap_or_else(|| panic!("there is no defect `{name}`")))
}
