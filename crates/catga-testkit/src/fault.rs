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
    ("no-version-check", Fault::NoVersionCheck),
    ("replay-to-all", Fault::ReplayToAll),
    ("settle-outside", Fault::SettleOutside),
];

/// The defect of that name.
pub fn fault(name: &str) -> Option<Fault> {
    FAULTS.iter().find(|(known, _)| *known == name).map(|(_, fault)| *fault)
}
