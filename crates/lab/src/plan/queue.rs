//! The queue in front of a worker, packet by packet: how long packets wait, and how many find the
//! ring full.
//!
//! ```text
//!   trains of packets ──► ring of a queue ──up to a batch──► worker ──► all of the batch leave
//!                          full: lost                         the sum of their costs
//! ```
//!
//! Arrivals are trains: their beginnings are a Poisson process, their lengths geometric, the packets
//! of one follow each other at a distance, and trains of different subscribers overlap. With trains of one packet and batches of
//! one this is the M/G/1 queue of the textbooks, against which it is tested.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use super::agenda::Agenda;
use super::chance::Chance;

/// Waits longer than this count as this long, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// What comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrivals {
    /// Packets a nanosecond.
    pub rate: f64,
    /// Packets of a train, on average.
    pub train: f64,
    /// From one packet of a train to the next, in nanoseconds.
    pub gap: f64,
}

/// Where it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Packets that find room.
    pub room: usize,
    /// Packets that a worker takes at a time.
    pub batch: usize,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Packets that came.
    pub offered: u64,
    /// Those that found the ring full.
    pub lost: u64,
    /// How long each waited in the ring, in nanoseconds.
    pub waits: Histogram<u64>,
    /// The same, and until its batch left.
    pub delays: Histogram<u64>,
    /// The sum of all waits.
    pub waited: f64,
    /// Share of the time in which the worker worked.
    pub busy: f64,
}

impl Outcome {
    /// Lost packets of those that came.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.lost as f64 / self.offered.max(1) as f64
    }

    /// The mean wait in nanoseconds.
    #[must_use]
    pub fn mean_wait(&self) -> f64 {
        self.waited / (self.offered - self.lost).max(1) as f64
    }

    fn new() -> Self {
        let times = || Histogram::new_with_max(LONGEST, 3).expect("the bounds are in order");
        Self {
            offered: 0,
            lost: 0,
            waits: times(),
            delays: times(),
            waited: 0.0,
            busy: 0.0,
        }
    }
}

/// Lets so many packets come; `cost` is what the next one costs, in nanoseconds.
#[must_use]
pub fn simulate(
    arrivals: Arrivals,
    ring: Ring,
    packets: u64,
    chance: &mut Chance,
    mut cost: impl FnMut(&mut Chance) -> f64,
) -> Outcome {
    let mut queue = Queue {
        ring,
        waiting: VecDeque::with_capacity(ring.room),
        free_at: 0.0,
        worked: 0.0,
        outcome: Outcome::new(),
    };
    let mut trains = Trains {
        arrivals,
        next: 0.0,
        under_way: Agenda::new(),
    };
    let mut now = 0.0;
    for _ in 0..packets {
        now = trains.next_packet(chance);
        let cost = cost(chance);
        queue.arrive(now, cost);
    }
    queue.finish(now)
}

/// Trains, each with when its next packet comes, and how many it still has.
struct Trains {
    arrivals: Arrivals,
    /// When the next one begins.
    next: f64,
    under_way: Agenda<u64>,
}

impl Trains {
    /// When the next packet of any train comes.
    fn next_packet(&mut self, chance: &mut Chance) -> f64 {
        let Arrivals { rate, train, gap } = self.arrivals;
        let is_new = self.under_way.next().is_none_or(|at| self.next < at);
        let (at, left) = if is_new {
            let start = self.next;
            self.next += chance.exponential(train / rate);
            (start, chance.geometric(train))
        } else {
            self.under_way.take().expect("it was looked at")
        };
        if left > 1 {
            self.under_way.put(at + gap, left - 1);
        }
        at
    }
}

struct Queue {
    ring: Ring,
    /// When each came, and what it will cost.
    waiting: VecDeque<(f64, f64)>,
    free_at: f64,
    worked: f64,
    outcome: Outcome,
}

impl Queue {
    fn arrive(&mut self, now: f64, cost: f64) {
        self.work_until(now);
        self.outcome.offered += 1;
        if self.waiting.len() >= self.ring.room {
            self.outcome.lost += 1;
        } else {
            self.waiting.push_back((now, cost));
        }
    }

    /// All turns that begin before `now`.
    fn work_until(&mut self, now: f64) {
        while let Some((first, _)) = self.waiting.front() {
            let start = self.free_at.max(*first);
            if start >= now {
                return;
            }
            self.turn(start);
        }
    }

    fn turn(&mut self, start: f64) {
        let here = self.waiting.iter().take(self.ring.batch);
        let batch = here.take_while(|(came, _)| *came <= start).count();
        let cost: f64 = self.waiting.iter().take(batch).map(|(_, cost)| cost).sum();
        self.free_at = start + cost;
        self.worked += cost;
        for (came, _) in self.waiting.drain(..batch) {
            self.outcome.waited += start - came;
            self.outcome.waits.saturating_record((start - came) as u64);
            let delay = self.free_at - came;
            self.outcome.delays.saturating_record(delay as u64);
        }
    }

    fn finish(mut self, now: f64) -> Outcome {
        self.work_until(f64::INFINITY);
        self.outcome.busy = self.worked / self.free_at.max(now).max(1.0);
        self.outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: f64 = 100.0;
    /// Enough for an error of a percent or two at the loads below.
    const PACKETS: u64 = 1_000_000;

    fn one_by_one(load: f64, room: usize, cost: impl FnMut(&mut Chance) -> f64) -> Outcome {
        let arrivals = Arrivals {
            rate: load / COST,
            train: 1.0,
            gap: 0.0,
        };
        let ring = Ring { room, batch: 1 };
        simulate(arrivals, ring, PACKETS, &mut Chance::new(7), cost)
    }

    /// RFC 2330 would call it a calibration: Pollaczek and Khinchine, W = ρ s / 2(1 - ρ).
    #[test]
    fn equal_costs_wait_as_in_the_m_d_1_queue() {
        for load in [0.3, 0.6, 0.8] {
            let found = one_by_one(load, usize::MAX >> 40, |_| COST).mean_wait();
            let wanted = load * COST / (2.0 * (1.0 - load));
            assert!(
                (found / wanted - 1.0).abs() < 0.03,
                "{load}: {found} {wanted}"
            );
        }
    }

    /// W = ρ s / (1 - ρ), and a wait longer than t has the probability ρ exp(-(1 - ρ) t / s).
    #[test]
    fn exponential_costs_wait_as_in_the_m_m_1_queue() {
        for load in [0.3, 0.6, 0.8] {
            let outcome = one_by_one(load, usize::MAX >> 40, |chance| chance.exponential(COST));
            let wanted = load * COST / (1.0 - load);
            let found = outcome.mean_wait();
            assert!(
                (found / wanted - 1.0).abs() < 0.03,
                "{load}: {found} {wanted}"
            );
            let p99 = outcome.waits.value_at_quantile(0.99) as f64;
            let wanted = COST / (1.0 - load) * (load / 0.01).ln();
            assert!((p99 / wanted - 1.0).abs() < 0.05, "{load}: {p99} {wanted}");
        }
    }

    /// One in service and four waiting: P = (1 - ρ) ρ⁵ / (1 - ρ⁶).
    #[test]
    fn a_short_ring_loses_as_the_m_m_1_k_queue() {
        for load in [0.5f64, 0.8, 1.2] {
            let found = one_by_one(load, 4, |chance| chance.exponential(COST)).loss();
            let wanted = (1.0 - load) * load.powi(5) / (1.0 - load.powi(6));
            assert!(
                (found / wanted - 1.0).abs() < 0.05,
                "{load}: {found} {wanted}"
            );
        }
    }

    #[test]
    fn the_worker_is_busy_for_rate_times_cost() {
        let busy = one_by_one(0.6, 1 << 20, |_| COST).busy;
        assert!((busy - 0.6).abs() < 0.01, "{busy}");
    }

    #[test]
    fn trains_wait_longer_than_single_packets_and_offer_no_more() {
        let ring = Ring {
            room: 64,
            batch: 64,
        };
        let come = |train| {
            let arrivals = Arrivals {
                rate: 0.6 / COST,
                train,
                gap: 10.0,
            };
            simulate(arrivals, ring, PACKETS, &mut Chance::new(7), |_| COST)
        };
        let (single, trains) = (come(1.0), come(16.0));
        assert!(trains.mean_wait() > 3.0 * single.mean_wait());
        assert!(trains.lost > 0 && single.lost == 0);
        let offered = trains.busy / (1.0 - trains.loss());
        assert!((offered - 0.6).abs() < 0.02, "{offered}");
    }

    #[test]
    fn a_batch_leaves_when_all_of_it_is_done() {
        let mut queue = Queue {
            ring: Ring { room: 8, batch: 4 },
            waiting: VecDeque::new(),
            free_at: 0.0,
            worked: 0.0,
            outcome: Outcome::new(),
        };
        (0..6).for_each(|_| queue.arrive(0.0, 10.0));
        let outcome = queue.finish(0.0);
        assert_eq!(outcome.waited, 2.0 * 40.0, "two come after a batch of four");
        let delays = [0.0, 0.5, 0.9].map(|q| outcome.delays.value_at_quantile(q));
        assert_eq!(delays, [40, 40, 60]);
    }

    #[test]
    fn packets_of_a_train_come_at_their_distance() {
        let mut chance = Chance::new(7);
        let mut trains = Trains {
            arrivals: Arrivals {
                rate: 1e-9,
                train: 8.0,
                gap: 5.0,
            },
            next: 0.0,
            under_way: Agenda::new(),
        };
        let times: Vec<f64> = (0..8000).map(|_| trains.next_packet(&mut chance)).collect();
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let inside = gaps.iter().filter(|gap| **gap < 1000.0);
        assert!(inside.clone().all(|gap| (gap - 5.0).abs() < 1e-3));
        let share = inside.count() as f64 / gaps.len() as f64;
        assert!((share - 7.0 / 8.0).abs() < 0.02, "{share}");
    }

    #[test]
    fn the_same_seed_is_the_same_run() {
        let run = || one_by_one(0.8, 8, |chance| chance.exponential(COST));
        let (a, b) = (run(), run());
        assert_eq!((a.lost, a.waits), (b.lost, b.waits));
        assert_eq!(a.waited.to_bits(), b.waited.to_bits());
    }
}
