//! `adit-perf`: how a number is taken.
//!
//! ```text
//!   figures ──► run ──► processes, one after the other ──► table, report
//!                         └ measure ──► probes in turns, best round of each
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `figures.rs` | the table: what is wanted, and how it is taken |
//! | `measure.rs`, `run.rs` | from measurements to figures |
//! | `report.rs` | what a person reads |
//! | `calibrate.rs`, `check.rs` | what a capacity plan reads, and whether it is right |
//! | `veth.rs` | what was found end to end |
//! | `probe.rs` | what can be measured |
//! | `path.rs`, `bare.rs` | the whole path, and its cipher alone |
//! | `cipher.rs` | the ciphers, and other people's |
//! | `team.rs`, `burst.rs` | workers beside each other, and beside a busy slow path |
//! | `stall.rs`, `watch.rs` | what holds a worker up: changes, and being timed |
//! | `gateway.rs`, `port.rs` | the gateway under test |
//! | `traffic.rs`, `subscriber.rs` | the far ends, who prove every packet |
//! | `dial.rs`, `setup.rs` | the slow path under test, and who dials it |
//! | `clock.rs`, `rng.rs` | cycles, and chance |
#![allow(clippy::print_stdout, reason = "a benchmark prints what it found")]

mod bare;
mod burst;
mod calibrate;
mod check;
mod cipher;
mod clock;
mod dial;
mod figures;
mod gateway;
mod measure;
mod path;
mod port;
mod probe;
mod report;
mod rng;
mod run;
mod setup;
mod stall;
mod subscriber;
mod team;
mod traffic;
mod veth;
mod watch;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use crypto::esp::Backend;

use figures::GROUPS;
use measure::Found;
use path::{Bench, Frames, PACKETS, Path};
use probe::Probe;
use traffic::Line;

// Tests have one that counts.
#[cfg(not(test))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Adit
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// All figures, or some
    Run(run::Arguments),
    /// One group of figures in this process, for `run`
    Measure {
        /// Its name
        group: String,
        /// Rounds, of which the best counts
        #[arg(long)]
        rounds: usize,
    },
    /// What `adit-lab plan` wants to know of this machine, as JSON
    Calibrate,
    /// What `adit-lab plan` says of three mixed loads, beside what they do keep busy
    CheckPlan(check::Arguments),
    /// The whole path of the data plane, in memory
    Path(PathArguments),
}

#[derive(Args)]
struct PathArguments {
    /// An ESP suite such as aes128gcm16, or `plain` for L2TP without IPsec
    #[arg(long, default_value = "aes128gcm16")]
    suite: String,
    /// Which way packets go
    #[arg(long, default_value = "up")]
    direction: Line,
    /// Octets of the inner packet, or `imix`
    #[arg(long, default_value = "64")]
    size: String,
    /// Subscribers
    #[arg(long, default_value_t = 1000)]
    sessions: usize,
    /// Where frames are when the worker comes for them
    #[arg(long, default_value = "cold")]
    frames: Frames,
    /// Rounds, of which the best counts
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Packets of a round
    #[arg(long, default_value_t = PACKETS)]
    packets: usize,
    /// Packets that the worker finds at a time, at most
    #[arg(long, default_value_t = figures::FULL_BURST)]
    burst: usize,
    /// Where the cycles went, as `adit show stages` has it
    #[arg(long)]
    stages: bool,
    /// Who does the cryptography
    #[arg(long, default_value_t = Backend::auto())]
    backend: Backend,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Measure { group, rounds } => {
            let specs = specs(&group).context("no such group")?;
            println!("{}", serde_json::to_string(&Found::take(specs, rounds)?)?);
            Ok(())
        }
        Command::Calibrate => {
            println!("{}", calibrate::calibrate(&[])?);
            Ok(())
        }
        Command::CheckPlan(arguments) => {
            let is_near = check::check(&arguments)?;
            anyhow::ensure!(is_near, "the plan is further off than it may be");
            Ok(())
        }
        Command::Path(arguments) => one_path(&arguments),
    }
}

/// The measurements of a group, or of a part of the calibration.
fn specs(name: &str) -> Option<Vec<probe::Spec>> {
    let group = GROUPS.iter().find(|group| group.name == name);
    let part = || {
        calibrate::parts()
            .into_iter()
            .find(|part| part.name == name)
    };
    group
        .map(figures::Group::specs)
        .or_else(|| part().map(|part| part.specs))
}

fn one_path(arguments: &PathArguments) -> Result<()> {
    let core = clock::pin().context("no core to stay on")?;
    let path = Path {
        protection: probe::protection(&arguments.suite)?,
        backend: arguments.backend,
        line: arguments.direction,
        sizes: probe::sizes(&arguments.size)?,
        sessions: arguments.sessions,
        frames: arguments.frames,
        packets: arguments.packets,
        burst: arguments.burst,
    };
    let mut bench = Bench::new(path, std::process::id().into())?;
    let mut samples: Vec<_> = (0..arguments.rounds)
        .map(|_| bench.round())
        .collect::<Result<_>>()?;
    samples.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    let best = samples.first().context("no rounds")?;
    println!(
        "{} {:?} {} B, {} sessions, {:?} frames: {:.0} cycles  {:.1} ns  {:.2} Mpps  {:.2} Gbit/s",
        arguments.suite,
        arguments.direction,
        arguments.size,
        arguments.sessions,
        arguments.frames,
        best.cost,
        best.ns,
        1e3 / best.ns,
        best.bytes * 8.0 / best.ns,
    );
    println!(
        "  best of {} (median {:.0}); core {core} at {:.2} GHz, TSC at {:.3} GHz; {} of {} blocks \
         of the last round interrupted; back end {}, {:?} pages",
        samples.len(),
        samples[samples.len() / 2].cost,
        best.ghz,
        clock::ticks_per_ns(),
        bench.interrupted.0,
        bench.interrupted.1,
        arguments.backend,
        bench.pages(),
    );
    if arguments.stages {
        let cycles_per_tick = best.ghz / clock::ticks_per_ns();
        for (stage, ticks) in bench.stages() {
            println!(
                "  {:12} {:6.1} cycles",
                stage.key(),
                ticks * cycles_per_tick
            );
        }
    }
    Ok(())
}
