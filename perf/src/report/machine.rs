//! On what a run was taken, without saying whose machine it is.

use std::fmt;
use std::fs;
use std::process::Command;

use crypto::cpu;
use crypto::esp::Backend;
use serde::Serialize;

use crate::clock;

/// The machine, the state of the tree, and how the run was asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) command: String,
    pub(crate) commit: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) features: String,
    pub(crate) backend: String,
    pub(crate) kernel: String,
    pub(crate) huge_pages: String,
    pub(crate) core_ghz: f64,
    pub(crate) tsc_ghz: f64,
    /// Processes that wanted a core, on average over the last minute.
    pub(crate) load: String,
}

impl Machine {
    /// This one, now.
    pub(crate) fn here(command: String) -> Self {
        let tsc_ghz = clock::ticks_per_ns();
        Self {
            date: output("date", &["-u", "+%F %R UTC"]),
            command,
            commit: commit(),
            cpu: cpu_model(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            features: cpu::features().to_string(),
            backend: Backend::auto().to_string(),
            kernel: first_line("/proc/sys/kernel/osrelease"),
            huge_pages: first_line("/sys/kernel/mm/transparent_hugepage/enabled"),
            core_ghz: clock::cycles_per_tick() * tsc_ghz,
            tsc_ghz,
            load: first_line("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

/// The commit, with a mark if the product differs from it.
fn commit() -> String {
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"]);
    let status = ["status", "--porcelain", "--", "crates", "perf/src"];
    match output("git", &status).is_empty() {
        true => commit,
        false => commit + " and changes that are not committed",
    }
}

fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(": "));
        value.map_or("?", |(_, value)| value).to_owned()
    };
    format!(
        "{} (family {}, model {})",
        field("model name"),
        field("cpu family"),
        field("model\t")
    )
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.date, self.command)?;
        writeln!(f, "commit {}", self.commit)?;
        writeln!(
            f,
            "{}, {} cores at {:.2} GHz (TSC {:.3} GHz), load {}",
            self.cpu, self.cores, self.core_ghz, self.tsc_ghz, self.load
        )?;
        writeln!(f, "{}; back end {}", self.features, self.backend)?;
        writeln!(
            f,
            "Linux {}, transparent huge pages: {}",
            self.kernel, self.huge_pages
        )
    }
}
