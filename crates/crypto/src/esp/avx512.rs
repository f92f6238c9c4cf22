//! VAES, VPCLMULQDQ and AVX-512: AES-GCM on the packet, AES-CBC with HMAC sixteen packets at once.
//!
//! ```text
//!   gcm ──► ghash        cbc ──► hmac ──► sha1, sha256
//!     ╰──► aes ◄───────────╯       │
//!            ╰─────► vector ◄──────╯        memory to registers, in bounds by type
//! ```
//!
//! The kernels are safe functions that need certain instructions; the two calls from here are what
//! is unsafe about them, and `vector` is the only place with pointers.

#![allow(unsafe_code)]

mod aes;
mod gcm;
mod ghash;
mod vector;

use zeroize::{Zeroize, ZeroizeOnDrop};

use self::aes::ROUND_KEYS_MAX;
use self::ghash::POWERS;
use self::vector::Block;
use super::kernel::Kernel;
use super::slots::Slots;
use super::{Direction, EspJob, Keymat, Suite};

/// Which suites are done here.
#[inline(always)]
pub(super) fn has(suite: Suite) -> bool {
    matches!(suite, Suite::AesGcm16 { .. })
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

    #[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
    fn expand(direction: Direction, keymat: &Keymat, _iv_key: &[u8; 16]) -> Self {
        let mut key = Self {
            material: [Block::default(); POWERS],
            suite: keymat.suite(),
            direction,
            salt: [0; 4],
            rounds: aes::expand(keymat.encryption_key()),
        };
        key.salt.copy_from_slice(keymat.salt());
        key.material = ghash::powers(aes::encrypt_zero(
            &key.rounds,
            keymat.encryption_key().len(),
        ));
        key
    }
}

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

/// One kernel for each length of round keys.
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
fn run<const SEAL: bool>(
    keys: &Slots<Key>,
    suite: Suite,
    jobs: &mut [EspJob<'_>],
    ahead: &mut impl FnMut(usize),
) {
    match suite {
        Suite::AesGcm16 { key_bits: 128 } => gcm::batch::<11, SEAL>(keys, suite, jobs, ahead),
        Suite::AesGcm16 { key_bits: 192 } => gcm::batch::<13, SEAL>(keys, suite, jobs, ahead),
        Suite::AesGcm16 { .. } => gcm::batch::<15, SEAL>(keys, suite, jobs, ahead),
        Suite::AesCbc { .. } | Suite::TripleDesCbc { .. } => unreachable!("see `has`"),
    }
}
