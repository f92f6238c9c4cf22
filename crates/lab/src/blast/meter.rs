//! What is looked at once in a second: where everything stands, for the curves of the report.

use std::time::{Duration, Instant};

use serde::Serialize;

/// Between two samples.
const EVERY: Duration = Duration::from_secs(1);
/// Samples that are kept: a day.
const SAMPLES_MAX: usize = 86_400;

/// Sums since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Seconds since the beginning.
    pub at: f64,
    /// Sessions that are up.
    pub up: usize,
    /// Set-ups that succeeded.
    pub succeeded: u64,
    /// Set-ups that failed.
    pub failed: u64,
    /// Packets sent by both ends.
    pub sent: u64,
    /// Packets received by both ends, each once.
    pub received: u64,
    /// Octets of IP packets received by both ends.
    pub octets: u64,
    /// Packets that are missing though later ones of their flow are there.
    pub overdue: u64,
    /// Of a hundred packets that subscribers got so far, 99 took no longer, in milliseconds; 0 while
    /// there are none.
    pub p99_ms: f64,
}

impl Sample {
    /// Set-ups a second since an earlier sample.
    #[must_use]
    pub fn setups_per_second(&self, earlier: &Self) -> f64 {
        self.succeeded.saturating_sub(earlier.succeeded) as f64
            / (self.at - earlier.at).max(f64::EPSILON)
    }

    /// Packets received a second since an earlier sample.
    #[must_use]
    pub fn packets_per_second(&self, earlier: &Self) -> f64 {
        let packets = self.received.saturating_sub(earlier.received);
        packets as f64 / (self.at - earlier.at).max(f64::EPSILON)
    }
}

/// The samples of a run.
#[derive(Debug)]
pub struct Meter {
    begin: Instant,
    next: Instant,
    samples: Vec<Sample>,
}

impl Meter {
    /// Begins with nothing.
    #[must_use]
    pub fn new(begin: Instant) -> Self {
        Self {
            begin,
            next: begin + EVERY,
            samples: vec![Sample::default()],
        }
    }

    /// Whether it is time for a sample.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Takes a sample.
    pub fn take(&mut self, now: Instant, sample: Sample) {
        self.next = now + EVERY;
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(Sample {
                at: (now - self.begin).as_secs_f64(),
                ..sample
            });
        }
    }

    /// All samples, oldest first.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The last sample and the one before it.
    #[must_use]
    pub fn last(&self) -> (Sample, Sample) {
        let last = self.samples.last().copied().unwrap_or_default();
        let before = self.samples.iter().rev().nth(1).copied();
        (last, before.unwrap_or_default())
    }

    /// The most set-ups in one second.
    #[must_use]
    pub fn best_setups_per_second(&self) -> f64 {
        let pairs = self.samples.windows(2);
        pairs
            .map(|pair| pair[1].setups_per_second(&pair[0]))
            .fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_sample_is_taken_once_in_a_second() {
        let begin = clock::now();
        let mut meter = Meter::new(begin);
        for (ms, succeeded) in [(500, 9), (1000, 10), (1900, 11), (2000, 40), (3000, 50)] {
            let sample = Sample {
                succeeded,
                ..Sample::default()
            };
            let now = begin + Duration::from_millis(ms);
            if meter.is_due(now) {
                meter.take(now, sample);
            }
        }
        let times: Vec<f64> = meter.samples().iter().map(|sample| sample.at).collect();
        assert_eq!(times, [0.0, 1.0, 2.0, 3.0]);
        assert!((meter.best_setups_per_second() - 30.0).abs() < 1e-9);
    }
}
