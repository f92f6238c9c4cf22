//! A plan, checked: what `adit-lab plan` says that a load keeps busy, beside what it did keep busy.
//!
//! ```text
//!   calibration: single suites and sizes, a set-up ──► plan ──► cores ─┐
//!                                                       ▲             ├──► error
//!   three loads, which mix all that ──► packets, calls ─┴──► cores ───┘
//! ```
//!
//! The plan is told how many packets and set-ups there were, and nothing of what they cost: that it
//! knows from the calibration. Cores are the time of the worker's turns that found something to do,
//! less what interrupted them, and the processor time of the slow path.
//!
//! The worker and the slow path are driven here and not by a blast. A blast has a thread of its own
//! that never rests, which is a third beside these two: where there are two cores, two of the three
//! share one, and a worker that waits for its core counts the wait as work.
//!
//! What packets of different kinds cost each other, single suites do not show: the plan adds what the
//! cipher of a short burst of each kind costs, which is most of it and not all. Frames lie in no order
//! in memory, here and in the calibration. In order, packets of one kind are taken one behind the
//! other, which the processor sees and runs ahead of; a mixture is sorted, and taken in another order:
//! AES-128-GCM of 936 and 1000 octets by turns took 50 ns a packet more than 1000 alone. In no order
//! both took the same.

mod load;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use crypto::dh::Group::{Ecp256, Modp2048};
use lab::plan::costs::Costs;
use lab::plan::model::Model;
use lab::plan::sizing;
use serde::Serialize;

use crate::calibrate;
use crate::dial::Call;
use load::{Bench, Load, Observed, SESSIONS};

/// A plan may be wrong by so much.
const LIMIT: f64 = 0.15;
/// Of a worker, what a load is meant to keep busy.
const SHARE: f64 = 0.5;
/// Rounds of a load in a run, which count together.
const ROUNDS: usize = 16;

/// Mixtures of suites, sizes, set-ups and churn; none of them is in the calibration.
const LOADS: [Load; 3] = [
    Load {
        name: "suites and sizes",
        suites: &["plain", "aes128gcm16", "plain", "aes128-sha1"],
        sizes: &[100, 100, 100, 400, 400, 1300],
        down_percent: 70,
        calls: None,
        is_restless: false,
    },
    Load {
        name: "set-ups",
        suites: &["aes128gcm16", "aes128-sha1"],
        sizes: &[64, 64, 64, 64, 64, 64, 64, 570, 570, 570, 570, 1400],
        down_percent: 60,
        calls: Some((Call::Secured(Modp2048), 200)),
        is_restless: false,
    },
    Load {
        name: "churn",
        suites: &["aes128gcm16", "aes128gcm16", "aes128gcm16", "aes128-sha1"],
        sizes: &[200, 1000],
        down_percent: 85,
        calls: Some((Call::Secured(Ecp256), 500)),
        is_restless: true,
    },
];
/// Parts of the calibration that these want.
const PARTS: [&str; 4] = ["plain", "aes128gcm16", "aes128-sha1", "set-up"];

/// How it is checked.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A calibration that was kept, instead of a new one
    #[arg(long, value_name = "FILE")]
    costs: Option<PathBuf>,
    /// Keep the calibration
    #[arg(long, value_name = "FILE", conflicts_with = "costs")]
    save: Option<PathBuf>,
    /// Runs, of which the best counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// One load in one run.
#[derive(Clone, Debug, Serialize)]
struct Comparison {
    load: &'static str,
    packets_per_second: f64,
    calls_per_second: f64,
    /// Cores that the worker and the slow path kept busy.
    measured: [f64; 2],
    /// The same, as the plan has it.
    planned: [f64; 2],
    /// Of all that was measured.
    error: f64,
}

#[derive(Serialize)]
struct Outcome {
    ok: bool,
    limit: f64,
    /// The run that counts.
    best: usize,
    runs: Vec<Vec<Comparison>>,
}

/// Runs the command; whether the best run is near enough.
pub(crate) fn check(arguments: &Arguments) -> Result<bool> {
    let costs = costs(arguments)?;
    let mut runs = Vec::new();
    for run in 1..=arguments.runs {
        let compare = |load: &Load| {
            eprintln!("run {run}/{}: {}", arguments.runs, load.name);
            let context = || format!("under the load of {}", load.name);
            compare(*load, &costs, u64::from(run)).with_context(context)
        };
        runs.push(LOADS.iter().map(compare).collect::<Result<Vec<_>>>()?);
    }
    let outcome = Outcome::new(runs);
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&outcome)?),
        false => print!("{}", outcome.text()),
    }
    Ok(outcome.ok)
}

fn costs(arguments: &Arguments) -> Result<Costs> {
    if let Some(file) = &arguments.costs {
        return Costs::read(file);
    }
    let text = calibrate::calibrate(&PARTS)?;
    if let Some(file) = &arguments.save {
        fs::write(file, &text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Costs::parse(Path::new("the calibration of this check"), &text)
}

fn compare(load: Load, costs: &Costs, seed: u64) -> Result<Comparison> {
    let mut bench = Bench::new(load, seed)?;
    let per_second = SHARE / worker_seconds(&load, costs)?;
    // The first round warms up.
    bench.round(per_second)?;
    let rounds = (0..ROUNDS).map(|_| bench.round(per_second));
    let seen = rounds.sum::<Result<Observed>>()?;
    bench.end()?;
    let planned = planned(&load, costs, &seen)?;
    Ok(Comparison::new(load.name, &seen, planned))
}

/// What a packet of the load takes of a worker, by the plan.
fn worker_seconds(load: &Load, costs: &Costs) -> Result<f64> {
    let down = load.down_percent as f64 / 100.0;
    let one = Observed {
        seconds: 1.0,
        packets: [down * 1e6, (1.0 - down) * 1e6],
        ..Observed::default()
    };
    Ok(planned(load, costs, &one)?[0] / 1e6)
}

/// Cores of the worker and of the slow path, by the plan.
fn planned(load: &Load, costs: &Costs, seen: &Observed) -> Result<[f64; 2]> {
    let model = Model::parse(Path::new(load.name), model(load, seen))?;
    let plan = sizing::plan(&model, costs)?;
    let figure = |name: &str| {
        let figure = plan.book.figure(name);
        figure.map(|figure| figure.value).context(name.to_owned())
    };
    let slow_path = match load.calls {
        Some(_) => figure("protocol_use")? + figure("compute_busy")?,
        None => 0.0,
    };
    Ok([figure("data_busy")?, slow_path])
}

/// The load as `adit-lab plan` reads it.
fn model(load: &Load, seen: &Observed) -> String {
    let mean = load.sizes.iter().sum::<usize>() as f64 / load.sizes.len() as f64;
    let kbit = seen
        .packets
        .map(|packets| packets / seen.seconds * mean * 8.0 / 1000.0 / SESSIONS as f64);
    let every = seen.seconds / seen.calls.max(1e-9);
    let group = match load.calls {
        Some((Call::Secured(group) | Call::Ike(group), _)) => group.to_string(),
        Some((Call::Plain, _)) | None => Modp2048.to_string(),
    };
    let mut text = format!(
        "[subscribers]\ncount = {SESSIONS}\n[traffic]\ndown_kbit = {}\nup_kbit = {}\n",
        kbit[0], kbit[1]
    );
    for octets in load.sizes {
        text += &format!("[[traffic.size]]\noctets = {octets}\nshare = 1\n");
    }
    for (number, suite) in load.suites.iter().enumerate() {
        text += &format!("[[access]]\nname = \"{number}\"\nsuite = \"{suite}\"\n");
        if *suite != "plain" {
            text += &format!("group = \"{group}\"\n");
        }
    }
    let every = format!("{}us", (every * 1e6).min(3.0e12) as u64);
    text + &format!("[sessions]\nsetups_every = \"{every}\"\n[gateway]\nio_ns = 0\n")
}

impl Comparison {
    fn new(load: &'static str, seen: &Observed, planned: [f64; 2]) -> Self {
        let measured = [seen.worker, seen.slow_path].map(|busy| busy / seen.seconds);
        let sum = |cores: [f64; 2]| cores[0] + cores[1];
        Self {
            load,
            packets_per_second: (seen.packets[0] + seen.packets[1]) / seen.seconds,
            calls_per_second: seen.calls / seen.seconds,
            measured,
            planned,
            error: sum(planned) / sum(measured) - 1.0,
        }
    }
}

/// How far the worst plan of a run is off.
fn worst(run: &[Comparison]) -> f64 {
    let errors = run.iter().map(|one| one.error.abs());
    errors.fold(0.0, f64::max)
}

impl Outcome {
    fn new(runs: Vec<Vec<Comparison>>) -> Self {
        let order = |a: &usize, b: &usize| worst(&runs[*a]).total_cmp(&worst(&runs[*b]));
        let best = (0..runs.len()).min_by(order).unwrap_or(0);
        Self {
            ok: runs.get(best).is_some_and(|run| worst(run) <= LIMIT),
            limit: LIMIT,
            best,
            runs,
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{:<18} {:>9} {:>9}   {:>7} {:>7}   {:>9} {:>9}   {:>7}\n{:<18} {:>9} {:>9}   {:>15}   {:>19}\n",
            "",
            "packets/s",
            "set-ups/s",
            "worker",
            "planned",
            "slow path",
            "planned",
            "error",
            "",
            "",
            "",
            "cores",
            "cores"
        );
        for one in &self.runs[self.best] {
            let percent = 100.0 * one.error;
            text += &format!(
                "{:<18} {:>9.0} {:>9.0}   {:>7.3} {:>7.3}   {:>9.3} {:>9.3}   {percent:>+5.1} %\n",
                one.load,
                one.packets_per_second,
                one.calls_per_second,
                one.measured[0],
                one.planned[0],
                one.measured[1],
                one.planned[1],
            );
        }
        let all = self
            .runs
            .iter()
            .map(|run| format!("{:.1}", 100.0 * worst(run)));
        text + &format!(
            "worst error of each run: {} %; of the best {:.1} %, which {} {:.0} %\n",
            all.collect::<Vec<_>>().join(", "),
            100.0 * worst(&self.runs[self.best]),
            if self.ok {
                "is within"
            } else {
                "IS NOT WITHIN"
            },
            100.0 * self.limit,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(worker: f64, slow_path: f64) -> Observed {
        Observed {
            seconds: 2.0,
            packets: [3e6, 1e6],
            calls: 400.0,
            worker,
            slow_path,
        }
    }

    fn run(errors: [f64; 3]) -> Vec<Comparison> {
        let one = |error| Comparison::new("a load", &seen(1.0, 0.0), [0.5 * (1.0 + error), 0.0]);
        errors.map(one).into()
    }

    #[test]
    fn an_error_is_of_all_cores_worker_and_slow_path_together() {
        let one = Comparison::new("a load", &seen(1.0, 0.6), [0.55, 0.33]);
        assert_eq!(one.measured, [0.5, 0.3]);
        assert!((one.error - 0.1).abs() < 1e-9, "{one:?}");
        assert_eq!((one.packets_per_second, one.calls_per_second), (2e6, 200.0));
    }

    #[test]
    fn the_run_counts_whose_worst_load_is_nearest_and_too_little_is_as_wrong_as_too_much() {
        let outcome = Outcome::new(vec![
            run([0.0, 0.0, -0.3]),
            run([0.1, -0.14, 0.12]),
            run([0.16, 0.0, 0.0]),
        ]);
        assert_eq!((outcome.best, outcome.ok), (1, true));
        assert!(
            outcome
                .text()
                .contains("30.0, 14.0, 16.0 %; of the best 14.0 %, which is within")
        );
        assert!(!Outcome::new(vec![run([0.0, 0.0, -0.16])]).ok);
    }

    /// What the plan is told is what flowed: its own figures say so again.
    #[test]
    fn the_plan_is_told_what_flowed() {
        for load in &LOADS {
            let model = Model::parse(Path::new("m"), model(load, &seen(1.0, 0.0))).unwrap();
            let mean = load.sizes.iter().sum::<usize>() as f64 / load.sizes.len() as f64;
            let packets = |way: &str| {
                let kbit = model.value(&format!("traffic.{way}_kbit"));
                kbit * 1000.0 * SESSIONS as f64 / 8.0 / mean
            };
            assert!((packets("down") - 1.5e6).abs() < 1.0, "{}", load.name);
            assert!((packets("up") - 0.5e6).abs() < 1.0, "{}", load.name);
            assert!((model.value("sessions.setups_every") - 0.005).abs() < 1e-9);
            assert_eq!(model.access.len(), load.suites.len());
        }
    }
}
