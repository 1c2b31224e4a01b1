//! Brokers for tests: found on PATH, else installed where that can be done.

use crate::runner::{Line, Runner};
use anyhow::{Result, bail};
use std::{env, path::Path, process::Command};

/// Programs and the Debian packages that have them.
const BROKERS: [(&str, &str); 2] = [("nats-server", "nats-server"), ("redis-server", "redis-server")];

/// Tests that need real brokers; they start private copies on free loopback ports.
pub(crate) fn run(runner: &mut Runner) -> Result<()> {
    install(runner)?;
    runner.run(&Line::cargo("test -p catga-nats -p catga-redis --features catga-nats/brokers,catga-redis/brokers"))
}

/// Installs what is missing, as root on Debian or Ubuntu; elsewhere says what to type.
fn install(runner: &mut Runner) -> Result<()> {
    let missing: Vec<&str> =
        BROKERS.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    if !root || !is_there("apt-get") {
        bail!("there is no {}; on Debian or Ubuntu: sudo apt-get install {packages}", missing.join(", no "));
    }
    println!("  missing: {packages}; they are installed without being started as services");
    let quiet = |words: &str| {
        // Policy 101: an installed package starts nothing.
        Line::program("sh", ["-c"]).argument(format!("export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; {words}"))
    };
    runner.run(&quiet("apt-get update"))?;
    runner.run(&quiet(&format!("apt-get install -y --no-install-recommends {packages}")))
}

/// Whether a program is on PATH, or where Debian has its daemons.
fn is_there(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(program)).any(|file| Path::new(&file).is_file())
}
