//! `adit-lab blast`: subscribers dial at a rate, come and go, send and get numbered packets; what
//! came of it is counted where it arrives.
//!
//! ```text
//!   Scenario ─► roster ─► Fleet ◄──► Driver ◄──► the gateway ◄──► FarEnd, on its own thread
//!                           │  ▲
//!                    events │  │ hang up, vanish, redial
//!                           ▼  │
//!                  SetUps   Crowd   Load ◄─── Board ───► who is where
//!                      ╲      │      ╱
//!                       ─► Outcome ◄─ Meter, Generator
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `roster.rs` | clients, their addresses and ports |
//! | `crowd.rs` | who comes and goes when |
//! | `source.rs`, `load.rs`, `far_end.rs`, `near.rs`, `board.rs` | both ends of the traffic |
//! | `setups.rs`, `meter.rs`, `generator.rs` | what is counted, and who was the limit |
//! | `outcome.rs`, `page.rs` | what is told |

pub mod board;
pub mod crowd;
pub mod far_end;
pub mod generator;
pub mod line;
pub mod load;
pub mod meter;
mod near;
pub mod outcome;
mod page;
mod phase;
mod roster;
mod run;
pub mod setups;
pub mod source;

use std::io::{Write, stdout};

use anyhow::Result;

use crate::cli;
use crate::key_log::KeyLogFile;
use crate::scenario::Scenario;
pub use outcome::Outcome;
pub use run::Run;

/// Runs the command; whether everything that was asked for held.
pub fn blast(arguments: &cli::Blast) -> Result<bool> {
    let scenario = Scenario::new(arguments)?;
    let mut out = stdout().lock();
    if arguments.dry_run {
        write!(out, "{}", scenario.plan())?;
        return Ok(true);
    }
    let interrupted = crate::interrupt::watch()?;
    let mut run = Run::new(scenario, interrupted, arguments.json)?;
    if let Some(file) = &arguments.key_log {
        run.log_keys(KeyLogFile::open(file)?);
    }
    let outcome = run.complete()?;
    if let Some(directory) = &arguments.report {
        page::page(&outcome).write(directory)?;
    }
    match arguments.json {
        true => writeln!(out, "{}", serde_json::to_string_pretty(&outcome)?)?,
        false => write!(out, "{}", outcome.text())?,
    }
    Ok(outcome.ok)
}
