//! HMAC (RFC 2104) of the packets of a batch, each in a lane; a lane that is done takes the next
//! packet.
//!
//! ```text
//!   message   ┌ whole blocks, where they lie ┬ rest, ESN, padding ┐   ┌ inner hash, padding ┐
//!   blocks    │ 0    1    2   …              │ one or two, copied │ → │ one                 │ → ICV
//!             └ Stage::Inner ────────────────┴────────────────────┘   └ Stage::Outer ───────┘
//! ```
//!
//! All lanes advance by as many blocks as the first of them to need attention has left. Above
//! eight lanes at work, sixteen to a vector are fastest; below, SHA-NI four at a time. Packets of
//! one length go through [`even`].

pub(super) mod even;

use core::arch::x86_64::*;

use zeroize::Zeroizing;

use super::sha::{self, LANES};
use super::vector::{
    Vector, load, load_part, load_words, mask, seen, store, store_part, store_words,
};
use super::{INNER, Key, OUTER};
use crate::cpu;
use crate::esp::sha_ni::{self, Chunk, Hashing, State};
use crate::esp::{EspJob, Integrity, Verdict};

/// From how many lanes on it is worth to hash sixteen, of which some are idle: measured, with either
/// hash.
const WIDE_FROM: usize = 9;

/// Messages at once with SHA-NI.
const NARROW: usize = 4;

/// How many blocks ahead of a lane's packets are fetched.
const FETCH_AHEAD: usize = 4;

/// Blocks of a lane's own: the end of a message, padded.
const OWN: usize = 2;

/// The one behind a message, and its length.
const END_LEN: usize = 9;

/// A packet in a lane.
pub(super) struct Packet<'j> {
    key: &'j Key,
    /// Whole blocks that have not been hashed yet.
    blocks: &'j [Chunk],
    rest: &'j [u8],
    esn_high: Option<u32>,
    /// Then so many blocks of the lane's own, up to the last.
    own: usize,
    stage: Stage,
    icv: &'j mut [u8],
    verdict: &'j mut Verdict,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Inner,
    Outer,
}

/// What is secret about a lane is erased when the batch is done: the inner hash of a message is
/// as good as its key to a forger of longer ones.
#[repr(align(64))]
struct Lanes {
    states: [[u32; LANES]; 8],
    own: [[Chunk; OWN]; LANES],
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.states = [[0; LANES]; 8];
        self.own = [[[0; size_of::<Chunk>()]; OWN]; LANES];
        seen(self);
    }
}

/// Writes the ICV of each packet (`SEAL`), or compares it; leaves the verdict.
///
/// `WORDS` is 5 for SHA-1 and 8 for SHA-256.
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,bmi2,sha")]
pub(super) fn batch<'j, const WORDS: usize, const SEAL: bool>(
    mut packets: impl Iterator<Item = Packet<'j>>,
) {
    loop {
        let mut group = [const { None }; LANES];
        for (place, packet) in group.iter_mut().zip(&mut packets) {
            *place = Some(packet);
        }
        if group[0].is_none() {
            return;
        }
        if !even::is_even(&group) {
            return ragged::<WORDS, SEAL>(group, packets);
        }
        even::batch::<WORDS, SEAL>(&mut group);
    }
}

/// Packets of any lengths: the first of them, and those that follow as lanes become free.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,bmi2,sha")]
fn ragged<'j, const WORDS: usize, const SEAL: bool>(
    mut at_work: [Option<Packet<'j>>; LANES],
    mut packets: impl Iterator<Item = Packet<'j>>,
) {
    let mut lanes = Lanes {
        states: [[0; LANES]; 8],
        own: [[[0; 64]; OWN]; LANES],
    };
    for (lane, place) in at_work.iter().enumerate() {
        if let Some(packet) = place {
            lanes.begin::<WORDS>(lane, packet);
        }
    }
    while let Some(steps) = at_work.iter().flatten().map(Packet::blocks_left).min() {
        lanes.advance::<WORDS>(&mut at_work, steps);
        for (lane, place) in at_work.iter_mut().enumerate() {
            match place {
                Some(packet) if packet.blocks_left() == 0 => (),
                Some(_) | None => continue,
            }
            if let Some(packet) = place
                && packet.stage == Stage::Inner
            {
                lanes.begin_outer::<WORDS>(lane, packet);
                continue;
            }
            if let Some(packet) = place.take() {
                let digest = octets(&lanes.words::<WORDS>(lane));
                *packet.verdict = conclude::<SEAL>(packet.icv, load(&digest));
            }
            *place = packets.next();
            if let Some(packet) = place {
                lanes.begin::<WORDS>(lane, packet);
            }
        }
    }
}

impl<'j> Packet<'j> {
    /// The packet of a job that has the length and the key it needs.
    #[inline]
    pub(super) fn new(key: &'j Key, job: &'j mut EspJob<'_>, icv_len: usize) -> Self {
        let authenticated = job.packet.len() - icv_len;
        let (authenticated, icv) = job.packet.split_at_mut(authenticated);
        let (blocks, rest) = authenticated.as_chunks();
        Self {
            key,
            blocks,
            rest,
            esn_high: job.esn_high,
            own: own_blocks(rest, job.esn_high),
            stage: Stage::Inner,
            icv,
            verdict: &mut job.verdict,
        }
    }

    #[inline]
    fn blocks_left(&self) -> usize {
        if self.blocks.is_empty() {
            self.own
        } else {
            self.blocks.len()
        }
    }
}

/// Writes the ICV, or compares it: all octets at once, so that nobody learns how many are right.
#[inline]
#[target_feature(enable = "avx512bw,bmi2")]
pub(super) fn conclude<const SEAL: bool>(icv: &mut [u8], digest: Vector) -> Verdict {
    if SEAL {
        store_part(icv, digest);
        return Verdict::Ok;
    }
    let differs = _mm512_mask_cmpneq_epi8_mask(mask(icv.len()), load_part(icv), digest);
    if differs == 0 {
        Verdict::Ok
    } else {
        Verdict::BadIcv
    }
}

impl Lanes {
    /// RFC 2104 §2: the key has been hashed in; the message follows.
    #[inline]
    #[target_feature(enable = "avx512bw,bmi2")]
    fn begin<const WORDS: usize>(&mut self, lane: usize, packet: &Packet<'_>) {
        for (word, value) in packet.key.hash(INNER).into_iter().take(WORDS).enumerate() {
            self.states[word][lane] = value;
        }
        let (own, blocks) = (&mut self.own[lane], packet.blocks.len());
        write_rest(own, blocks, packet.rest, packet.esn_high);
    }

    /// The inner hash is the message now.
    #[inline]
    fn begin_outer<const WORDS: usize>(&mut self, lane: usize, packet: &mut Packet<'_>) {
        self.own[lane][OWN - 1] = as_message(&self.words::<WORDS>(lane));
        for (word, value) in packet.key.hash(OUTER).into_iter().take(WORDS).enumerate() {
            self.states[word][lane] = value;
        }
        packet.own = 1;
        packet.stage = Stage::Outer;
    }

    #[inline]
    fn words<const WORDS: usize>(&self, lane: usize) -> [u32; WORDS] {
        std::array::from_fn(|word| self.states[word][lane])
    }

    /// Hashes the next blocks of every lane.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,sha")]
    fn advance<const WORDS: usize>(
        &mut self,
        at_work: &mut [Option<Packet<'_>>; LANES],
        steps: usize,
    ) {
        let mut runs: [&[Chunk]; LANES] = [&[]; LANES];
        let mut busy = [0; LANES];
        let mut count = 0;
        for (lane, packet) in at_work.iter_mut().enumerate() {
            let Some(packet) = packet else { continue };
            runs[lane] = match packet.blocks.split_at_checked(steps) {
                Some((now, later)) if !packet.blocks.is_empty() => {
                    packet.blocks = later;
                    now
                }
                _ => {
                    let first = OWN - packet.own;
                    packet.own -= steps;
                    &self.own[lane][first..first + steps]
                }
            };
            busy[count] = lane;
            count += 1;
        }
        let busy = &busy[..count];
        if count >= WIDE_FROM {
            // Idle lanes hash what another one does; nobody asks for the result.
            let any = runs[busy[0]];
            for run in runs.iter_mut().filter(|run| run.is_empty()) {
                *run = any;
            }
            wide::<WORDS>(&mut self.states, &runs);
        } else {
            for lanes in busy.chunks(NARROW) {
                match *lanes {
                    [a, b, c, d] => narrow::<4, WORDS>(&mut self.states, [a, b, c, d], &runs),
                    [a, b, c] => narrow::<3, WORDS>(&mut self.states, [a, b, c], &runs),
                    [a, b] => narrow::<2, WORDS>(&mut self.states, [a, b], &runs),
                    [a] => narrow::<1, WORDS>(&mut self.states, [a], &runs),
                    _ => (),
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn wide<const WORDS: usize>(states: &mut [[u32; LANES]; 8], runs: &[&[Chunk]; LANES]) {
    let mut state = [_mm512_setzero_si512(); 8];
    for (vector, words) in state.iter_mut().zip(states.iter()) {
        *vector = load_words(words);
    }
    for step in 0..runs[0].len() {
        let mut chunks = [&runs[0][step]; LANES];
        for (chunk, run) in chunks.iter_mut().zip(runs) {
            *chunk = &run[step];
            if let Some(later) = run.get(step + FETCH_AHEAD) {
                cpu::prefetch(later);
            }
        }
        sha::add::<WORDS>(&mut state, sha::words(&chunks));
    }
    for (vector, words) in state.iter().zip(states.iter_mut()) {
        store_words(words, *vector);
    }
}

#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn narrow<const N: usize, const WORDS: usize>(
    states: &mut [[u32; LANES]; 8],
    lanes: [usize; N],
    runs: &[&[Chunk]; LANES],
) {
    let runs = lanes.map(|lane| runs[lane]);
    let mut state: [State; N] = lanes.map(|lane| states.map(|words| words[lane]));
    let mut hashing = Hashing::<N, WORDS>::new(&state);
    for step in 0..runs[0].len() {
        hashing.add(runs.map(|run| &run[step]));
    }
    for (lane, state) in lanes.into_iter().zip(hashing.states()) {
        for (words, value) in states.iter_mut().zip(state) {
            words[lane] = value;
        }
    }
    state = [State::default(); N];
    seen(&state);
}

/// RFC 2104 of a message of which the whole blocks are hashed already.
#[inline]
#[target_feature(enable = "avx512bw,bmi2,sha")]
pub(super) fn finish<const WORDS: usize>(
    mut hashing: Hashing<1, WORDS>,
    key: &Key,
    blocks: usize,
    rest: &[u8],
    esn_high: Option<u32>,
) -> Chunk {
    let mut own = [[0; size_of::<Chunk>()]; OWN];
    write_rest(&mut own, blocks, rest, esn_high);
    for chunk in &own[OWN - own_blocks(rest, esn_high)..] {
        hashing.add([chunk]);
    }
    let [inner] = hashing.states();
    own[0] = as_message(&inner[..WORDS]);
    let mut hashing = Hashing::<1, WORDS>::new(&[key.hash(OUTER)]);
    hashing.add([&own[0]]);
    own = [[0; size_of::<Chunk>()]; OWN];
    seen(&own);
    let [outer] = hashing.states();
    octets(&outer[..WORDS])
}

/// How many blocks what is behind a message's whole blocks will be.
#[inline]
fn own_blocks(rest: &[u8], esn_high: Option<u32>) -> usize {
    let esn_len = esn_high.map_or(0, |high| size_of_val(&high));
    (rest.len() + esn_len + END_LEN).div_ceil(size_of::<Chunk>())
}

/// Writes what is behind a message's whole blocks to the end of a lane's own.
#[inline]
#[target_feature(enable = "avx512bw,bmi2")]
fn write_rest(own: &mut [Chunk; OWN], blocks: usize, rest: &[u8], esn_high: Option<u32>) {
    let first = OWN - own_blocks(rest, esn_high);
    if let Some(high) = esn_high {
        let len = rest.len() + size_of_val(&high);
        let own = own[first..].as_flattened_mut();
        own.fill(0);
        own[..rest.len()].copy_from_slice(rest);
        // RFC 4303 §2.2.1: the upper half of the sequence number is appended after the trailer.
        own[rest.len()..len].copy_from_slice(&high.to_be_bytes());
        return end(own, len, blocks + 1);
    }
    // As `end` has it, and whole vectors, because they are read as such at once.
    let bits = 8 * (size_of::<Chunk>() * (blocks + 1) + rest.len()) as u64;
    let bits = _mm512_maskz_set1_epi64(1 << 7, bits.to_be().cast_signed());
    let rest = _mm512_mask_blend_epi8(1 << rest.len(), load_part(rest), _mm512_set1_epi8(i8::MIN));
    store(&mut own[OWN - 1], bits);
    if first == OWN - 1 {
        store(&mut own[first], _mm512_or_si512(rest, bits));
    } else {
        store(&mut own[first], rest);
    }
}

/// The inner hash as the message of the outer.
#[inline]
fn as_message(words: &[u32]) -> Chunk {
    let mut own = octets(words);
    end(&mut own, size_of_val(words), 1);
    own
}

#[inline]
fn octets(words: &[u32]) -> Chunk {
    let mut chunk = [0; size_of::<Chunk>()];
    for (octets, word) in chunk.chunks_exact_mut(4).zip(words) {
        octets.copy_from_slice(&word.to_be_bytes());
    }
    chunk
}

/// FIPS 180-4 §5.1.1: a one, zeros, and how many bits there were; `blocks` went before.
#[inline]
fn end(own: &mut [u8], len: usize, blocks: usize) {
    own[len] = 0x80;
    let bits = 8 * (size_of::<Chunk>() * blocks + len) as u64;
    if let Some(end) = own.last_chunk_mut() {
        *end = bits.to_be_bytes();
    }
}

/// RFC 2104 §2: the hash's state after the key, padded and masked.
#[target_feature(enable = "sha,sse4.1,ssse3")]
pub(super) fn padded(integrity: Integrity, key: &[u8], mask: u8) -> State {
    let mut chunk = Zeroizing::new([mask; size_of::<Chunk>()]);
    for (octet, key) in chunk.iter_mut().zip(key) {
        *octet ^= key;
    }
    if integrity == Integrity::HmacSha1_96 {
        let mut hashing = Hashing::<1, 5>::new(&[sha_ni::SHA1]);
        hashing.add([&chunk]);
        hashing.states()[0]
    } else {
        let mut hashing = Hashing::<1, 8>::new(&[sha_ni::SHA256]);
        hashing.add([&chunk]);
        hashing.states()[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::esp::avx512::vector::is_erased_on_drop;

    #[test]
    fn a_batch_leaves_no_hash_behind() {
        assert!(is_erased_on_drop(Lanes {
            states: [[7; LANES]; 8],
            own: [[[7; 64]; OWN]; LANES],
        }));
    }
}
