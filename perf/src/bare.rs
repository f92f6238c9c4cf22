//! The bare cipher on the packets that the whole path has: what is left of the path without it is
//! what everything else costs.

use anyhow::{Result, ensure};
use crypto::cpu;
use crypto::esp::{Backend, Direction, EspJob, KeySlot, Keys, Suite, Verdict};

use crate::clock;
use crate::path::{BLOCK, PACKETS, undisturbed};
use crate::probe::{Probe, Sample};
use crate::subscriber::{Subscriber, Way, keymat};
use crate::traffic::{FarEnds, Line, Staged};

/// Ethernet, IPv4 and UDP in front of ESP.
const OUTSIDE: usize = 14 + 20 + 8;
/// Octets from one packet to the next, as in packet memory.
const STRIDE: usize = 2048;
/// Where ESP begins in its chunk: as unaligned as behind Ethernet, IPv4 and UDP.
const HEADROOM: usize = 256 + OUTSIDE;
/// Packets of a call.
const BURST: usize = 64;

/// The cipher of one suite and direction.
pub(crate) struct Bare {
    suite: Suite,
    line: Line,
    sizes: Vec<usize>,
    far: FarEnds,
    keys: Keys,
    memory: Vec<u8>,
}

impl Bare {
    pub(crate) fn new(
        suite: Suite,
        line: Line,
        sizes: Vec<usize>,
        sessions: usize,
        seed: u64,
    ) -> Self {
        let mut keys = Keys::new(Backend::auto());
        let direction = match line {
            Line::Up => Direction::Open,
            Line::Down => Direction::Seal,
        };
        for number in 0..sessions {
            let key = Subscriber::new(number, Some(suite)).key();
            let keymat = keymat(suite, key, Way::Sent);
            let slot = KeySlot(number as u32);
            keys.install(slot, suite, direction, &keymat, &[9; 16]);
        }
        Self {
            suite,
            line,
            sizes,
            far: FarEnds::new(Some(suite), sessions, seed),
            keys,
            memory: vec![0; BLOCK * STRIDE],
        }
    }

    /// One block of packets that were written just before.
    fn block(&mut self, staged: &Staged, start: usize) -> Result<(u64, usize)> {
        let range = start..(start + BLOCK).min(staged.len());
        let mut jobs = Vec::with_capacity(range.len());
        for (index, chunk) in range.zip(self.memory.chunks_exact_mut(STRIDE)) {
            let esp = &staged.frame(index)[OUTSIDE..];
            let packet = &mut chunk[HEADROOM..][..esp.len()];
            packet.copy_from_slice(esp);
            jobs.push(EspJob {
                packet,
                slot: KeySlot(staged.subscriber(index)),
                esn_high: None,
                verdict: Verdict::Pending,
            });
        }
        let start = cpu::cycles();
        for burst in jobs.chunks_mut(BURST) {
            match self.line {
                Line::Up => self.keys.open(self.suite, burst),
                Line::Down => self.keys.seal(self.suite, burst),
            }
        }
        let ticks = cpu::cycles() - start;
        let refused = jobs.iter().filter(|job| job.verdict != Verdict::Ok).count();
        ensure!(refused == 0, "{refused} packets refused");
        Ok((ticks, jobs.len()))
    }
}

impl Probe for Bare {
    fn round(&mut self) -> Result<Sample> {
        // What is sealed has the shape of what comes up: sealing does not look at what it seals.
        let staged = self.far.stage(Line::Up, &self.sizes, PACKETS)?;
        let before = clock::cycles_per_tick();
        let blocks = (0..staged.len()).step_by(BLOCK);
        let blocks: Vec<_> = blocks
            .map(|start| self.block(&staged, start))
            .collect::<Result<_>>()?;
        let (ticks, _) = undisturbed(&blocks);
        let cycles_per_tick = f64::midpoint(before, clock::cycles_per_tick());
        let bytes = staged.inner_bytes() as f64 / staged.len() as f64;
        Ok(Sample::of_ticks(ticks, cycles_per_tick, bytes))
    }
}
