//! The ciphers alone: ours, and other people's beside them, on the same packets.
//!
//! A block is 64 packets in chunks of 2 KiB, each written just before: 128 KiB, which is in the
//! second-level cache. It is handed over in bursts, and timed as a whole. One SA, so that keys are
//! warm; which packets a block has is drawn anew each time.

use anyhow::{Result, ensure};
use crypto::cpu;
use crypto::esp::{Backend, Direction, EspJob, KeySlot, Keys, Suite, Verdict};

use crate::clock;
use crate::path::undisturbed;
use crate::probe::{Probe, Sample};
use crate::rng::Rng;
use crate::subscriber::{Way, keymat};
use crate::traffic::Line;

/// Packets of a block.
const BLOCK: usize = 64;
/// Octets from one packet to the next.
const STRIDE: usize = 2048;
/// Where ESP starts in its chunk: behind headroom, Ethernet, IPv4 and UDP.
const HEADROOM: usize = 256 + 14 + 20 + 8;
/// Sealed packets to draw from.
const PACKETS: usize = 128;
/// Blocks of a round.
const BLOCKS: usize = 16;
/// The same for 3DES, which takes a hundred times as long.
const SLOW_BLOCKS: usize = 4;

/// The sizes that tables have: octets of ciphertext, and the mix.
pub(crate) const SIZES: [usize; 7] = [64, 128, 256, 512, 1024, 1408, IMIX];
/// Stands for 64, 570 and 1418 octets, 7 : 4 : 1.
pub(crate) const IMIX: usize = 0;
/// The bursts that tables have.
pub(crate) const BURSTS: [usize; 5] = [1, 4, 8, 16, 64];

/// One cipher, one direction, one size, one burst.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Case {
    /// A back end of ours, or whose.
    pub(crate) who: &'static str,
    pub(crate) suite: &'static str,
    pub(crate) line: Line,
    pub(crate) size: usize,
    pub(crate) burst: usize,
}

/// A case that is ready.
pub(crate) struct Bench {
    case: Case,
    suite: Suite,
    engine: Engine,
    sealed: Vec<Vec<u8>>,
    memory: Vec<u8>,
    rng: Rng,
}

enum Engine {
    Ours(Box<Keys>),
    #[cfg(feature = "anchors")]
    Theirs(Box<dyn anchors::Anchor>),
}

const SLOT: KeySlot = KeySlot(0);

impl Bench {
    /// `None` if this processor, or this build, does not have it.
    pub(crate) fn new(case: Case, seed: u64) -> Result<Option<Self>> {
        let suite: Suite = case.suite.parse()?;
        let Some(engine) = engine(&case, suite) else {
            return Ok(None);
        };
        let mut rng = Rng::new(seed);
        let reference = keys(Backend::RustCrypto, suite, Direction::Seal);
        let sealed = (1..=PACKETS as u32)
            .map(|n| {
                sealed(
                    &reference,
                    suite,
                    text_len(case.size, suite, &mut rng),
                    n,
                    &mut rng,
                )
            })
            .collect::<Result<_>>()?;
        let mut bench = Self {
            case,
            suite,
            engine,
            sealed,
            memory: vec![0; BLOCK * STRIDE],
            rng,
        };
        bench.block()?;
        bench.check()?;
        Ok(Some(bench))
    }

    /// Times one block of freshly written packets.
    fn block(&mut self) -> Result<(u64, usize)> {
        let mut packets = Vec::with_capacity(BLOCK);
        for chunk in self.memory.chunks_exact_mut(STRIDE) {
            let sealed = &self.sealed[self.rng.below(PACKETS)];
            let packet = &mut chunk[HEADROOM..][..sealed.len()];
            packet.copy_from_slice(sealed);
            packets.push(packet);
        }
        let (ticks, done) = run(&mut self.engine, self.suite, self.case, packets);
        ensure!(done == BLOCK, "{done} of {BLOCK} packets done");
        Ok((ticks, BLOCK))
    }

    /// What was sealed in the last block can be opened by the reference.
    fn check(&mut self) -> Result<()> {
        if self.case.line == Line::Up {
            return Ok(());
        }
        let reference = keys(Backend::RustCrypto, self.suite, Direction::Open);
        // Lengths are those of the packets that were drawn: the same for all, unless mixed.
        let len = self.sealed[0].len();
        if self.sealed.iter().any(|packet| packet.len() != len) {
            return Ok(());
        }
        for chunk in self.memory.chunks_exact_mut(STRIDE) {
            let mut job = [job(&mut chunk[HEADROOM..][..len])];
            reference.open(self.suite, &mut job);
            ensure!(
                job[0].verdict == Verdict::Ok,
                "{:?} seals nonsense",
                self.case
            );
        }
        Ok(())
    }
}

impl Probe for Bench {
    fn round(&mut self) -> Result<Sample> {
        let blocks = match self.suite {
            Suite::TripleDesCbc { .. } => SLOW_BLOCKS,
            Suite::AesGcm16 { .. } | Suite::AesCbc { .. } => BLOCKS,
        };
        self.block()?;
        let before = clock::cycles_per_tick();
        let blocks: Vec<_> = (0..blocks).map(|_| self.block()).collect::<Result<_>>()?;
        let cycles_per_tick = f64::midpoint(before, clock::cycles_per_tick());
        let (ticks, _) = undisturbed(&blocks);
        let bytes: usize = self.sealed.iter().map(Vec::len).sum();
        let bytes = bytes as f64 / PACKETS as f64;
        Ok(Sample::of_ticks(ticks, cycles_per_tick, bytes))
    }
}

/// Ticks for all packets, and how many came to a good end.
fn run(engine: &mut Engine, suite: Suite, case: Case, packets: Vec<&mut [u8]>) -> (u64, usize) {
    match engine {
        Engine::Ours(keys) => {
            let mut jobs: Vec<_> = packets.into_iter().map(job).collect();
            let start = cpu::cycles();
            for burst in jobs.chunks_mut(case.burst) {
                match case.line {
                    Line::Up => keys.open(suite, burst),
                    Line::Down => keys.seal(suite, burst),
                }
            }
            let ticks = cpu::cycles() - start;
            let done = jobs.iter().filter(|job| job.verdict == Verdict::Ok).count();
            (ticks, done)
        }
        #[cfg(feature = "anchors")]
        Engine::Theirs(anchor) => {
            let mut packets = packets;
            let mut done = 0;
            let start = cpu::cycles();
            for burst in packets.chunks_mut(case.burst) {
                match case.line {
                    Line::Up => done += anchor.open(burst),
                    Line::Down => {
                        anchor.seal(burst);
                        done += burst.len();
                    }
                }
            }
            (cpu::cycles() - start, done)
        }
    }
}

fn engine(case: &Case, suite: Suite) -> Option<Engine> {
    let direction = match case.line {
        Line::Up => Direction::Open,
        Line::Down => Direction::Seal,
    };
    if let Ok(backend) = case.who.parse::<Backend>() {
        let ours = || Engine::Ours(Box::new(keys(backend, suite, direction)));
        return backend.available().then(ours);
    }
    theirs(case.who, suite)
}

#[cfg(not(feature = "anchors"))]
fn theirs(_: &str, _: Suite) -> Option<Engine> {
    None
}

#[cfg(feature = "anchors")]
fn theirs(who: &str, suite: Suite) -> Option<Engine> {
    use crypto::esp::Integrity;
    let (cipher, integrity) = match suite {
        Suite::AesGcm16 { .. } => (anchors::Cipher::AesGcm, None),
        Suite::AesCbc { integrity, .. } => (anchors::Cipher::AesCbc, Some(integrity)),
        Suite::TripleDesCbc { integrity } => (anchors::Cipher::TripleDesCbc, Some(integrity)),
    };
    let hash = match integrity {
        None => None,
        Some(Integrity::HmacSha1_96) => Some(anchors::Hash::Sha1),
        Some(Integrity::HmacSha256_128) => Some(anchors::Hash::Sha256),
        Some(Integrity::HmacSha384_192 | Integrity::HmacSha512_256) => return None,
    };
    let keymat = keymat(suite, 0, Way::Sent);
    let all = anchors::anchors(&anchors::Suite {
        cipher,
        key: keymat.encryption_key().to_vec(),
        salt: keymat.salt().to_vec(),
        hash,
        hash_key: keymat.integrity_key().to_vec(),
        icv_len: suite.icv_len(),
    });
    let found = all.into_iter().find(|anchor| anchor.name() == who);
    found.map(Engine::Theirs)
}

fn keys(backend: Backend, suite: Suite, direction: Direction) -> Keys {
    let mut keys = Keys::new(backend);
    let keymat = keymat(suite, 0, Way::Sent);
    keys.install(SLOT, suite, direction, &keymat, &[7; 16]);
    keys
}

fn job(packet: &mut [u8]) -> EspJob<'_> {
    EspJob {
        packet,
        slot: SLOT,
        esn_high: None,
        verdict: Verdict::Pending,
    }
}

/// Octets of ciphertext: what the size says, rounded up to what the suite makes.
fn text_len(size: usize, suite: Suite, rng: &mut Rng) -> usize {
    let size = match (size, rng.below(12)) {
        (IMIX, 0..7) => 64,
        (IMIX, 7..11) => 570,
        (IMIX, _) => 1418,
        (size, _) => size,
    };
    size.next_multiple_of(suite.block_len())
}

fn sealed(keys: &Keys, suite: Suite, len: usize, number: u32, rng: &mut Rng) -> Result<Vec<u8>> {
    let mut packet = vec![0; 8 + suite.iv_len() + len + suite.icv_len()];
    rng.fill(&mut packet);
    packet[4..8].copy_from_slice(&number.to_be_bytes());
    let mut jobs = [job(&mut packet)];
    keys.seal(suite, &mut jobs);
    ensure!(jobs[0].verdict == Verdict::Ok, "{:?}", jobs[0].verdict);
    Ok(packet)
}
