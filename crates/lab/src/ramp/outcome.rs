//! What a ramp came to: one object for machines, a table for people.

use serde::Serialize;
use serde_json::Value;

/// All searches.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Every search found a rate.
    pub ok: bool,
    /// Of this program.
    pub version: &'static str,
    /// Who was dialled by whom, with the keys of a scenario file.
    pub scenario: Value,
    /// Whether it was ended before its time.
    pub interrupted: bool,
    /// What a rate had to keep.
    pub limits: Limits,
    /// One for each size, or one for set-ups.
    pub series: Vec<Series>,
}

/// What a rate had to keep.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Limits {
    /// Of a hundred packets or set-ups, so many may be lost.
    pub loss_percent: f64,
    /// 99 of a hundred may take so long.
    pub p99_ms: Option<f64>,
    /// How long a rate was tried.
    pub trial_seconds: f64,
}

/// The searches for one limit.
#[derive(Debug, Serialize)]
pub struct Series {
    /// `packets` or `setups`.
    pub what: &'static str,
    /// The size of the packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Octets of the average packet.
    #[serde(skip)]
    pub octets: f64,
    /// Each search.
    pub searches: Vec<SearchOutcome>,
    /// The middle one of what was found, a second.
    pub median: Option<f64>,
    /// From the lowest to the highest, as a part of the middle.
    pub spread_percent: Option<f64>,
    /// The gateway may take more: the generator could not offer it, or was not to.
    pub is_lower_bound: bool,
}

/// One search.
#[derive(Debug, Serialize)]
pub struct SearchOutcome {
    /// The highest rate that passed.
    pub found: Option<f64>,
    /// Whether the gateway may take more.
    pub is_lower_bound: bool,
    /// What was tried.
    pub trials: Vec<Trial>,
}

/// One rate.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// Packets each way, or set-ups, a second that were asked for.
    pub rate: f64,
    /// That were done.
    pub done: f64,
    /// Whether it passed.
    pub passed: bool,
    /// Of a hundred, lost or failed: in the worse direction.
    pub loss_percent: f64,
    /// 99 of a hundred took no longer.
    pub p99_ms: f64,
    /// Why it did not pass, and whose fault that was.
    pub because: String,
}

impl Series {
    /// What the searches have in common.
    #[must_use]
    pub fn new(
        what: &'static str,
        size: Option<String>,
        octets: f64,
        searches: Vec<SearchOutcome>,
    ) -> Self {
        let mut found: Vec<f64> = searches.iter().filter_map(|search| search.found).collect();
        found.sort_by(f64::total_cmp);
        let median = found.get(found.len() / 2).copied();
        let spread = median
            .zip(found.first().copied())
            .zip(found.last().copied());
        Self {
            what,
            size,
            octets,
            median,
            spread_percent: spread
                .map(|((median, lowest), highest)| (highest - lowest) / median * 100.0),
            is_lower_bound: searches.iter().any(|search| search.is_lower_bound),
            searches,
        }
    }

    fn line(&self) -> String {
        let name = self.size.as_deref().unwrap_or("set-ups");
        let (Some(median), Some(spread)) = (self.median, self.spread_percent) else {
            return format!("{name:>10} {:>12}   {}", "none", self.why());
        };
        let at_least = if self.is_lower_bound { "≥" } else { "" };
        let bits = match self.size {
            Some(_) => format!("{:>12.1}", median * self.octets * 8.0 / 1e6),
            None => format!("{:>12}", ""),
        };
        let rate = format!("{at_least}{median:.0}");
        format!(
            "{name:>10} {rate:>12} {bits} {spread:>8.1} %   {}",
            self.why()
        )
    }

    /// Why the last rate that did not pass did not.
    fn why(&self) -> &str {
        let trials = self.searches.iter().flat_map(|search| &search.trials);
        let mut failed = trials.filter(|trial| !trial.passed);
        failed.next_back().map_or("", |trial| &trial.because)
    }
}

impl Outcome {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let Limits {
            loss_percent,
            p99_ms,
            trial_seconds,
        } = self.limits;
        let p99 = p99_ms.map_or_else(String::new, |p99| format!(", p99 ≤ {p99} ms"));
        let mut lines = vec![
            format!("loss ≤ {loss_percent} %{p99}, trials of {trial_seconds} s, each way at once"),
            format!(
                "{:>10} {:>12} {:>12} {:>10}   {}",
                "size", "a second", "Mbit/s", "spread", "the next rate"
            ),
        ];
        lines.extend(self.series.iter().map(Series::line));
        if self.series.iter().any(|series| series.is_lower_bound) {
            lines.push("≥: the gateway may take more than this generator could offer".to_owned());
        }
        lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_spread_are_those_of_what_was_found() {
        let searches = [Some(90.0), None, Some(100.0), Some(120.0)];
        let searches = searches.map(|found| SearchOutcome {
            found,
            is_lower_bound: false,
            trials: Vec::new(),
        });
        let series = Series::new("packets", None, 64.0, searches.into());
        assert_eq!(
            (series.median, series.spread_percent),
            (Some(100.0), Some(30.0))
        );
        let none = Series::new("packets", None, 64.0, Vec::new());
        assert_eq!((none.median, none.spread_percent), (None, None));
    }
}
