//! What it costs that one turn of 64 is timed stage by stage, for `adit show stages`.

use anyhow::Result;

use crate::path::{Bench, Path};
use crate::probe::{Probe, Sample};

/// With and without it, in turns at one gateway: the best of so many each.
const PAIRS: usize = 12;

/// The whole path, whose worker can be told to time its stages or not.
pub(crate) struct Watched(Bench);

impl Watched {
    pub(crate) fn new(path: Path, seed: u64) -> Result<Self> {
        Ok(Self(Bench::new(path, seed)?))
    }

    fn best(&mut self, is_timed: bool, best: f64) -> Result<f64> {
        self.0.time_stages(is_timed);
        Ok(self.0.round()?.cost.min(best))
    }
}

impl Probe for Watched {
    /// What a packet costs more, in percent.
    fn round(&mut self) -> Result<Sample> {
        let mut best = [f64::INFINITY; 2];
        for _ in 0..PAIRS {
            for is_timed in [false, true] {
                let best = &mut best[usize::from(is_timed)];
                *best = self.best(is_timed, *best)?;
            }
        }
        let [without, with] = best;
        Ok(Sample::of_value(100.0 * (with / without - 1.0)))
    }
}
