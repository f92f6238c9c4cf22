//! GHASH (NIST SP 800-38D §6.4) with carry-less multiplication, four blocks a vector.
//!
//! Blocks are held with their octets reversed and H is multiplied by x once, which turns GHASH's
//! reflected bits into plain products (the construction of POLYVAL, RFC 8452 appendix A). Each of
//! the four lanes runs a sum of its own, over every fourth block; the lanes meet at the end:
//!
//! ```text
//!   blocks   0  1  2  3 │ 4  5  6  7 │ 8  9 10          11 blocks: the last vector has 3
//!   lanes    a  b  c  d │ a  b  c  d │ a  b  c
//!
//!   sum     = (0 1 2 3)·H⁴ + (4 5 6 7)                  as many vectors as are full
//!   result  = sum · (H⁷ H⁶ H⁵ H⁴) + (8 9 10) · (H³ H² H¹)
//! ```

use core::arch::x86_64::*;

use super::vector::{Block, Vector, broadcast, load_part, store_block};

/// Powers of H in a key: one cache line each for H⁸…H⁵ and H⁴…H¹.
pub(super) const POWERS: usize = 8;

/// x¹²⁷ + x¹²⁶ + x¹²¹ + 1: what the field's polynomial leaves of x¹²⁸.
const POLYNOMIAL: u64 = 0xC200_0000_0000_0000;

/// H⁸ … H¹ from H, which is zero encrypted.
#[target_feature(enable = "avx512bw,avx512vl,vpclmulqdq")]
pub(super) fn powers(h: __m128i) -> [Block; POWERS] {
    let mut octets = Block::default();
    store_block(&mut octets, h);
    let h = u128::from_be_bytes(octets);
    // Times x: what is shifted out comes back as the polynomial.
    let carry = (h >> 127) * (u128::from(POLYNOMIAL) << 64 | 1);
    let h = (h << 1 ^ carry).to_le_bytes();
    let wide = broadcast(&h);
    let mut powers = [h; POWERS];
    for i in (0..POWERS - 1).rev() {
        let power = Product::of(broadcast(&powers[i + 1]), wide).reduce();
        store_block(&mut powers[i], _mm512_castsi512_si128(power));
    }
    powers
}

/// The octets of each block reversed.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(super) fn reverse(vector: Vector) -> Vector {
    _mm512_shuffle_epi8(vector, _mm512_broadcast_i32x4(reversal()))
}

/// The octets of one block reversed.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
pub(super) fn reverse_block(block: __m128i) -> __m128i {
    _mm_shuffle_epi8(block, reversal())
}

#[inline]
#[target_feature(enable = "sse2")]
fn reversal() -> __m128i {
    _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
}

/// H¹⁶, H¹², H⁸ and H⁴, each in all lanes: steps of one to four vectors.
#[derive(Clone, Copy)]
pub(super) struct Steps([Vector; 4]);

impl Steps {
    /// For as many vectors as there are; the long steps are made only if they are needed.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512dq,vpclmulqdq")]
    pub(super) fn new(powers: &[Block; POWERS], vectors: usize) -> Self {
        let (h8, h4) = (broadcast(&powers[0]), broadcast(&powers[4]));
        if vectors < 3 {
            return Self([h8, h8, h8, h4]);
        }
        let both = _mm512_mask_blend_epi64(0b0000_1100, h8, h4);
        // A key stores eight powers, not sixteen: the two products cost less than two cache lines.
        let both = Product::of(both, h8).reduce();
        Self([
            _mm512_shuffle_i64x2::<0b00_00_00_00>(both, both),
            _mm512_shuffle_i64x2::<0b01_01_01_01>(both, both),
            h8,
            h4,
        ])
    }
}

/// The lanes' sums. The vector that was added last has not been multiplied yet.
#[derive(Clone, Copy)]
pub(super) struct Sums(pub(super) Vector);

impl Sums {
    /// Adds one to four vectors of reversed blocks; `steps` are the last as many of [`Steps`].
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,vpclmulqdq")]
    pub(super) fn add<const N: usize>(self, vectors: [Vector; N], steps: &Steps) -> Self {
        let steps = &steps.0[4 - N..];
        let mut product = Product::of(self.0, steps[0]);
        for i in 1..N {
            product = product.plus(Product::of(vectors[i - 1], steps[i]));
        }
        Self::of(product, vectors[N - 1])
    }

    /// Of the four products that adding four vectors takes, the one with this number: for who does
    /// something else in between.
    #[inline]
    #[target_feature(enable = "avx512bw,vpclmulqdq")]
    pub(super) fn product(self, nth: usize, vectors: &[Vector; 4], steps: &Steps) -> Product {
        match vectors.get(nth) {
            Some(vector) if nth < 3 => Product::of(*vector, steps.0[nth + 1]),
            // What others wait for comes last.
            _ => Product::of(self.0, steps.0[0]),
        }
    }

    /// What comes of all four.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,vpclmulqdq")]
    pub(super) fn of(product: Product, last: Vector) -> Self {
        Self(_mm512_xor_si512(product.reduce(), last))
    }

    /// Adds the last vector, of one to four blocks, and brings the lanes together.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,vpclmulqdq,bmi2")]
    pub(super) fn finish(self, last: Vector, blocks: usize, powers: &[Block; POWERS]) -> __m128i {
        let first = POWERS - blocks;
        let before = load_part(powers[first - 4..first].as_flattened());
        let power = load_part(powers[first..].as_flattened());
        let product = Product::of(self.0, before).plus(Product::of(last, power));
        let lanes = product.reduce();
        let halves = _mm256_xor_si256(
            _mm512_castsi512_si256(lanes),
            _mm512_extracti64x4_epi64::<1>(lanes),
        );
        _mm_xor_si128(
            _mm256_castsi256_si128(halves),
            _mm256_extracti128_si256::<1>(halves),
        )
    }
}

/// Products of two polynomials, in Karatsuba's three parts.
#[derive(Clone, Copy)]
pub(super) struct Product {
    low: Vector,
    pub(super) middle: Vector,
    high: Vector,
}

impl Product {
    #[inline]
    #[target_feature(enable = "avx512bw,vpclmulqdq")]
    fn of(a: Vector, b: Vector) -> Self {
        Self {
            low: _mm512_clmulepi64_epi128::<0x00>(a, b),
            middle: _mm512_clmulepi64_epi128::<0x00>(folded(a), folded(b)),
            high: _mm512_clmulepi64_epi128::<0x11>(a, b),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw")]
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            low: _mm512_xor_si512(self.low, other.low),
            middle: _mm512_xor_si512(self.middle, other.middle),
            high: _mm512_xor_si512(self.high, other.high),
        }
    }

    /// Of nothing yet.
    #[inline]
    #[target_feature(enable = "avx512bw")]
    pub(super) fn none() -> Self {
        let zero = _mm512_setzero_si512();
        Self {
            low: zero,
            middle: zero,
            high: zero,
        }
    }

    /// Modulo the field's polynomial, 64 bits at a time.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,vpclmulqdq")]
    fn reduce(self) -> Vector {
        let polynomial = _mm512_set1_epi64(POLYNOMIAL.cast_signed());
        let middle = xor(self.middle, self.low, self.high);
        let carry = _mm512_clmulepi64_epi128::<0x00>(self.low, polynomial);
        let middle = xor(middle, swapped(self.low), carry);
        let carry = _mm512_clmulepi64_epi128::<0x00>(middle, polynomial);
        xor(self.high, swapped(middle), carry)
    }
}

#[inline]
#[target_feature(enable = "avx512bw")]
fn xor(a: Vector, b: Vector, c: Vector) -> Vector {
    _mm512_ternarylogic_epi64::<0x96>(a, b, c)
}

/// Upper and lower half of each lane exchanged.
#[inline]
#[target_feature(enable = "avx512bw")]
fn swapped(vector: Vector) -> Vector {
    _mm512_shuffle_epi32::<0b01_00_11_10>(vector)
}

/// Upper and lower half of each lane added.
#[inline]
#[target_feature(enable = "avx512bw")]
fn folded(vector: Vector) -> Vector {
    _mm512_xor_si512(vector, swapped(vector))
}
