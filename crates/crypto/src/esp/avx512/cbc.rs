//! AES-CBC (RFC 3602) with an HMAC behind it.
//!
//! Decryption has all it needs at once and goes through a packet four vectors at a time.
//! Encryption waits for its own last block, so that one packet alone keeps the unit busy an eighth
//! of the time: sixteen go side by side, each 128 bits of four vectors with a key of its own. If
//! they are of one length, their hashes are computed in the same loop: see [`sealing`].

mod sealing;

use core::arch::x86_64::*;

use super::aes::{self, ROUND_KEYS_MAX, Wide, unroll_rounds};
use super::vector::{
    Block, VECTOR_LEN, Vector, load, load_block, load_part, load_quad, seen, store, store_block,
    store_part, store_quad,
};
use super::{INNER, Key, Slots, hmac};
use crate::cpu;
use crate::esp::sha_ni::{Chunk, Hashing};
use crate::esp::{Direction, EspJob, HEADER_LEN, Suite, Verdict};

const IV_LEN: usize = size_of::<Block>();

/// Where the first block of ciphertext begins.
const BODY: usize = HEADER_LEN + IV_LEN;

/// By how many chunks a packet's encryption is ahead of its hash, if it is alone.
const CHUNKS_AHEAD: usize = 1;

/// Packets encrypted side by side.
const LANES: usize = 16;

/// Blocks in a vector.
const QUAD: usize = 4;

/// Vectors decrypted together.
const GROUP: usize = 4;

/// Every how many blocks of a lane a cache line is fetched, and how far ahead.
const LINE_BLOCKS: usize = 4;
const FETCH_AHEAD: usize = 4 * LINE_BLOCKS;

/// Opens packets (or seals them), with `R` round keys and a hash of `WORDS`.
#[inline(never)] // As in `gcm`.
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2,sha")]
pub(super) fn batch<const R: usize, const WORDS: usize, const SEAL: bool>(
    keys: &Slots<Key>,
    suite: Suite,
    jobs: &mut [EspJob<'_>],
    ahead: &mut impl FnMut(usize),
) {
    if SEAL {
        seal::<R, WORDS>(keys, suite, jobs, ahead);
    } else {
        open::<R, WORDS>(keys, suite, jobs, ahead);
    }
}

/// Verifies packets and decrypts those that are authentic.
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2,sha")]
fn open<const R: usize, const WORDS: usize>(
    keys: &Slots<Key>,
    suite: Suite,
    jobs: &mut [EspJob<'_>],
    ahead: &mut impl FnMut(usize),
) {
    if let [job] = jobs {
        ahead(0);
        if let Some(key) = judge(keys, suite, Direction::Open, job) {
            job.verdict = open_alone::<R, WORDS>(key, job, suite.icv_len());
        }
        return;
    }
    each_group(jobs, |start, jobs, later| {
        for job in jobs.iter() {
            keys.prefetch(job.slot);
        }
        let pending = jobs.iter_mut().enumerate().filter_map(|(i, job)| {
            ahead(start + i);
            let key = judge(keys, suite, Direction::Open, job)?;
            Some(hmac::Packet::new(key, job, suite.icv_len()))
        });
        hmac::batch::<WORDS, false>(pending);
        for (i, job) in jobs.iter_mut().enumerate() {
            fetch(later.get(i));
            // RFC 4303 §3.4.4.1: integrity is checked before anything is decrypted.
            if job.verdict == Verdict::Ok
                && let Some(key) = keys.key(job.slot)
            {
                let end = job.packet.len() - suite.icv_len();
                decrypt::<R>(key, &mut job.packet[HEADER_LEN..end]);
            }
        }
    });
}

/// Calls `work` for some packets after the others, with how many went before and those that come
/// later. A packet that goes through two ciphers shall still be in the first cache when it comes to
/// the second; and while memory has nothing to do, it brings the packets that are next.
#[inline(always)]
fn each_group(
    mut jobs: &mut [EspJob<'_>],
    mut work: impl FnMut(usize, &mut [EspJob<'_>], &[EspJob<'_>]),
) {
    let mut start = 0;
    while !jobs.is_empty() {
        // A rest that does not fill the lanes twice is not worth a group of its own.
        let count = if jobs.len() < 2 * LANES {
            jobs.len()
        } else {
            LANES
        };
        let (now, later) = jobs.split_at_mut(count);
        work(start, now, later);
        start += count;
        jobs = later;
    }
}

/// Asks for a packet that will be worked on soon.
#[inline]
fn fetch(job: Option<&EspJob<'_>>) {
    if let Some(job) = job {
        cpu::prefetch_bytes(job.packet, 0, usize::MAX);
    }
}

/// Encrypts packets and signs them.
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2,sha")]
fn seal<const R: usize, const WORDS: usize>(
    keys: &Slots<Key>,
    suite: Suite,
    jobs: &mut [EspJob<'_>],
    ahead: &mut impl FnMut(usize),
) {
    for job in jobs.iter() {
        keys.prefetch(job.slot);
    }
    for jobs in jobs.chunks_mut(LANES) {
        write_ivs(keys, suite, jobs);
    }
    if let [job] = jobs {
        ahead(0);
        if let Some(key) = keys.key(job.slot)
            && job.verdict == Verdict::Pending
        {
            job.verdict = seal_alone::<R, WORDS>(key, job, suite.icv_len());
        }
        return;
    }
    let (groups, _) = jobs.as_chunks();
    let is_even = |group: &&_| sealing::keys_if_even(keys, group).is_some();
    let start = LANES * groups.iter().take_while(is_even).count();
    let (even, jobs) = jobs.split_at_mut(start);
    for (i, group) in even.as_chunks_mut().0.iter_mut().enumerate() {
        (LANES * i..LANES * (i + 1)).for_each(&mut *ahead);
        if let Some(keys) = sealing::keys_if_even(keys, group) {
            sealing::seal::<R, WORDS>(&keys, group, suite.icv_len());
        }
    }
    let pending = |job: &EspJob<'_>| {
        let key = keys.key(job.slot)?;
        (job.verdict == Verdict::Pending).then_some(key)
    };
    encrypt::<R>(jobs.iter_mut().enumerate().filter_map(|(i, job)| {
        ahead(start + i);
        let key = pending(job)?;
        let end = job.packet.len() - suite.icv_len();
        Some((key, job.packet[HEADER_LEN..end].as_chunks_mut().0))
    }));
    hmac::batch::<WORDS, true>(jobs.iter_mut().filter_map(|job| {
        let key = pending(job)?;
        Some(hmac::Packet::new(key, job, suite.icv_len()))
    }));
}

/// As [`open`], without lanes.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,bmi2,sha")]
fn open_alone<const R: usize, const WORDS: usize>(
    key: &Key,
    job: &mut EspJob<'_>,
    icv_len: usize,
) -> Verdict {
    let authenticated = job.packet.len() - icv_len;
    let (authenticated, icv) = job.packet.split_at_mut(authenticated);
    let (chunks, rest) = authenticated.as_chunks();
    let mut hashing = Hashing::<1, WORDS>::new(&[key.hash(INNER)]);
    for chunk in chunks {
        hashing.add([chunk]);
    }
    let digest = hmac::finish(hashing, key, chunks.len(), rest, job.esn_high);
    let verdict = hmac::conclude::<false>(icv, load(&digest));
    // RFC 4303 §3.4.4.1: integrity is checked before anything is decrypted.
    if verdict == Verdict::Ok {
        decrypt::<R>(key, &mut authenticated[HEADER_LEN..]);
    }
    verdict
}

/// As [`seal`], without lanes. Encryption runs two chunks ahead of the hash, neither waits for the
/// other, and the processor does both at a time.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,bmi2,sha")]
fn seal_alone<const R: usize, const WORDS: usize>(
    key: &Key,
    job: &mut EspJob<'_>,
    icv_len: usize,
) -> Verdict {
    let authenticated = job.packet.len() - icv_len;
    let (authenticated, icv) = job.packet.split_at_mut(authenticated);
    let mut chain = Chain::<R>::new(key, &authenticated[HEADER_LEN..]);
    let mut hashing = Hashing::<1, WORDS>::new(&[key.hash(INNER)]);
    let chunks = authenticated.len() / size_of::<Chunk>();
    let mut sealed = BODY;
    for chunk in 0..chunks + CHUNKS_AHEAD {
        let end = authenticated
            .len()
            .min(BODY + (chunk + 1) * size_of::<Chunk>());
        chain.encrypt(&mut authenticated[sealed..end]);
        sealed = end;
        if let Some(chunk) = chunk.checked_sub(CHUNKS_AHEAD) {
            hashing.add([&authenticated.as_chunks().0[chunk]]);
        }
    }
    let (_, rest) = authenticated.as_chunks::<{ size_of::<Chunk>() }>();
    let digest = hmac::finish(hashing, key, chunks, rest, job.esn_high);
    hmac::conclude::<true>(icv, load(&digest))
}

/// The key of a job, or the verdict that there can be none.
#[inline]
fn judge<'k>(
    keys: &'k Slots<Key>,
    suite: Suite,
    direction: Direction,
    job: &mut EspJob<'_>,
) -> Option<&'k Key> {
    if !suite.is_packet_len(job.packet.len()) {
        job.verdict = Verdict::BadLength;
        return None;
    }
    let key = keys.key(job.slot);
    let key = key.filter(|key| key.serves(suite, direction));
    job.verdict = if key.is_some() {
        Verdict::Pending
    } else {
        Verdict::BadIcv
    };
    key
}

/// RFC 3602 §3: the IV must be unpredictable, so the counter itself would not do. NIST
/// SP 800-38A appendix C encrypts it.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,vaes")]
fn write_ivs(keys: &Slots<Key>, suite: Suite, jobs: &mut [EspJob<'_>]) {
    let mut iv_keys = IvKeys([Block::default(); LANES]);
    let mut counters = [Block::default(); LANES];
    for ((job, iv_key), counter) in jobs.iter_mut().zip(&mut iv_keys.0).zip(&mut counters) {
        if let Some(key) = judge(keys, suite, Direction::Seal, job) {
            *iv_key = key.iv_key();
            *counter = u128::from(job.counter()).to_be_bytes();
        }
    }
    let ivs = aes::encrypt_each(&iv_keys.0, &counters);
    for (job, iv) in jobs.iter_mut().zip(&ivs) {
        if job.verdict == Verdict::Pending {
            job.packet[HEADER_LEN..BODY].copy_from_slice(iv);
        }
    }
}

struct IvKeys([Block; LANES]);

impl Drop for IvKeys {
    fn drop(&mut self) {
        self.0 = [Block::default(); LANES];
        seen(self);
    }
}

/// CBC of one packet; the first block is the IV.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,bmi2")]
fn decrypt<const R: usize>(key: &Key, octets: &mut [u8]) {
    let Some((iv, body)) = octets.split_first_chunk_mut::<IV_LEN>() else {
        return;
    };
    let aes = Wide::<R>::new(&key.rounds);
    let mut before = _mm512_broadcast_i32x4(load_block(iv));
    let (vectors, rest) = body.as_chunks_mut::<VECTOR_LEN>();
    let (groups, vectors) = vectors.as_chunks_mut::<GROUP>();
    for group in groups {
        before = decrypt_group(&aes, before, group.each_mut());
    }
    match vectors {
        [a, b, c] => before = decrypt_group(&aes, before, [a, b, c]),
        [a, b] => before = decrypt_group(&aes, before, [a, b]),
        [a] => before = decrypt_group(&aes, before, [a]),
        _ => (),
    }
    let input = load_part(rest);
    let [clear] = aes.decrypt([input]);
    store_part(rest, _mm512_xor_si512(clear, shifted(before, input)));
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vl,vaes")]
fn decrypt_group<const R: usize, const N: usize>(
    aes: &Wide<R>,
    mut before: Vector,
    octets: [&mut [u8; VECTOR_LEN]; N],
) -> Vector {
    let mut inputs = [_mm512_setzero_si512(); N];
    for (input, octets) in inputs.iter_mut().zip(&octets) {
        *input = load(octets);
    }
    let clear = aes.decrypt(inputs);
    for ((octets, clear), input) in octets.into_iter().zip(clear).zip(inputs) {
        store(octets, _mm512_xor_si512(clear, shifted(before, input)));
        before = input;
    }
    before
}

/// The last block of one vector and the first three of the next.
#[inline]
#[target_feature(enable = "avx512bw")]
fn shifted(before: Vector, vector: Vector) -> Vector {
    _mm512_alignr_epi64::<6>(vector, before)
}

/// CBC of one packet that is being encrypted.
struct Chain<const R: usize> {
    keys: [__m128i; R],
    state: __m128i,
}

impl<const R: usize> Chain<R> {
    #[inline]
    #[target_feature(enable = "avx512vl")]
    fn new(key: &Key, iv: &[u8]) -> Self {
        let mut keys = [_mm_setzero_si128(); R];
        for (round, key) in keys.iter_mut().zip(&key.rounds) {
            *round = load_block(key);
        }
        let state = iv
            .first_chunk()
            .map_or_else(|| _mm_setzero_si128(), |iv| load_block(iv));
        Self { keys, state }
    }

    #[inline]
    #[target_feature(enable = "avx512vl,aes")]
    fn encrypt(&mut self, octets: &mut [u8]) {
        for block in octets.as_chunks_mut().0 {
            let clear = _mm_xor_si128(load_block(block), self.keys[0]);
            self.state = _mm_xor_si128(self.state, clear);
            unroll_rounds!(R, ROUND, {
                self.state = _mm_aesenc_si128(self.state, self.keys[ROUND]);
            });
            self.state = _mm_aesenclast_si128(self.state, self.keys[R - 1]);
            store_block(block, self.state);
        }
    }
}

/// What is secret about the lanes is erased when the batch is done.
#[repr(align(64))]
struct Lanes {
    /// Round by round the keys of all lanes.
    keys: [[Block; LANES]; ROUND_KEYS_MAX],
    /// The last block of each lane.
    blocks: [Block; LANES],
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.keys = [[Block::default(); LANES]; ROUND_KEYS_MAX];
        self.blocks = [Block::default(); LANES];
        seen(self);
    }
}

/// CBC of many packets, whose first block is the IV and stays.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes")]
fn encrypt<'j, const R: usize>(mut packets: impl Iterator<Item = (&'j Key, &'j mut [Block])>) {
    let mut lanes = Lanes {
        keys: [[Block::default(); LANES]; ROUND_KEYS_MAX],
        blocks: [Block::default(); LANES],
    };
    let mut bodies: [&mut [Block]; LANES] = std::array::from_fn(|_| &mut [][..]);
    loop {
        for (lane, body) in bodies
            .iter_mut()
            .enumerate()
            .filter(|(_, body)| body.is_empty())
        {
            if let Some((key, [iv, blocks @ ..])) = packets.next() {
                lanes.begin::<R>(lane, key, iv);
                *body = blocks;
            }
        }
        let left = bodies.iter().map(|body| body.len()).filter(|len| *len > 0);
        let Some(steps) = left.min() else { return };
        let busy = bodies.iter().rposition(|body| !body.is_empty());
        let mut now = bodies.each_mut().map(|body| {
            let steps = steps.min(body.len());
            body.split_off_mut(..steps).unwrap_or_default()
        });
        match busy {
            Some(0..4) => lanes.advance::<R, 1>(&mut now, steps),
            Some(4..8) => lanes.advance::<R, 2>(&mut now, steps),
            _ => lanes.advance::<R, { LANES / QUAD }>(&mut now, steps),
        }
    }
}

impl Lanes {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl")]
    fn begin<const R: usize>(&mut self, lane: usize, key: &Key, iv: &Block) {
        for (keys, key) in self.keys[..R].iter_mut().zip(&key.rounds) {
            keys[lane] = *key;
        }
        self.blocks[lane] = *iv;
    }

    /// Encrypts so many blocks of each of the first `4 * Z` lanes that has any.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes")]
    fn advance<const R: usize, const Z: usize>(
        &mut self,
        now: &mut [&mut [Block]; LANES],
        steps: usize,
    ) {
        let mut state = [_mm512_setzero_si512(); Z];
        for (state, blocks) in state.iter_mut().zip(self.blocks.as_chunks().0) {
            *state = load_quad(blocks);
        }
        for step in 0..steps {
            for (z, (state, lanes)) in state.iter_mut().zip(now.as_chunks().0).enumerate() {
                let clear = gather(lanes, step);
                *state = _mm512_ternarylogic_epi64::<0x96>(*state, clear, self.key(0, z));
            }
            unroll_rounds!(R, ROUND, {
                for (z, state) in state.iter_mut().enumerate() {
                    *state = _mm512_aesenc_epi128(*state, self.key(ROUND, z));
                }
            });
            for (z, (state, lanes)) in state.iter_mut().zip(now.as_chunks_mut().0).enumerate() {
                *state = _mm512_aesenclast_epi128(*state, self.key(R - 1, z));
                scatter(*state, lanes, step);
            }
        }
        for (state, blocks) in state.iter().zip(self.blocks.as_chunks_mut().0) {
            store_quad(blocks, *state);
        }
    }

    /// The keys of four lanes for one round.
    #[inline]
    #[target_feature(enable = "avx512bw")]
    fn key(&self, round: usize, z: usize) -> Vector {
        load_quad(&self.keys[round].as_chunks().0[z])
    }
}

/// A block of each of four lanes; nothing of one that has no more.
#[inline]
#[target_feature(enable = "avx512vl,avx512dq")]
fn gather(lanes: &[&mut [Block]; QUAD], step: usize) -> Vector {
    let mut blocks = [_mm_setzero_si128(); QUAD];
    for (block, lane) in blocks.iter_mut().zip(lanes) {
        if let Some(clear) = lane.get(step) {
            *block = load_block(clear);
            if step.is_multiple_of(LINE_BLOCKS)
                && let Some(later) = lane.get(step + FETCH_AHEAD)
            {
                cpu::prefetch(later);
            }
        }
    }
    let vector = _mm512_castsi128_si512(blocks[0]);
    let vector = _mm512_inserti64x2::<1>(vector, blocks[1]);
    let vector = _mm512_inserti64x2::<2>(vector, blocks[2]);
    _mm512_inserti64x2::<3>(vector, blocks[3])
}

/// The inverse of [`gather`].
#[inline]
#[target_feature(enable = "avx512vl,avx512dq")]
fn scatter(vector: Vector, lanes: &mut [&mut [Block]; QUAD], step: usize) {
    let blocks = [
        _mm512_castsi512_si128(vector),
        _mm512_extracti64x2_epi64::<1>(vector),
        _mm512_extracti64x2_epi64::<2>(vector),
        _mm512_extracti64x2_epi64::<3>(vector),
    ];
    for (lane, block) in lanes.iter_mut().zip(blocks) {
        if let Some(place) = lane.get_mut(step) {
            store_block(place, block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::esp::avx512::vector::is_erased_on_drop;

    #[test]
    fn a_batch_leaves_no_key_behind() {
        assert!(is_erased_on_drop(IvKeys([[7; 16]; LANES])));
        assert!(is_erased_on_drop(Lanes {
            keys: [[[7; 16]; LANES]; ROUND_KEYS_MAX],
            blocks: [[7; 16]; LANES],
        }));
    }
}
