//! What a capacity plan wants to know: every suite by itself, at a few sizes, and what sessions and
//! set-ups cost. Mixtures are not among it; they are what a plan is checked against.

use anyhow::Result;
use crypto::dh::Group::{Ecp256, Modp1024, Modp2048};
use serde::Serialize;

use crate::dial::Call;
use crate::measure::Found;
use crate::path::Frames::Cold;
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

const SUITES: [SuiteName; 7] = [
    "aes128gcm16",
    "aes256gcm16",
    "aes128-sha1",
    "aes256-sha1",
    "aes256-sha256",
    "3des-sha1",
    "plain",
];
const SIZES: [SizeName; 3] = ["64", "570", "1400"];
const FEW: usize = 1000;
const MANY: usize = 100_000;

/// All of it.
pub(crate) fn parts() -> Vec<Part> {
    let path = |suite, line: Line, size, sessions| Spec::Path {
        suite,
        line,
        size,
        sessions,
        frames: Cold,
    };
    let both = |suite, size, sessions| [Up, Down].map(|line| path(suite, line, size, sessions));
    let mut parts: Vec<Part> = SUITES
        .into_iter()
        .map(|suite| {
            let specs = SIZES.into_iter().flat_map(|size| both(suite, size, FEW));
            part(suite, specs.collect(), 4, 2)
        })
        .collect();
    let crowd = ["64", "1400"].into_iter();
    let crowd = crowd.flat_map(|size| both("aes128gcm16", size, MANY));
    parts.push(part("crowd", crowd.collect(), 3, 1));
    let calls = [
        Call::Plain,
        Call::Ike(Modp1024),
        Call::Ike(Modp2048),
        Call::Ike(Ecp256),
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

/// Takes them, each part in processes of its own, and gives them as JSON.
pub(crate) fn calibrate() -> Result<String> {
    let mut found = Vec::new();
    for part in parts() {
        for process in 1..=part.processes {
            eprintln!("{} {process}/{}", part.name, part.processes);
            found.push(Found::of_process(&part.name, part.rounds)?);
        }
    }
    let calibration = Calibration {
        machine: Machine::here("adit-perf calibrate".to_owned()),
        measurements: Found::best_of(found.iter()),
    };
    Ok(serde_json::to_string_pretty(&calibration)?)
}
