//! The account of all set-ups: how many, how fast, how long each stage took, why some failed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::client::{Failure, Stages};
use crate::setup::{SetUpTimes, StageTimes};

/// Reasons that are told apart.
const REASONS_MAX: usize = 40;
/// Hexadecimal digits that nobody has written by hand.
const DRAWN_MIN: usize = 16;
/// The longest lateness that is told apart.
const LATE_MAX_US: u64 = 60_000_000;

/// All set-ups of a run.
pub struct SetUps {
    groups: Vec<Group>,
    failures: BTreeMap<Reason, u64>,
    /// From when a client should have dialled until it did.
    lateness: Histogram<u64>,
    first: Option<Instant>,
    last: Option<Instant>,
}

#[derive(Clone, Default)]
struct Group {
    times: SetUpTimes,
    up: u64,
    failed: u64,
    lost: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Reason {
    /// In the order of the set-up; after it, sessions that were up.
    stage: usize,
    key: &'static str,
    text: String,
}

/// How often something went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailureCount {
    /// The stage that was waited for; `up` if the session had been up.
    pub stage: &'static str,
    /// In the words of whoever ended it.
    pub reason: String,
    /// How often.
    pub count: u64,
}

/// The figures of a group, or of all.
#[derive(Clone, Debug, Serialize)]
pub struct SetUpFigures {
    /// Set-ups that succeeded, redialling included.
    pub succeeded: u64,
    /// Set-ups that failed.
    pub failed: u64,
    /// Sessions that ended though nobody here had asked them to.
    pub lost: u64,
    /// How long each stage took.
    pub stages: Vec<StageTimes>,
}

impl SetUps {
    /// None yet.
    #[must_use]
    pub fn new(groups: usize) -> Self {
        Self {
            groups: vec![Group::default(); groups],
            failures: BTreeMap::new(),
            lateness: Histogram::new_with_max(LATE_MAX_US, 2).expect("two digits fit"),
            first: None,
            last: None,
        }
    }

    /// A client of a group is up; it should have dialled when it was `planned`.
    pub fn note_up(&mut self, now: Instant, group: usize, stages: &Stages, planned: Instant) {
        self.note_begin(stages, planned);
        self.last = Some(now);
        self.groups[group].up += 1;
        self.groups[group].times.note(stages);
    }

    /// A client of a group failed, or ended.
    pub fn note_failure(
        &mut self,
        group: usize,
        stages: &Stages,
        planned: Instant,
        failure: &Failure,
    ) {
        let group = &mut self.groups[group];
        match failure.stage {
            Some(_) => {
                group.failed += 1;
                group.times.note(stages);
                self.note_begin(stages, planned);
            }
            None => group.lost += 1,
        }
        // How often it was tried differs from client to client, and is no reason.
        let reason = Failure {
            unanswered: 0,
            ..failure.clone()
        };
        let mut reason = Reason {
            stage: failure.stage.map_or(usize::MAX, |stage| stage as usize),
            key: failure.stage.map_or("up", crate::client::Stage::key),
            text: without_chance(&reason.to_string()),
        };
        if self.failures.len() >= REASONS_MAX && !self.failures.contains_key(&reason) {
            reason.text = "for further reasons".to_owned();
        }
        *self.failures.entry(reason).or_default() += 1;
    }

    fn note_begin(&mut self, stages: &Stages, planned: Instant) {
        let Some(begun) = stages.begun() else { return };
        self.first = Some(self.first.map_or(begun, |first| first.min(begun)));
        let late = begun.saturating_duration_since(planned);
        self.lateness.saturating_record(late.as_micros() as u64);
    }

    /// Set-ups that succeeded.
    #[must_use]
    pub fn succeeded(&self) -> u64 {
        self.groups.iter().map(|group| group.up).sum()
    }

    /// Set-ups that failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.groups.iter().map(|group| group.failed).sum()
    }

    /// Set-ups a second, from the first message of the first to the last that came up.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        let span = self.first.zip(self.last).map(|(first, last)| last - first);
        let seconds = span.map_or(0.0, |span| span.as_secs_f64());
        if seconds > 0.0 {
            self.succeeded() as f64 / seconds
        } else {
            0.0
        }
    }

    /// Of a hundred clients, 99 dialled no later than this after they should have.
    #[must_use]
    pub fn lateness(&self) -> Duration {
        Duration::from_micros(self.lateness.value_at_quantile(0.99))
    }

    /// What went wrong, by stage.
    #[must_use]
    pub fn failures(&self) -> Vec<FailureCount> {
        let counts = self.failures.iter().map(|(reason, count)| FailureCount {
            stage: reason.key,
            reason: reason.text.clone(),
            count: *count,
        });
        counts.collect()
    }

    /// The figures of one group.
    #[must_use]
    pub fn group(&self, group: usize) -> SetUpFigures {
        let group = &self.groups[group];
        SetUpFigures {
            succeeded: group.up,
            failed: group.failed,
            lost: group.lost,
            stages: group.times.rows(),
        }
    }

    /// The figures of all groups together.
    #[must_use]
    pub fn all(&self) -> SetUpFigures {
        let mut times = SetUpTimes::default();
        for group in &self.groups {
            times.add(&group.times);
        }
        SetUpFigures {
            succeeded: self.succeeded(),
            failed: self.failed(),
            lost: self.groups.iter().map(|group| group.lost).sum(),
            stages: times.rows(),
        }
    }
}

/// A text without what differs each time: MS-CHAPv2 sends a challenge along with its refusal.
fn without_chance(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let start = word.rfind('=').map_or(0, |equals| equals + 1);
        let value = &word[start..];
        let is_drawn = value.len() >= DRAWN_MIN && value.bytes().all(|c| c.is_ascii_hexdigit());
        match is_drawn {
            true => format!("{}…", &word[..start]),
            false => word.to_owned(),
        }
    });
    words.collect::<Vec<String>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::client::{Cause, Stage};
    use crate::clock;

    #[test]
    fn the_same_reason_is_counted_however_often_it_was_tried() {
        let now = clock::now();
        let mut setups = SetUps::new(1);
        let mut failure = Failure {
            stage: Some(Stage::Ipcp),
            cause: Cause::HungUp,
            remark: None,
            offered: None,
            unanswered: 4,
            server: IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let stages = Stages::default();
        setups.note_failure(0, &stages, now, &failure);
        failure.unanswered = 7;
        setups.note_failure(0, &stages, now, &failure);
        failure.stage = None;
        setups.note_failure(0, &stages, now, &failure);
        let failures = setups.failures();
        assert_eq!((failures[0].stage, failures[0].count), ("ipcp", 2));
        assert_eq!((failures[1].stage, failures[1].count), ("up", 1));
        assert_eq!((setups.failed(), setups.all().lost), (2, 1));
        for number in 0..1000 {
            failure.remark = Some(number.to_string());
            setups.note_failure(0, &stages, now, &failure);
        }
        assert_eq!(
            without_chance("refused: E=691 C=ECE154AE7D52077263C240891BE93FA8 M=no"),
            "refused: E=691 C=… M=no"
        );
        assert_eq!(setups.failures().len(), REASONS_MAX + 1);
        assert_eq!(setups.failures().iter().map(|f| f.count).sum::<u64>(), 1003);
    }
}
