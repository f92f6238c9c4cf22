//! The RustCrypto crates: every suite on every processor, one packet after the other. What the
//! other back ends are compared with, and what they leave the rarer suites to.

mod cbc_hmac;
mod gcm;

use zeroize::ZeroizeOnDrop;

use super::kernel::{Kernel, PREFETCH_AHEAD};
use super::slots::Slots;
use super::{Direction, EspJob, Keymat, Suite, Verdict};
use cbc_hmac::{CbcOpen, CbcSeal};
use gcm::Gcm;

/// Ten cache lines hold the largest key, AES-256-CBC with HMAC-SHA2-512 for sealing.
const KEY_LEN_MAX: usize = 640;

const _: () = assert!(size_of::<Key>() <= KEY_LEN_MAX);

/// A key as it is used: expanded, for one suite and one direction.
pub(super) struct Key {
    suite: Suite,
    direction: Direction,
    schedule: Schedule,
}

/// What stands in for a back end that this processor family does not have says.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn has(_: Suite) -> bool {
    false
}

/// What is in a schedule erases itself: see the test of [`crate::Secret`]'s module.
impl ZeroizeOnDrop for Key {}

enum Schedule {
    Gcm(Gcm),
    CbcOpen(CbcOpen),
    CbcSeal(CbcSeal),
}

impl Key {
    #[inline]
    fn serves(&self, suite: Suite, direction: Direction) -> bool {
        self.suite == suite && self.direction == direction
    }

    #[inline]
    fn open_one(&self, job: &mut EspJob<'_>) -> Verdict {
        match &self.schedule {
            Schedule::Gcm(key) => key.open(job),
            Schedule::CbcOpen(key) => key.open(self.suite, job),
            Schedule::CbcSeal(_) => Verdict::BadIcv,
        }
    }

    #[inline]
    fn seal_one(&self, job: &mut EspJob<'_>) -> Verdict {
        match &self.schedule {
            Schedule::Gcm(key) => key.seal(job),
            Schedule::CbcSeal(key) => key.seal(self.suite, job),
            Schedule::CbcOpen(_) => Verdict::BadIcv,
        }
    }
}

impl Kernel for Key {
    fn new(direction: Direction, keymat: &Keymat, iv_key: &[u8; 16]) -> Self {
        let schedule = match (keymat.suite().cbc_and_hmac(), direction) {
            (None, _) => Schedule::Gcm(Gcm::new(keymat)),
            (Some((algorithm, integrity)), Direction::Open) => {
                Schedule::CbcOpen(CbcOpen::new(algorithm, integrity, keymat))
            }
            (Some((algorithm, integrity)), Direction::Seal) => {
                Schedule::CbcSeal(CbcSeal::new(algorithm, integrity, keymat, iv_key))
            }
        };
        Self {
            suite: keymat.suite(),
            direction,
            schedule,
        }
    }

    fn open(
        keys: &Slots<Self>,
        suite: Suite,
        jobs: &mut [EspJob<'_>],
        ahead: &mut impl FnMut(usize),
    ) {
        each(keys, suite, Direction::Open, jobs, ahead, Self::open_one);
    }

    fn seal(
        keys: &Slots<Self>,
        suite: Suite,
        jobs: &mut [EspJob<'_>],
        ahead: &mut impl FnMut(usize),
    ) {
        each(keys, suite, Direction::Seal, jobs, ahead, Self::seal_one);
    }
}

#[inline]
fn each(
    keys: &Slots<Key>,
    suite: Suite,
    direction: Direction,
    jobs: &mut [EspJob<'_>],
    ahead: &mut impl FnMut(usize),
    work: impl Fn(&Key, &mut EspJob<'_>) -> Verdict,
) {
    for job in jobs.iter().take(PREFETCH_AHEAD) {
        keys.prefetch(job.slot);
    }
    for i in 0..jobs.len() {
        ahead(i);
        if let Some(next) = jobs.get(i + PREFETCH_AHEAD) {
            keys.prefetch(next.slot);
        }
        let job = &mut jobs[i];
        job.verdict = match keys.key(job.slot) {
            _ if !suite.is_packet_len(job.packet.len()) => Verdict::BadLength,
            Some(key) if key.serves(suite, direction) => work(key, job),
            Some(_) | None => Verdict::BadIcv,
        };
    }
}
