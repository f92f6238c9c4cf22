//! A worse path than there is: loss, duplication, reordering, delay and jitter, one way each, and a
//! NAT that forgets. All of it follows from a seed.
//!
//! ```text
//!   Fleet ─► Nat ─► Lane up ──────► Wire ─► the gateway
//!   Fleet ◄─ Nat ◄─ Lane down ◄──── Wire ◄─
//! ```
//!
//! A [`Lane`] has no clock and no socket; [`ImpairedWire`] is the wire that has two of them.

mod nat;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use crypto::Random;

pub use nat::Nat;
pub use wire::{ImpairedWire, Tally};

/// Packets that may be on their way; one more is lost.
const WAITING_MAX: usize = 1 << 16;
/// A packet that is reordered comes so much later than it would have.
const OVERTAKEN: Duration = Duration::from_millis(5);
/// The longest delay that is taken.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// What happens to packets one way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairment {
    /// Of a hundred packets, so many are lost.
    pub loss: f64,
    /// Of a hundred, so many come twice.
    pub duplicate: f64,
    /// Of a hundred, so many are overtaken by those behind them.
    pub reorder: f64,
    /// Every packet takes so much longer.
    pub delay: Duration,
    /// And up to so much more, evenly distributed.
    pub jitter: Duration,
}

/// What became of the packets of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Fates {
    /// Packets that went in.
    pub packets: u64,
    /// That were lost.
    pub lost: u64,
    /// That were sent twice.
    pub duplicated: u64,
    /// That were held back for others to overtake.
    pub reordered: u64,
}

/// One direction of an impaired path.
#[derive(Debug)]
pub struct Lane<T> {
    impairment: Impairment,
    dice: Random,
    /// In the order in which they come out.
    waiting: BTreeMap<(Instant, u64), T>,
    count: u64,
    /// When the last one in order comes out.
    last: Option<Instant>,
    fates: Fates,
}

impl<T: Clone> Lane<T> {
    /// An empty lane.
    #[must_use]
    pub fn new(impairment: Impairment, dice: Random) -> Self {
        Self {
            impairment,
            dice,
            waiting: BTreeMap::new(),
            count: 0,
            last: None,
            fates: Fates::default(),
        }
    }

    /// A packet goes in.
    pub fn put(&mut self, now: Instant, packet: T) {
        self.fates.packets += 1;
        if self.happens(self.impairment.loss) || self.waiting.len() >= WAITING_MAX {
            self.fates.lost += 1;
            return;
        }
        if self.happens(self.impairment.duplicate) {
            self.fates.duplicated += 1;
            self.send(now, packet.clone());
        }
        self.send(now, packet);
    }

    /// A packet comes out, if one is due.
    pub fn take(&mut self, now: Instant) -> Option<T> {
        let first = self.waiting.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// When the next packet comes out.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|(at, _)| *at)
    }

    /// What became of them.
    #[must_use]
    pub fn fates(&self) -> Fates {
        self.fates
    }

    fn send(&mut self, now: Instant, packet: T) {
        let jitter = self.impairment.jitter.mul_f64(self.share());
        let at = now + self.impairment.delay + jitter;
        let at = if self.happens(self.impairment.reorder) {
            self.fates.reordered += 1;
            at + OVERTAKEN + self.impairment.jitter
        } else {
            // Jitter by itself does not reorder: packets that queue keep their order.
            let at = self.last.map_or(at, |last| at.max(last));
            self.last = Some(at);
            at
        };
        self.waiting.insert((at, self.count), packet);
        self.count += 1;
    }

    fn happens(&mut self, percent: f64) -> bool {
        percent > 0.0 && self.share() * 100.0 < percent
    }

    fn share(&mut self) -> f64 {
        f64::from(self.dice.u32()) / (f64::from(u32::MAX) + 1.0)
    }
}

impl Impairment {
    /// Nothing happens to packets.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl FromStr for Impairment {
    type Err = String;

    /// `loss=1,duplicate=0.5,reorder=1,delay=10ms,jitter=2ms`; what is not said does not happen.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut impairment = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let wrong = || {
                format!(
                    "\"{part}\" is none of: loss=PERCENT, duplicate=, reorder=, delay=TIME, jitter="
                )
            };
            let (key, value) = part.split_once('=').ok_or_else(wrong)?;
            let percent = || {
                let percent = value.trim_end_matches('%').parse().ok();
                percent.filter(|percent| (0.0..=100.0).contains(percent))
            };
            let time = || {
                humantime::parse_duration(value)
                    .ok()
                    .filter(|time| *time <= DELAY_MAX)
            };
            match key {
                "loss" => impairment.loss = percent().ok_or_else(wrong)?,
                "duplicate" => impairment.duplicate = percent().ok_or_else(wrong)?,
                "reorder" => impairment.reorder = percent().ok_or_else(wrong)?,
                "delay" => impairment.delay = time().ok_or_else(wrong)?,
                "jitter" => impairment.jitter = time().ok_or_else(wrong)?,
                _ => return Err(wrong()),
            }
        }
        Ok(impairment)
    }
}

impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percents = [
            ("loss", self.loss),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
        ];
        let times = [("delay", self.delay), ("jitter", self.jitter)];
        let percents = percents.iter().filter(|(_, percent)| *percent > 0.0);
        let times = times.iter().filter(|(_, time)| !time.is_zero());
        let parts: Vec<String> = percents
            .map(|(key, percent)| format!("{key}={percent}"))
            .chain(times.map(|(key, time)| format!("{key}={}", humantime::format_duration(*time))))
            .collect();
        f.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const MS: Duration = Duration::from_millis(1);

    fn lane(text: &str) -> Lane<u32> {
        Lane::new(text.parse().unwrap(), Random::from_seed([2; 32]))
    }

    /// Puts a packet in every millisecond; what comes out when, in milliseconds.
    fn walk(lane: &mut Lane<u32>, count: u32) -> Vec<(u32, u32)> {
        let start = clock::now();
        let mut out = Vec::new();
        for ms in 0..count + 1000 {
            let now = start + ms * MS;
            if ms < count {
                lane.put(now, ms);
            }
            while let Some(packet) = lane.take(now) {
                out.push((ms, packet));
            }
        }
        assert_eq!(lane.poll_timeout(), None, "nothing is left");
        out
    }

    #[test]
    fn a_lane_without_impairment_is_a_wire() {
        let out = walk(&mut lane(""), 100);
        assert!(out.iter().all(|(at, packet)| at == packet));
        assert_eq!(out.len(), 100);
    }

    #[test]
    fn each_fate_is_as_frequent_as_was_asked_for_and_the_same_for_a_seed() {
        let text = "loss=10,duplicate=5,reorder=20,delay=30ms,jitter=3ms";
        let mut first = lane(text);
        let out = walk(&mut first, 10_000);
        let Fates {
            packets,
            lost,
            duplicated,
            reordered,
        } = first.fates();
        // Of 10 000 packets the standard deviation of each is below 45.
        assert_eq!(packets, 10_000);
        assert!((850..1150).contains(&lost), "{lost}");
        assert!((300..600).contains(&duplicated), "{duplicated}");
        assert!((1600..2200).contains(&reordered), "{reordered}");
        assert_eq!(out.len() as u64, packets - lost + duplicated);
        assert!(
            out.iter()
                .all(|(at, packet)| (30..=42).contains(&(at - packet)))
        );
        assert_eq!(walk(&mut lane(text), 10_000), out);
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_does_not() {
        let in_order = |out: &[(u32, u32)]| out.windows(2).all(|pair| pair[0].1 <= pair[1].1);
        assert!(in_order(&walk(&mut lane("delay=5ms,jitter=20ms"), 1000)));
        assert!(!in_order(&walk(&mut lane("reorder=1"), 1000)));
    }

    #[test]
    fn a_lane_that_is_full_loses() {
        let mut lane = lane("delay=1s");
        let now = clock::now();
        for packet in 0..WAITING_MAX as u32 + 3 {
            lane.put(now, packet);
        }
        assert_eq!(lane.fates().lost, 3);
    }

    #[test]
    fn an_impairment_is_written_as_it_is_read() {
        let text = "loss=0.5,reorder=2,delay=10ms";
        assert_eq!(text.parse::<Impairment>().unwrap().to_string(), text);
        for wrong in [
            "loss", "loss=101", "loss=-1", "speed=1", "delay=1", "delay=2h",
        ] {
            assert!(wrong.parse::<Impairment>().is_err(), "{wrong}");
        }
    }
}
