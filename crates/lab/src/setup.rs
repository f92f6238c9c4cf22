//! How long set-ups took, stage by stage.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::client::{Client, Stage, Stages};

/// Two digits are more than a set-up time means.
const DIGITS: u8 = 2;
/// The longest time that is told apart.
const LONGEST_US: u64 = 600_000_000;

/// Percentiles of one stage, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct StageTimes {
    /// The stage, or `total`.
    pub stage: &'static str,
    /// Its name for people.
    #[serde(skip)]
    pub title: String,
    /// How many clients reached its end.
    pub count: u64,
    /// Half took no longer.
    pub p50_ms: f64,
    /// One of a hundred took longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// The stages that were needed, in order, and their sum.
#[must_use]
pub fn times<'c>(clients: impl Iterator<Item = &'c Client>) -> Vec<StageTimes> {
    let mut times = SetUpTimes::default();
    for client in clients {
        times.note(client.stages());
    }
    times.rows()
}

/// The same for clients that come and go: each set-up is noted when it is over.
#[derive(Clone, Debug)]
pub struct SetUpTimes {
    stages: Vec<Histogram<u64>>,
    total: Histogram<u64>,
}

impl Default for SetUpTimes {
    fn default() -> Self {
        let histogram =
            Histogram::new_with_max(LONGEST_US, DIGITS).expect("two digits up to minutes fit");
        Self {
            stages: vec![histogram.clone(); Stage::ALL.len()],
            total: histogram,
        }
    }
}

impl SetUpTimes {
    /// One more set-up, as far as it came.
    pub fn note(&mut self, stages: &Stages) {
        for (histogram, stage) in self.stages.iter_mut().zip(Stage::ALL) {
            note(histogram, stages.took(stage));
        }
        note(&mut self.total, stages.total());
    }

    /// Adds the set-ups of others.
    pub fn add(&mut self, other: &Self) {
        for (own, other) in self.stages.iter_mut().zip(&other.stages) {
            own.add(other).expect("all have the same bounds");
        }
        self.total
            .add(&other.total)
            .expect("all have the same bounds");
    }

    /// The stages that were needed, in order, and their sum.
    #[must_use]
    pub fn rows(&self) -> Vec<StageTimes> {
        let stages = self.stages.iter().zip(Stage::ALL);
        stages
            .map(|(times, stage)| (stage.key(), stage.to_string(), times))
            .chain([("total", "in all".to_owned(), &self.total)])
            .filter(|(_, _, times)| !times.is_empty())
            .map(|(stage, title, times)| StageTimes {
                stage,
                title,
                count: times.len(),
                p50_ms: ms(times.value_at_quantile(0.5)),
                p99_ms: ms(times.value_at_quantile(0.99)),
                max_ms: ms(times.max()),
            })
            .collect()
    }
}

fn note(histogram: &mut Histogram<u64>, took: Option<Duration>) {
    if let Some(took) = took {
        histogram.saturating_record(took.as_micros() as u64);
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}
