//! Memory to registers and back, in bounds by their types: what the other modules need instead of
//! pointers.

#![allow(unsafe_code)]

use core::arch::x86_64::*;

/// Four blocks of AES, or sixteen words of SHA.
pub(super) type Vector = __m512i;

/// Octets in a vector.
pub(super) const VECTOR_LEN: usize = 64;

/// A block of AES or of GHASH.
pub(super) type Block = [u8; 16];

/// Nothing, also for code that does not know of vectors.
// SAFETY: zeros are a vector.
pub(super) const ZERO: Vector = unsafe { std::mem::zeroed() };

#[inline]
#[target_feature(enable = "avx512bw")]
pub(super) fn load(bytes: &[u8; VECTOR_LEN]) -> Vector {
    // SAFETY: reads the 64 octets that were borrowed; this load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512bw")]
pub(super) fn store(bytes: &mut [u8; VECTOR_LEN], vector: Vector) {
    // SAFETY: writes the 64 octets that were borrowed; this store needs no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) }
}

/// The first octets of a vector; the others are zero.
#[inline]
#[target_feature(enable = "avx512bw,bmi2")]
pub(super) fn load_part(bytes: &[u8]) -> Vector {
    // SAFETY: the mask has a bit for each octet that was borrowed (64 at most), and what the mask
    // leaves out is not accessed.
    unsafe { _mm512_maskz_loadu_epi8(mask(bytes.len()), bytes.as_ptr().cast()) }
}

/// Stores as many octets of the vector as there is room for.
#[inline]
#[target_feature(enable = "avx512bw,bmi2")]
pub(super) fn store_part(bytes: &mut [u8], vector: Vector) {
    // SAFETY: as in `load_part`.
    unsafe { _mm512_mask_storeu_epi8(bytes.as_mut_ptr().cast(), mask(bytes.len()), vector) }
}

/// One bit for each of the first octets of a vector.
#[inline]
#[target_feature(enable = "bmi2")]
pub(super) fn mask(len: usize) -> u64 {
    _bzhi_u64(u64::MAX, len.min(VECTOR_LEN) as u32)
}

#[inline]
#[target_feature(enable = "avx512vl")]
pub(super) fn load_block(bytes: &Block) -> __m128i {
    // SAFETY: reads the 16 octets that were borrowed; this load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512vl")]
pub(super) fn store_block(bytes: &mut Block, block: __m128i) {
    // SAFETY: writes the 16 octets that were borrowed; this store needs no alignment.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), block) }
}

/// The same block four times.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
pub(super) fn broadcast(block: &Block) -> Vector {
    _mm512_broadcast_i32x4(load_block(block))
}

#[inline]
#[target_feature(enable = "avx512bw")]
pub(super) fn load_words(words: &[u32; 16]) -> Vector {
    // SAFETY: reads the 16 words that were borrowed; this load needs no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512bw")]
pub(super) fn store_words(words: &mut [u32; 16], vector: Vector) {
    // SAFETY: writes the 16 words that were borrowed; this store needs no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), vector) }
}

#[inline]
#[target_feature(enable = "avx512bw")]
pub(super) fn load_quad(blocks: &[Block; 4]) -> Vector {
    // SAFETY: reads the 4 blocks that were borrowed; this load needs no alignment.
    unsafe { _mm512_loadu_si512(blocks.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512bw")]
pub(super) fn store_quad(blocks: &mut [Block; 4], vector: Vector) {
    // SAFETY: writes the 4 blocks that were borrowed; this store needs no alignment.
    unsafe { _mm512_storeu_si512(blocks.as_mut_ptr().cast(), vector) }
}

/// Makes the compiler believe that a value is read, so that what has just been written there is
/// written even if it is about to go: for erasing in vectors, not octet by octet.
#[inline(always)]
pub(super) fn seen<T>(value: &T) {
    // SAFETY: no instruction is emitted; the address belongs to a borrowed value.
    unsafe {
        std::arch::asm!("/* {0} */", in(reg) value, options(readonly, nostack, preserves_flags));
    }
}

/// Makes the compiler believe that all of these are needed for each of them: what comes before stays
/// before, and what comes after, after. It does not know that two computations can fill each other's
/// gaps, and would rather do one behind the other.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(super) fn abreast(one: &mut Vector, [a, b, c, d]: &mut [Vector; 4]) {
    // SAFETY: no instruction is emitted.
    unsafe {
        std::arch::asm!(
            "/* {0} {1} {2} {3} {4} */",
            inout(zmm_reg) * one,
            inout(zmm_reg) * a,
            inout(zmm_reg) * b,
            inout(zmm_reg) * c,
            inout(zmm_reg) * d,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
}

/// Whether a value leaves nothing but zeros where it was when it goes.
#[cfg(test)]
pub(super) fn is_erased_on_drop<T>(value: T) -> bool {
    let mut place = std::mem::MaybeUninit::new(value);
    // SAFETY: it is initialised and is not used as a `T` again.
    unsafe { place.assume_init_drop() };
    let octets = place.as_ptr().cast::<u8>();
    // SAFETY: the place is still there; the values under test have no octet that was never written.
    (0..size_of::<T>()).all(|i| unsafe { octets.add(i).read_volatile() } == 0)
}
