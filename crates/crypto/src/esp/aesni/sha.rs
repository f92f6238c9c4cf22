//! Which hash, and on which processor.

#![allow(unsafe_code)]

use crate::esp::sha_ni::{self, Chunk, Hashing, State};

/// Octets in a block of either hash.
pub(in crate::esp) const BLOCK_LEN: usize = size_of::<Chunk>();

/// Which hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::esp) enum Hash {
    Sha1,
    Sha256,
}

impl Hash {
    /// What a hash starts from.
    pub(in crate::esp) const fn initial(self) -> State {
        match self {
            Self::Sha1 => sha_ni::SHA1,
            Self::Sha256 => sha_ni::SHA256,
        }
    }

    /// Octets of the hash itself.
    pub(in crate::esp) const fn output_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// Hashes equally many blocks of each message into its state.
    #[inline]
    pub(in crate::esp) fn compress<const N: usize>(
        self,
        states: &mut [State; N],
        blocks: [&[Chunk]; N],
    ) {
        if !is_x86_feature_detected!("sha") {
            return self.compress_serially(states, blocks);
        }
        // SAFETY: the processor has just said that it has SHA-NI; no processor
        // has that without SSE4.1.
        unsafe {
            match self {
                Self::Sha1 => add::<N, 5>(states, blocks),
                Self::Sha256 => add::<N, 8>(states, blocks),
            }
        }
    }

    /// Hashes two runs of blocks, one behind the other, into a state.
    #[inline]
    pub(in crate::esp) fn compress_one(self, state: &mut State, runs: [&[Chunk]; 2]) {
        if !is_x86_feature_detected!("sha") {
            return runs.into_iter().for_each(|run| {
                self.compress_serially(std::array::from_mut(state), [run]);
            });
        }
        // SAFETY: as above.
        unsafe {
            match self {
                Self::Sha1 => add_one::<5>(state, runs),
                Self::Sha256 => add_one::<8>(state, runs),
            }
        }
    }

    fn compress_serially<const N: usize>(self, states: &mut [State; N], blocks: [&[Chunk]; N]) {
        for (state, blocks) in states.iter_mut().zip(blocks) {
            match (self, state.first_chunk_mut()) {
                (Self::Sha1, Some(five)) => sha1::block_api::compress(five, blocks),
                (Self::Sha256 | Self::Sha1, _) => sha2::block_api::compress256(state, blocks),
            }
        }
    }
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn add<const N: usize, const WORDS: usize>(states: &mut [State; N], blocks: [&[Chunk]; N]) {
    let mut hashing = Hashing::<N, WORDS>::new(states);
    for at in 0..blocks[0].len() {
        hashing.add(blocks.map(|blocks| &blocks[at]));
    }
    *states = hashing.states();
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn add_one<const WORDS: usize>(state: &mut State, runs: [&[Chunk]; 2]) {
    let mut hashing = Hashing::<1, WORDS>::new(std::array::from_ref(state));
    for chunk in runs.into_iter().flatten() {
        hashing.add([chunk]);
    }
    [*state] = hashing.states();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_and_without_the_instructions_it_is_the_same_hash() {
        let blocks: [[Chunk; 3]; 2] = [[[1; 64], [2; 64], [3; 64]], [[4; 64], [5; 64], [6; 64]]];
        for hash in [Hash::Sha1, Hash::Sha256] {
            let (mut fast, mut slow) = ([hash.initial(); 2], [hash.initial(); 2]);
            hash.compress(&mut fast, blocks.each_ref().map(|blocks| &blocks[..]));
            hash.compress_serially(&mut slow, blocks.each_ref().map(|blocks| &blocks[..]));
            assert_eq!(fast, slow, "{hash:?}");
            assert_ne!(fast[0], fast[1]);
            let mut alone = hash.initial();
            hash.compress_one(&mut alone, [&blocks[0][..1], &blocks[0][1..]]);
            assert_eq!(alone, slow[0], "{hash:?}");
        }
    }
}
