//! AES-NI and PCLMULQDQ, or VAES and VPCLMULQDQ on two blocks at once where the processor has them;
//! SHA-NI for the hashes.
//!
//! ```text
//!   the packets of a call, by suite and width                    batch
//!   ─────────────────────────────────────────────────────────────────────
//!   AES-GCM   one packet after the other, in one pass            gcm
//!   AES-CBC   encryption of eight packets at once,
//!             decryption of many blocks of one                   cbc
//!   HMAC      SHA-1 or SHA-256 of four packets at once           mac, sha
//!   ─────────────────────────────────────────────────────────────────────
//!   AES rounds, key schedules                                    aes
//!   the instructions, on one block or two                        width
//! ```
//!
//! Which width there is, is found out once for a batch; everything below is inlined into a function
//! that may use its instructions.

mod aes;
pub(super) mod batch;
mod cbc;
mod gcm;
pub(super) mod mac;
pub(super) mod sha;
mod width;

use zeroize::{Zeroize, ZeroizeOnDrop};

use aes::Schedule;
pub(super) use aes::iv;
use batch::Batch;
use mac::Mac;
use sha::Hash;
pub(super) use width::{Block, Narrow};

use super::kernel::Kernel;
use super::slots::Slots;
use super::{Direction, EspJob, Integrity, Keymat, Suite};

/// Whether this back end does a suite itself.
#[inline]
pub(super) fn has(suite: Suite) -> bool {
    Narrow::detect().is_some() && (suite.cbc_and_hmac().is_none() || hash(suite).is_some())
}

/// The hash of a suite of AES-CBC and an HMAC that is worked on here.
fn hash(suite: Suite) -> Option<Hash> {
    match suite {
        Suite::AesCbc {
            integrity: Integrity::HmacSha1_96,
            ..
        } => Some(Hash::Sha1),
        Suite::AesCbc {
            integrity: Integrity::HmacSha256_128,
            ..
        } => Some(Hash::Sha256),
        Suite::AesCbc { .. } | Suite::AesGcm16 { .. } | Suite::TripleDesCbc { .. } => None,
    }
}

/// A key of any of the suites. What the shorter ones have no use for lies at the end.
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(C)]
pub(super) struct Key {
    #[zeroize(skip)]
    suite: Suite,
    #[zeroize(skip)]
    direction: Direction,
    rest: Rest,
    schedule: Schedule,
}

/// What a key has beside its round keys.
#[derive(Zeroize, ZeroizeOnDrop)]
enum Rest {
    Gcm {
        powers: [Block; gcm::POWERS],
        salt: [u8; 4],
    },
    Cbc {
        mac: Mac,
        iv_key: Block,
    },
}

/// Six cache lines; with a key of 128 bits the last one is not touched.
const _: () = assert!(size_of::<Option<Key>>() <= 384);

impl Kernel for Key {
    fn new(direction: Direction, keymat: &Keymat, iv_key: &[u8; 16]) -> Self {
        let suite = keymat.suite();
        let key = keymat.encryption_key();
        let narrow = Narrow::detect().expect("`has` let the suite come here");
        let forth = Schedule::encryption(narrow, key);
        let rest = match hash(suite) {
            None => Rest::gcm(narrow, &forth, keymat),
            Some(hash) => Rest::Cbc {
                mac: Mac::new(hash, keymat.integrity_key()),
                iv_key: *iv_key,
            },
        };
        let schedule = match (&rest, direction) {
            (Rest::Cbc { .. }, Direction::Open) => Schedule::decryption(narrow, key),
            (Rest::Cbc { .. }, Direction::Seal) | (Rest::Gcm { .. }, _) => forth,
        };
        Self {
            schedule,
            rest,
            suite,
            direction,
        }
    }

    fn open(
        keys: &Slots<Self>,
        suite: Suite,
        jobs: &mut [EspJob<'_>],
        ahead: &mut impl FnMut(usize),
    ) {
        Batch {
            keys,
            suite,
            jobs,
            ahead,
        }
        .run(Direction::Open);
    }

    fn seal(
        keys: &Slots<Self>,
        suite: Suite,
        jobs: &mut [EspJob<'_>],
        ahead: &mut impl FnMut(usize),
    ) {
        Batch {
            keys,
            suite,
            jobs,
            ahead,
        }
        .run(Direction::Seal);
    }
}

impl Rest {
    fn gcm(narrow: Narrow, schedule: &Schedule, keymat: &Keymat) -> Self {
        let mut salt = [0; 4];
        salt.copy_from_slice(keymat.salt());
        let powers = match keymat.encryption_key().len() {
            16 => gcm::powers::<_, 11>(narrow, schedule),
            24 => gcm::powers::<_, 13>(narrow, schedule),
            _ => gcm::powers::<_, 15>(narrow, schedule),
        };
        Self::Gcm { powers, salt }
    }
}
