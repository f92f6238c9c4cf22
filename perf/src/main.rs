//! `adit-perf`: how a number is taken.
#![allow(clippy::print_stdout, reason = "a benchmark prints what it found")]

mod clock;
mod gateway;
mod path;
mod port;
mod rng;
mod subscriber;
mod traffic;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use crypto::esp::Backend;

use path::{Bench, Frames, PACKETS, Path};
use subscriber::Protection;
use traffic::Line;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Inner packets of the Internet mix, 7:4:1.
const IMIX: [usize; 12] = [64, 64, 64, 64, 64, 64, 64, 570, 570, 570, 570, 1400];

/// Measures Adit
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
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
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Path(arguments) => one_path(&arguments),
    }
}

fn one_path(arguments: &PathArguments) -> Result<()> {
    let core = clock::pin(0).context("no core to stay on")?;
    let path = Path {
        protection: protection(&arguments.suite)?,
        backend: Backend::auto(),
        line: arguments.direction,
        sizes: sizes(&arguments.size)?,
        sessions: arguments.sessions,
        frames: arguments.frames,
        packets: arguments.packets,
    };
    let mut bench = Bench::new(path, std::process::id().into())?;
    let ticks_per_ns = clock::ticks_per_ns();
    let rounds: Vec<_> = (0..arguments.rounds)
        .map(|_| bench.round())
        .collect::<Result<_>>()?;
    let mut sorted: Vec<_> = rounds.iter().collect();
    sorted.sort_by(|a, b| a.cycles().total_cmp(&b.cycles()));
    let best = sorted.first().context("no rounds")?;
    let ns = best.ticks / ticks_per_ns;
    println!(
        "{} {:?} {} B, {} sessions, {:?} frames: {:.0} cycles  {ns:.1} ns  {:.2} Mpps  {:.2} Gbit/s",
        arguments.suite,
        arguments.direction,
        arguments.size,
        arguments.sessions,
        arguments.frames,
        best.cycles(),
        1e3 / ns,
        best.inner_bytes * 8.0 / ns,
    );
    println!(
        "  best of {} (median {:.0}); core {core} at {:.2} GHz, TSC {ticks_per_ns:.3} GHz; {} of {} \
         blocks interrupted; back end {}, {:?} pages",
        rounds.len(),
        sorted[sorted.len() / 2].cycles(),
        best.cycles_per_tick * ticks_per_ns,
        best.interrupted.0,
        best.interrupted.1,
        Backend::auto(),
        bench.pages(),
    );
    Ok(())
}

fn protection(name: &str) -> Result<Protection> {
    match name {
        "plain" => Ok(None),
        suite => Ok(Some(suite.parse()?)),
    }
}

fn sizes(name: &str) -> Result<&'static [usize]> {
    if name == "imix" {
        return Ok(&IMIX);
    }
    let size: usize = name
        .parse()
        .context("a size is a number of octets, or imix")?;
    ensure!(
        (64..=1400).contains(&size),
        "a packet has 64 to 1400 octets"
    );
    Ok(Box::leak(Box::new([size])))
}
