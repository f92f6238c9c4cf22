//! Every back end does what the reference does, octet for octet.
//!
//! A packet has many dimensions: its length, where it begins in memory, its suite, how many are in
//! the batch with it, whether its SA has extended sequence numbers. Each test goes through one of
//! them completely and draws all others at random. `ADIT_CIPHER_ROUNDS` says how often (once if it
//! is not set; `scripts/test ciphers` sets it), each time from another seed.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::fast_back_ends;
use crypto::Random;
use crypto::esp::{Backend, Direction, EspJob, KeySlot, Keymat, Keys, Suite, Verdict};

/// Longer than any packet of a jumbo frame.
const PACKET_LEN_MAX: usize = 9000;

/// Twice a batch of the data plane.
const BURST_MAX: usize = 128;

/// Places in a cache line.
const ALIGNMENTS: usize = 64;

/// SAs of each suite; there is no key for the last.
const SAS: u32 = 5;

/// What packets are not longer than where length is not the question.
const ORDINARY: u32 = 1600;

/// Bursts of equal packets of each suite.
const STREAMS: usize = 12;

/// What surrounds a packet and must be the same afterwards.
const AROUND: [u8; 64] = [0xA5; 64];

/// The reference needs 70 ns for an octet of 3DES: one length in so many is tried in one round.
const TRIPLE_DES_LENGTHS: usize = 16;

#[test]
fn packets_of_every_length() {
    for_every_back_end(1, |pair, random| {
        for suite in Suite::ALL {
            let step = match suite {
                Suite::TripleDesCbc { .. } => TRIPLE_DES_LENGTHS,
                Suite::AesGcm16 { .. } | Suite::AesCbc { .. } => 1,
            };
            let legal = (0..=PACKET_LEN_MAX).filter(|len| suite.is_packet_len(*len));
            let mut lens: Vec<_> = legal
                .skip(random.below(step as u32) as usize)
                .step_by(step)
                .collect();
            shuffle(&mut lens, random);
            let mut lens = &lens[..];
            while !lens.is_empty() {
                let burst = 1 + random.below(40) as usize;
                let (now, later) = lens.split_at(burst.min(lens.len()));
                lens = later;
                let draws = now.iter().map(|&len| Draw {
                    len,
                    ..Draw::any(suite, random)
                });
                pair.compare(suite, draws.collect(), random);
            }
        }
    });
}

#[test]
fn packets_of_lengths_that_no_packet_has() {
    for_every_back_end(2, |pair, random| {
        let mut len = 0;
        while len <= PACKET_LEN_MAX {
            let suite = any(&Suite::ALL, random);
            let burst = 1 + random.below(20) as usize;
            let draws = (len..len + burst).map(|len| Draw {
                len,
                ..Draw::any(suite, random)
            });
            pair.compare(suite, draws.collect(), random);
            len += burst;
        }
    });
}

#[test]
fn bursts_of_every_size() {
    for_every_back_end(3, |pair, random| {
        for burst in 1..=BURST_MAX {
            let suite = any(&Suite::ALL, random);
            // Sizes differ, or all are the same.
            let same = Draw::any(suite, random);
            let is_even = random.below(2) == 0;
            let draws = (0..burst).map(|_| {
                let draw = Draw::any(suite, random);
                Draw {
                    len: if is_even { same.len } else { draw.len },
                    ..draw
                }
            });
            pair.compare(suite, draws.collect(), random);
        }
    });
}

#[test]
fn bursts_of_packets_that_differ_in_nothing_but_content() {
    for_every_back_end(6, |pair, random| {
        for suite in Suite::ALL.repeat(STREAMS) {
            let same = Draw::any(suite, random);
            let burst = 1 + random.below(BURST_MAX as u32 / 2);
            let draws = (0..burst).map(|_| Draw {
                len: same.len,
                esn_high: same.esn_high.map(|_| random.u32()),
                sa: random.below(SAS - 1),
                ..Draw::any(suite, random)
            });
            pair.compare(suite, draws.collect(), random);
        }
    });
}

#[test]
fn packets_at_every_place_in_a_cache_line() {
    for_every_back_end(4, |pair, random| {
        for at in 0..ALIGNMENTS {
            let suite = any(&Suite::ALL, random);
            let burst = 1 + random.below(BURST_MAX as u32 / 2);
            let draws = (0..burst).map(|_| Draw {
                at,
                ..Draw::any(suite, random)
            });
            pair.compare(suite, draws.collect(), random);
        }
    });
}

#[test]
fn every_suite_with_and_without_extended_sequence_numbers() {
    for_every_back_end(5, |pair, random| {
        for suite in Suite::ALL {
            for has_esn in [true, false] {
                let burst = 1 + random.below(BURST_MAX as u32 / 2);
                let draws = (0..burst).map(|_| {
                    let esn_high = has_esn.then(|| random.u32());
                    Draw {
                        esn_high,
                        ..Draw::any(suite, random)
                    }
                });
                pair.compare(suite, draws.collect(), random);
            }
        }
    });
}

fn for_every_back_end(seed: u8, test: impl Fn(&Pair, &mut Random)) {
    let rounds = std::env::var("ADIT_CIPHER_ROUNDS");
    let rounds = rounds.map_or(1, |rounds| rounds.parse().unwrap());
    for backend in fast_back_ends() {
        for round in 0..rounds {
            let mut seeds = Random::from_seed([seed; 32]);
            let seed = (0..=round).fold([0; 32], |_, _: u32| seeds.array());
            let mut random = Random::from_seed(seed);
            test(&Pair::new(backend, &mut random), &mut random);
        }
    }
}

/// What is drawn for one packet.
struct Draw {
    len: usize,
    at: usize,
    esn_high: Option<u32>,
    sa: u32,
    /// Whether somebody changes a bit on the way.
    is_forged: bool,
}

impl Draw {
    fn any(suite: Suite, random: &mut Random) -> Self {
        let mut len = random.below(ORDINARY) as usize;
        while !suite.is_packet_len(len) {
            len += 1;
        }
        Self {
            len,
            at: random.below(ALIGNMENTS as u32) as usize,
            esn_high: (random.below(2) == 0).then(|| random.u32()),
            sa: random.below(SAS),
            is_forged: random.below(8) == 0,
        }
    }
}

/// A packet somewhere in memory.
#[derive(Clone)]
struct Placed {
    memory: Vec<u8>,
    at: usize,
    len: usize,
}

impl Placed {
    fn new(len: usize, at: usize, content: &[u8]) -> Self {
        let mut memory = vec![0; ALIGNMENTS + at + len + 2 * AROUND.len()];
        let at = memory.as_ptr().align_offset(ALIGNMENTS) + AROUND.len() + at;
        memory[at - AROUND.len()..at].copy_from_slice(&AROUND);
        memory[at..at + len].copy_from_slice(content);
        memory[at + len..][..AROUND.len()].copy_from_slice(&AROUND);
        Self { memory, at, len }
    }

    fn packet(&self) -> &[u8] {
        &self.memory[self.at..self.at + self.len]
    }

    fn packet_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.at..self.at + self.len]
    }

    fn is_alone(&self) -> bool {
        self.memory[..self.at].ends_with(&AROUND)
            && self.memory[self.at + self.len..].starts_with(&AROUND)
    }
}

/// A back end and the reference, with the same keys.
struct Pair {
    fast: Keys,
    reference: Keys,
}

impl Pair {
    fn new(backend: Backend, random: &mut Random) -> Self {
        let mut pair = Self {
            fast: Keys::new(backend),
            reference: Keys::new(Backend::RustCrypto),
        };
        for suite in Suite::ALL {
            for sa in 0..SAS - 1 {
                let mut octets = vec![0; suite.keymat_len()];
                random.fill(&mut octets);
                let keymat = Keymat::new(suite, &octets).unwrap();
                let iv_key = random.array();
                for direction in [Direction::Open, Direction::Seal] {
                    let slot = slot(suite, direction, sa);
                    for keys in [&mut pair.fast, &mut pair.reference] {
                        keys.install(slot, suite, direction, &keymat, &iv_key);
                    }
                }
            }
        }
        pair
    }

    /// Seals a batch with both, then opens it with both.
    fn compare(&self, suite: Suite, draws: Vec<Draw>, random: &mut Random) {
        let mut fast: Vec<_> = draws
            .iter()
            .map(|draw| {
                let mut content = vec![0; draw.len];
                random.fill(&mut content);
                Placed::new(draw.len, draw.at, &content)
            })
            .collect();
        let mut reference: Vec<_> = fast
            .iter()
            .map(|p| Placed::new(p.len, 0, p.packet()))
            .collect();
        let backend = self.fast.backend();

        let verdicts = run(&self.fast, Direction::Seal, suite, &draws, &mut fast);
        let expected = run(
            &self.reference,
            Direction::Seal,
            suite,
            &draws,
            &mut reference,
        );
        for (i, draw) in draws.iter().enumerate() {
            let context = format!(
                "{backend} seals {suite}, {} octets, {i} of {}",
                draw.len,
                draws.len()
            );
            assert_eq!(verdicts[i], expected[i], "{context}");
            assert!(fast[i].packet() == reference[i].packet(), "{context}");
        }

        for (i, draw) in draws
            .iter()
            .enumerate()
            .filter(|(_, draw)| draw.is_forged && draw.len > 0)
        {
            let bit = random.below(8 * draw.len as u32) as usize;
            for packet in [&mut fast[i], &mut reference[i]] {
                packet.packet_mut()[bit / 8] ^= 1 << (bit % 8);
            }
        }
        let sealed: Vec<_> = fast.iter().map(|p| p.packet().to_vec()).collect();
        let verdicts = run(&self.fast, Direction::Open, suite, &draws, &mut fast);
        let expected = run(
            &self.reference,
            Direction::Open,
            suite,
            &draws,
            &mut reference,
        );
        for (i, draw) in draws.iter().enumerate() {
            let context = format!(
                "{backend} opens {suite}, {} octets, {i} of {}",
                draw.len,
                draws.len()
            );
            assert_eq!(verdicts[i], expected[i], "{context}");
            assert!(fast[i].is_alone(), "{context}");
            match verdicts[i] {
                Verdict::Ok => assert!(fast[i].packet() == reference[i].packet(), "{context}"),
                Verdict::BadIcv if matches!(suite, Suite::AesGcm16 { .. }) => {
                    assert!(has_no_plaintext(fast[i].packet(), &sealed[i]), "{context}");
                }
                Verdict::BadIcv | Verdict::BadLength => {
                    assert!(fast[i].packet() == sealed[i], "{context}")
                }
                Verdict::Pending => panic!("{context}"),
            }
        }
    }
}

/// The encrypted part is as it came, or zero; the rest is as it came.
fn has_no_plaintext(packet: &[u8], came: &[u8]) -> bool {
    let body = 16..packet.len() - 16;
    packet == came
        || (packet[..body.start] == came[..body.start]
            && packet[body.clone()].iter().all(|octet| *octet == 0)
            && packet[body.end..] == came[body.end..])
}

fn run(
    keys: &Keys,
    direction: Direction,
    suite: Suite,
    draws: &[Draw],
    packets: &mut [Placed],
) -> Vec<Verdict> {
    let mut jobs: Vec<_> = draws
        .iter()
        .zip(packets)
        .map(|(draw, packet)| EspJob {
            packet: packet.packet_mut(),
            slot: slot(suite, direction, draw.sa),
            esn_high: draw.esn_high,
            verdict: Verdict::Pending,
        })
        .collect();
    let mut called = 0;
    let mut ahead = |i: usize| {
        assert_eq!(i, called, "once for each, in order");
        called += 1;
    };
    match direction {
        Direction::Open => keys.open_with(suite, &mut jobs, &mut ahead),
        Direction::Seal => keys.seal_with(suite, &mut jobs, &mut ahead),
    }
    assert_eq!(called, jobs.len(), "once for each");
    jobs.iter().map(|job| job.verdict).collect()
}

fn slot(suite: Suite, direction: Direction, sa: u32) -> KeySlot {
    let suite = Suite::ALL.iter().position(|other| *other == suite).unwrap() as u32;
    KeySlot((2 * suite + u32::from(direction == Direction::Seal)) * SAS + sa)
}

fn any<T: Copy>(of: &[T], random: &mut Random) -> T {
    of[random.below(of.len() as u32) as usize]
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for i in (1..items.len()).rev() {
        items.swap(i, random.below(i as u32 + 1) as usize);
    }
}
