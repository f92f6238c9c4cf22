//! What a capacity plan wants to know: every suite by itself, at a few sizes, and what sessions and
//! set-ups cost. Mixtures are not among it; they are what a plan is checked against.

use anyhow::Result;
use crypto::dh::Group::{Ecp256, Modp1024, Modp2048};
use serde::Serialize;

use crate::dial::Call;
use crate::figures::FULL_BURST;
use crate::measure::Found;
use crate::path::Frames::{self, Scattered, Warm};
use crate::probe::{SizeName, Spec, SuiteName};
use crate::report::Machine;
use crate::traffic::Line::{self, Down, Up};

/// Everything that was measured, in the shape of a run.
#[derive(Serialize)]
struct Calibration {
    machine: Machine,
    measurements: Found,
}

/// Measurements that are taken in turns in one process.
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) specs: Vec<Spec>,
    /// Rounds, of which the best counts.
    rounds: usize,
    /// Processes, of which the best counts.
    processes: usize,
}

pub(crate) const SUITES: [SuiteName; 7] = [
    "aes128gcm16",
    "aes256gcm16",
    "aes128-sha1",
    "aes256-sha1",
    "aes256-sha256",
    "3des-sha1",
    "plain",
];
const SIZES: [SizeName; 3] = ["64", "570", "1400"];
/// Sizes of short bursts, and of crowds: what is between lies on a line.
const EXTREMES: [SizeName; 2] = ["64", "1400"];
/// Packets of bursts, as many as a mixture has of one kind. A cipher that takes sixteen at a time has as
/// many empty lanes as on average.
const BURSTS: [usize; 3] = [FULL_BURST, 24, 8];
const FEW: usize = 1000;
const MANY: usize = 100_000;

/// All of it.
pub(crate) fn parts() -> Vec<Part> {
    let path = |suite, line: Line, size, sessions, (frames, burst): (Frames, usize)| Spec::Path {
        suite,
        line,
        size,
        sessions,
        frames,
        burst,
    };
    let both =
        |suite, size, sessions, how| [Up, Down].map(|line| path(suite, line, size, sessions, how));
    let full = (Scattered, FULL_BURST);
    let mut parts: Vec<Part> = SUITES
        .into_iter()
        .map(|suite| {
            let bursts = BURSTS.into_iter();
            let bursts = bursts.flat_map(|burst| EXTREMES.map(|size| (size, (Warm, burst))));
            let all = SIZES.into_iter().map(|size| (size, full)).chain(bursts);
            let specs = all.flat_map(|(size, how)| both(suite, size, FEW, how));
            part(suite, specs.collect(), 3, 2)
        })
        .collect();
    let crowd = EXTREMES.into_iter();
    let crowd = crowd.flat_map(|size| both("aes128gcm16", size, MANY, full));
    parts.push(part("crowd", crowd.collect(), 3, 1));
    let calls = [
        Call::Plain,
        Call::Ike(Modp1024),
        Call::Ike(Modp2048),
        Call::Ike(Ecp256),
        Call::Secured(Modp2048),
        Call::Secured(Ecp256),
    ];
    parts.push(part("set-up", calls.map(Spec::SetUp).into(), 6, 2));
    parts.push(part("idle", vec![Spec::Idle { sessions: MANY }], 2, 1));
    for (name, call, sessions) in [
        ("memory-plain", Call::Plain, MANY),
        ("memory-ipsec", Call::Secured(Ecp256), MANY / 5),
    ] {
        parts.push(part(name, vec![Spec::Memory { call, sessions }], 1, 1));
    }
    parts
}

fn part(name: &str, specs: Vec<Spec>, rounds: usize, processes: usize) -> Part {
    Part {
        name: format!("calibration {name}"),
        specs,
        rounds,
        processes,
    }
}

/// Takes all of them, or those with these names, in one process each, and gives them as JSON.
pub(crate) fn calibrate(names: &[&str]) -> Result<String> {
    let mut found = Vec::new();
    let is_wanted = |part: &Part| {
        let named = |name: &&str| part.name == format!("calibration {name}");
        names.is_empty() || names.iter().any(named)
    };
    for part in parts().into_iter().filter(is_wanted) {
        let processes = if names.is_empty() { part.processes } else { 1 };
        for process in 1..=processes {
            eprintln!("{} {process}/{processes}", part.name);
            found.push(Found::of_process(&part.name, part.rounds)?);
        }
    }
    let calibration = Calibration {
        machine: Machine::here("adit-perf calibrate".to_owned()),
        measurements: Found::best_of(found.iter()),
    };
    Ok(serde_json::to_string_pretty(&calibration)?)
}
