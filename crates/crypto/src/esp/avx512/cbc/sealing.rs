//! Sealing of sixteen packets of one length. Both CBC and SHA wait for their own results most of
//! the time; together they wait for each other's.
//!
//! ```text
//!   chunks     0   1   2   3   4  …
//!   encrypt    └first┘ 2   3   4  …
//!   hash               0   1   2  …   the rest
//! ```

use core::arch::x86_64::*;
use std::ops::Range;

use super::encryption::{FETCH_AHEAD, Lanes, QUAD, gather, scatter};
use super::{BODY, HEADER_LEN, LANES};
use crate::cpu;
use crate::esp::avx512::hmac::{self, even};
use crate::esp::avx512::sha;
use crate::esp::avx512::vector::{Block, Vector, abreast, load_quad, store_quad};
use crate::esp::avx512::{Key, Slots};
use crate::esp::sha_ni::Chunk;
use crate::esp::{EspJob, Verdict};

const CHUNK_LEN: usize = size_of::<Chunk>();

/// Blocks of AES in a block of SHA.
const BLOCKS: usize = CHUNK_LEN / size_of::<Block>();

/// By how many chunks encryption is ahead of the hash, which shall not wait for what has only just
/// been stored.
const CHUNKS_AHEAD: usize = 2;

/// From what length on this is worth its beginning and its end.
const LEN_MIN: usize = 8 * CHUNK_LEN;

/// Vectors that hold a block of each.
const VECTORS: usize = LANES / QUAD;

/// The keys of packets that can be sealed together.
#[inline]
pub(super) fn keys_if_even<'k>(
    keys: &'k Slots<Key>,
    jobs: &[EspJob<'_>; LANES],
) -> Option<[&'k Key; LANES]> {
    if jobs[0].packet.len() < LEN_MIN {
        return None;
    }
    let shape = |job: &EspJob<'_>| (job.packet.len(), job.esn_high.is_some(), job.verdict);
    let first = (
        jobs[0].packet.len(),
        jobs[0].esn_high.is_some(),
        Verdict::Pending,
    );
    let mut found = [keys.key(jobs[0].slot)?; LANES];
    for (found, job) in found.iter_mut().zip(jobs) {
        *found = keys.key(job.slot).filter(|_| shape(job) == first)?;
    }
    Some(found)
}

/// Encrypts packets and signs them.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,bmi2,sha")]
pub(super) fn seal<const R: usize, const WORDS: usize>(
    keys: &[&Key; LANES],
    jobs: &mut [EspJob<'_>; LANES],
    icv_len: usize,
) {
    let mut states = even::States::new(keys);
    let hashed = encrypt::<R, WORDS>(keys, jobs, icv_len, &mut states);
    let mut group = [const { None }; LANES];
    for ((place, job), key) in group.iter_mut().zip(jobs).zip(keys) {
        *place = Some(hmac::Packet::new(key, job, icv_len));
    }
    even::finish::<WORDS, true>(&mut group, &mut states, hashed);
}

/// Encrypts packets, and hashes meanwhile what is encrypted; says how many blocks.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,bmi2")]
fn encrypt<const R: usize, const WORDS: usize>(
    keys: &[&Key; LANES],
    jobs: &mut [EspJob<'_>; LANES],
    icv_len: usize,
    states: &mut even::States,
) -> usize {
    let mut lanes = Lanes::vacant();
    let len = jobs[0].packet.len() - icv_len;
    let mut packets = jobs.each_mut().map(|job| &mut job.packet[..len]);
    for (lane, (key, packet)) in keys.iter().zip(&packets).enumerate() {
        if let Some(iv) = packet[HEADER_LEN..].first_chunk() {
            lanes.begin::<R>(lane, key, iv);
        }
    }
    let first = len.min(BODY + CHUNKS_AHEAD * CHUNK_LEN);
    lanes.advance_in::<R>(&mut packets, BODY..first);
    let mut chains = Chains::<R>::new(&lanes);
    let count = (len - first) / CHUNK_LEN;
    for chunk in 0..count {
        chains.encrypt_beside::<WORDS>(states, &mut packets, chunk, first + chunk * CHUNK_LEN);
    }
    lanes.blocks = chains.blocks();
    lanes.advance_in::<R>(&mut packets, first + count * CHUNK_LEN..len);
    count
}

impl Lanes {
    /// Encrypts a part of each packet.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes")]
    fn advance_in<const R: usize>(&mut self, packets: &mut [&mut [u8]; LANES], part: Range<usize>) {
        let steps = part.len() / size_of::<Block>();
        let mut now = packets
            .each_mut()
            .map(|packet| packet[part.clone()].as_chunks_mut().0);
        self.advance::<R, VECTORS>(&mut now, steps);
    }
}

/// CBC of sixteen packets that are being encrypted.
struct Chains<'l, const R: usize> {
    lanes: &'l Lanes,
    state: [Vector; VECTORS],
}

impl<'l, const R: usize> Chains<'l, R> {
    #[inline]
    #[target_feature(enable = "avx512bw")]
    fn new(lanes: &'l Lanes) -> Self {
        let mut state = [_mm512_setzero_si512(); VECTORS];
        for (state, blocks) in state.iter_mut().zip(lanes.blocks.as_chunks().0) {
            *state = load_quad(blocks);
        }
        Self { lanes, state }
    }

    /// The last block of each.
    #[inline]
    #[target_feature(enable = "avx512bw")]
    fn blocks(&self) -> [Block; LANES] {
        let mut last = [Block::default(); LANES];
        for (state, blocks) in self.state.iter().zip(last.as_chunks_mut().0) {
            store_quad(blocks, *state);
        }
        last
    }

    /// Encrypts what begins at `sealed`, and hashes a chunk that lies before it.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes")]
    fn encrypt_beside<const WORDS: usize>(
        &mut self,
        states: &mut even::States,
        packets: &mut [&mut [u8]; LANES],
        hashed: usize,
        sealed: usize,
    ) {
        let chunks = packets.each_ref().map(|packet| {
            cpu::prefetch_bytes(packet, sealed + FETCH_AHEAD * size_of::<Block>(), 1);
            &packet.as_chunks().0[hashed]
        });
        let words = sha::words(&chunks);
        let mut now = packets
            .each_mut()
            .map(|packet| packet[sealed..sealed + CHUNK_LEN].as_chunks_mut().0);
        sha::add_beside::<WORDS>(&mut states.hash, words, |hash, round, rounds| {
            // Spread evenly: there are fewer steps than rounds.
            let step = |round| round * BLOCKS * R / rounds;
            if step(round) < step(round + 1) {
                self.step(&mut now, step(round));
                abreast(hash, &mut self.state);
            }
        });
    }

    /// A round of AES, of a block of each packet.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes")]
    fn step(&mut self, now: &mut [&mut [Block]; LANES], step: usize) {
        let (block, round) = (step / R, step % R);
        let lanes = now.as_chunks_mut().0.iter_mut();
        for (z, (state, lanes)) in self.state.iter_mut().zip(lanes).enumerate() {
            let key = self.lanes.key(round, z);
            if round == 0 {
                *state = _mm512_ternarylogic_epi64::<0x96>(*state, gather(lanes, block), key);
            } else if round < R - 1 {
                *state = _mm512_aesenc_epi128(*state, key);
            } else {
                *state = _mm512_aesenclast_epi128(*state, key);
                scatter(*state, lanes, block);
            }
        }
    }
}
