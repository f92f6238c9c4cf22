//! AVX2: 32 blocks at once, an S-box is four look-ups in 16 bytes.

#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm256_add_epi8, _mm256_and_si256, _mm256_blendv_epi8,
    _mm256_broadcastsi128_si256, _mm256_loadu_si256, _mm256_or_si256, _mm256_set1_epi8,
    _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_srli_epi16, _mm256_storeu_si256,
    _mm256_unpackhi_epi8, _mm256_unpacklo_epi8, _mm256_xor_si256,
};

use super::tables::{Layout, Table};
use super::{BLOCK_LEN, Chain, Instructions, Schedule};

/// Proof that this processor has AVX2.
#[derive(Clone, Copy)]
pub(in crate::esp::tripledes) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

#[target_feature(enable = "avx2")]
fn decrypt(isa: Avx2, key: &Schedule, iv: [u8; BLOCK_LEN], body: &mut [[u8; BLOCK_LEN]]) {
    super::decrypt(isa, key, iv, body);
}

#[target_feature(enable = "avx2")]
fn encrypt<'a>(isa: Avx2, packets: impl Iterator<Item = Chain<'a>>) {
    super::encrypt(isa, packets);
}

impl Instructions for Avx2 {
    /// VPSHUFB looks up the lower four bits of a byte unless the highest is set, which gives 0;
    /// the second highest is easily made the highest.
    const LAYOUT: Layout = [0, 1, 2, 3, 7, 6];

    type Vector = __m256i;

    #[inline(always)]
    fn load(self, from: &[u64]) -> __m256i {
        assert!(from.len() == 4);
        // SAFETY: the slice has 32 bytes.
        unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, vector: __m256i, to: &mut [u64]) {
        assert!(to.len() == 4);
        // SAFETY: the slice has 32 bytes.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), vector) }
    }

    #[inline(always)]
    fn splat(self, byte: u8) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_set1_epi8(byte.cast_signed()) }
    }

    #[inline(always)]
    fn xor(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_xor_si256(a, b) }
    }

    #[inline(always)]
    fn and(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_and_si256(a, b) }
    }

    #[inline(always)]
    fn xor_masked(self, a: __m256i, b: __m256i, mask: __m256i) -> __m256i {
        self.xor(a, self.and(b, mask))
    }

    #[inline(always)]
    fn shift_left<const N: i32>(self, a: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe {
            match N {
                1 => _mm256_slli_epi16::<1>(a),
                2 => _mm256_slli_epi16::<2>(a),
                _ => _mm256_slli_epi16::<4>(a),
            }
        }
    }

    #[inline(always)]
    fn shift_right<const N: i32>(self, a: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe {
            match N {
                1 => _mm256_srli_epi16::<1>(a),
                2 => _mm256_srli_epi16::<2>(a),
                _ => _mm256_srli_epi16::<4>(a),
            }
        }
    }

    #[inline(always)]
    fn interleave(self, a: __m256i, b: __m256i) -> [__m256i; 2] {
        // SAFETY: `self` proves AVX2.
        unsafe { [_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)] }
    }

    #[inline(always)]
    fn look_up(self, table: &Table, six: __m256i) -> __m256i {
        let (rows, _) = table.0.as_chunks::<16>();
        let other = self.xor(six, self.splat(0x80));
        // SAFETY: `self` proves AVX2.
        unsafe {
            let row = |row: &[u8; 16], at| self.look_up_16(row, at);
            let clear = _mm256_or_si256(row(&rows[0], six), row(&rows[1], other));
            let set = _mm256_or_si256(row(&rows[2], six), row(&rows[3], other));
            _mm256_blendv_epi8(clear, set, _mm256_add_epi8(six, six))
        }
    }

    #[inline(always)]
    fn look_up_16(self, table: &[u8; 16], four: __m256i) -> __m256i {
        // SAFETY: the table has 16 bytes; `self` proves AVX2.
        unsafe {
            let table = _mm_loadu_si128(table.as_ptr().cast::<__m128i>());
            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), four)
        }
    }

    fn decrypt(self, key: &Schedule, iv: [u8; BLOCK_LEN], body: &mut [[u8; BLOCK_LEN]]) {
        // SAFETY: `self` proves that the processor has the features.
        unsafe { decrypt(self, key, iv, body) }
    }

    fn encrypt<'a>(self, packets: impl Iterator<Item = Chain<'a>>) {
        // SAFETY: as above.
        unsafe { encrypt(self, packets) }
    }
}
