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
use crate::esp::avx512::vector::{Vector, ZERO, load, seen};
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

/// How far the HMAC of some packets is; erased when it goes, like all that comes from keys.
pub(in crate::esp::avx512) struct States {
    /// Of the hash under way.
    pub(in crate::esp::avx512) hash: [Vector; 8],
    /// Of the outer hash, as long as the other is the inner one.
    outer: [Vector; 8],
}

impl States {
    /// RFC 2104 §2: the keys have been hashed in; the messages follow.
    #[inline]
    #[target_feature(enable = "avx512bw")]
    pub(in crate::esp::avx512) fn new(keys: &[&Key; LANES]) -> Self {
        let words = sha::transposed(keys.map(|key| load(key.hashes())));
        let (halves, _) = words.as_chunks();
        Self {
            hash: halves[0],
            outer: halves[1],
        }
    }

    /// Adds the inner hashes to the outer.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl")]
    fn turn<const WORDS: usize>(&mut self) {
        let messages = as_messages::<WORDS>(&self.hash);
        self.hash = self.outer;
        sha::add::<WORDS>(&mut self.hash, messages);
    }
}

impl Drop for States {
    fn drop(&mut self) {
        self.hash = [ZERO; 8];
        self.outer = [ZERO; 8];
        seen(self);
    }
}

/// Writes the ICV of each packet (`SEAL`), or compares it; leaves the verdict.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,bmi2")]
pub(super) fn batch<const WORDS: usize, const SEAL: bool>(group: &mut [Option<Packet<'_>>; LANES]) {
    let Some(any) = &group[0] else { return };
    // Idle lanes hash what another one does; nobody asks for the result.
    let keys = group
        .each_ref()
        .map(|lane| lane.as_ref().unwrap_or(any).key);
    let mut states = States::new(&keys);
    finish::<WORDS, SEAL>(group, &mut states, 0);
}

/// As [`batch`], of packets of which so many blocks are hashed already.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,bmi2")]
pub(in crate::esp::avx512) fn finish<const WORDS: usize, const SEAL: bool>(
    group: &mut [Option<Packet<'_>>; LANES],
    states: &mut States,
    hashed: usize,
) {
    hash::<WORDS>(group, states, hashed);
    states.turn::<WORDS>();
    let mut digests = [_mm512_setzero_si512(); LANES];
    digests[..WORDS].copy_from_slice(&states.hash[..WORDS]);
    let rows = sha::transposed(digests);
    for (packet, row) in group.iter_mut().flatten().zip(rows) {
        *packet.verdict = conclude::<SEAL>(packet.icv, sha::big_endian(row));
    }
}

/// Hashes what is left of each message.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,bmi2")]
fn hash<const WORDS: usize>(
    group: &[Option<Packet<'_>>; LANES],
    states: &mut States,
    hashed: usize,
) {
    let Some(any) = &group[0] else { return };
    let packets = group.each_ref().map(|lane| lane.as_ref().unwrap_or(any));
    let mut own = [[[0; size_of::<Chunk>()]; OWN]; LANES];
    for (own, packet) in own.iter_mut().zip(packets) {
        write_rest(own, packet.blocks.len(), packet.rest, packet.esn_high);
    }
    let steps = any.blocks.len() + any.own;
    for step in hashed..steps {
        let mut chunks = [&own[0][0]; LANES];
        for ((chunk, own), packet) in chunks.iter_mut().zip(&own).zip(packets) {
            let padded = || &own[step + OWN - steps];
            *chunk = packet.blocks.get(step).unwrap_or_else(padded);
            if let Some(later) = packet.blocks.get(step + FETCH_AHEAD) {
                cpu::prefetch(later);
            }
        }
        sha::add::<WORDS>(&mut states.hash, sha::words(&chunks));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::esp::Backend;
    use crate::esp::avx512::vector::{VECTOR_LEN, is_erased_on_drop};

    #[test]
    fn packets_of_one_length_leave_no_hash_behind() {
        if !Backend::Avx512.available() {
            return println!("not run: {}", Backend::Avx512.why());
        }
        // SAFETY: the processor has been asked for more than this needs.
        let sevens = unsafe { load(&[7; VECTOR_LEN]) };
        assert!(is_erased_on_drop(States {
            hash: [sevens; 8],
            outer: [sevens; 8],
        }));
    }
}
