//! `adit-lab ramp`: the highest rate of packets, or of set-ups, that a gateway takes.
//!
//! ```text
//!   Search ── the next rate ──► Run: a trial ──► within the limits? did we offer it? ──► Search
//! ```
//!
//! RFC 2544 §26.1 with other limits unless it is asked for: trials of five seconds and a loss of
//! one in a thousand, and three searches, because a machine that is shared is not the same twice.

mod outcome;
mod search;

use std::io::{Write, stderr, stdout};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::blast::Run;
use crate::blast::generator::Side;
use crate::cli::{self, What};
use crate::report::{Lines, Report, Table};
use crate::scenario::{Churn, Direction, OfferedLoad, Rate, Rhythm, Scenario, Sizes};
pub use outcome::{Limits, Outcome, SearchOutcome, Series, Trial};
pub use search::{Search, Verdict};

/// RFC 2544 §24.
const RFC2544_TRIAL: Duration = Duration::from_secs(60);
/// Where nothing is said: low enough for a router at home.
const FIRST_PACKETS: f64 = 1000.0;
const FIRST_SETUPS: f64 = 20.0;
/// A set-up that took longer was waiting for its turn.
const SETUP_P99: Duration = Duration::from_secs(1);
/// Of the rate that is asked for, so much has to be offered.
const OFFERED: f64 = 0.98;
/// The shortest trial of set-ups; where there are too few subscribers for that, the rate is not
/// offered.
const SETUPS_MIN: Duration = Duration::from_secs(1);

/// Runs the command; whether every search found a rate.
pub fn ramp(arguments: &cli::Ramp) -> Result<bool> {
    let outcome = Ramp::new(arguments)?.complete()?;
    if let Some(directory) = &arguments.report {
        report(&outcome).write(directory)?;
    }
    let mut out = stdout().lock();
    match arguments.json {
        true => writeln!(out, "{}", serde_json::to_string_pretty(&outcome)?)?,
        false => write!(out, "{}", outcome.text())?,
    }
    Ok(outcome.ok)
}

/// All searches of one command.
struct Ramp<'a> {
    arguments: &'a cli::Ramp,
    limits: Limits,
    run: Run,
}

impl<'a> Ramp<'a> {
    fn new(arguments: &'a cli::Ramp) -> Result<Self> {
        if !(0.1..=100.0).contains(&arguments.resolution) || arguments.searches == 0 {
            bail!("--resolution has to be between 0.1 and 100, and --searches at least 1");
        }
        let scenario = Scenario::of_one_group(&arguments.who, Churn::default(), None)?;
        let p99 = match arguments.what {
            What::Packets => arguments.p99,
            What::Setups => Some(arguments.p99.unwrap_or(SETUP_P99)),
        };
        let (loss, trial) = match arguments.rfc2544 {
            true => (0.0, RFC2544_TRIAL),
            false => (arguments.loss, arguments.trial),
        };
        let interrupted = crate::interrupt::watch()?;
        Ok(Self {
            run: Run::new(scenario, interrupted, true)?,
            limits: Limits {
                loss_percent: loss,
                p99_ms: p99.map(|p99| p99.as_secs_f64() * 1000.0),
                trial_seconds: trial.as_secs_f64(),
            },
            arguments,
        })
    }

    fn complete(mut self) -> Result<Outcome> {
        let mut series = Vec::new();
        match self.arguments.what {
            What::Packets => {
                self.run.set_up()?;
                self.expect_all_up()?;
                for size in &self.arguments.size {
                    let searches =
                        self.searches(FIRST_PACKETS, |ramp, rate| ramp.packets(size, rate))?;
                    let (name, mean) = (size.to_string(), size.mean());
                    series.push(Series::new("packets", Some(name), mean, searches));
                }
            }
            What::Setups => {
                let searches = self.searches(FIRST_SETUPS, Self::setups)?;
                series.push(Series::new("setups", None, 0.0, searches));
            }
        }
        self.run.hang_up()?;
        let interrupted = self.run.is_interrupted();
        let outcome = Outcome {
            ok: !interrupted && series.iter().all(|series| series.median.is_some()),
            version: env!("CARGO_PKG_VERSION"),
            scenario: self.run.scenario().written(),
            interrupted,
            limits: self.limits,
            series,
        };
        self.run.close()?;
        Ok(outcome)
    }

    fn expect_all_up(&self) -> Result<()> {
        let failures = self.run.failures();
        match failures.first() {
            Some(first) => bail!(
                "not all subscribers came up: {} × {}",
                first.count,
                first.reason
            ),
            None => Ok(()),
        }
    }

    fn searches(
        &mut self,
        first: f64,
        mut attempt: impl FnMut(&mut Self, f64) -> Result<(Verdict, Trial)>,
    ) -> Result<Vec<SearchOutcome>> {
        let mut outcomes = Vec::new();
        for _ in 0..self.arguments.searches {
            let first = self.arguments.from.unwrap_or(first);
            let resolution = self.arguments.resolution / 100.0;
            let mut search = Search::new(first, self.arguments.to, resolution);
            let mut trials = Vec::new();
            while let Some(rate) = search.next() {
                if self.run.is_interrupted() {
                    break;
                }
                let (verdict, trial) = attempt(self, rate)?;
                self.tell(&trial);
                search.note(verdict);
                trials.push(trial);
            }
            outcomes.push(SearchOutcome {
                found: search.found(),
                is_lower_bound: search.is_open(),
                trials,
            });
        }
        Ok(outcomes)
    }

    /// Packets of a size at a rate, each way; twice if they could not be offered, because something
    /// else may have had the generator's core.
    fn packets(&mut self, sizes: &Sizes, rate: f64) -> Result<(Verdict, Trial)> {
        let (verdict, trial) = self.offer(sizes, rate)?;
        if verdict != Verdict::NotOffered || self.run.is_interrupted() {
            return Ok((verdict, trial));
        }
        self.tell(&trial);
        self.offer(sizes, rate)
    }

    fn offer(&mut self, sizes: &Sizes, rate: f64) -> Result<(Verdict, Trial)> {
        let load = OfferedLoad {
            sizes: sizes.clone(),
            rate: Rate::Packets(rate / self.arguments.who.subscribers as f64),
            direction: Direction::Both,
            rhythm: Rhythm::Constant,
        };
        let trial = Duration::from_secs_f64(self.limits.trial_seconds);
        let moved = self.run.try_load(load, trial)?;
        let worst = |of: fn(&crate::blast::outcome::WayFigures) -> f64| {
            moved.all.iter().map(of).fold(0.0, f64::max)
        };
        let offered = moved.all.iter().map(|way| way.offered_packets_per_second);
        let offered = offered.fold(f64::INFINITY, f64::min).min(rate);
        let done = moved.all.iter().map(|way| way.packets_per_second);
        let lost = moved.all.iter().map(|way| way.lost).sum();
        let generator = self.run.generator(Some(&moved));
        let side = generator.judge(lost, 0, None);
        let figures = Trial {
            rate,
            done: done.fold(f64::INFINITY, f64::min).min(rate),
            passed: false,
            loss_percent: worst(|way| way.loss_percent),
            p99_ms: worst(|way| way.latency_us.p99) / 1000.0,
            because: String::new(),
        };
        let was_offered = (offered >= rate * OFFERED, generator.is_held_up());
        Ok(self.judge(figures, was_offered, &side))
    }

    /// Set-ups at a rate, all of them over again.
    fn setups(&mut self, rate: f64) -> Result<(Verdict, Trial)> {
        let subscribers = self.arguments.who.subscribers;
        let count = (rate * self.limits.trial_seconds).ceil() as usize;
        let count = count.clamp(1, subscribers);
        self.run.dial(count, rate);
        self.run.set_up()?;
        let figures = self.run.setups();
        let side = self.run.generator(None).judge(0, figures.failed, None);
        let p99_ms = figures.stages.last().map_or(0.0, |total| total.p99_ms);
        let done = self.run.setups_per_second();
        self.run.hang_up()?;
        let figures = Trial {
            rate,
            done,
            passed: false,
            loss_percent: figures.failed as f64 * 100.0 / count as f64,
            p99_ms,
            because: String::new(),
        };
        let is_long_enough = count as f64 >= rate * SETUPS_MIN.as_secs_f64();
        let (verdict, mut trial) = self.judge(figures, (is_long_enough, false), &side);
        if !is_long_enough {
            trial.because = format!("{subscribers} subscribers are over in less than a second");
        }
        Ok((verdict, trial))
    }

    /// Whether a trial passed, and if not, whose fault it was: a rate is not offered by us, or because
    /// the gateway held us up.
    fn judge(
        &self,
        trial: Trial,
        (is_offered, is_held_up): (bool, bool),
        side: &Side,
    ) -> (Verdict, Trial) {
        let is_within = trial.loss_percent <= self.limits.loss_percent
            && self.limits.p99_ms.is_none_or(|p99| trial.p99_ms <= p99);
        let is_ours = matches!(side, Side::Generator(_));
        let verdict = match (is_offered, is_within) {
            (true, true) => Verdict::Passed,
            (true, false) if !is_ours => Verdict::Failed,
            (false, _) if is_held_up => Verdict::Failed,
            (true, false) | (false, _) => Verdict::NotOffered,
        };
        let because = match verdict {
            Verdict::Passed => String::new(),
            Verdict::Failed if trial.loss_percent > self.limits.loss_percent => {
                format!(
                    "{:.0}: the gateway lost {:.2} %",
                    trial.rate, trial.loss_percent
                )
            }
            Verdict::Failed if !is_offered => format!("{:.0}: {}", trial.rate, side.text()),
            Verdict::Failed => format!("{:.0}: p99 of {:.1} ms", trial.rate, trial.p99_ms),
            Verdict::NotOffered => format!("{:.0}: {}", trial.rate, side.text()),
        };
        let passed = verdict == Verdict::Passed;
        let trial = Trial {
            passed,
            because,
            ..trial
        };
        (verdict, trial)
    }

    /// A line for whoever waits.
    fn tell(&self, trial: &Trial) {
        if self.arguments.json {
            return;
        }
        let word = if trial.passed {
            "passed"
        } else {
            "did not pass"
        };
        let _nobody_reads = writeln!(
            stderr(),
            "{:.0}/s {word}: {:.3} % lost, p99 {:.2} ms {}",
            trial.rate,
            trial.loss_percent,
            trial.p99_ms,
            trial.because
        );
    }
}

/// A page for people.
fn report(outcome: &Outcome) -> Report {
    let lead = outcome.text().lines().next().unwrap_or_default().to_owned();
    let mut report = Report::new("adit-lab ramp", &lead);
    let mut table = Table::new(["what", "a second", "spread, %", "lower bound"]);
    let mut plot = Lines::new("Loss at each rate that was tried", "a second", "loss, %").log_x();
    for series in &outcome.series {
        let name = series.size.as_deref().unwrap_or(series.what);
        let number =
            |number: Option<f64>| number.map_or_else(|| "none".to_owned(), |n| format!("{n:.1}"));
        let bound = if series.is_lower_bound { "yes" } else { "no" };
        table.push([
            name.to_owned(),
            number(series.median),
            number(series.spread_percent),
            bound.to_owned(),
        ]);
        let trials = series.searches.iter().flat_map(|search| &search.trials);
        let mut points: Vec<(f64, f64)> = trials
            .map(|trial| (trial.rate, trial.loss_percent))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        plot = plot.line(name, points);
    }
    report
        .section("The highest rates that passed")
        .table(table)
        .plot(plot.limit(outcome.limits.loss_percent));
    let scenario = toml::to_string_pretty(&outcome.scenario).unwrap_or_default();
    report
        .section("What was done")
        .text(&format!("adit-lab {}", outcome.version))
        .verbatim(&scenario);
    report
}
