//! SHA-1 and SHA-256 (FIPS 180-4) of sixteen messages, each in a word of its own of every vector.

use core::arch::x86_64::*;

use super::vector::{Vector, load};
use crate::esp::sha_ni::{Chunk, K};

/// Messages at once.
pub(super) const LANES: usize = 16;

/// Does something for each number, as a constant.
macro_rules! each {
    ($name:ident in [$($number:literal)*] $body:block) => {
        $({ const $name: usize = $number; $body })*
    };
}

/// Adds a block to each of sixteen states, of SHA-1 (five words) or of SHA-256 (eight).
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
pub(super) fn add<const WORDS: usize>(state: &mut [Vector; 8], w: [Vector; LANES]) {
    add_beside::<WORDS>(state, w, |_, _, _| ());
}

/// As [`add`]. The rounds wait for each other half of the time; what `beside` does, called after
/// each with its result, its number, and how many there are, fills the gaps.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
pub(super) fn add_beside<const WORDS: usize>(
    state: &mut [Vector; 8],
    w: [Vector; LANES],
    mut beside: impl FnMut(&mut Vector, usize, usize),
) {
    match state.first_chunk_mut() {
        Some(state) if WORDS == 5 => sha1(state, w, |a, round| beside(a, round, 80)),
        _ => sha256(state, w, |a, round| beside(a, round, 64)),
    }
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn sha1(
    state: &mut [Vector; 5],
    mut w: [Vector; LANES],
    mut beside: impl FnMut(&mut Vector, usize),
) {
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    // FIPS 180-4 §4.1.1: choice, parity, majority, parity; the numbers are their truth tables.
    macro_rules! twenty {
        ($first:literal, $function:ident, $k:literal) => {{
            let k = _mm512_set1_epi32($k as i32);
            each!(ROUND in [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19] {
                const T: usize = $first + ROUND;
                if T >= 16 {
                    let old = _mm512_ternarylogic_epi32::<PARITY>(w[(T + 13) % 16], w[(T + 8) % 16], w[(T + 2) % 16]);
                    w[T % 16] = _mm512_rol_epi32::<1>(_mm512_xor_si512(old, w[T % 16]));
                }
                let function = _mm512_ternarylogic_epi32::<$function>(b, c, d);
                let sum = _mm512_add_epi32(_mm512_add_epi32(e, w[T % 16]), _mm512_add_epi32(function, k));
                (e, d, c, b) = (d, c, _mm512_rol_epi32::<30>(b), a);
                a = _mm512_add_epi32(_mm512_rol_epi32::<5>(a), sum);
                beside(&mut a, T);
            });
        }};
    }
    twenty!(0, CHOICE, 0x5a82_7999_u32);
    twenty!(20, PARITY, 0x6ed9_eba1_u32);
    twenty!(40, MAJORITY, 0x8f1b_bcdc_u32);
    twenty!(60, PARITY, 0xca62_c1d6_u32);
    for (word, add) in state.iter_mut().zip([a, b, c, d, e]) {
        *word = _mm512_add_epi32(*word, add);
    }
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn sha256(
    state: &mut [Vector; 8],
    mut w: [Vector; LANES],
    mut beside: impl FnMut(&mut Vector, usize),
) {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    macro_rules! sixteen {
        ($first:literal) => {
            each!(ROUND in [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15] {
                const T: usize = $first + ROUND;
                if T >= 16 {
                    let small_0 = small_sigma::<7, 18, 3>(w[(T + 1) % 16]);
                    let small_1 = small_sigma::<17, 19, 10>(w[(T + 14) % 16]);
                    let old = _mm512_add_epi32(w[T % 16], w[(T + 9) % 16]);
                    w[T % 16] = _mm512_add_epi32(old, _mm512_add_epi32(small_0, small_1));
                }
                let added = _mm512_add_epi32(w[T % 16], _mm512_set1_epi32(K[T] as i32));
                let choice = _mm512_ternarylogic_epi32::<CHOICE>(e, f, g);
                let majority = _mm512_ternarylogic_epi32::<MAJORITY>(a, b, c);
                let first = _mm512_add_epi32(
                    _mm512_add_epi32(h, added),
                    _mm512_add_epi32(choice, big_sigma::<6, 11, 25>(e)),
                );
                let second = _mm512_add_epi32(majority, big_sigma::<2, 13, 22>(a));
                (h, g, f, e) = (g, f, e, _mm512_add_epi32(d, first));
                (d, c, b, a) = (c, b, a, _mm512_add_epi32(first, second));
                beside(&mut a, T);
            });
        };
    }
    sixteen!(0);
    sixteen!(16);
    sixteen!(32);
    sixteen!(48);
    for (word, add) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = _mm512_add_epi32(*word, add);
    }
}

/// Truth tables of FIPS 180-4's functions of three bits.
const CHOICE: i32 = 0xca;
const PARITY: i32 = 0x96;
const MAJORITY: i32 = 0xe8;

#[inline]
#[target_feature(enable = "avx512bw")]
fn small_sigma<const A: i32, const B: i32, const SHIFT: u32>(x: Vector) -> Vector {
    _mm512_ternarylogic_epi32::<PARITY>(
        _mm512_ror_epi32::<A>(x),
        _mm512_ror_epi32::<B>(x),
        _mm512_srli_epi32::<SHIFT>(x),
    )
}

#[inline]
#[target_feature(enable = "avx512bw")]
fn big_sigma<const A: i32, const B: i32, const C: i32>(x: Vector) -> Vector {
    _mm512_ternarylogic_epi32::<PARITY>(
        _mm512_ror_epi32::<A>(x),
        _mm512_ror_epi32::<B>(x),
        _mm512_ror_epi32::<C>(x),
    )
}

/// Word `t` of every message in vector `t`.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(super) fn words(chunks: &[&Chunk; LANES]) -> [Vector; LANES] {
    transposed(chunks.map(|chunk| big_endian(load(chunk))))
}

/// Words from or to the octets of FIPS 180-4 §3.1.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(super) fn big_endian(words: Vector) -> Vector {
    let order = _mm512_broadcast_i32x4(_mm_set_epi8(
        12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3,
    ));
    _mm512_shuffle_epi8(words, order)
}

/// Rows to columns, and columns to rows.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(super) fn transposed(rows: [Vector; LANES]) -> [Vector; LANES] {
    // Four rows and four columns at a time within each 128 bits …
    let mut squares = rows;
    for (square, rows) in squares.chunks_exact_mut(4).zip(rows.chunks_exact(4)) {
        let (low_01, high_01) = (
            _mm512_unpacklo_epi32(rows[0], rows[1]),
            _mm512_unpackhi_epi32(rows[0], rows[1]),
        );
        let (low_23, high_23) = (
            _mm512_unpacklo_epi32(rows[2], rows[3]),
            _mm512_unpackhi_epi32(rows[2], rows[3]),
        );
        square[0] = _mm512_unpacklo_epi64(low_01, low_23);
        square[1] = _mm512_unpackhi_epi64(low_01, low_23);
        square[2] = _mm512_unpacklo_epi64(high_01, high_23);
        square[3] = _mm512_unpackhi_epi64(high_01, high_23);
    }
    // … then the squares themselves.
    let mut columns = rows;
    for j in 0..4 {
        let even = |a: Vector, b: Vector| _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b);
        let odd = |a: Vector, b: Vector| _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b);
        let (top, bottom) = (
            (squares[j], squares[4 + j]),
            (squares[8 + j], squares[12 + j]),
        );
        let (even_top, even_bottom) = (even(top.0, top.1), even(bottom.0, bottom.1));
        let (odd_top, odd_bottom) = (odd(top.0, top.1), odd(bottom.0, bottom.1));
        columns[j] = even(even_top, even_bottom);
        columns[4 + j] = even(odd_top, odd_bottom);
        columns[8 + j] = odd(even_top, even_bottom);
        columns[12 + j] = odd(odd_top, odd_bottom);
    }
    columns
}
