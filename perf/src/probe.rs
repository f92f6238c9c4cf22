//! What can be measured, and one measurement of it.

use std::fmt;

use anyhow::{Context, Result};
use crypto::esp::Backend;

use crate::bare;
use crate::burst::Bursts;
use crate::cipher;
use crate::dial::Call;
use crate::figures::FULL_BURST;
use crate::path::{self, Frames, PACKETS, Path};
use crate::setup;
use crate::stall::Stalls;
use crate::subscriber::Protection;
use crate::team::{Steering, Team};
use crate::traffic::Line;
use crate::watch::Watched;

/// Inner packets of the Internet mix, 7:4:1.
const IMIX: [usize; 12] = [64, 64, 64, 64, 64, 64, 64, 570, 570, 570, 570, 1400];

/// Something that can be measured again and again.
pub(crate) trait Probe {
    /// Measures once.
    fn round(&mut self) -> Result<Sample>;
}

/// One measurement, for each item: packet, set-up, session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// What it cost: core cycles, or whatever else the probe counts.
    pub(crate) cost: f64,
    /// The same in nanoseconds, if it is a time.
    pub(crate) ns: f64,
    /// Octets that the item moved, if it moved any.
    pub(crate) bytes: f64,
    /// How fast the core was.
    pub(crate) ghz: f64,
}

impl Sample {
    /// From ticks of the TSC.
    pub(crate) fn of_ticks(ticks: f64, cycles_per_tick: f64, bytes: f64) -> Self {
        let ticks_per_ns = crate::clock::ticks_per_ns();
        Self {
            cost: ticks * cycles_per_tick,
            ns: ticks / ticks_per_ns,
            bytes,
            ghz: cycles_per_tick * ticks_per_ns,
        }
    }

    /// Something that is not a time.
    pub(crate) fn of_value(cost: f64) -> Self {
        Self {
            cost,
            ns: 0.0,
            bytes: 0.0,
            ghz: 0.0,
        }
    }
}

/// The suite of what is measured beside something else.
const BESIDE: SuiteName = "aes128gcm16";

/// A name of a suite, or `plain`.
pub(crate) type SuiteName = &'static str;
/// Octets of an inner packet, or `imix`.
pub(crate) type SizeName = &'static str;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Spec {
    /// A packet on the whole path.
    Path {
        suite: SuiteName,
        line: Line,
        size: SizeName,
        sessions: usize,
        frames: Frames,
        burst: usize,
    },
    /// Nothing but the cipher on the same packets.
    Bare {
        suite: SuiteName,
        line: Line,
        size: SizeName,
        sessions: usize,
    },
    /// A cipher by itself.
    Cipher(cipher::Case),
    /// A packet's share of the time of so many workers beside each other.
    Workers {
        count: u8,
        size: SizeName,
        sessions: usize,
    },
    /// A packet that arrives at the right or the wrong one of two workers: what both did.
    Steered { steering: Steering, size: SizeName },
    /// The 99.9th percentile of a burst, while so many clients dial every second.
    Bursts { dialling: Option<(Call, u32)> },
    /// The 99.9th percentile of a turn that opens and closes sessions.
    Stalls { suite: SuiteName },
    /// What a packet costs more, in percent, because one turn of 64 is timed.
    Watched { suite: SuiteName, size: SizeName },
    /// A set-up.
    SetUp(Call),
    /// A set-up for whose public-key work a key pair had been made before.
    SetUpWithPair(Call),
    /// What idle sessions of plain L2TP cost the slow path.
    Idle { sessions: usize },
    /// What an idle session takes of memory.
    Memory { call: Call, sessions: usize },
}

impl Spec {
    /// Makes everything ready; `None` if it does not exist here.
    pub(crate) fn prepare(self, seed: u64) -> Result<Option<Box<dyn Probe>>> {
        Ok(Some(match self {
            Self::Path {
                suite,
                line,
                size,
                sessions,
                frames,
                burst,
            } => {
                let path = Path {
                    protection: protection(suite)?,
                    backend: Backend::auto(),
                    line,
                    sizes: sizes(size)?,
                    sessions,
                    frames,
                    packets: PACKETS,
                    burst,
                };
                Box::new(path::Bench::new(path, seed)?)
            }
            Self::Bare {
                suite,
                line,
                size,
                sessions,
            } => {
                let suite = protection(suite)?.context("plain L2TP has no cipher")?;
                Box::new(bare::Bare::new(suite, line, sizes(size)?, sessions, seed))
            }
            Self::Cipher(case) => match cipher::Bench::new(case, seed)? {
                Some(bench) => Box::new(bench),
                None => return Ok(None),
            },
            Self::Workers {
                count,
                size,
                sessions,
            } => {
                let what = (protection(BESIDE)?, sizes(size)?);
                let how = (Steering::Home, false);
                Box::new(Team::new(count, what, sessions, how, seed)?)
            }
            Self::Steered { steering, size } => {
                let what = (protection(BESIDE)?, sizes(size)?);
                Box::new(Team::new(2, what, 1000, (steering, true), seed)?)
            }
            Self::Bursts { dialling } => Box::new(Bursts::new(dialling, seed)?),
            Self::Stalls { suite } => Box::new(Stalls::new(suite)?),
            Self::Watched { suite, size } => {
                let path = Path {
                    protection: protection(suite)?,
                    backend: Backend::auto(),
                    line: Line::Up,
                    sizes: sizes(size)?,
                    sessions: 1000,
                    frames: Frames::Warm,
                    packets: PACKETS,
                    burst: FULL_BURST,
                };
                Box::new(Watched::new(path, seed)?)
            }
            Self::SetUp(call) => Box::new(setup::SetUp::new(call, seed)?),
            Self::SetUpWithPair(call) => Box::new(setup::SetUp::with_pairs(call, seed)?),
            Self::Idle { sessions } => Box::new(setup::Idle::new(sessions, seed)?),
            Self::Memory { call, sessions } => Box::new(setup::Memory::new(call, sessions)),
        }))
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path {
                suite,
                line,
                size,
                sessions,
                frames,
                burst,
            } => {
                write!(
                    f,
                    "{suite} {line:?} {size} B, {sessions} sessions, {frames:?}"
                )?;
                match *burst {
                    FULL_BURST => Ok(()),
                    burst => write!(f, ", bursts of {burst}"),
                }
            }
            Self::Bare {
                suite,
                line,
                size,
                sessions,
            } => write!(f, "cipher of {suite} {line:?} {size} B, {sessions} SAs"),
            Self::Workers {
                count,
                size,
                sessions,
            } => write!(f, "{count} workers, {size} B, {sessions} sessions"),
            Self::Steered { steering, size } => write!(f, "{size} B, arriving {steering:?}"),
            Self::Bursts { dialling: None } => write!(f, "bursts, nobody dialling"),
            Self::Bursts {
                dialling: Some((call, per_second)),
            } => write!(f, "bursts, {per_second} {call:?} a second"),
            Self::Stalls { suite } => write!(f, "changes of sessions with {suite}"),
            Self::Watched { suite, size } => write!(f, "timing the stages of {suite} {size} B"),
            Self::SetUp(call) => write!(f, "set-up of {call:?}"),
            Self::SetUpWithPair(call) => write!(f, "set-up of {call:?}, key pairs at hand"),
            Self::Idle { sessions } => write!(f, "{sessions} idle sessions"),
            Self::Memory { call, sessions } => write!(f, "memory of {sessions} times {call:?}"),
            Self::Cipher(case) => {
                let verb = match case.line {
                    Line::Up => "open",
                    Line::Down => "seal",
                };
                let size = match case.size {
                    cipher::IMIX => "imix".to_owned(),
                    size => size.to_string(),
                };
                let (suite, who, burst) = (case.suite, case.who, case.burst);
                write!(f, "{suite} {verb} {size} B, bursts of {burst}, {who}")
            }
        }
    }
}

/// The suite of this name.
pub(crate) fn protection(name: &str) -> Result<Protection> {
    match name {
        "plain" => Ok(None),
        suite => Ok(Some(suite.parse()?)),
    }
}

/// The lengths of packets that a name stands for.
pub(crate) fn sizes(name: &str) -> Result<Vec<usize>> {
    if name == "imix" {
        return Ok(IMIX.into());
    }
    let size = name.parse().context("a number of octets, or imix")?;
    anyhow::ensure!(
        (64..=1400).contains(&size),
        "a packet has 64 to 1400 octets"
    );
    Ok(vec![size])
}
