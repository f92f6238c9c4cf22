//! The search for the highest rate that passes (RFC 2544 §26.1): up in doublings until one fails,
//! then halving what is between.

/// What came of one trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The rate is within the limits.
    Passed,
    /// The gateway did not hold it.
    Failed,
    /// We did not offer it: nothing is known of the gateway at this rate.
    NotOffered,
}

/// One search.
#[derive(Clone, Debug)]
pub struct Search {
    next: f64,
    /// The highest that passed.
    passed: Option<f64>,
    /// The lowest that did not.
    ceiling: Option<f64>,
    /// Whether the generator is why the lowest did not.
    is_own_limit: bool,
    highest: f64,
    resolution: f64,
    trials: usize,
}

/// Trials of one search; more is a search without end.
const TRIALS_MAX: usize = 40;
/// Below this nothing is searched.
const LOWEST: f64 = 1.0;

impl Search {
    /// From `first` up to `highest`, until the limit is known to `resolution`, a part of itself.
    #[must_use]
    pub fn new(first: f64, highest: f64, resolution: f64) -> Self {
        Self {
            next: first.clamp(LOWEST, highest),
            passed: None,
            ceiling: None,
            is_own_limit: false,
            highest,
            resolution,
            trials: 0,
        }
    }

    /// The rate to try next; `None` when the search is over.
    #[must_use]
    pub fn next(&self) -> Option<f64> {
        let is_close = match (self.passed, self.ceiling) {
            (Some(passed), Some(ceiling)) => ceiling - passed <= passed * self.resolution,
            (Some(passed), None) => passed >= self.highest,
            (None, Some(ceiling)) => ceiling <= LOWEST,
            (None, None) => false,
        };
        (!is_close && self.trials < TRIALS_MAX).then_some(self.next)
    }

    /// What came of it.
    pub fn note(&mut self, verdict: Verdict) {
        let rate = self.next;
        self.trials += 1;
        match verdict {
            Verdict::Passed => self.passed = Some(rate),
            Verdict::Failed | Verdict::NotOffered => {
                self.ceiling = Some(rate);
                self.is_own_limit = verdict == Verdict::NotOffered;
            }
        }
        self.next = match (self.passed, self.ceiling) {
            (Some(passed), Some(ceiling)) => f64::midpoint(passed, ceiling),
            (Some(passed), None) => (passed * 2.0).min(self.highest),
            (None, Some(ceiling)) => (ceiling / 2.0).max(LOWEST),
            (None, None) => rate,
        };
    }

    /// The highest rate that passed.
    #[must_use]
    pub fn found(&self) -> Option<f64> {
        self.passed
    }

    /// The gateway may take more than what was found: we could not offer more, or were not to.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.ceiling.is_none() || self.is_own_limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches for a gateway that takes `limit`, with a generator that makes `own`.
    fn search(limit: f64, own: f64, first: f64) -> (Search, Vec<f64>) {
        let mut search = Search::new(first, 1e6, 0.05);
        let mut tried = Vec::new();
        while let Some(rate) = search.next() {
            tried.push(rate);
            search.note(match rate {
                rate if rate > own => Verdict::NotOffered,
                rate if rate > limit => Verdict::Failed,
                _ => Verdict::Passed,
            });
        }
        (search, tried)
    }

    #[test]
    fn the_limit_is_found_from_below_and_from_above() {
        for limit in [3.0, 999.0, 1000.0, 1001.0, 73_210.0] {
            for first in [1.0, 1000.0, 500_000.0] {
                let (search, tried) = search(limit, 1e9, first);
                let found = search.found().unwrap();
                assert!(found <= limit && limit < found * 1.051, "{limit} {tried:?}");
                assert!(!search.is_open());
                assert!(tried.len() < 30, "{tried:?}");
            }
        }
    }

    #[test]
    fn what_the_generator_could_not_offer_is_not_the_gateways_limit() {
        let (search, _) = search(50_000.0, 20_000.0, 1000.0);
        assert!((19_000.0..=20_000.0).contains(&search.found().unwrap()));
        assert!(search.is_open());
    }

    #[test]
    fn a_gateway_that_takes_everything_ends_the_search_at_its_top() {
        let (search, tried) = search(1e9, 1e9, 1000.0);
        assert_eq!(search.found(), Some(1e6));
        assert!(search.is_open());
        assert_eq!(tried.len(), 11);
    }

    #[test]
    fn a_gateway_that_takes_nothing_ends_it_too() {
        let (search, tried) = search(0.0, 1e9, 1000.0);
        assert_eq!(search.found(), None);
        assert_eq!(tried.last(), Some(&1.0));
    }
}
