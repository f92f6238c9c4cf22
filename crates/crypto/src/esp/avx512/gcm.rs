//! AES-GCM with a 16-octet ICV (RFC 4106), straight on the packet.
//!
//! Vectors of 64 octets begin at the ESP header. The header is as long as a block, so that the
//! packet lines up with the key stream and with what GHASH takes in:
//!
//! ```text
//!   packet      SPI SEQ IV │ C₁      │ C₂      │ C₃   ║ C₄      │ C₅…     │ ICV
//!   key stream  E(J₀)      │ E(J₀+1) │ E(J₀+2) │ …    ║
//!   GHASH       AAD        │ C₁      │ C₂      │ C₃   ║ C₄      │ C₅… 0 0 │ length
//! ```
//!
//! So nothing has to be computed apart: the ICV is the GHASH and the first block of key stream.

use core::arch::x86_64::*;

use super::aes::Wide;
use super::ghash::{self, Product, Steps, Sums};
use super::vector::{
    Block, VECTOR_LEN, Vector, abreast, load, load_block, load_part, mask, store, store_block,
    store_part,
};
use super::{Key, Slots};
use crate::cpu::{self, Approach};
use crate::esp::{Direction, EspJob, Suite, Verdict};

const ICV_LEN: usize = 16;

/// How many packets ahead of the one at work keys are fetched: a short packet takes less time than a
/// miss. Of 64 octets, 8 instead of 14 cost 6 ns with 100 000 SAs, and 20 bring nothing more; of 1400,
/// 3 instead of 7 cost 5 ns with a million.
const KEYS_AHEAD: usize = 14;
const KEYS_AHEAD_OF_LONG: usize = 7;

/// How many packets ahead of the one at work bodies are fetched (2.6 times slower without, if
/// they are not in the cache); the first octets are there, because others have looked at them.
const BODY_AHEAD: usize = 3;
const HEAD_LEN: usize = 2 * VECTOR_LEN;

/// Octets from which on a packet is long.
const LONG: usize = 1024;

/// Blocks in a vector.
const BLOCKS: usize = VECTOR_LEN / size_of::<Block>();

/// Vectors at work together.
const GROUP: usize = 4;

/// Opens (or seals) packets, whose round keys are `R`.
#[inline(never)] // The compiler does better with each key length in a function of its own.
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
pub(super) fn batch<const R: usize, const SEAL: bool>(
    keys: &Slots<Key>,
    suite: Suite,
    jobs: &mut [EspJob<'_>],
    ahead: &mut impl FnMut(usize),
) {
    let direction = if SEAL {
        Direction::Seal
    } else {
        Direction::Open
    };
    // They are sorted by length: what the first is, nearly all are.
    let keys_ahead = match jobs.first() {
        Some(job) if job.packet.len() >= LONG => KEYS_AHEAD_OF_LONG,
        _ => KEYS_AHEAD,
    };
    for job in jobs.iter().take(keys_ahead) {
        keys.prefetch(job.slot);
    }
    for i in 0..jobs.len() {
        ahead(i);
        if let Some(next) = jobs.get(i + keys_ahead) {
            keys.prefetch(next.slot);
        }
        let later = jobs.get(i + BODY_AHEAD);
        let mut body = later.map_or_else(Approach::default, |later| approach(later.packet));
        let job = &mut jobs[i];
        job.verdict = match keys.key(job.slot) {
            _ if !suite.is_packet_len(job.packet.len()) => Verdict::BadLength,
            Some(key) if key.serves(suite, direction) => one::<R, SEAL>(key, job, &mut body),
            Some(_) | None => Verdict::BadIcv,
        };
        body.finish();
    }
}

/// Asks for a body, or for the first lines of a long one: the others are asked for while packets in front of
/// it are at work.
#[inline(always)]
fn approach(packet: &[u8]) -> Approach {
    if packet.len() < LONG {
        cpu::prefetch_bytes(packet, HEAD_LEN, usize::MAX);
        return Approach::default();
    }
    let mut body = Approach::to::<GROUP>(packet, HEAD_LEN);
    body.step::<GROUP>();
    body.step::<GROUP>();
    body
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
fn one<const R: usize, const SEAL: bool>(
    key: &Key,
    job: &mut EspJob<'_>,
    body: &mut Approach,
) -> Verdict {
    let Some((packet, icv)) = job.packet.split_last_chunk_mut::<ICV_LEN>() else {
        return Verdict::BadLength;
    };
    let Some(first) = packet.first_chunk() else {
        return Verdict::BadLength;
    };
    let header = Header::of::<SEAL>(key, first, job.esn_high);
    let expected = transform::<R, SEAL>(key, &header, packet, body);
    if SEAL {
        store_block(icv, expected);
        return Verdict::Ok;
    }
    // All octets at once, so that nobody learns how many are right.
    if _mm_cmpneq_epi8_mask(expected, load_block(icv)) == 0 {
        return Verdict::Ok;
    }
    // It was decrypted while it was verified; nobody shall see what came out.
    packet[size_of::<Block>()..].fill(0);
    Verdict::BadIcv
}

/// The first block in its three roles.
struct Header {
    /// SPI, sequence number and IV, as they stand in the packet.
    octets: __m128i,
    /// RFC 4106 §5: SPI and sequence number, the latter in full if it is extended.
    associated: __m128i,
    associated_len: usize,
    /// RFC 4106 §4: salt and IV; then GCM's block counter, which begins with 1.
    nonce: __m128i,
}

impl Header {
    #[inline]
    #[target_feature(enable = "avx512vl")]
    fn of<const SEAL: bool>(key: &Key, first: &Block, esn_high: Option<u32>) -> Self {
        let came = load_block(first);
        let high = esn_high.unwrap_or(0).swap_bytes().cast_signed();
        let octets = if SEAL {
            // RFC 4106 §3.1: an IV must not repeat under a key, which a counter makes sure of.
            _mm_insert_epi32::<2>(_mm_shuffle_epi32::<0b01_01_01_00>(came), high)
        } else {
            came
        };
        let (associated, associated_len) = match esn_high {
            Some(_) => {
                let spread = _mm_maskz_shuffle_epi32::<0b11_01_01_00>(0b0101, came);
                (_mm_insert_epi32::<1>(spread, high), 12)
            }
            None => (_mm_move_epi64(came), 8),
        };
        let nonce = _mm_insert_epi32::<3>(_mm_shuffle_epi32::<0b00_11_10_00>(octets), 1);
        Self {
            octets,
            associated,
            associated_len,
            nonce: _mm_insert_epi32::<0>(nonce, i32::from_le_bytes(key.salt)),
        }
    }

    /// GHASH's last block, reversed: how many bits were associated, and how many encrypted.
    #[inline]
    #[target_feature(enable = "avx512vl")]
    fn lengths(&self, packet_len: usize) -> __m128i {
        let encrypted = packet_len - size_of_val(&self.octets);
        _mm_set_epi64x(8 * self.associated_len as i64, 8 * encrypted as i64)
    }
}

/// Encrypts or decrypts everything behind the header; returns the ICV as it should be.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
fn transform<const R: usize, const SEAL: bool>(
    key: &Key,
    header: &Header,
    packet: &mut [u8],
    body: &mut Approach,
) -> __m128i {
    let lengths = header.lengths(packet.len());
    let mut walk = Walk::<R, SEAL>::new(key, header);
    let (vectors, rest) = packet.as_chunks_mut::<VECTOR_LEN>();
    let Some((first, vectors)) = vectors.split_first_mut() else {
        let input = walk.first(header, rest);
        return walk.last(input, rest.len(), lengths, key);
    };
    let input = walk.first(header, first);
    walk.sums = Sums(input);
    walk.middle(vectors, &Steps::new(&key.material, vectors.len()), body);
    let input = walk.part(rest);
    walk.last(input, rest.len(), lengths, key)
}

/// A packet on its way through.
struct Walk<const R: usize, const SEAL: bool> {
    aes: Wide<R>,
    /// The next four, the lowest word of each with its octets reversed.
    counters: Vector,
    sums: Sums,
    /// What the ICV is encrypted with.
    icv_mask: __m128i,
}

impl<const R: usize, const SEAL: bool> Walk<R, SEAL> {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512dq")]
    fn new(key: &Key, header: &Header) -> Self {
        let first = _mm512_broadcast_i32x4(header.nonce);
        Self {
            aes: Wide::new(&key.rounds),
            counters: _mm512_add_epi32(
                first,
                _mm512_set_epi32(3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0),
            ),
            sums: Sums(_mm512_setzero_si512()),
            icv_mask: _mm_setzero_si128(),
        }
    }

    /// The vector with the header in it, full or not: returns what GHASH takes in.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,bmi2")]
    fn first(&mut self, header: &Header, octets: &mut [u8]) -> Vector {
        let [stream] = self.key_stream();
        self.icv_mask = _mm512_castsi512_si128(stream);
        let input = _mm512_inserti32x4::<0>(load_part(octets), header.octets);
        let stream = _mm512_maskz_mov_epi64(0b1111_1100, stream);
        let output = _mm512_xor_si512(input, stream);
        store_part(octets, output);
        let taken = Self::taken(input, output, octets.len());
        ghash::reverse(_mm512_inserti32x4::<0>(taken, header.associated))
    }

    /// Full vectors, while those of a later packet are asked for.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
    fn middle(&mut self, vectors: &mut [[u8; VECTOR_LEN]], steps: &Steps, body: &mut Approach) {
        let (groups, rest) = vectors.as_chunks_mut::<GROUP>();
        if let Some((first, groups)) = groups.split_first_mut() {
            let mut taken = self.cross(first.each_mut());
            for group in groups {
                body.step::<GROUP>();
                taken = self.weave(group.each_mut(), taken, steps);
            }
            self.sums = self.sums.add(taken, steps);
        }
        match rest {
            [a, b, c] => {
                let taken = self.cross([a, b, c]);
                self.sums = self.sums.add(taken, steps);
            }
            [a, b] => {
                let taken = self.cross([a, b]);
                self.sums = self.sums.add(taken, steps);
            }
            [a] => {
                let taken = self.cross([a]);
                self.sums = self.sums.add(taken, steps);
            }
            _ => (),
        }
    }

    /// Encrypts or decrypts a group while GHASH takes in the one before it, which needs nothing of this one's
    /// AES: a product behind every few rounds. One behind the other they cost more, with keys of 256 bits
    /// a tenth of a packet's whole way: the compiler runs out of registers, the processor of places where
    /// instructions wait.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
    fn weave(
        &mut self,
        octets: [&mut [u8; VECTOR_LEN]; GROUP],
        taken: [Vector; GROUP],
        steps: &Steps,
    ) -> [Vector; GROUP] {
        let every = (R - 2) / GROUP;
        let (sums, counters) = (self.sums, self.counters());
        let mut product = Product::none();
        let mut vectors = self.aes.encrypt_beside(counters, |round, state| {
            let (nth, rest) = ((round - 1) / every, (round - 1) % every);
            if rest == 0 && nth < GROUP {
                product = product.plus(sums.product(nth, &taken, steps));
                abreast(&mut product.middle, state);
            }
        });
        Self::apply(&mut vectors, octets);
        self.sums = Sums::of(product, taken[GROUP - 1]);
        vectors
    }

    /// Encrypts or decrypts full vectors; returns what GHASH takes in.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
    fn cross<const N: usize>(&mut self, octets: [&mut [u8; VECTOR_LEN]; N]) -> [Vector; N] {
        let mut vectors = self.key_stream::<N>();
        Self::apply(&mut vectors, octets);
        vectors
    }

    /// The key stream comes upon full vectors; what GHASH takes in is left in its place.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
    fn apply<const N: usize>(vectors: &mut [Vector; N], octets: [&mut [u8; VECTOR_LEN]; N]) {
        for (vector, octets) in vectors.iter_mut().zip(octets) {
            let input = load(octets);
            let output = _mm512_xor_si512(input, *vector);
            store(octets, output);
            *vector = ghash::reverse(if SEAL { output } else { input });
        }
    }

    /// The octets behind the last full vector; returns what GHASH takes in.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,bmi2")]
    fn part(&mut self, octets: &mut [u8]) -> Vector {
        let [stream] = self.key_stream();
        let input = load_part(octets);
        let output = _mm512_xor_si512(input, stream);
        store_part(octets, output);
        ghash::reverse(Self::taken(input, output, octets.len()))
    }

    /// The ciphertext, whichever that is, and zeros behind it.
    #[inline]
    #[target_feature(enable = "avx512bw,bmi2")]
    fn taken(input: Vector, output: Vector, len: usize) -> Vector {
        if SEAL {
            _mm512_maskz_mov_epi8(mask(len), output)
        } else {
            input
        }
    }

    /// Puts the lengths behind the last octets: the ICV as it should be.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512dq,vpclmulqdq,bmi2")]
    fn last(self, input: Vector, len: usize, lengths: __m128i, key: &Key) -> __m128i {
        let blocks = len.div_ceil(size_of::<Block>());
        let (sums, input, blocks) = if blocks < BLOCKS {
            (self.sums, input, blocks)
        } else {
            // They need a vector of their own.
            let steps = Steps::new(&key.material, 1);
            (self.sums.add([input], &steps), _mm512_setzero_si512(), 0)
        };
        let lane = 0b1111 << (4 * blocks);
        let input = _mm512_mask_broadcast_i32x4(input, lane, lengths);
        let hash = sums.finish(input, blocks + 1, &key.material);
        _mm_xor_si128(ghash::reverse_block(hash), self.icv_mask)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,vaes")]
    fn key_stream<const N: usize>(&mut self) -> [Vector; N] {
        let counters = self.counters();
        self.aes.encrypt(counters)
    }

    /// What the next vectors of key stream are made of.
    #[inline]
    #[target_feature(enable = "avx512bw")]
    fn counters<const N: usize>(&mut self) -> [Vector; N] {
        let four = _mm512_broadcast_i32x4(_mm_set_epi32(BLOCKS as i32, 0, 0, 0));
        let order = _mm512_broadcast_i32x4(_mm_set_epi8(
            12, 13, 14, 15, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,
        ));
        let mut counters = [self.counters; N];
        for counters in &mut counters {
            *counters = _mm512_shuffle_epi8(self.counters, order);
            self.counters = _mm512_add_epi32(self.counters, four);
        }
        counters
    }
}
