//! CBC of many packets: each waits for its own last block, and sixteen do so side by side. A lane that
//! is done takes the next packet.

use core::arch::x86_64::*;

use super::LANES;
use crate::cpu;
use crate::esp::avx512::Key;
use crate::esp::avx512::aes::{ROUND_KEYS_MAX, unroll_rounds};
use crate::esp::avx512::vector::{
    Block, Vector, load_block, load_quad, seen, store_block, store_quad,
};

/// Blocks in a vector.
pub(super) const QUAD: usize = 4;

/// Every how many blocks of a lane a cache line is fetched, and how far ahead.
const LINE_BLOCKS: usize = 4;
pub(super) const FETCH_AHEAD: usize = 4 * LINE_BLOCKS;

/// What is secret about the lanes is erased when the batch is done.
#[repr(align(64))]
pub(super) struct Lanes {
    /// Round by round the keys of all lanes.
    keys: [[Block; LANES]; ROUND_KEYS_MAX],
    /// The last block of each lane.
    pub(super) blocks: [Block; LANES],
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
pub(super) fn encrypt<'j, const R: usize>(
    mut packets: impl Iterator<Item = (&'j Key, &'j mut [Block])>,
) {
    let mut lanes = Lanes::vacant();
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
    pub(super) const fn vacant() -> Self {
        Self {
            keys: [[[0; 16]; LANES]; ROUND_KEYS_MAX],
            blocks: [[0; 16]; LANES],
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl")]
    pub(super) fn begin<const R: usize>(&mut self, lane: usize, key: &Key, iv: &Block) {
        for (keys, key) in self.keys[..R].iter_mut().zip(&key.rounds) {
            keys[lane] = *key;
        }
        self.blocks[lane] = *iv;
    }

    /// Encrypts so many blocks of each of the first `4 * Z` lanes that has any.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes")]
    pub(super) fn advance<const R: usize, const Z: usize>(
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
    pub(super) fn key(&self, round: usize, z: usize) -> Vector {
        load_quad(&self.keys[round].as_chunks().0[z])
    }
}

/// A block of each of four lanes; nothing of one that has no more.
#[inline]
#[target_feature(enable = "avx512vl,avx512dq")]
pub(super) fn gather(lanes: &[&mut [Block]; QUAD], step: usize) -> Vector {
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
pub(super) fn scatter(vector: Vector, lanes: &mut [&mut [Block]; QUAD], step: usize) {
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
        assert!(is_erased_on_drop(Lanes {
            keys: [[[7; 16]; LANES]; ROUND_KEYS_MAX],
            blocks: [[7; 16]; LANES],
        }));
    }
}
