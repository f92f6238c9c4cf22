//! What kind of gateway and what kind of hour a seed brings.

use std::time::Duration;

use crypto::dh::Group;
use dataplane::mesh::Sizes;

use crate::dice::Dice;

/// How frames find the queue of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// By a sum over addresses and ports, as a network card does.
    Flow,
    /// To the worker that owns the shard in the SPI, the rest by flow.
    Shard,
    /// By chance, frame for frame.
    Chance,
}

/// What a seed decides about the whole run.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Workers.
    pub workers: u8,
    /// Rings.
    pub sizes: Sizes,
    /// How frames find their queue.
    pub steering: Steering,
    /// Diffie-Hellman group of phase 1.
    pub group: Group,
    /// Between LCP echoes.
    pub echo: Duration,
    /// Between HELLOs.
    pub hello: Duration,
    /// Silence before dead peer detection.
    pub dpd: Duration,
    /// Lifetime of IPsec SAs as the gateway has it.
    pub phase2: Duration,
    /// Lifetime of ISAKMP SAs as the gateway has it.
    pub phase1: Duration,
    /// Packets after which the gateway renews an IPsec SA.
    pub soft_packets: u64,
    /// Whether everybody dials at once at the beginning.
    pub is_stampede: bool,
    /// Whether the hour ends with a shutdown of the gateway instead of everybody hanging up.
    pub ends_by_shutdown: bool,
}

/// One seed in so many computes with a group that is not a toy.
const REAL_GROUP_EVERY: u64 = 64;

impl Tuning {
    /// What this seed brings.
    #[must_use]
    pub fn draw(seed: u64, dice: &mut Dice) -> Self {
        let smallest = dice.permille(500);
        Self {
            workers: 1 + (seed % 3) as u8,
            sizes: sizes(if smallest { 2 } else { 64 }),
            steering: dice.one_of(&[Steering::Flow, Steering::Shard, Steering::Chance]),
            group: match seed % REAL_GROUP_EVERY {
                63 => Group::Ecp256,
                _ => Group::Toy,
            },
            echo: dice.seconds(20..60),
            hello: dice.seconds(30..60),
            dpd: dice.seconds(20..60),
            phase2: dice.seconds(240..700),
            phase1: dice.seconds(4000..20_000),
            soft_packets: dice.one_of(&[40, 200, u64::MAX]),
            is_stampede: dice.permille(500),
            ends_by_shutdown: dice.permille(200),
        }
    }
}

fn sizes(ring: usize) -> Sizes {
    Sizes {
        changes: ring,
        events: ring,
        punts: [ring; 3],
        parcels: ring,
        depot: ring,
    }
}
