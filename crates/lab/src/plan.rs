//! `adit-lab plan`: from what a gateway was measured to cost, and what its subscribers do, to what
//! has to be bought.
//!
//! ```text
//!   perf/run, --calibrate ──► Costs ─┐
//!                                    ├─► sizing ──► Book of figures ──► table, --json, --report, --explain
//!   model.toml, flags ──────► Model ─┘     │
//!                                          ├─ queue   a ring and its worker, packet by packet
//!                                          └─ storm   everybody dials again
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `model.rs` | what the subscribers do, with all faults of a file at once |
//! | `costs.rs`, `calibrate.rs` | what everything costs, as it was measured |
//! | `quantity.rs` | numbers that can say how they came about |
//! | `wire.rs` | headers around headers |
//! | `sizing.rs`, `sizing/` | the plan |
//! | `queue.rs`, `storm.rs`, `agenda.rs`, `chance.rs` | simulations, the same for the same seed |
//! | `show.rs`, `page.rs` | the plan for terminals and machines, and as a page |

pub mod agenda;
pub mod calibrate;
pub mod chance;
pub mod costs;
pub mod model;
mod page;
pub mod quantity;
pub mod queue;
mod show;
pub mod sizing;
pub mod storm;
pub mod wire;

use std::io::{Write, stdout};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::cli::plan::Plan as Arguments;
use costs::Costs;
use model::Model;

/// Runs the command; whether everything fits.
pub fn plan(arguments: &Arguments) -> Result<bool> {
    let costs = costs(arguments)?;
    if let (Some(file), None) = (&arguments.save, &arguments.model) {
        writeln!(stdout(), "what this machine costs is in {}", file.display())?;
        return Ok(true);
    }
    let model = model(arguments)?;
    let plan = sizing::plan(&model, &costs)?;
    let mut out = stdout().lock();
    match (&arguments.explain, arguments.json) {
        (Some(name), _) => write!(out, "{}", show::explanations(&plan, name)?)?,
        (None, true) => writeln!(out, "{}", show::json(&model, &costs, &plan)?)?,
        (None, false) => write!(out, "{}", show::text(&model, &costs, &plan))?,
    }
    if let Some(directory) = &arguments.report {
        let file = page::page(&model, &costs, &plan).write(directory)?;
        if arguments.explain.is_none() && !arguments.json {
            writeln!(out, "\nreport: {}", file.display())?;
        }
    }
    Ok(plan.limits.iter().all(|limit| limit.used <= 1.0))
}

fn costs(arguments: &Arguments) -> Result<Costs> {
    match (&arguments.costs, arguments.calibrate) {
        (_, true) => calibrate::calibrate(arguments.perf.as_deref(), arguments.save.as_deref()),
        (Some(file), false) => Costs::read(file),
        (None, false) => bail!(
            "what do packets and set-ups cost? --costs FILE takes a run.json of perf/run, \
             --calibrate measures this machine"
        ),
    }
}

fn model(arguments: &Arguments) -> Result<Model> {
    let mut model = match &arguments.model {
        Some(file) => Model::read(file)?,
        None => Model::parse(Path::new("(no model)"), String::new())?,
    };
    let flags = [
        ("subscribers.count", arguments.subscribers),
        ("traffic.down_kbit", arguments.down),
        ("traffic.up_kbit", arguments.up),
        (
            "sessions.length",
            arguments.session.map(|time| time.as_secs_f64()),
        ),
        (
            "storm.within",
            arguments.storm.map(|time| time.as_secs_f64()),
        ),
        (
            "radius.latency",
            arguments.radius_latency.map(|time| time.as_secs_f64()),
        ),
        ("gateway.cores", arguments.cores),
        ("seed", arguments.seed.map(f64::from)),
    ];
    for (name, value) in flags {
        if let Some(value) = value {
            model.set(name, value).context("on the command line")?;
        }
    }
    Ok(model)
}

#[cfg(test)]
mod tests;
