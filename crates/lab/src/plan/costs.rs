//! What packets, set-ups and sessions cost, as `adit-perf` has measured it on a machine.
//!
//! The file is what a run of `perf/run` leaves (`run.json`), or what `adit-lab plan --calibrate`
//! saves. A figure is the best of some rounds; a plan takes the median one, because a machine has
//! more ordinary days than good ones. A cost at a size that was not measured lies on the line
//! between the two next to it.
//!
//! A cipher that takes several packets at once is cheap in company only. Of a mixture, few packets of
//! a burst have the same suite and size, so a packet costs what it does in a short burst of one suite
//! and size that has as many as it has of its kind beside it, less what plain L2TP costs more in such a
//! burst: that is the burst's and not the cipher's. What nobody measured is an error that says what to
//! measure, or, where a limit is known that is checked elsewhere, that limit, marked as assumed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;

use super::quantity::{Quantity, Source};

/// Octets of an idle session: perf fails a gateway that takes more.
const SESSION_LIMIT: f64 = 8192.0;
/// Share of a core that an idle session takes of the slow path: likewise, 10 % for 100 000.
const IDLE_LIMIT: f64 = 0.1 / 100_000.0;
/// Sessions of a measurement of the path, unless it is about very many.
const FEW: usize = 1000;
/// The suite with which the cost of many sessions was measured.
const CROWD: &str = "aes128gcm16";
/// Packets that a worker takes at a time, as it does in `crates/dataplane`.
pub(super) const BATCH: usize = 64;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// To the subscriber.
    Down,
    /// From the subscriber.
    Up,
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Down, Self::Up];

    /// The key of the model that says how much goes this way.
    #[must_use]
    pub fn kbit(self) -> &'static str {
        match self {
            Self::Up => "traffic.up_kbit",
            Self::Down => "traffic.down_kbit",
        }
    }

    /// As figures have it in their names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A packet on the whole path, from memory: what a network card leaves in the cache costs less. So does
/// what lies in the order in which it comes: the processor sees that, and fetches the next one. A
/// mixture is not taken in that order, and the chunks of a gateway lose it with time, so frames that
/// lay in none are what counts, if there are such.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    suite: String,
    way: Way,
    sessions: usize,
    /// Packets that come together.
    burst: usize,
}

type Paths = BTreeMap<Case, BTreeMap<usize, f64>>;

/// What was measured.
#[derive(Clone, Debug)]
pub struct Costs {
    file: PathBuf,
    machine: Machine,
    /// Nanoseconds by octets of the inner packet.
    paths: Paths,
    /// Whether their frames lay in memory one behind the other.
    is_in_order: bool,
    /// The same with frames in the cache, where what the cipher of a burst costs is seen best.
    warm: Paths,
    /// Everything, by the names that perf gives.
    measurements: BTreeMap<String, Best>,
}

/// On what.
#[derive(Clone, Debug, Default, Deserialize, serde::Serialize)]
pub struct Machine {
    /// Its processor.
    pub cpu: String,
    /// How many cores it has.
    pub cores: usize,
    /// How fast they were.
    pub core_ghz: f64,
    /// When.
    pub date: String,
    /// What was measured.
    pub commit: String,
    /// How it was asked for.
    pub command: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Best {
    cost: f64,
    ns: f64,
    /// Of all rounds, as `cost` is of the best.
    median: f64,
}

impl Best {
    /// Nanoseconds in the median round.
    fn usual_ns(&self) -> f64 {
        self.ns * self.median / self.cost
    }
}

#[derive(Deserialize)]
struct Run {
    machine: Machine,
    measurements: BTreeMap<String, Best>,
}

impl Costs {
    /// Reads them from a file.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file)
            .with_context(|| format!("cannot read the costs in {}", file.display()))?;
        Self::parse(file, &text).with_context(|| {
            format!(
                "{} is not what perf/run or adit-lab plan --calibrate writes",
                file.display()
            )
        })
    }

    /// Takes them from the text of a file.
    pub fn parse(file: &Path, text: &str) -> Result<Self> {
        let run: Run = serde_json::from_str(text)?;
        let [scattered, in_order, warm] =
            ["Scattered", "Cold", "Warm"].map(|frames| paths(&run.measurements, frames));
        let is_in_order = scattered.is_empty();
        Ok(Self {
            file: file.to_owned(),
            machine: run.machine,
            paths: if is_in_order { in_order } else { scattered },
            is_in_order,
            warm,
            measurements: run.measurements,
        })
    }

    /// On what they were measured.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// What one packet costs a worker, in nanoseconds, if so many of a burst are of its suite and
    /// size; `plain` is a suite too.
    pub fn packet(
        &self,
        suite: &str,
        way: Way,
        octets: usize,
        sessions: f64,
        company: f64,
    ) -> Result<Quantity> {
        let case = case(suite, way, FEW, BATCH);
        let alone = self
            .line(&case, octets)
            .ok_or_else(|| self.missing(suite, way))?;
        let few = self.few(suite, way, octets, company);
        let value = alone + few + self.crowd(way, octets, sessions);
        let sizes: Vec<_> = self.paths[&case].keys().collect();
        let what = format!(
            "{suite} {way:?} {octets} B at {sessions:.0} sessions: from {sizes:?} B at \
             {FEW} sessions, {few:.0} ns because {company:.1} of a burst are alike, and what many \
             sessions add to {CROWD}, in {}",
            self.file.display()
        );
        let label = format!("ns a packet of {octets}");
        let cost = Quantity::of(value, &label, Source::Measured(what));
        let assumed = self.assumed(suite, way, company).into_iter();
        Ok(assumed.fold(cost, |cost, why| {
            cost.because(Source::Assumed(why.to_owned()))
        }))
    }

    /// What nobody measured of such a packet.
    fn assumed(&self, suite: &str, way: Way, company: f64) -> Vec<&'static str> {
        let is_mixed = company < BATCH as f64 && suite != "plain";
        let order =
            "frames come in the order in which they lie in memory; perf/run measured no others";
        let kinds = "packets of other kinds beside it cost nothing; no short bursts were measured";
        [
            self.is_in_order.then_some(order),
            (is_mixed && self.bursts(suite, way).count() < 2).then_some(kinds),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// On the line through the two nearest measurements.
    fn line(&self, case: &Case, octets: usize) -> Option<f64> {
        on_line(self.paths.get(case)?, octets)
    }

    /// What so many sessions add to a packet beyond [`FEW`]: linear in the logarithm, because each
    /// step is another level of cache that no longer holds them.
    fn crowd(&self, way: Way, octets: usize, sessions: f64) -> f64 {
        let case = |sessions| case(CROWD, way, sessions, BATCH);
        let Some(alone) = self.line(&case(FEW), octets) else {
            return 0.0;
        };
        let counts = self.paths.keys().filter(|c| **c == case(c.sessions));
        let points: Vec<(f64, f64)> = counts
            .filter_map(|c| {
                let added = self.line(c, octets)? - alone;
                Some(((c.sessions as f64).log10(), added.max(0.0)))
            })
            .collect();
        on_curve(&points, sessions.max(1.0).log10()).max(0.0)
    }

    /// What a packet costs more because few of a burst are like it: a cipher that takes sixteen at a
    /// time has empty lanes, as in a short burst of so many. What a short burst costs plain L2TP is
    /// not the cipher's, and a mixture comes in full bursts. Linear in the reciprocal of how many there
    /// are, because what is done once for all of them is shared.
    fn few(&self, suite: &str, way: Way, octets: usize, company: f64) -> f64 {
        let added = |suite, burst| {
            let at = |burst| on_line(self.warm.get(&case(suite, way, FEW, burst))?, octets);
            Some(at(burst)? - at(BATCH)?)
        };
        let points: Vec<(f64, f64)> = self
            .bursts(suite, way)
            .filter_map(|burst| {
                let own = added(suite, burst)? - added("plain", burst)?;
                Some((1.0 / burst as f64, own.max(0.0)))
            })
            .collect();
        on_curve(&points, 1.0 / company.clamp(1.0, BATCH as f64)).max(0.0)
    }

    /// The bursts that a suite was measured with, full ones first.
    fn bursts(&self, suite: &str, way: Way) -> impl Iterator<Item = usize> {
        let cases = self.warm.keys().rev();
        let of_suite = cases.filter(move |c| **c == case(suite, way, FEW, c.burst));
        of_suite.map(|case| case.burst)
    }

    /// What a set-up costs the slow path without public-key work, in nanoseconds.
    pub fn session(&self) -> Result<Quantity> {
        self.set_up("Plain")
    }

    /// What the IKE part of a set-up costs, nearly all of it public-key work, in nanoseconds.
    pub fn ike(&self, group: &str) -> Result<Quantity> {
        self.set_up(&format!("Ike({group})"))
    }

    fn set_up(&self, call: &str) -> Result<Quantity> {
        let name = format!("set-up of {call}");
        let best = self.measurements.get(&name).ok_or_else(|| {
            let known = self.measurements.keys();
            let known: Vec<_> = known.filter_map(|k| k.strip_prefix("set-up of ")).collect();
            anyhow!(
                "{} has no \"{name}\", only {}; take another group, or measure it: \
                 adit-lab plan --calibrate --save FILE",
                self.file.display(),
                known.join(", ")
            )
        })?;
        Ok(self.measured(best.usual_ns(), "ns a set-up", &name))
    }

    /// Share of a core that an idle session takes of the slow path.
    #[must_use]
    pub fn idle(&self) -> Quantity {
        let sessions = |name: &str| name.strip_suffix(" idle sessions")?.parse::<f64>().ok();
        let mut found = self.measurements.iter();
        match found.find_map(|(name, best)| Some((name, best.cost / 100.0 / sessions(name)?))) {
            Some((name, share)) => self.measured(share, "of a core for an idle session", name),
            None => {
                let why =
                    "not measured here; perf fails a gateway above 10 % of a core for 100 000";
                let label = "of a core for an idle session";
                Quantity::of(IDLE_LIMIT, label, Source::Assumed(why.to_owned()))
            }
        }
    }

    /// Octets that an idle session takes.
    #[must_use]
    pub fn memory(&self, is_plain: bool) -> Quantity {
        let kind = if is_plain {
            " times Plain"
        } else {
            " times Secured"
        };
        let mut found = self.measurements.iter();
        match found.find(|(name, _)| name.starts_with("memory of ") && name.contains(kind)) {
            Some((name, best)) => self.measured(best.cost, "octets", name),
            None => {
                let why = "not measured here; perf fails a gateway above 8 KiB a session";
                Quantity::of(SESSION_LIMIT, "octets", Source::Assumed(why.to_owned()))
            }
        }
    }

    fn measured(&self, value: f64, label: &str, name: &str) -> Quantity {
        let what = format!("\"{name}\" in {}", self.file.display());
        Quantity::of(value, label, Source::Measured(what))
    }

    fn missing(&self, suite: &str, way: Way) -> anyhow::Error {
        let usable = self
            .paths
            .iter()
            .filter(|(c, sizes)| **c == case(&c.suite, way, FEW, BATCH) && sizes.len() > 1);
        let known: Vec<_> = usable.map(|(case, _)| case.suite.as_str()).collect();
        anyhow!(
            "{} does not have {suite} {way:?} at two sizes, only {}; \
             measure it: adit-lab plan --calibrate --save FILE",
            self.file.display(),
            known.join(", ")
        )
    }
}

/// The value at `x` on straight lines between points that ascend, and beyond them on the outer ones.
fn on_curve(points: &[(f64, f64)], x: f64) -> f64 {
    let [_, .., last] = points else {
        return 0.0;
    };
    let mut pairs = points.windows(2);
    let pair = pairs.find(|pair| x <= pair[1].0);
    let [a, b] = pair.map_or([points[points.len() - 2], *last], |pair| [pair[0], pair[1]]);
    a.1 + (b.1 - a.1) * (x - a.0) / (b.0 - a.0)
}

/// On the line through the two nearest sizes.
fn on_line(sizes: &BTreeMap<usize, f64>, octets: usize) -> Option<f64> {
    if let Some(ns) = sizes.get(&octets) {
        return Some(*ns);
    }
    let mut nearest: Vec<_> = sizes.iter().collect();
    nearest.sort_by_key(|(size, _)| size.abs_diff(octets));
    let [(a, at_a), (b, at_b), ..] = nearest.as_slice() else {
        return None;
    };
    let slope = (*at_b - *at_a) / (**b as f64 - **a as f64);
    Some(*at_a + slope * (octets as f64 - **a as f64))
}

fn case(suite: &str, way: Way, sessions: usize, burst: usize) -> Case {
    Case {
        suite: suite.to_owned(),
        way,
        sessions,
        burst,
    }
}

/// Those whose frames lay in memory like this.
fn paths(measurements: &BTreeMap<String, Best>, frames: &str) -> Paths {
    let mut paths = Paths::new();
    for (name, best) in measurements {
        if let Some((case, octets)) = path_case(name, frames) {
            let sizes = paths.entry(case).or_default();
            sizes.insert(octets, best.usual_ns());
        }
    }
    paths
}

/// `aes128gcm16 Up 64 B, 1000 sessions, Cold`, and `, bursts of 16` if they were not full.
fn path_case(name: &str, frames: &str) -> Option<(Case, usize)> {
    let mut parts = name.split(", ");
    let (what, sessions, memory) = (parts.next()?, parts.next()?, parts.next()?);
    let mut words = what.split(' ');
    let (suite, way, octets) = (words.next()?, words.next()?, words.next()?);
    if memory != frames {
        return None;
    }
    let way = match way {
        "Up" => Way::Up,
        "Down" => Way::Down,
        _ => return None,
    };
    let burst = match parts.next() {
        Some(burst) => burst.strip_prefix("bursts of ")?.parse().ok()?,
        None => BATCH,
    };
    let sessions = sessions.strip_suffix(" sessions")?.parse().ok()?;
    Some((case(suite, way, sessions, burst), octets.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs() -> Costs {
        let text = r#"{ "machine": {"cpu": "a", "cores": 2, "core_ghz": 4.0, "date": "", "commit": "", "command": ""},
            "measurements": {
            "aes128gcm16 Up 64 B, 1000 sessions, Cold": {"cost": 1, "median": 1, "ns": 200},
            "aes128gcm16 Up 570 B, 1000 sessions, Cold": {"cost": 1, "median": 1, "ns": 260},
            "aes128gcm16 Up 1400 B, 1000 sessions, Cold": {"cost": 1, "median": 1, "ns": 300},
            "aes128gcm16 Down 64 B, 1000 sessions, Cold": {"cost": 1, "median": 1, "ns": 200},
            "aes128gcm16 Down 1400 B, 1000 sessions, Cold": {"cost": 1, "median": 1, "ns": 300},
            "aes128gcm16 Down 64 B, 10000 sessions, Cold": {"cost": 1, "median": 1, "ns": 150},
            "aes128gcm16 Down 1400 B, 10000 sessions, Cold": {"cost": 1, "median": 1, "ns": 250},
            "aes128gcm16 Down 64 B, 100000 sessions, Cold": {"cost": 1, "median": 1, "ns": 240},
            "aes128gcm16 Down 1400 B, 100000 sessions, Cold": {"cost": 1, "median": 1, "ns": 340},
            "aes128gcm16 Up imix B, 1000 sessions, Cold": {"cost": 1, "median": 1, "ns": 999},
            "aes128gcm16 Up 64 B, 100000 sessions, Cold": {"cost": 1, "median": 1, "ns": 250},
            "aes128gcm16 Up 1400 B, 100000 sessions, Cold": {"cost": 1, "median": 1, "ns": 360},
            "aes128gcm16 Up 64 B, 1000 sessions, Warm": {"cost": 1, "median": 1, "ns": 90},
            "aes128gcm16 Up 64 B, 1000 sessions, Warm, bursts of 24": {"cost": 1, "median": 1, "ns": 140},
            "aes128gcm16 Up 64 B, 1000 sessions, Warm, bursts of 8": {"cost": 1, "median": 1, "ns": 320},
            "aes128gcm16 Up 1400 B, 1000 sessions, Warm": {"cost": 1, "median": 1, "ns": 190},
            "aes128gcm16 Up 1400 B, 1000 sessions, Warm, bursts of 24": {"cost": 1, "median": 1, "ns": 250},
            "aes128gcm16 Up 1400 B, 1000 sessions, Warm, bursts of 8": {"cost": 1, "median": 1, "ns": 430},
            "plain Up 64 B, 1000 sessions, Warm": {"cost": 1, "median": 1, "ns": 50},
            "plain Up 64 B, 1000 sessions, Warm, bursts of 24": {"cost": 1, "median": 1, "ns": 60},
            "plain Up 64 B, 1000 sessions, Warm, bursts of 8": {"cost": 1, "median": 1, "ns": 80},
            "plain Up 1400 B, 1000 sessions, Warm": {"cost": 1, "median": 1, "ns": 60},
            "plain Up 1400 B, 1000 sessions, Warm, bursts of 24": {"cost": 1, "median": 1, "ns": 70},
            "plain Up 1400 B, 1000 sessions, Warm, bursts of 8": {"cost": 1, "median": 1, "ns": 90},
            "plain Up 64 B, 1000 sessions, Cold": {"cost": 1, "median": 1, "ns": 100},
            "plain Up 1400 B, 1000 sessions, Cold": {"cost": 1, "median": 1, "ns": 110},
            "aes256-sha256 Up 1400 B, 1000 sessions, Cold": {"cost": 1, "median": 1, "ns": 700},
            "set-up of Ike(Modp1024)": {"cost": 10, "median": 12, "ns": 5000},
            "set-up of Plain": {"cost": 1, "median": 1, "ns": 14000},
            "100000 idle sessions": {"cost": 5, "median": 5, "ns": 0} } }"#;
        Costs::parse(Path::new("run.json"), text).unwrap()
    }

    fn up(suite: &str, octets: usize, sessions: f64) -> f64 {
        let cost = costs().packet(suite, Way::Up, octets, sessions, 64.0);
        cost.unwrap().value()
    }

    /// Which file it is decides, not each measurement: those of two kinds do not compare.
    #[test]
    fn frames_in_no_order_are_what_counts_and_what_they_lack_is_assumed() {
        let mut text = String::new();
        for (frames, ns) in [("Cold", 200), ("Scattered", 300)] {
            for octets in [64, 1400] {
                let name = format!("aes128gcm16 Up {octets} B, 1000 sessions, {frames}");
                text += &format!(r#""{name}": {{"cost": 1, "median": 1, "ns": {ns}}},"#);
            }
        }
        let machine =
            r#"{"cpu": "", "cores": 2, "core_ghz": 4.0, "date": "", "commit": "", "command": ""}"#;
        let costs = |text: &str| {
            let text = text.trim_end_matches(',');
            let text = format!(r#"{{"machine": {machine}, "measurements": {{{text}}}}}"#);
            Costs::parse(Path::new("c"), &text).unwrap()
        };
        let at = |costs: &Costs, company| {
            let cost = costs.packet("aes128gcm16", Way::Up, 64, 1000.0, company);
            let assumed = costs.assumed("aes128gcm16", Way::Up, company);
            (cost.unwrap().value(), assumed.len())
        };
        let (cold, _) = text.split_at(
            text.find("\"aes128gcm16 Up 64 B, 1000 sessions, Sc")
                .unwrap(),
        );
        assert_eq!(at(&costs(&text), 64.0), (300.0, 0));
        assert_eq!(at(&costs(&text), 32.0), (300.0, 1));
        assert_eq!(at(&costs(cold), 64.0), (200.0, 1));
        assert_eq!(at(&costs(cold), 32.0), (200.0, 2));
    }

    #[test]
    fn between_sizes_a_cost_lies_on_the_line() {
        assert_eq!(up("aes128gcm16", 64, 1000.0), 200.0);
        assert_eq!(up("aes128gcm16", 317, 1000.0), 230.0);
        assert!((up("aes128gcm16", 985, 1000.0) - 280.0).abs() < 0.1);
        assert!((up("aes128gcm16", 1483, 1000.0) - 304.0).abs() < 0.1);
    }

    #[test]
    fn many_sessions_add_what_they_added_to_the_suite_that_was_measured() {
        assert_eq!(up("aes128gcm16", 64, 100_000.0), 250.0);
        assert_eq!(up("aes128gcm16", 64, 10_000.0), 225.0);
        assert_eq!(up("aes128gcm16", 64, 100.0), 200.0, "fewer cost no less");
        assert_eq!(up("plain", 64, 100_000.0), 150.0);
        assert_eq!(up("plain", 1400, 1_000_000.0), 110.0 + 90.0, "and beyond");
    }

    #[test]
    fn few_of_a_kind_cost_what_the_cipher_of_a_burst_of_so_many_does() {
        let alike = |suite, company| {
            let cost = costs().packet(suite, Way::Up, 64, 1000.0, company);
            cost.unwrap().value()
        };
        assert_eq!(alike("aes128gcm16", 64.0), 200.0);
        assert!((alike("aes128gcm16", 24.0) - 240.0).abs() < 1e-9);
        assert!((alike("aes128gcm16", 8.0) - 400.0).abs() < 1e-9);
        assert!(
            (alike("aes128gcm16", 12.0) - 320.0).abs() < 1e-9,
            "half way"
        );
        assert!((alike("aes128gcm16", 0.1) - 2080.0).abs() < 1e-9, "one");
        assert_eq!(alike("plain", 8.0), 100.0, "it has no cipher");
    }

    #[test]
    fn a_crowd_that_was_measured_to_cost_less_than_a_few_costs_as_much() {
        let down = |sessions| {
            let cost = costs().packet("aes128gcm16", Way::Down, 64, sessions, 64.0);
            cost.unwrap().value()
        };
        assert_eq!(down(10_000.0), 200.0);
        assert_eq!(down(100_000.0), 240.0);
        assert!((down(31_622.776_6) - 220.0).abs() < 1e-3, "half way");
    }

    #[test]
    fn a_plan_takes_what_something_costs_as_a_rule() {
        assert_eq!(costs().ike("Modp1024").unwrap().value(), 6000.0);
    }

    #[test]
    fn what_was_not_measured_says_what_to_measure() {
        let missing = costs().packet("aes256-sha256", Way::Up, 64, 1.0, 64.0);
        let text = missing.unwrap_err().to_string();
        assert!(text.contains("only aes128gcm16, plain;"), "{text}");
        let text = costs().ike("Modp2048").unwrap_err().to_string();
        assert!(text.contains("only Ike(Modp1024), Plain;"), "{text}");
    }

    #[test]
    fn what_has_a_limit_elsewhere_is_assumed_to_be_at_it() {
        let costs = costs();
        assert!((costs.idle().value() - 5e-7).abs() < 1e-12);
        assert_eq!(costs.memory(true).value(), 8192.0);
    }
}
