//! From measurements to figures: one process measures a group in turns, several are compared.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::cipher::{Case, SIZES};
use crate::clock;
use crate::figures::{Figure, How};
use crate::probe::{Sample, Spec};

/// What one process found: the best round of each measurement.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Found(pub(crate) BTreeMap<String, Best>);

/// The best of many rounds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Best {
    pub(crate) cost: f64,
    pub(crate) ns: f64,
    pub(crate) bytes: f64,
    pub(crate) ghz: f64,
    /// The median of the rounds' costs: how much noise there was.
    pub(crate) median: f64,
}

/// What became of a figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) name: &'static str,
    pub(crate) unit: String,
    pub(crate) value: f64,
    /// Of each process that counts.
    pub(crate) processes: Vec<f64>,
    pub(crate) must: f64,
    pub(crate) aim: f64,
    pub(crate) is_more_better: bool,
    pub(crate) meets_must: bool,
    pub(crate) meets_aim: bool,
    /// The measurement behind a plain cost, of the best process.
    pub(crate) best: Option<Best>,
}

impl Verdict {
    /// A cost as a share of the highest that is allowed; of a rate, the other way round.
    pub(crate) fn share_of_must(&self, value: f64) -> f64 {
        if self.is_more_better {
            self.must / value
        } else {
            value / self.must
        }
    }
}

impl Found {
    /// The best of several.
    pub(crate) fn best_of<'f>(all: impl Iterator<Item = &'f Self>) -> Self {
        let mut best = Self::default();
        for (name, one) in all.flat_map(|found| &found.0) {
            let entry = best.0.entry(name.clone()).or_insert(*one);
            if one.cost < entry.cost {
                *entry = *one;
            }
        }
        best
    }

    /// Measures in this process: all in turns.
    pub(crate) fn take(specs: Vec<Spec>, rounds: usize) -> Result<Self> {
        clock::pin().context("no core to stay on")?;
        let seed = u64::from(std::process::id()) << 32 | 1;
        let mut probes = Vec::new();
        for spec in specs {
            if let Some(probe) = spec.prepare(seed)? {
                probes.push((spec, probe, Vec::new()));
            }
        }
        for _ in 0..rounds {
            for (spec, probe, samples) in &mut probes {
                let sample = probe.round().with_context(|| format!("measuring {spec}"))?;
                samples.push(sample);
            }
        }
        let best =
            |(spec, _, samples): (Spec, _, Vec<Sample>)| Some((spec.to_string(), best(samples)?));
        Ok(Self(probes.into_iter().filter_map(best).collect()))
    }

    /// The same in a process of its own, for the measurements that a name stands for.
    pub(crate) fn of_process(group: &str, rounds: usize) -> Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .args(["measure", group, "--rounds", &rounds.to_string()])
            .stderr(Stdio::inherit())
            .output()?;
        ensure!(child.status.success(), "{group}: {}", child.status);
        Ok(serde_json::from_slice(&child.stdout)?)
    }

    pub(crate) fn at(&self, spec: &Spec) -> Option<&Best> {
        self.0.get(&spec.to_string())
    }

    /// The value of a figure.
    fn value(&self, how: &How) -> Option<f64> {
        let cost = |spec: &Spec| self.at(spec).map(|best| best.cost);
        let ns = |spec: &Spec| self.at(spec).map(|best| best.ns);
        Some(match how {
            How::Cost(spec) => cost(spec)?,
            How::CostNs(spec) => ns(spec)?,
            How::Rate(spec) => 1e9 / ns(spec)?,
            How::Over(a, b) => cost(a)? / cost(b)?,
            How::Worst(over, under) => SIZES
                .into_iter()
                .filter_map(|size| {
                    let at = |case: &Case| cost(&Spec::Cipher(Case { size, ..*case }));
                    Some(at(over)? / at(under)?)
                })
                .max_by(f64::total_cmp)?,
            How::Less(a, b) => cost(a)? - cost(b)?,
            How::LessNs(a, b) => ns(a)? - ns(b)?,
            How::Mixture(whole, [seven, four, one]) => {
                let parts = 7.0 * cost(seven)? + 4.0 * cost(four)? + cost(one)?;
                cost(whole)? / (parts / 12.0)
            }
        })
    }
}

fn best(mut samples: Vec<Sample>) -> Option<Best> {
    samples.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    let Sample {
        cost,
        ns,
        bytes,
        ghz,
    } = *samples.first()?;
    Some(Best {
        cost,
        ns,
        bytes,
        ghz,
        median: samples[samples.len() / 2].cost,
    })
}

/// What several processes found about a figure, taken together.
pub(crate) fn judge(figure: &Figure, processes: &[Found]) -> Option<Verdict> {
    let mut values: Vec<f64> = processes
        .iter()
        .filter_map(|found| found.value(&figure.how))
        .collect();
    values.sort_by(f64::total_cmp);
    let value = match (figure.how.is_absolute(), figure.unit.is_more_better()) {
        (true, false) => *values.first()?,
        (true, true) => *values.last()?,
        (false, _) => *values.get(values.len() / 2)?,
    };
    let best = match &figure.how {
        How::Cost(spec) | How::CostNs(spec) | How::Rate(spec) => processes
            .iter()
            .filter_map(|found| found.at(spec))
            .min_by(|a, b| a.cost.total_cmp(&b.cost)),
        How::Over(..) | How::Worst(..) | How::Less(..) | How::LessNs(..) | How::Mixture(..) => None,
    };
    Some(Verdict {
        name: figure.name,
        unit: figure.unit.to_string(),
        value,
        processes: values,
        must: figure.must,
        aim: figure.aim,
        is_more_better: figure.unit.is_more_better(),
        meets_must: figure.unit.meets(value, figure.must),
        meets_aim: figure.unit.meets(value, figure.aim),
        best: best.copied(),
    })
}
