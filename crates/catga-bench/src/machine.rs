use serde::Serialize;
use std::{fmt, fs};

/// Where and how a measurement ran, so that its figures can be judged.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many of its threads this process may use.
    pub threads: usize,
    /// The system.
    pub system: String,
    /// The processes that want to run now, on average over the last minute; more than `threads` make figures doubtful.
    pub load: String,
    /// Optimised, or a debug build whose times mean nothing.
    pub build: &'static str,
    /// What counts and hands out memory.
    pub allocator: &'static str,
    /// What was typed.
    pub command: String,
}

impl Machine {
    /// This one, now.
    pub fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, cpu)| cpu);
        let kernel = read("/proc/sys/kernel/osrelease");
        let mut command: Vec<_> = std::env::args().collect();
        if let Some(program) = command.first_mut() {
            // Without the directory, which is the machine's own affair.
            *program = program.rsplit('/').next().unwrap_or_default().to_owned();
        }
        Self {
            cpu: cpu.unwrap_or(std::env::consts::ARCH).trim().to_owned(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            system: format!("{} {}", std::env::consts::OS, kernel.trim()).trim().to_owned(),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            allocator: "the system's, counted",
            command: command.join(" "),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, threads, system, load, build, allocator, command } = self;
        write!(f, "{command}: {build} on {cpu}, {threads} threads, {system}, load {load}, allocator {allocator}")
    }
}
