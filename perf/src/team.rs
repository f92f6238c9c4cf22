//! Workers beside each other: what two do in the time of one, and what a hand-over costs.
//!
//! Each worker has a core and a thread of its own. What a turn with something to do took is noted;
//! a turn eight times as long as the median of those with as much to do was interrupted, and counts
//! as a median one.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use anyhow::{Result, ensure};
use crypto::cpu;
use crypto::esp::Backend;
use dataplane::Worker;

use crate::clock::{self, WorkTime};
use crate::gateway::{Gateway, NETWORK, Size, TUNNEL};
use crate::path::{PACKETS, descriptor};
use crate::port::RingPort;
use crate::probe::{Probe, Sample};
use crate::subscriber::{Protection, Subscriber};
use crate::traffic::{FarEnds, Line};

/// Frames under way at a time: what the rings between two workers hold is twice as much.
const WINDOW: usize = 1024;
/// A turn longer than so many medians, for each frame and change, was interrupted.
const INTERRUPTED: u64 = 8;
/// Turns without work after which a frame counts as lost.
const IDLE_MAX: usize = 10_000_000;

/// Where frames arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steering {
    /// At the worker that has the subscriber.
    Home,
    /// At the other one.
    Away,
}

/// Workers under test.
pub(crate) struct Team {
    gateway: Gateway,
    far: FarEnds,
    time: WorkTime,
    protection: Protection,
    sizes: Vec<usize>,
    steering: Steering,
    /// Whether what both did is added up, or what both got done.
    adds_up: bool,
}

impl Team {
    pub(crate) fn new(
        workers: u8,
        (protection, sizes): (Protection, Vec<usize>),
        sessions: usize,
        (steering, adds_up): (Steering, bool),
        seed: u64,
    ) -> Result<Self> {
        let gateway = Gateway::new(Size {
            protection,
            backend: Backend::auto(),
            sessions,
            workers,
            frames: PACKETS,
        })?;
        let far = FarEnds::new(protection, sessions, seed);
        let mut team = Self {
            gateway,
            far,
            time: WorkTime::new(),
            protection,
            sizes,
            steering,
            adds_up,
        };
        team.round()?;
        Ok(team)
    }

    /// Frames of this part wait at their workers; says how many at each.
    fn load(&mut self, staged: &crate::traffic::Staged, range: std::ops::Range<usize>) {
        for index in range {
            let number = staged.subscriber(index) as usize;
            let shard = Subscriber::new(number, self.protection).slot().shard();
            let home = usize::from(self.gateway.shared.owner(shard).0);
            let worker = match self.steering {
                Steering::Home => home,
                Steering::Away => (home + 1) % self.gateway.workers.len(),
            };
            let chunk = self.gateway.chunks.pop().expect("all have come back");
            let arriving = &mut self.gateway.workers[worker].ports_mut()[TUNNEL].arriving;
            arriving.push(descriptor(chunk, staged.frame(index)));
        }
    }

    /// All workers turn until all frames have left; busy turns, and frames, of each.
    fn run(&mut self, count: usize) -> Vec<(Vec<Busy>, usize)> {
        self.time.resume();
        let left = AtomicUsize::new(count);
        let start = Barrier::new(self.gateway.workers.len());
        let turns = thread::scope(|scope| {
            let threads: Vec<_> = self
                .gateway
                .workers
                .iter_mut()
                .enumerate()
                .map(|(index, worker)| {
                    let (left, start, time) = (&left, &start, &self.time);
                    scope.spawn(move || {
                        clock::pin_to(index);
                        start.wait();
                        turn_until(worker, left, time)
                    })
                })
                .collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.map(|turns| turns.expect("no panic")).collect()
        });
        self.time.pause();
        turns
    }
}

/// A turn with something to do.
pub(crate) struct Busy {
    ticks: u64,
    work: u64,
}

impl Busy {
    /// A turn that did something.
    pub(crate) fn new(ticks: u64, work: usize) -> Self {
        let work = work.max(1) as u64;
        Self { ticks, work }
    }

    fn cost(&self) -> u64 {
        self.ticks / self.work
    }
}

/// Turns until nothing is left anywhere.
fn turn_until(
    worker: &mut Worker<RingPort>,
    left: &AtomicUsize,
    time: &WorkTime,
) -> (Vec<Busy>, usize) {
    let mut busy = Vec::new();
    let (mut gone, mut idle) = (0, 0);
    while left.load(Relaxed) > 0 && idle < IDLE_MAX {
        let start = cpu::cycles();
        let turn = worker.turn(time.now());
        let ticks = cpu::cycles() - start;
        let sent = worker.ports_mut()[NETWORK].leaving.len() - gone;
        if turn.work > 0 || sent > 0 {
            busy.push(Busy::new(ticks, turn.work.max(sent)));
            left.fetch_sub(sent, Relaxed);
            gone += sent;
            idle = 0;
        } else {
            idle += 1;
        }
    }
    (busy, gone)
}

/// What busy turns took, had nothing interrupted them.
pub(crate) fn undisturbed(turns: &[Busy]) -> u64 {
    let mut costs: Vec<_> = turns.iter().map(Busy::cost).collect();
    costs.sort_unstable();
    let Some(median) = costs.get(costs.len() / 2).copied() else {
        return 0;
    };
    let one = |turn: &Busy| match turn.cost() > median * INTERRUPTED {
        true => median * turn.work,
        false => turn.ticks,
    };
    turns.iter().map(one).sum()
}

impl Probe for Team {
    fn round(&mut self) -> Result<Sample> {
        let mut staged = self.far.stage(Line::Up, &self.sizes, PACKETS)?;
        // Handed over, frames must fit into the rings between workers.
        let window = if self.adds_up { WINDOW } else { PACKETS };
        let before = clock::cycles_per_tick();
        let mut workers = vec![(0, 0); self.gateway.workers.len()];
        let mut start = 0;
        while start < staged.len() {
            let end = (start + window).min(staged.len());
            self.load(&staged, start..end);
            for (sum, (turns, gone)) in workers.iter_mut().zip(self.run(end - start)) {
                sum.0 += undisturbed(&turns);
                sum.1 += gone;
            }
            self.gateway.prove(&mut self.far, &mut staged, Line::Up)?;
            start = end;
        }
        let missing = staged.missing();
        ensure!(missing == 0, "{missing} lost:{}", self.gateway.discards());
        let cycles_per_tick = f64::midpoint(before, clock::cycles_per_tick());
        let ticks = if self.adds_up {
            let all: u64 = workers.iter().map(|(ticks, _)| ticks).sum();
            all as f64 / staged.len() as f64
        } else {
            let rate = |(ticks, gone): &(u64, usize)| *gone as f64 / *ticks as f64;
            1.0 / workers.iter().map(rate).sum::<f64>()
        };
        let bytes = staged.inner_bytes() as f64 / staged.len() as f64;
        Ok(Sample::of_ticks(ticks, cycles_per_tick, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_was_interrupted_counts_as_one_that_was_not() {
        let turns = |last| [(640, 64), (100, 8), (660, 64), last].map(|(t, w)| Busy::new(t, w));
        assert_eq!(undisturbed(&turns((6000, 512))), 640 + 100 + 660 + 6000);
        assert_eq!(undisturbed(&turns((6000, 32))), 640 + 100 + 660 + 12 * 32);
        assert_eq!(undisturbed(&[]), 0);
    }
}
