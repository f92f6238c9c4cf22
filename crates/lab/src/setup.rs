//! How long set-ups took, stage by stage.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::client::{Client, Stage};

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
    let clients: Vec<&Client> = clients.collect();
    let stages = Stage::ALL.iter().map(|stage| {
        let took = clients
            .iter()
            .filter_map(|client| client.stages().took(*stage));
        (stage.key(), stage.to_string(), histogram(took))
    });
    let totals = clients.iter().filter_map(|client| client.stages().total());
    stages
        .chain([("total", "in all".to_owned(), histogram(totals))])
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

fn histogram(times: impl Iterator<Item = Duration>) -> Histogram<u64> {
    let mut histogram =
        Histogram::new_with_max(LONGEST_US, DIGITS).expect("two digits up to minutes fit");
    for time in times {
        histogram.saturating_record(time.as_micros() as u64);
    }
    histogram
}

fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}
