//! What is on its way, and what can happen to it there.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::dice::Dice;

/// Workers that a gateway has at most.
pub const WORKERS_MAX: usize = 3;

/// How many messages each worker had applied when a datagram left the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(pub [u64; WORKERS_MAX]);

impl Stamp {
    /// Whoever has seen both knows as much as the later of them says.
    #[must_use]
    pub fn latest(self, other: Self) -> Self {
        Self(std::array::from_fn(|worker| {
            self.0[worker].max(other.0[worker])
        }))
    }
}

/// A whole IP packet on its way.
#[derive(Clone, Debug)]
pub enum Datagram {
    /// From a subscriber's line to the gateway.
    Up(Vec<u8>),
    /// From the gateway to a subscriber's line.
    Down(Vec<u8>, Stamp),
    /// From the network behind the gateway to it.
    Inward(Vec<u8>),
    /// From the gateway to the network behind it.
    Outward(Vec<u8>),
}

/// What a line does to what it carries.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Datagrams lost, of a thousand.
    pub loss: u32,
    /// Datagrams that arrive twice, of a thousand.
    pub duplicates: u32,
    /// Milliseconds that each takes; the wider the range, the more overtake each other.
    pub delay: Range<u32>,
}

impl Faults {
    /// A line that does its work.
    #[must_use]
    pub fn none() -> Self {
        Self {
            loss: 0,
            duplicates: 0,
            delay: 10..12,
        }
    }

    /// A line as bad as the seed wants it.
    #[must_use]
    pub fn draw(dice: &mut Dice) -> Self {
        let slowest = dice.one_of(&[12, 60, 250]);
        Self {
            loss: dice.one_of(&[0, 10, 50, 150]),
            duplicates: dice.one_of(&[0, 10, 100]),
            delay: 5..slowest,
        }
    }
}

/// The wire: datagrams by the time of their arrival and, so that ties replay, in order of sending.
#[derive(Debug, Default)]
pub struct Wire {
    queue: BTreeMap<(Instant, u64), Datagram>,
    sent: u64,
}

impl Wire {
    /// Carries a datagram through a line, or loses it. Returns how many copies arrive.
    pub fn carry(
        &mut self,
        now: Instant,
        datagram: Datagram,
        faults: &Faults,
        dice: &mut Dice,
    ) -> usize {
        let copies = match dice.within(0..1000) {
            draw if draw < faults.loss => 0,
            draw if draw < faults.loss + faults.duplicates => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let delay = dice.ms(faults.delay.clone());
            self.put(now + delay, datagram.clone());
        }
        copies
    }

    /// A datagram that arrives for certain.
    pub fn put(&mut self, at: Instant, datagram: Datagram) {
        self.sent += 1;
        self.queue.insert((at, self.sent), datagram);
    }

    /// When something arrives next.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.queue.keys().next().map(|(at, _)| *at)
    }

    /// What has arrived, the oldest first.
    pub fn arrived(&mut self, now: Instant) -> Option<Datagram> {
        let entry = self.queue.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}

/// How soon what goes through the network behind the gateway arrives.
pub const NETWORK_DELAY: Duration = Duration::from_millis(3);
