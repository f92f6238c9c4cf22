//! The run: processes one after the other, the first of each group discarded, and the table.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::figures::{GROUPS, Group};
use crate::measure::{Found, Verdict, judge};
use crate::report::{Machine, Run};
use crate::veth;

/// What to take.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Within a few minutes: fewer rounds, nothing that takes long
    #[arg(long)]
    quick: bool,
    /// The figures as JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Where to write the report
    #[arg(long)]
    out: Option<PathBuf>,
    /// What `perf/veth --json` wrote, to be a section of the report
    #[arg(long)]
    veth: Option<PathBuf>,
    /// Only groups whose names, or figures whose names, contain one of these
    cases: Vec<String>,
}

/// Processes that count; one more, the first, does not.
const PROCESSES: usize = 3;
/// Rounds of the process that does not count.
const WARM_UP_ROUNDS: usize = 1;

/// Takes the figures.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let groups: Vec<_> = GROUPS.iter().filter(|g| arguments.wants(g)).collect();
    ensure!(!groups.is_empty(), "no such case");
    let veth = arguments.veth.as_deref().map(veth::read).transpose()?;
    let mut found: Vec<Vec<Found>> = groups.iter().map(|_| Vec::new()).collect();
    let mut failures = Vec::new();
    for process in 0..=PROCESSES {
        for (group, found) in groups.iter().zip(&mut found) {
            eprintln!("{} {process}/{PROCESSES}", group.name);
            let rounds = match (process, arguments.quick) {
                (0, _) => WARM_UP_ROUNDS,
                (_, true) => group.rounds.div_ceil(2),
                (_, false) => group.rounds,
            };
            match Found::of_process(group.name, rounds) {
                Ok(one) if process > 0 => found.push(one),
                Ok(_) => {}
                // Its figures are missing from the table; the others are worth having.
                Err(error) => failures.push(error),
            }
        }
    }
    let figures = groups.iter().zip(&found);
    let run = Run {
        machine: Machine::here(arguments.command()),
        figures: figures
            .flat_map(|(group, found)| group.figures.iter().filter_map(|f| judge(f, found)))
            .collect(),
        measurements: Found::best_of(found.iter().flatten()),
        suites: groups
            .iter()
            .flat_map(|group| group.tables)
            .copied()
            .collect(),
        veth: veth.unwrap_or_default(),
    };
    if let Some(directory) = &arguments.out {
        run.write(directory)?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&run)?);
    } else {
        print!("{}", run.text());
    }
    failures.into_iter().next().map_or(Ok(()), Err)
}

impl Arguments {
    /// How it was asked for.
    fn command(&self) -> String {
        let flags = [(self.quick, "--quick"), (self.json, "--json")];
        let flags = flags.iter().filter(|(is_set, _)| *is_set);
        let flags = flags.map(|(_, flag)| (*flag).to_owned());
        let words = flags.chain(self.cases.iter().cloned());
        let words: Vec<_> = std::iter::once("perf/run".to_owned())
            .chain(words)
            .collect();
        words.join(" ")
    }

    fn wants(&self, group: &Group) -> bool {
        let is_named = |case: &String| {
            group.name.contains(case.as_str())
                || group.figures.iter().any(|f| f.name.contains(case.as_str()))
        };
        match self.cases.is_empty() {
            true => group.is_quick || !self.quick,
            false => self.cases.iter().any(is_named),
        }
    }
}

/// Figure, value, must, aim, met or not met.
pub(crate) fn table(verdicts: &[Verdict]) -> String {
    let mut text = format!(
        "{:<62} {:>9} {:<7} {:>8} {:>8}  {:<9} {:>7} {:>7} {:>8}\n",
        "figure", "value", "unit", "must", "aim", "", "ns", "Mpps", "Gbit/s"
    );
    for v in verdicts {
        let met = match (v.meets_aim, v.meets_must) {
            _ if v.must.is_infinite() => "",
            (true, _) => "aim met",
            (false, true) => "met",
            (false, false) => "NOT MET",
        };
        let digits = if v.value.abs() < 20.0 { 2 } else { 0 };
        text += &format!(
            "{:<62} {:>9.digits$} {:<7} {:>8} {:>8}  {met:<9}",
            v.name,
            v.value,
            v.unit,
            limit(v.must),
            limit(v.aim)
        );
        if let Some(best) = v.best.filter(|best| best.ns > 0.0 && best.bytes > 0.0) {
            let gbits = best.bytes * 8.0 / best.ns;
            text += &format!(" {:>7.1} {:>7.2} {gbits:>8.2}", best.ns, 1e3 / best.ns);
        }
        text = text.trim_end().to_owned() + "\n";
    }
    text
}

/// A limit, if there is one.
pub(crate) fn limit(value: f64) -> String {
    match value.is_finite() {
        true => value.to_string(),
        false => "-".to_owned(),
    }
}
