//! VAES, VPCLMULQDQ and AVX-512: AES-GCM on the packet, AES-CBC with HMAC sixteen packets at once.
//!
//! ```text
//!   gcm ──► ghash        cbc ──► hmac ──► sha       sixteen at once
//!     ╰──► aes ◄───────────╯       ├────► sha_ni    up to four
//!            ╰─────► vector ◄──────╯                memory to registers, in bounds by type
//! ```
//!
//! The kernels are safe functions that need certain instructions; the two calls from here are what
//! is unsafe about them, and `vector` is the only place with pointers.

#![allow(unsafe_code)]

mod aes;
mod cbc;
mod gcm;
mod ghash;
mod hmac;
mod sha;
mod vector;

use zeroize::{Zeroize, ZeroizeOnDrop};

use self::aes::ROUND_KEYS_MAX;
use self::ghash::POWERS;
use self::vector::Block;
use super::kernel::Kernel;
use super::sha_ni::{Chunk, State};
use super::slots::Slots;
use super::{Direction, EspJob, Integrity, Keymat, Suite};

/// Which suites are done here.
#[inline(always)]
pub(super) fn has(suite: Suite) -> bool {
    match suite {
        Suite::AesGcm16 { .. } => true,
        Suite::AesCbc { integrity, .. } => {
            matches!(
                integrity,
                Integrity::HmacSha1_96 | Integrity::HmacSha256_128
            )
        }
        Suite::TripleDesCbc { .. } => false,
    }
}

/// Six cache lines; with a key of 128 bits the last one is not touched.
const KEY_LEN: usize = 6 * 64;

const _: () = assert!(size_of::<Option<Key>>() == KEY_LEN);

/// A key as the kernels want it.
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(C, align(64))]
pub(super) struct Key {
    /// Powers of H; or the inner and outer hash state, and the key of IVs.
    material: [Block; POWERS],
    #[zeroize(skip)]
    suite: Suite,
    #[zeroize(skip)]
    direction: Direction,
    salt: [u8; 4],
    rounds: [Block; ROUND_KEYS_MAX],
}

impl Key {
    #[inline]
    fn serves(&self, suite: Suite, direction: Direction) -> bool {
        self.suite == suite && self.direction == direction
    }

    #[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2,sha")]
    fn expand(direction: Direction, keymat: &Keymat, iv_key: &[u8; 16]) -> Self {
        let encryption_key = keymat.encryption_key();
        let mut key = Self {
            material: [Block::default(); POWERS],
            suite: keymat.suite(),
            direction,
            salt: [0; 4],
            rounds: aes::expand(encryption_key),
        };
        let Some((_, integrity)) = keymat.suite().cbc_and_hmac() else {
            key.salt.copy_from_slice(keymat.salt());
            key.material = ghash::powers(aes::encrypt_zero(&key.rounds, encryption_key.len()));
            return key;
        };
        key.set_hash(INNER, hmac::padded(integrity, keymat.integrity_key(), 0x36));
        key.set_hash(OUTER, hmac::padded(integrity, keymat.integrity_key(), 0x5c));
        key.material[IV_KEY] = *iv_key;
        if direction == Direction::Open {
            key.rounds = aes::inverse(&key.rounds, encryption_key.len());
        }
        key
    }

    fn set_hash(&mut self, at: usize, state: State) {
        let octets = self.material[at..].as_flattened_mut();
        for (octets, word) in octets.chunks_exact_mut(4).zip(state) {
            octets.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// The hash's state after the key, inner or outer.
    #[inline]
    fn hash(&self, at: usize) -> State {
        let mut state = State::default();
        let (words, _) = self.material[at..].as_flattened().as_chunks();
        for (word, octets) in state.iter_mut().zip(words) {
            *word = u32::from_le_bytes(*octets);
        }
        state
    }

    /// Both, one behind the other; only the first words of each are those of SHA-1.
    #[inline]
    fn hashes(&self) -> &Chunk {
        let (hashes, _) = self.material.as_flattened().as_chunks();
        &hashes[0]
    }

    #[inline]
    fn iv_key(&self) -> Block {
        self.material[IV_KEY]
    }
}

/// Where in a key's material the hash states lie, two blocks each, and the key of IVs.
const INNER: usize = 0;
const OUTER: usize = 2;
const IV_KEY: usize = 4;

impl Kernel for Key {
    fn new(direction: Direction, keymat: &Keymat, iv_key: &[u8; 16]) -> Self {
        // SAFETY: `Keys::new` has asserted that the processor has what this back end needs, which
        // includes these instructions; nothing else makes keys of this type.
        unsafe { Self::expand(direction, keymat, iv_key) }
    }

    fn open(
        keys: &Slots<Self>,
        suite: Suite,
        jobs: &mut [EspJob<'_>],
        ahead: &mut impl FnMut(usize),
    ) {
        // SAFETY: as in `new`: slots of this kind exist in `Keys` with this back end only.
        unsafe { run::<false>(keys, suite, jobs, ahead) }
    }

    fn seal(
        keys: &Slots<Self>,
        suite: Suite,
        jobs: &mut [EspJob<'_>],
        ahead: &mut impl FnMut(usize),
    ) {
        // SAFETY: as in `open`.
        unsafe { run::<true>(keys, suite, jobs, ahead) }
    }
}

/// One kernel for each number of round keys and words of hash.
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2,sha")]
fn run<const SEAL: bool>(
    keys: &Slots<Key>,
    suite: Suite,
    jobs: &mut [EspJob<'_>],
    ahead: &mut impl FnMut(usize),
) {
    use Integrity::HmacSha1_96;

    let integrity = suite.cbc_and_hmac().map(|(_, integrity)| integrity);
    match (suite.encryption_key_len(), integrity) {
        (16, None) => gcm::batch::<11, SEAL>(keys, suite, jobs, ahead),
        (24, None) => gcm::batch::<13, SEAL>(keys, suite, jobs, ahead),
        (_, None) => gcm::batch::<15, SEAL>(keys, suite, jobs, ahead),
        (16, Some(HmacSha1_96)) => cbc::batch::<11, 5, SEAL>(keys, suite, jobs, ahead),
        (24, Some(HmacSha1_96)) => cbc::batch::<13, 5, SEAL>(keys, suite, jobs, ahead),
        (_, Some(HmacSha1_96)) => cbc::batch::<15, 5, SEAL>(keys, suite, jobs, ahead),
        (16, Some(_)) => cbc::batch::<11, 8, SEAL>(keys, suite, jobs, ahead),
        (24, Some(_)) => cbc::batch::<13, 8, SEAL>(keys, suite, jobs, ahead),
        (_, Some(_)) => cbc::batch::<15, 8, SEAL>(keys, suite, jobs, ahead),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::esp::{Backend, KeySlot};

    #[test]
    fn a_key_that_leaves_its_slot_leaves_nothing_there() {
        if !Backend::Avx512.available() {
            return println!("not run: {}", Backend::Avx512.why());
        }
        let gcm = Suite::AesGcm16 { key_bits: 256 };
        let cbc = Suite::AesCbc {
            key_bits: 256,
            integrity: Integrity::HmacSha256_128,
        };
        for suite in [gcm, cbc] {
            let keymat = Keymat::new(suite, &vec![7; suite.keymat_len()]).unwrap();
            let mut slots = Slots::default();
            slots.install(KeySlot(9), Key::new(Direction::Seal, &keymat, &[7; 16]));
            let key = std::ptr::from_ref(slots.key(KeySlot(9)).unwrap());
            assert!(!is_zero(key));
            slots.remove(KeySlot(9));
            assert!(slots.key(KeySlot(9)).is_none());
            assert!(is_zero(key), "{suite}");
        }
    }

    /// Whether there is no secret where a key is, or was.
    fn is_zero(key: *const Key) -> bool {
        // SAFETY: a page of slots stays as long as the slots do, and these fields are octets
        // whatever is in them.
        let (material, salt, rounds) = unsafe {
            (
                (&raw const (*key).material).read_volatile(),
                (&raw const (*key).salt).read_volatile(),
                (&raw const (*key).rounds).read_volatile(),
            )
        };
        let octets = material.as_flattened().iter().chain(&salt);
        octets.chain(rounds.as_flattened()).all(|octet| *octet == 0)
    }
}
