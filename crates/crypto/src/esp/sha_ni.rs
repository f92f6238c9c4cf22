//! SHA-1 and SHA-256 (FIPS 180-4) with the SHA extensions, several messages at once.
//!
//! One message keeps the unit busy a third of the time, because each instruction waits for the
//! one before: 120 cycles a block. The instructions of other messages fill the gaps.

#![allow(unsafe_code)]

use core::arch::x86_64::*;

/// What SHA works on at a time.
pub(super) type Chunk = [u8; 64];

/// Words of SHA-256's state; SHA-1 uses five of them.
pub(super) type State = [u32; 8];

/// Does something for each group of four rounds, with the group's number as a constant.
macro_rules! groups {
    ($group:ident in [$($number:literal)*] $body:block) => {
        $({ const $group: usize = $number; $body })*
    };
}

/// The states of `N` messages, with SHA-1 (`WORDS` is 5) or SHA-256 (8).
#[derive(Clone, Copy)]
pub(super) struct Hashing<const N: usize, const WORDS: usize> {
    /// SHA-1's a to d, the first on top; SHA-256's a, b, e, f.
    upper: [__m128i; N],
    /// SHA-1's e, on top; SHA-256's c, d, g, h.
    lower: [__m128i; N],
}

impl<const N: usize, const WORDS: usize> Hashing<N, WORDS> {
    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    pub(super) fn new(states: &[State; N]) -> Self {
        let mut this = Self {
            upper: [_mm_setzero_si128(); N],
            lower: [_mm_setzero_si128(); N],
        };
        for (i, [a, b, c, d, e, f, g, h]) in states.iter().copied().enumerate() {
            if WORDS == 5 {
                (this.upper[i], this.lower[i]) = (words([d, c, b, a]), words([0, 0, 0, e]));
            } else {
                (this.upper[i], this.lower[i]) = (words([f, e, b, a]), words([h, g, d, c]));
            }
        }
        this
    }

    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    pub(super) fn states(&self) -> [State; N] {
        let mut states = [State::default(); N];
        for (i, state) in states.iter_mut().enumerate() {
            let (upper, lower) = (unpack(self.upper[i]), unpack(self.lower[i]));
            *state = match (upper, lower) {
                ([d, c, b, a], [.., e]) if WORDS == 5 => [a, b, c, d, e, 0, 0, 0],
                ([f, e, b, a], [h, g, d, c]) => [a, b, c, d, e, f, g, h],
            };
        }
        states
    }

    /// Adds a block to each message.
    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    pub(super) fn add(&mut self, chunks: [&Chunk; N]) {
        if WORDS == 5 {
            self.add_sha1(chunks);
        } else {
            self.add_sha256(chunks);
        }
    }

    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn add_sha1(&mut self, chunks: [&Chunk; N]) {
        let mut message = [[_mm_setzero_si128(); 4]; N];
        for (message, chunk) in message.iter_mut().zip(chunks) {
            *message = load(chunk);
        }
        let (mut abcd, mut e) = (self.upper, self.lower);
        groups!(GROUP in [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19] {
            for i in 0..N {
                let w = &mut message[i];
                if (4..).contains(&GROUP) {
                    let old = _mm_sha1msg1_epu32(w[GROUP % 4], w[(GROUP + 1) % 4]);
                    let old = _mm_xor_si128(old, w[(GROUP + 2) % 4]);
                    w[GROUP % 4] = _mm_sha1msg2_epu32(old, w[(GROUP + 3) % 4]);
                }
                let added = if GROUP == 0 {
                    _mm_add_epi32(e[i], w[0])
                } else {
                    _mm_sha1nexte_epu32(e[i], w[GROUP % 4])
                };
                e[i] = abcd[i];
                abcd[i] = _mm_sha1rnds4_epu32::<{ (GROUP / 5) as i32 }>(abcd[i], added);
            }
        });
        for i in 0..N {
            self.lower[i] = _mm_sha1nexte_epu32(e[i], self.lower[i]);
            self.upper[i] = _mm_add_epi32(abcd[i], self.upper[i]);
        }
    }

    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn add_sha256(&mut self, chunks: [&Chunk; N]) {
        let mut message = [[_mm_setzero_si128(); 4]; N];
        for (message, chunk) in message.iter_mut().zip(chunks) {
            for (w, octets) in message.iter_mut().zip(load(chunk)) {
                *w = _mm_shuffle_epi32::<0b00_01_10_11>(octets);
            }
        }
        let (mut abef, mut cdgh) = (self.upper, self.lower);
        groups!(GROUP in [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15] {
            let k = words([K[4 * GROUP], K[4 * GROUP + 1], K[4 * GROUP + 2], K[4 * GROUP + 3]]);
            for i in 0..N {
                let w = &mut message[i];
                if (4..).contains(&GROUP) {
                    let (last, before) = (w[(GROUP + 3) % 4], w[(GROUP + 2) % 4]);
                    let old = _mm_sha256msg1_epu32(w[GROUP % 4], w[(GROUP + 1) % 4]);
                    let old = _mm_add_epi32(old, _mm_alignr_epi8::<4>(last, before));
                    w[GROUP % 4] = _mm_sha256msg2_epu32(old, last);
                }
                let added = _mm_add_epi32(w[GROUP % 4], k);
                cdgh[i] = _mm_sha256rnds2_epu32(cdgh[i], abef[i], added);
                let added = _mm_shuffle_epi32::<0b00_00_11_10>(added);
                abef[i] = _mm_sha256rnds2_epu32(abef[i], cdgh[i], added);
            }
        });
        for i in 0..N {
            self.upper[i] = _mm_add_epi32(abef[i], self.upper[i]);
            self.lower[i] = _mm_add_epi32(cdgh[i], self.lower[i]);
        }
    }
}

/// The lowest word first.
#[inline]
#[target_feature(enable = "sse4.1")]
fn words([a, b, c, d]: [u32; 4]) -> __m128i {
    _mm_set_epi32(
        d.cast_signed(),
        c.cast_signed(),
        b.cast_signed(),
        a.cast_signed(),
    )
}

#[inline]
#[target_feature(enable = "sse4.1")]
fn unpack(vector: __m128i) -> [u32; 4] {
    [
        _mm_extract_epi32::<0>(vector),
        _mm_extract_epi32::<1>(vector),
        _mm_extract_epi32::<2>(vector),
        _mm_extract_epi32::<3>(vector),
    ]
    .map(i32::cast_unsigned)
}

/// Sixteen words, the first of each four on top.
#[inline]
#[target_feature(enable = "ssse3")]
fn load(chunk: &Chunk) -> [__m128i; 4] {
    let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut vectors = [_mm_setzero_si128(); 4];
    for (vector, octets) in vectors.iter_mut().zip(chunk.chunks_exact(16)) {
        // SAFETY: reads the 16 octets of the piece; this load needs no alignment.
        let octets = unsafe { _mm_loadu_si128(octets.as_ptr().cast()) };
        *vector = _mm_shuffle_epi8(octets, order);
    }
    vectors
}

/// FIPS 180-4 §5.3.1.
pub(super) const SHA1: State = [
    0x6745_2301,
    0xefcd_ab89,
    0x98ba_dcfe,
    0x1032_5476,
    0xc3d2_e1f0,
    0,
    0,
    0,
];

/// FIPS 180-4 §5.3.3.
pub(super) const SHA256: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// FIPS 180-4 §4.2.2.
pub(super) const K: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn agrees<const N: usize>() {
        let mut random = Random::from_seed([N as u8; 32]);
        let messages: [[Chunk; 5]; N] = std::array::from_fn(|_| {
            std::array::from_fn(|_| std::array::from_fn(|_| random.below(256) as u8))
        });
        // SAFETY: the caller has asked the processor.
        let (sha1_states, sha256_states) = unsafe {
            (
                hash::<N, 5>(SHA1, &messages),
                hash::<N, 8>(SHA256, &messages),
            )
        };
        for i in 0..N {
            let mut expected = *SHA1.first_chunk().unwrap();
            sha1::block_api::compress(&mut expected, &messages[i]);
            assert_eq!(sha1_states[i][..5], expected);
            let mut expected = SHA256;
            sha2::block_api::compress256(&mut expected, &messages[i]);
            assert_eq!(sha256_states[i], expected);
        }
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn hash<const N: usize, const WORDS: usize>(
        initial: State,
        messages: &[[Chunk; 5]; N],
    ) -> [State; N] {
        let mut hashing = Hashing::<N, WORDS>::new(&[initial; N]);
        for block in 0..5 {
            hashing.add(messages.each_ref().map(|message| &message[block]));
        }
        hashing.states()
    }

    #[test]
    fn several_messages_at_once_give_what_each_gives_alone() {
        if crate::cpu::features().sha {
            agrees::<1>();
            agrees::<2>();
            agrees::<3>();
            agrees::<4>();
        } else {
            println!("not run: this CPU has no SHA-NI");
        }
    }
}
