//! CBC backwards: a packet has all it needs at once, and goes four vectors at a time.

use core::arch::x86_64::*;

use super::IV_LEN;
use crate::esp::avx512::Key;
use crate::esp::avx512::aes::Wide;
use crate::esp::avx512::vector::{
    VECTOR_LEN, Vector, load, load_block, load_part, store, store_part,
};

/// Vectors decrypted together.
const GROUP: usize = 4;

/// CBC of one packet; the first block is the IV.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,bmi2")]
pub(super) fn decrypt<const R: usize>(key: &Key, octets: &mut [u8]) {
    let Some((iv, body)) = octets.split_first_chunk_mut::<IV_LEN>() else {
        return;
    };
    let aes = Wide::<R>::new(&key.rounds);
    let mut before = _mm512_broadcast_i32x4(load_block(iv));
    let (vectors, rest) = body.as_chunks_mut::<VECTOR_LEN>();
    let (groups, vectors) = vectors.as_chunks_mut::<GROUP>();
    for group in groups {
        before = decrypt_group(&aes, before, group.each_mut());
    }
    match vectors {
        [a, b, c] => before = decrypt_group(&aes, before, [a, b, c]),
        [a, b] => before = decrypt_group(&aes, before, [a, b]),
        [a] => before = decrypt_group(&aes, before, [a]),
        _ => (),
    }
    let input = load_part(rest);
    let [clear] = aes.decrypt([input]);
    store_part(rest, _mm512_xor_si512(clear, shifted(before, input)));
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vl,vaes")]
fn decrypt_group<const R: usize, const N: usize>(
    aes: &Wide<R>,
    mut before: Vector,
    octets: [&mut [u8; VECTOR_LEN]; N],
) -> Vector {
    let mut inputs = [_mm512_setzero_si512(); N];
    for (input, octets) in inputs.iter_mut().zip(&octets) {
        *input = load(octets);
    }
    let clear = aes.decrypt(inputs);
    for ((octets, clear), input) in octets.into_iter().zip(clear).zip(inputs) {
        store(octets, _mm512_xor_si512(clear, shifted(before, input)));
        before = input;
    }
    before
}

/// The last block of one vector and the first three of the next.
#[inline]
#[target_feature(enable = "avx512bw")]
fn shifted(before: Vector, vector: Vector) -> Vector {
    _mm512_alignr_epi64::<6>(vector, before)
}
