//! The instructions under AES and GHASH, on one block or on two.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

/// Sixteen octets.
pub(in crate::esp) type Block = [u8; 16];

/// A width of registers. A value proves that the processor has the instructions.
pub(super) trait Width: Copy {
    /// Blocks side by side.
    type Vector: Copy;
    /// How many.
    const BLOCKS: usize = size_of::<Self::Vector>() / size_of::<Block>();

    /// Whoever has wide registers has narrow ones.
    fn narrow(self) -> Narrow;
    /// Loads exactly [`Width::BLOCKS`].
    fn load(self, blocks: &[Block]) -> Self::Vector;
    fn store(self, vector: Self::Vector, blocks: &mut [Block]);
    /// One block in each place.
    fn broadcast(self, block: &Block) -> Self::Vector;
    /// One block in the first place, zeros in the others.
    fn first(self, block: &Block) -> Self::Vector;
    /// One block in the last place, zeros in the others.
    fn last(self, block: &Block) -> Self::Vector;
    /// The block in the first place.
    fn store_first(self, vector: Self::Vector) -> Block;
    /// The first counter is the block's, each further one is one greater.
    fn count(self, from: &Block) -> Self::Vector;
    /// Adds [`Width::BLOCKS`] to the counters, which are little-endian and come first.
    fn next(self, counters: Self::Vector) -> Self::Vector;
    fn xor(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The octets of each block reversed.
    fn reverse(self, vector: Self::Vector) -> Self::Vector;
    /// The halves of each block exchanged.
    fn swap(self, vector: Self::Vector) -> Self::Vector;
    /// Halves of each block multiplied: which of `a` in bit 0 of `WHICH`, which of `b` in bit 4.
    fn multiply<const WHICH: i32>(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The sum of all blocks in the first place, zeros in the others.
    fn sum(self, vector: Self::Vector) -> Self::Vector;
    fn encrypt(self, state: Self::Vector, key: Self::Vector) -> Self::Vector;
    fn encrypt_last(self, state: Self::Vector, key: Self::Vector) -> Self::Vector;
    fn decrypt(self, state: Self::Vector, key: Self::Vector) -> Self::Vector;
    fn decrypt_last(self, state: Self::Vector, key: Self::Vector) -> Self::Vector;
    /// Runs a piece of work in a function that may use the instructions.
    fn run(self, work: impl Work);
}

/// Something to be done with registers of some width.
pub(super) trait Work {
    /// To be inlined always.
    fn at(self, width: impl Width);
}

/// AES-NI, PCLMULQDQ and AVX: one block.
#[derive(Clone, Copy)]
pub(in crate::esp) struct Narrow(());

/// VAES, VPCLMULQDQ and AVX2: two blocks.
#[derive(Clone, Copy)]
pub(super) struct Wide(());

impl Narrow {
    pub(in crate::esp) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("avx"))
        .then_some(Self(()))
    }
}

#[target_feature(enable = "aes,pclmulqdq,avx")]
fn run_narrow<W: Work>(width: Narrow, work: W) {
    work.at(width);
}

impl Width for Narrow {
    type Vector = __m128i;

    #[inline(always)]
    fn narrow(self) -> Narrow {
        self
    }

    #[inline(always)]
    fn load(self, blocks: &[Block]) -> __m128i {
        assert!(blocks.len() == Self::BLOCKS);
        // SAFETY: the slice is as long as the register; `self` proves the instruction.
        unsafe { _mm_loadu_si128(blocks.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, vector: __m128i, blocks: &mut [Block]) {
        assert!(blocks.len() == Self::BLOCKS);
        // SAFETY: as for `load`.
        unsafe { _mm_storeu_si128(blocks.as_mut_ptr().cast(), vector) }
    }

    #[inline(always)]
    fn broadcast(self, block: &Block) -> __m128i {
        // SAFETY: a block has 16 bytes; `self` proves the instruction.
        unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
    }

    #[inline(always)]
    fn first(self, block: &Block) -> __m128i {
        self.broadcast(block)
    }

    #[inline(always)]
    fn last(self, block: &Block) -> __m128i {
        self.broadcast(block)
    }

    #[inline(always)]
    fn store_first(self, vector: __m128i) -> Block {
        let mut block = Block::default();
        self.store(vector, std::slice::from_mut(&mut block));
        block
    }

    #[inline(always)]
    fn count(self, from: &Block) -> __m128i {
        self.broadcast(from)
    }

    #[inline(always)]
    fn next(self, counters: __m128i) -> __m128i {
        // SAFETY: `self` proves the instruction.
        unsafe { _mm_add_epi32(counters, _mm_set_epi32(0, 0, 0, 1)) }
    }

    #[inline(always)]
    fn xor(self, a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: `self` proves the instruction.
        unsafe { _mm_xor_si128(a, b) }
    }

    #[inline(always)]
    fn reverse(self, vector: __m128i) -> __m128i {
        // SAFETY: `self` proves the instruction.
        unsafe {
            let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            _mm_shuffle_epi8(vector, order)
        }
    }

    #[inline(always)]
    fn swap(self, vector: __m128i) -> __m128i {
        // SAFETY: `self` proves the instruction.
        unsafe { _mm_shuffle_epi32::<0b01_00_11_10>(vector) }
    }

    #[inline(always)]
    fn multiply<const WHICH: i32>(self, a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: `self` proves the instruction.
        unsafe { _mm_clmulepi64_si128::<WHICH>(a, b) }
    }

    #[inline(always)]
    fn sum(self, vector: __m128i) -> __m128i {
        vector
    }

    #[inline(always)]
    fn encrypt(self, state: __m128i, key: __m128i) -> __m128i {
        // SAFETY: `self` proves the instruction.
        unsafe { _mm_aesenc_si128(state, key) }
    }

    #[inline(always)]
    fn encrypt_last(self, state: __m128i, key: __m128i) -> __m128i {
        // SAFETY: `self` proves the instruction.
        unsafe { _mm_aesenclast_si128(state, key) }
    }

    #[inline(always)]
    fn decrypt(self, state: __m128i, key: __m128i) -> __m128i {
        // SAFETY: `self` proves the instruction.
        unsafe { _mm_aesdec_si128(state, key) }
    }

    #[inline(always)]
    fn decrypt_last(self, state: __m128i, key: __m128i) -> __m128i {
        // SAFETY: `self` proves the instruction.
        unsafe { _mm_aesdeclast_si128(state, key) }
    }

    #[inline(always)]
    fn run(self, work: impl Work) {
        // SAFETY: `self` proves that the processor has the features.
        unsafe { run_narrow(self, work) }
    }
}

impl Wide {
    pub(in crate::esp) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("vpclmulqdq"))
        .then_some(Self(()))
    }
}

#[target_feature(enable = "aes,pclmulqdq,avx2,vaes,vpclmulqdq")]
fn run_wide<W: Work>(width: Wide, work: W) {
    work.at(width);
}

impl Width for Wide {
    type Vector = __m256i;

    #[inline(always)]
    fn narrow(self) -> Narrow {
        Narrow(())
    }

    #[inline(always)]
    fn load(self, blocks: &[Block]) -> __m256i {
        assert!(blocks.len() == Self::BLOCKS);
        // SAFETY: the slice is as long as the register; `self` proves the instruction.
        unsafe { _mm256_loadu_si256(blocks.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, vector: __m256i, blocks: &mut [Block]) {
        assert!(blocks.len() == Self::BLOCKS);
        // SAFETY: as for `load`.
        unsafe { _mm256_storeu_si256(blocks.as_mut_ptr().cast(), vector) }
    }

    #[inline(always)]
    fn broadcast(self, block: &Block) -> __m256i {
        // SAFETY: a block has 16 bytes; `self` proves the instruction.
        unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(block.as_ptr().cast())) }
    }

    #[inline(always)]
    fn first(self, block: &Block) -> __m256i {
        let block = Narrow(()).broadcast(block);
        // SAFETY: `self` proves the instruction.
        unsafe { _mm256_zextsi128_si256(block) }
    }

    #[inline(always)]
    fn last(self, block: &Block) -> __m256i {
        let block = Narrow(()).broadcast(block);
        // SAFETY: `self` proves the instruction.
        unsafe { _mm256_inserti128_si256::<1>(_mm256_setzero_si256(), block) }
    }

    #[inline(always)]
    fn store_first(self, vector: __m256i) -> Block {
        // SAFETY: `self` proves the instruction.
        Narrow(()).store_first(unsafe { _mm256_castsi256_si128(vector) })
    }

    #[inline(always)]
    fn count(self, from: &Block) -> __m256i {
        // SAFETY: `self` proves the instruction.
        let one_more = unsafe { _mm256_set_epi32(0, 0, 0, 1, 0, 0, 0, 0) };
        // SAFETY: likewise.
        unsafe { _mm256_add_epi32(self.broadcast(from), one_more) }
    }

    #[inline(always)]
    fn next(self, counters: __m256i) -> __m256i {
        // SAFETY: `self` proves the instruction.
        unsafe { _mm256_add_epi32(counters, _mm256_set_epi32(0, 0, 0, 2, 0, 0, 0, 2)) }
    }

    #[inline(always)]
    fn xor(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves the instruction.
        unsafe { _mm256_xor_si256(a, b) }
    }

    #[inline(always)]
    fn reverse(self, vector: __m256i) -> __m256i {
        // SAFETY: `self` proves the instruction.
        unsafe {
            let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            _mm256_shuffle_epi8(vector, _mm256_broadcastsi128_si256(order))
        }
    }

    #[inline(always)]
    fn swap(self, vector: __m256i) -> __m256i {
        // SAFETY: `self` proves the instruction.
        unsafe { _mm256_shuffle_epi32::<0b01_00_11_10>(vector) }
    }

    #[inline(always)]
    fn multiply<const WHICH: i32>(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves the instruction.
        unsafe { _mm256_clmulepi64_epi128::<WHICH>(a, b) }
    }

    #[inline(always)]
    fn sum(self, vector: __m256i) -> __m256i {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let high = _mm256_extracti128_si256::<1>(vector);
            _mm256_zextsi128_si256(_mm_xor_si128(_mm256_castsi256_si128(vector), high))
        }
    }

    #[inline(always)]
    fn encrypt(self, state: __m256i, key: __m256i) -> __m256i {
        // SAFETY: `self` proves the instruction.
        unsafe { _mm256_aesenc_epi128(state, key) }
    }

    #[inline(always)]
    fn encrypt_last(self, state: __m256i, key: __m256i) -> __m256i {
        // SAFETY: `self` proves the instruction.
        unsafe { _mm256_aesenclast_epi128(state, key) }
    }

    #[inline(always)]
    fn decrypt(self, state: __m256i, key: __m256i) -> __m256i {
        // SAFETY: `self` proves the instruction.
        unsafe { _mm256_aesdec_epi128(state, key) }
    }

    #[inline(always)]
    fn decrypt_last(self, state: __m256i, key: __m256i) -> __m256i {
        // SAFETY: `self` proves the instruction.
        unsafe { _mm256_aesdeclast_epi128(state, key) }
    }

    #[inline(always)]
    fn run(self, work: impl Work) {
        // SAFETY: `self` proves that the processor has the features.
        unsafe { run_wide(self, work) }
    }
}
