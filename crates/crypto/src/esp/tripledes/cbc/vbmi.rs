//! AVX-512 with VBMI: 64 blocks at once, an S-box is one instruction.

#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128i, __m512i, _mm_loadu_si128, _mm512_and_si512, _mm512_broadcast_i32x4,
    _mm512_loadu_si512, _mm512_permutexvar_epi8, _mm512_set1_epi8, _mm512_shuffle_epi8,
    _mm512_slli_epi16, _mm512_srli_epi16, _mm512_storeu_si512, _mm512_ternarylogic_epi32,
    _mm512_unpackhi_epi8, _mm512_unpacklo_epi8, _mm512_xor_si512,
};

use super::tables::{Layout, Table};
use super::{BLOCK_LEN, Chain, Instructions, Schedule};

/// Proof that this processor has AVX-512 F, BW and VBMI.
#[derive(Clone, Copy)]
pub(in crate::esp::tripledes) struct Vbmi(());

impl Vbmi {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi"))
        .then_some(Self(()))
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn decrypt(isa: Vbmi, key: &Schedule, iv: [u8; BLOCK_LEN], body: &mut [[u8; BLOCK_LEN]]) {
    super::decrypt(isa, key, iv, body);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn encrypt<'a>(isa: Vbmi, packets: impl Iterator<Item = Chain<'a>>) {
    super::encrypt(isa, packets);
}

impl Instructions for Vbmi {
    /// VPERMB looks at the lower six bits of a byte.
    const LAYOUT: Layout = [0, 1, 2, 3, 4, 5];

    type Vector = __m512i;

    #[inline(always)]
    fn load(self, from: &[u64]) -> __m512i {
        assert!(from.len() == 8);
        // SAFETY: the slice has 64 bytes.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, vector: __m512i, to: &mut [u64]) {
        assert!(to.len() == 8);
        // SAFETY: the slice has 64 bytes.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), vector) }
    }

    #[inline(always)]
    fn splat(self, byte: u8) -> __m512i {
        // SAFETY: `self` proves AVX-512 F.
        unsafe { _mm512_set1_epi8(byte.cast_signed()) }
    }

    #[inline(always)]
    fn xor(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512 F.
        unsafe { _mm512_xor_si512(a, b) }
    }

    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512 F.
        unsafe { _mm512_and_si512(a, b) }
    }

    #[inline(always)]
    fn xor_masked(self, a: __m512i, b: __m512i, mask: __m512i) -> __m512i {
        // a ^ (b & mask) for every a, b, mask: 1 where the index, read as those three bits, is
        // 3 (011), 4, 5 or 6.
        const XOR_AND: i32 = 0b0111_1000;
        // SAFETY: `self` proves AVX-512 F.
        unsafe { _mm512_ternarylogic_epi32::<XOR_AND>(a, b, mask) }
    }

    #[inline(always)]
    fn shift_left<const N: i32>(self, a: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512 BW.
        unsafe {
            match N {
                1 => _mm512_slli_epi16::<1>(a),
                2 => _mm512_slli_epi16::<2>(a),
                _ => _mm512_slli_epi16::<4>(a),
            }
        }
    }

    #[inline(always)]
    fn shift_right<const N: i32>(self, a: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512 BW.
        unsafe {
            match N {
                1 => _mm512_srli_epi16::<1>(a),
                2 => _mm512_srli_epi16::<2>(a),
                _ => _mm512_srli_epi16::<4>(a),
            }
        }
    }

    #[inline(always)]
    fn interleave(self, a: __m512i, b: __m512i) -> [__m512i; 2] {
        // SAFETY: `self` proves AVX-512 BW.
        unsafe { [_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b)] }
    }

    #[inline(always)]
    fn look_up(self, table: &Table, six: __m512i) -> __m512i {
        // SAFETY: the table has 64 bytes; `self` proves VBMI.
        unsafe { _mm512_permutexvar_epi8(six, _mm512_loadu_si512(table.0.as_ptr().cast())) }
    }

    #[inline(always)]
    fn look_up_16(self, table: &[u8; 16], four: __m512i) -> __m512i {
        // SAFETY: the table has 16 bytes; `self` proves AVX-512 BW.
        unsafe {
            let table = _mm_loadu_si128(table.as_ptr().cast::<__m128i>());
            _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), four)
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
