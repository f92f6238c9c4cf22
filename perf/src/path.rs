//! The whole path: what one packet costs from the receive ring to the transmit ring.
//!
//! ```text
//!   staged ──copied──► chunks ──► receive ring ──► Worker::turn ──► sent ──► far end: proof
//!                                              └──── timed ───┘
//! ```
//!
//! Time is taken over blocks of 512 packets. A block that took more than twice the median block of
//! its round was interrupted by something else on this machine; it does not count, and how many
//! such there were is said. What a worker does once a second comes as often as under full load: its
//! clock runs only while it works.

use af_xdp::Chunk;
use anyhow::{Result, ensure};
use crypto::cpu;
use crypto::esp::Backend;
use dataplane::id::WorkerId;
use dataplane::{Stage, Worker};

use crate::clock::{self, WorkTime};
use crate::gateway::{Gateway, NETWORK, Size, TUNNEL};
use crate::port::{Descriptor, RingPort};
use crate::probe::{Probe, Sample};
use crate::subscriber::Protection;
use crate::traffic::{FarEnds, Line, Staged};

/// Packets of a round at least: fewer, and the branch predictor learns them by heart.
pub(crate) const PACKETS: usize = 65_536;
/// Where a received frame starts in its chunk.
const HEADROOM: usize = 256;
/// Packets timed together.
pub(crate) const BLOCK: usize = 512;
/// Turns without anything coming out after which a packet counts as lost.
const TURNS_MAX: usize = 1000;
/// A block longer than so many medians was interrupted.
const INTERRUPTED: f64 = 2.0;

/// Where frames are when the worker comes for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(crate) enum Frames {
    /// In memory: 65 536 chunks of 2 KiB are written before the first is received.
    Cold,
    /// The same, in chunks that lie in no order, as those of a gateway do that has run for a while:
    /// the processor cannot guess which is next.
    Scattered,
    /// In the cache, as a network card with DDIO leaves them: written at most 512 packets earlier.
    Warm,
}

impl Frames {
    /// Chunks that are written before they are received.
    fn chunks(self) -> usize {
        match self {
            Self::Cold | Self::Scattered => PACKETS,
            Self::Warm => BLOCK,
        }
    }
}

/// What is measured.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub(crate) protection: Protection,
    pub(crate) backend: Backend,
    pub(crate) line: Line,
    /// Lengths of inner packets, in the mixture's proportions.
    pub(crate) sizes: Vec<usize>,
    pub(crate) sessions: usize,
    pub(crate) frames: Frames,
    pub(crate) packets: usize,
    /// Packets that the worker finds at a time, at most.
    pub(crate) burst: usize,
}

/// A gateway and its far ends, ready to be measured as often as one likes.
pub(crate) struct Bench {
    path: Path,
    gateway: Gateway,
    far: FarEnds,
    time: WorkTime,
    /// Blocks of the last round that were interrupted, of how many.
    pub(crate) interrupted: (usize, usize),
}

impl Probe for Bench {
    fn round(&mut self) -> Result<Sample> {
        self.measure()
    }
}

impl Bench {
    /// Brings the gateway up and warms it with one round.
    pub(crate) fn new(path: Path, seed: u64) -> Result<Self> {
        let mut gateway = Gateway::new(Size {
            protection: path.protection,
            backend: path.backend,
            sessions: path.sessions,
            workers: 1,
            frames: path.frames.chunks(),
        })?;
        for port in gateway.workers[0].ports_mut() {
            port.burst = path.burst;
        }
        let far = FarEnds::new(path.protection, path.sessions, seed);
        let mut bench = Self {
            path,
            gateway,
            far,
            time: WorkTime::new(),
            interrupted: (0, 0),
        };
        bench.measure()?;
        Ok(bench)
    }

    /// What its packet memory is made of.
    pub(crate) fn pages(&self) -> af_xdp::Pages {
        self.gateway.pages
    }

    /// Whether the worker times its stages, now and then.
    pub(crate) fn time_stages(&mut self, is_timed: bool) {
        let workers = self.gateway.workers.iter_mut();
        workers.for_each(|worker| worker.time_stages(is_timed));
    }

    /// What the worker says of its stages since it came up: ticks a packet, of those it timed.
    pub(crate) fn stages(&self) -> impl Iterator<Item = (Stage, f64)> {
        let counters = self.gateway.shared.worker(WorkerId(0));
        Stage::ALL.iter().filter_map(move |stage| {
            let (packets, ticks) = counters.stage(*stage);
            (packets > 0).then(|| (*stage, ticks as f64 / packets as f64))
        })
    }

    /// Makes packets, times them, and has each of them proven.
    fn measure(&mut self) -> Result<Sample> {
        let mut staged = self
            .far
            .stage(self.path.line, &self.path.sizes, self.path.packets)?;
        let before = clock::cycles_per_tick();
        let mut blocks = Vec::with_capacity(staged.len() / BLOCK + 1);
        let mut start = 0;
        while start < staged.len() {
            let end = (start + self.path.frames.chunks()).min(staged.len());
            self.load(&staged, start..end);
            self.run(end - start, &mut blocks);
            self.gateway
                .prove(&mut self.far, &mut staged, self.path.line)?;
            start = end;
        }
        let missing = staged.missing();
        ensure!(missing == 0, "{missing} lost:{}", self.gateway.discards());
        let (ticks, interrupted) = undisturbed(&blocks);
        self.interrupted = interrupted;
        let cycles_per_tick = f64::midpoint(before, clock::cycles_per_tick());
        let bytes = staged.inner_bytes() as f64 / staged.len() as f64;
        Ok(Sample::of_ticks(ticks, cycles_per_tick, bytes))
    }

    /// Copies frames into chunks, where the network card leaves them.
    fn load(&mut self, staged: &Staged, range: std::ops::Range<usize>) {
        let port = match self.path.line {
            Line::Up => TUNNEL,
            Line::Down => NETWORK,
        };
        if self.path.frames == Frames::Scattered {
            self.gateway.scatter_chunks();
        }
        let free = &mut self.gateway.chunks;
        let arriving = &mut self.gateway.workers[0].ports_mut()[port].arriving;
        for index in range {
            let chunk = free.pop().expect("all have come back");
            arriving.push(descriptor(chunk, staged.frame(index)));
        }
    }

    /// Lets the worker turn until all have left; notes ticks and packets of each block.
    fn run(&mut self, count: usize, blocks: &mut Vec<(u64, usize)>) {
        self.time.resume();
        let worker = &mut self.gateway.workers[0];
        let (from, to) = match self.path.line {
            Line::Up => (TUNNEL, NETWORK),
            Line::Down => (NETWORK, TUNNEL),
        };
        let (mut gone, mut idle) = (0, 0);
        while gone < count && idle < TURNS_MAX {
            let waiting = worker.ports_mut()[from].arriving.len();
            let goal = waiting.saturating_sub(BLOCK);
            let start = cpu::cycles();
            while worker.ports_mut()[from].arriving.len() > goal {
                timed_turn(worker, &self.time);
            }
            // Those still inside belong to the last block.
            while goal == 0 && idle < TURNS_MAX && worker.ports_mut()[to].leaving.len() < count {
                timed_turn(worker, &self.time);
                idle += 1;
            }
            blocks.push((cpu::cycles() - start, waiting - goal));
            gone = worker.ports_mut()[to].leaving.len();
        }
        self.time.pause();
    }
}

/// A frame where the network card leaves it.
pub(crate) fn descriptor(mut chunk: Chunk, frame: &[u8]) -> Descriptor {
    chunk.as_mut()[HEADROOM..][..frame.len()].copy_from_slice(frame);
    Descriptor {
        chunk,
        offset: HEADROOM as u32,
        len: frame.len() as u32,
    }
}

/// A function of its own, so that callgrind can be told to count what happens inside it.
#[inline(never)]
fn timed_turn(worker: &mut Worker<RingPort>, time: &WorkTime) {
    worker.turn(time.now());
}

/// Ticks per packet over the blocks that nothing interrupted, and how many of all others did.
pub(crate) fn undisturbed(blocks: &[(u64, usize)]) -> (f64, (usize, usize)) {
    let cost = |(ticks, packets): &(u64, usize)| *ticks as f64 / *packets as f64;
    let mut costs: Vec<f64> = blocks.iter().map(cost).collect();
    costs.sort_by(f64::total_cmp);
    let limit = costs[costs.len() / 2] * INTERRUPTED;
    let kept: Vec<_> = blocks.iter().filter(|block| cost(block) <= limit).collect();
    let ticks: u64 = kept.iter().map(|(ticks, _)| ticks).sum();
    let packets: usize = kept.iter().map(|(_, packets)| packets).sum();
    let interrupted = blocks.len() - kept.len();
    (ticks as f64 / packets as f64, (interrupted, blocks.len()))
}
