//! How far a client has come, and when.

use std::fmt;
use std::time::{Duration, Instant};

/// A step on the way from the first message to an address, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// IKE main mode.
    Phase1,
    /// IKE quick mode.
    Phase2,
    /// The L2TP control connection.
    Tunnel,
    /// The L2TP call.
    Call,
    /// PPP's link control.
    Lcp,
    /// PAP, CHAP or MS-CHAPv2.
    Authentication,
    /// The address.
    Ipcp,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Phase1,
        Self::Phase2,
        Self::Tunnel,
        Self::Call,
        Self::Lcp,
        Self::Authentication,
        Self::Ipcp,
    ];

    /// The key under which machines read it.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Phase1 => "phase1",
            Self::Phase2 => "phase2",
            Self::Tunnel => "tunnel",
            Self::Call => "call",
            Self::Lcp => "lcp",
            Self::Authentication => "auth",
            Self::Ipcp => "ipcp",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Phase1 => "IKE phase 1",
            Self::Phase2 => "IKE phase 2",
            Self::Tunnel => "L2TP tunnel",
            Self::Call => "L2TP call",
            Self::Lcp => "LCP",
            Self::Authentication => "PPP authentication",
            Self::Ipcp => "IPCP",
        })
    }
}

/// When each stage was reached for the first time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stages {
    begun: Option<Instant>,
    reached: [Option<Instant>; Stage::ALL.len()],
}

impl Stages {
    pub(crate) fn begin(&mut self, now: Instant) {
        self.begun.get_or_insert(now);
    }

    /// A stage that is reached again, after a rekey or a renegotiation, keeps its first time.
    pub(crate) fn reach(&mut self, stage: Stage, now: Instant) {
        self.reached[stage as usize].get_or_insert(now);
    }

    /// The first stage that was not reached.
    pub(crate) fn awaited(&self, has_ipsec: bool) -> Option<Stage> {
        let needed = if has_ipsec { 0 } else { Stage::Tunnel as usize };
        let mut stages = Stage::ALL[needed..].iter();
        stages
            .find(|stage| self.reached[**stage as usize].is_none())
            .copied()
    }

    /// When the first message was sent.
    #[must_use]
    pub fn begun(&self) -> Option<Instant> {
        self.begun
    }

    /// How long a stage took, from the end of the one before it; `None` if it was not reached or
    /// not needed.
    #[must_use]
    pub fn took(&self, stage: Stage) -> Option<Duration> {
        let end = self.reached[stage as usize]?;
        let before = self.reached[..stage as usize].iter().rev().flatten().next();
        Some(end - *before.or(self.begun.as_ref())?)
    }

    /// From the first message to the address.
    #[must_use]
    pub fn total(&self) -> Option<Duration> {
        Some(self.reached[Stage::Ipcp as usize]? - self.begun?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_stage_lasts_from_the_one_before_it_whichever_that_was() {
        let start = clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut stages = Stages::default();
        stages.begin(start);
        stages.reach(Stage::Tunnel, at(3));
        stages.reach(Stage::Call, at(10));
        stages.reach(Stage::Call, at(99));
        assert_eq!(stages.took(Stage::Phase1), None);
        assert_eq!(stages.took(Stage::Tunnel), Some(Duration::from_millis(3)));
        assert_eq!(stages.took(Stage::Call), Some(Duration::from_millis(7)));
        assert_eq!(stages.total(), None);
        stages.reach(Stage::Ipcp, at(40));
        assert_eq!(stages.total(), Some(Duration::from_millis(40)));
    }
}
