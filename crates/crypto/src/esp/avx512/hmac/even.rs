//! HMAC of packets that have as many blocks each, as those of one stream mostly do: they begin and
//! end together, and nothing is left to do lane by lane but the padding.
//!
//! ```text
//!   sixteen keys                ─transposed─► inner and outer states
//!   blocks, then padded rests   ─transposed─► inner ─as it is─► outer ─transposed─► sixteen ICVs
//! ```

use core::arch::x86_64::*;

use super::{FETCH_AHEAD, OWN, Packet, WIDE_FROM, conclude, write_rest};
use crate::cpu;
use crate::esp::avx512::Key;
use crate::esp::avx512::sha::{self, LANES};
use crate::esp::avx512::vector::{Vector, load};
use crate::esp::sha_ni::Chunk;

/// Whether these packets are enough of them, and have as many blocks each.
#[inline]
pub(super) fn is_even(group: &[Option<Packet<'_>>; LANES]) -> bool {
    let mut packets = group.iter().flatten();
    let Some(first) = packets.next() else {
        return false;
    };
    let like_first =
        |packet: &&Packet<'_>| (packet.blocks.len(), packet.own) == (first.blocks.len(), first.own);
    group[WIDE_FROM - 1].is_some() && packets.all(|packet| like_first(&packet))
}

/// How far the HMAC of some packets is.
pub(in crate::esp::avx512) struct States {
    pub(in crate::esp::avx512) inner: [Vector; 8],
    outer: [Vector; 8],
    /// Whole blocks that have been hashed.
    pub(in crate::esp::avx512) blocks: usize,
}

impl States {
    /// RFC 2104 §2: the keys have been hashed in; the messages follow.
    #[inline]
    #[target_feature(enable = "avx512bw")]
    pub(in crate::esp::avx512) fn new(keys: &[&Key; LANES]) -> Self {
        let words = sha::transposed(keys.map(|key| load(key.hashes())));
        let (halves, _) = words.as_chunks();
        Self {
            inner: halves[0],
            outer: halves[1],
            blocks: 0,
        }
    }
}

/// Writes the ICV of each packet (`SEAL`), or compares it; leaves the verdict. `begun` says how far
/// the hash is already.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,bmi2")]
pub(in crate::esp::avx512) fn batch<const WORDS: usize, const SEAL: bool>(
    group: &mut [Option<Packet<'_>>; LANES],
    begun: Option<States>,
) {
    let rows = sha::transposed(digests::<WORDS>(group, begun));
    for (packet, row) in group.iter_mut().flatten().zip(rows) {
        *packet.verdict = conclude::<SEAL>(packet.icv, sha::big_endian(row));
    }
}

/// Word by word the HMAC of each packet.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,bmi2")]
fn digests<const WORDS: usize>(
    group: &[Option<Packet<'_>>; LANES],
    begun: Option<States>,
) -> [Vector; LANES] {
    let mut digests = [_mm512_setzero_si512(); LANES];
    let Some(any) = &group[0] else { return digests };
    // Idle lanes hash what another one does; nobody asks for the result.
    let packets = group.each_ref().map(|lane| lane.as_ref().unwrap_or(any));
    let begun = begun.unwrap_or_else(|| States::new(&packets.map(|packet| packet.key)));
    let mut state = begun.inner;
    let mut own = [[[0; size_of::<Chunk>()]; OWN]; LANES];
    for (own, packet) in own.iter_mut().zip(packets) {
        write_rest(own, packet.blocks.len(), packet.rest, packet.esn_high);
    }
    let inner_steps = any.blocks.len() + any.own;
    for step in begun.blocks..=inner_steps {
        let words = if step < inner_steps {
            let mut chunks = [&own[0][0]; LANES];
            for ((chunk, own), packet) in chunks.iter_mut().zip(&own).zip(packets) {
                let padded = || &own[step + OWN - inner_steps];
                *chunk = packet.blocks.get(step).unwrap_or_else(padded);
                if let Some(later) = packet.blocks.get(step + FETCH_AHEAD) {
                    cpu::prefetch(later);
                }
            }
            sha::words(&chunks)
        } else {
            as_messages::<WORDS>(&std::mem::replace(&mut state, begun.outer))
        };
        sha::add::<WORDS>(&mut state, words);
    }
    digests[..WORDS].copy_from_slice(&state[..WORDS]);
    digests
}

/// The inner hashes as the messages of the outer: RFC 2104 §2, FIPS 180-4 §5.1.1.
#[inline]
#[target_feature(enable = "avx512bw")]
fn as_messages<const WORDS: usize>(state: &[Vector; 8]) -> [Vector; LANES] {
    let bits = 8 * (size_of::<Chunk>() + size_of::<u32>() * WORDS);
    let mut words = [_mm512_setzero_si512(); LANES];
    words[..WORDS].copy_from_slice(&state[..WORDS]);
    words[WORDS] = _mm512_set1_epi32(i32::MIN);
    words[LANES - 1] = _mm512_set1_epi32(bits as i32);
    words
}
