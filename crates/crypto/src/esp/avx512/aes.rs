//! AES on wide registers: key expansion (FIPS 197 §5.2) and the rounds.

use core::arch::x86_64::*;

use super::vector::{Block, Vector, broadcast, load_block, load_quad, store_block, store_quad};

/// Round keys of AES-256, the most there are.
pub(super) const ROUND_KEYS_MAX: usize = 15;

/// Round keys for a key of so many octets.
pub(super) const fn round_keys(key_len: usize) -> usize {
    key_len / 4 + 7
}

/// Does something for each round between the first and the last, with the round's number as a
/// constant: left to itself the compiler makes a jump table of AES-256.
macro_rules! unroll_rounds {
    ($round_keys:ident, $round:ident, $body:block) => {{
        $crate::esp::avx512::aes::unroll_rounds!(@ $round $body 1 2 3 4 5 6 7 8 9);
        if $round_keys >= 13 {
            $crate::esp::avx512::aes::unroll_rounds!(@ $round $body 10 11);
        }
        if $round_keys >= 15 {
            $crate::esp::avx512::aes::unroll_rounds!(@ $round $body 12 13);
        }
    }};
    (@ $round:ident $body:block $($number:literal)*) => {
        $({ const $round: usize = $number; $body })*
    };
}
pub(super) use unroll_rounds;

/// A key schedule with each round key in all four blocks of a vector.
#[derive(Clone, Copy)]
pub(super) struct Wide<const R: usize>([Vector; R]);

impl<const R: usize> Wide<R> {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl")]
    pub(super) fn new(keys: &[Block; ROUND_KEYS_MAX]) -> Self {
        let mut wide = [_mm512_setzero_si512(); R];
        for (wide, key) in wide.iter_mut().zip(keys) {
            *wide = broadcast(key);
        }
        Self(wide)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,vaes")]
    pub(super) fn encrypt<const N: usize>(&self, mut state: [Vector; N]) -> [Vector; N] {
        for block in &mut state {
            *block = _mm512_xor_si512(*block, self.0[0]);
        }
        unroll_rounds!(R, ROUND, {
            for block in &mut state {
                *block = _mm512_aesenc_epi128(*block, self.0[ROUND]);
            }
        });
        for block in &mut state {
            *block = _mm512_aesenclast_epi128(*block, self.0[R - 1]);
        }
        state
    }

    /// The same of four, with something else to do behind each round between the first and the last.
    #[inline]
    #[target_feature(enable = "avx512bw,vaes")]
    pub(super) fn encrypt_beside(
        &self,
        mut state: [Vector; 4],
        mut beside: impl FnMut(usize, &mut [Vector; 4]),
    ) -> [Vector; 4] {
        for block in &mut state {
            *block = _mm512_xor_si512(*block, self.0[0]);
        }
        unroll_rounds!(R, ROUND, {
            for block in &mut state {
                *block = _mm512_aesenc_epi128(*block, self.0[ROUND]);
            }
            beside(ROUND, &mut state);
        });
        for block in &mut state {
            *block = _mm512_aesenclast_epi128(*block, self.0[R - 1]);
        }
        state
    }

    /// With the schedule of [`inverse`].
    #[inline]
    #[target_feature(enable = "avx512bw,vaes")]
    pub(super) fn decrypt<const N: usize>(&self, mut state: [Vector; N]) -> [Vector; N] {
        for block in &mut state {
            *block = _mm512_xor_si512(*block, self.0[0]);
        }
        unroll_rounds!(R, ROUND, {
            for block in &mut state {
                *block = _mm512_aesdec_epi128(*block, self.0[ROUND]);
            }
        });
        for block in &mut state {
            *block = _mm512_aesdeclast_epi128(*block, self.0[R - 1]);
        }
        state
    }
}

/// FIPS 197 §5.2: the schedule of a key of 16, 24 or 32 octets.
#[target_feature(enable = "aes,avx512vl")]
pub(super) fn expand(key: &[u8]) -> [Block; ROUND_KEYS_MAX] {
    let mut keys = [Block::default(); ROUND_KEYS_MAX];
    let (words, _) = keys.as_flattened_mut().as_chunks_mut::<4>();
    let key_words = key.len() / 4;
    let (given, _) = key.as_chunks::<4>();
    words[..key_words].copy_from_slice(given);
    let mut round_constant = 1_u8;
    for i in key_words..4 * round_keys(key.len()) {
        let mut word = u32::from_le_bytes(words[i - 1]);
        if i % key_words == 0 {
            word = substitute(word).rotate_right(8) ^ u32::from(round_constant);
            round_constant = (round_constant << 1) ^ ((round_constant >> 7) * 0x1b);
        } else if key_words > 6 && i % key_words == 4 {
            word = substitute(word);
        }
        words[i] = (u32::from_le_bytes(words[i - key_words]) ^ word).to_le_bytes();
    }
    keys
}

/// The S-box on each octet of a word, without a table.
#[target_feature(enable = "aes")]
fn substitute(word: u32) -> u32 {
    let word = _mm_cvtsi32_si128(word.cast_signed());
    _mm_cvtsi128_si32(_mm_aeskeygenassist_si128::<0>(_mm_slli_si128::<4>(word))).cast_unsigned()
}

/// FIPS 197 §5.3.5: the schedule of the equivalent inverse cipher.
#[target_feature(enable = "aes,avx512vl")]
pub(super) fn inverse(keys: &[Block; ROUND_KEYS_MAX], key_len: usize) -> [Block; ROUND_KEYS_MAX] {
    let last = round_keys(key_len) - 1;
    let mut inverse = [Block::default(); ROUND_KEYS_MAX];
    inverse[0] = keys[last];
    inverse[last] = keys[0];
    for i in 1..last {
        let key = _mm_aesimc_si128(load_block(&keys[last - i]));
        store_block(&mut inverse[i], key);
    }
    inverse
}

/// A block of zeros under a key of so many octets: H of GCM.
#[target_feature(enable = "aes,avx512vl")]
pub(super) fn encrypt_zero(keys: &[Block; ROUND_KEYS_MAX], key_len: usize) -> __m128i {
    let last = round_keys(key_len) - 1;
    let mut state = load_block(&keys[0]);
    for key in &keys[1..last] {
        state = _mm_aesenc_si128(state, load_block(key));
    }
    _mm_aesenclast_si128(state, load_block(&keys[last]))
}

/// Blocks, each under a key of its own that is used once: sixteen schedules of AES-128 come into
/// being round by round beside the rounds themselves.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,vaes")]
pub(super) fn encrypt_each(keys: &[Block; 16], blocks: &[Block; 16]) -> [Block; 16] {
    const CONSTANTS: [i32; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 0x1b, 0x36];
    // The last word rotated, in all four words: then shifting rows changes nothing, and the last
    // round of AES is the S-box and the constant.
    let rotation = _mm512_set1_epi32(0x0c_0f_0e_0d);
    let mut keys = quads(keys);
    let mut state = quads(blocks);
    for (state, key) in state.iter_mut().zip(keys) {
        *state = _mm512_xor_si512(*state, key);
    }
    for (round, constant) in CONSTANTS.into_iter().enumerate() {
        let constant = _mm512_set1_epi32(constant);
        for (state, key) in state.iter_mut().zip(&mut keys) {
            let word = _mm512_shuffle_epi8(*key, rotation);
            let word = _mm512_aesenclast_epi128(word, constant);
            let sums = _mm512_xor_si512(*key, _mm512_bslli_epi128::<4>(*key));
            let sums = _mm512_xor_si512(sums, _mm512_bslli_epi128::<8>(sums));
            *key = _mm512_xor_si512(sums, word);
            *state = if round + 1 < CONSTANTS.len() {
                _mm512_aesenc_epi128(*state, *key)
            } else {
                _mm512_aesenclast_epi128(*state, *key)
            };
        }
    }
    let mut sealed = [Block::default(); 16];
    for (blocks, state) in sealed.as_chunks_mut().0.iter_mut().zip(state) {
        store_quad(blocks, state);
    }
    sealed
}

#[inline]
#[target_feature(enable = "avx512bw")]
fn quads(blocks: &[Block; 16]) -> [Vector; 4] {
    let mut quads = [_mm512_setzero_si512(); 4];
    for (quad, blocks) in quads.iter_mut().zip(blocks.as_chunks().0) {
        *quad = load_quad(blocks);
    }
    quads
}
