//! AES-CBC (RFC 3602) with an HMAC behind it.
//!
//! Decryption has all it needs at once and goes through a packet four vectors at a time.
//! Encryption waits for its own last block, so that one packet alone keeps the unit busy an eighth
//! of the time: sixteen go side by side, each 128 bits of four vectors with a key of its own. If
//! they are of one length, their hashes are computed in the same loop: see [`sealing`].

mod alone;
mod decryption;
mod encryption;
mod iv;
mod sealing;

use super::vector::Block;
use super::{Key, Slots, hmac};
use crate::cpu;
use crate::esp::{Direction, EspJob, HEADER_LEN, Suite, Verdict};

const IV_LEN: usize = size_of::<Block>();

/// Where the first block of ciphertext begins.
const BODY: usize = HEADER_LEN + IV_LEN;

/// Packets encrypted side by side.
const LANES: usize = 16;

/// Opens packets (or seals them), with `R` round keys and a hash of `WORDS`.
#[inline(never)] // As in `gcm`.
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2,sha")]
pub(super) fn batch<const R: usize, const WORDS: usize, const SEAL: bool>(
    keys: &Slots<Key>,
    suite: Suite,
    jobs: &mut [EspJob<'_>],
    ahead: &mut impl FnMut(usize),
) {
    if SEAL {
        seal::<R, WORDS>(keys, suite, jobs, ahead);
    } else {
        open::<R, WORDS>(keys, suite, jobs, ahead);
    }
}

/// Verifies packets and decrypts those that are authentic.
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2,sha")]
fn open<const R: usize, const WORDS: usize>(
    keys: &Slots<Key>,
    suite: Suite,
    jobs: &mut [EspJob<'_>],
    ahead: &mut impl FnMut(usize),
) {
    if let [job] = jobs {
        ahead(0);
        if let Some(key) = judge(keys, suite, Direction::Open, job) {
            job.verdict = alone::open::<R, WORDS>(key, job, suite.icv_len());
        }
        return;
    }
    fetch_keys(keys, jobs.get(..LANES).unwrap_or(jobs));
    each_group(jobs, |start, jobs, later| {
        let pending = jobs.iter_mut().enumerate().filter_map(|(i, job)| {
            ahead(start + i);
            let key = judge(keys, suite, Direction::Open, job)?;
            Some(hmac::Packet::new(key, job, suite.icv_len()))
        });
        hmac::batch::<WORDS, false>(pending);
        for (i, job) in jobs.iter_mut().enumerate() {
            if let Some(later) = later.get(i) {
                cpu::prefetch_bytes(later.packet, 0, usize::MAX);
                keys.prefetch(later.slot);
            }
            // RFC 4303 §3.4.4.1: integrity is checked before anything is decrypted.
            if job.verdict == Verdict::Ok
                && let Some(key) = keys.key(job.slot)
            {
                let end = job.packet.len() - suite.icv_len();
                decryption::decrypt::<R>(key, &mut job.packet[HEADER_LEN..end]);
            }
        }
    });
}

/// Calls `work` for some packets after the others, with how many went before and those that come
/// later. A packet that goes through two ciphers shall still be in the first cache when it comes to
/// the second; and while memory has nothing to do, it brings the packets that are next.
#[inline(always)]
fn each_group(
    mut jobs: &mut [EspJob<'_>],
    mut work: impl FnMut(usize, &mut [EspJob<'_>], &[EspJob<'_>]),
) {
    let mut start = 0;
    while !jobs.is_empty() {
        // A rest that does not fill the lanes twice is not worth a group of its own.
        let count = if jobs.len() < 2 * LANES {
            jobs.len()
        } else {
            LANES
        };
        let (now, later) = jobs.split_at_mut(count);
        work(start, now, later);
        start += count;
        jobs = later;
    }
}

/// Asks for keys that will be worked with soon.
#[inline]
fn fetch_keys(keys: &Slots<Key>, jobs: &[EspJob<'_>]) {
    for job in jobs {
        keys.prefetch(job.slot);
    }
}

/// Encrypts packets and signs them.
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2,sha")]
fn seal<const R: usize, const WORDS: usize>(
    keys: &Slots<Key>,
    suite: Suite,
    jobs: &mut [EspJob<'_>],
    ahead: &mut impl FnMut(usize),
) {
    fetch_keys(keys, jobs.get(..LANES).unwrap_or(jobs));
    let mut groups = jobs.chunks_mut(LANES).peekable();
    while let Some(group) = groups.next() {
        fetch_keys(keys, groups.peek().map_or(&[], |later| later));
        iv::write(keys, suite, group);
    }
    if let [job] = jobs {
        ahead(0);
        if let Some(key) = keys.key(job.slot)
            && job.verdict == Verdict::Pending
        {
            job.verdict = alone::seal::<R, WORDS>(key, job, suite.icv_len());
        }
        return;
    }
    let even = seal_even::<R, WORDS>(keys, suite, jobs, ahead);
    seal_rest::<R, WORDS>(keys, suite, &mut jobs[even..], &mut |i| ahead(even + i));
}

/// Seals the first packets, as long as sixteen have one length; says how many.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2,sha")]
fn seal_even<const R: usize, const WORDS: usize>(
    keys: &Slots<Key>,
    suite: Suite,
    jobs: &mut [EspJob<'_>],
    ahead: &mut impl FnMut(usize),
) -> usize {
    let mut sealed = 0;
    for group in jobs.as_chunks_mut().0 {
        let Some(keys) = sealing::keys_if_even(keys, group) else {
            break;
        };
        (sealed..sealed + LANES).for_each(&mut *ahead);
        sealing::seal::<R, WORDS>(&keys, group, suite.icv_len());
        sealed += LANES;
    }
    sealed
}

/// Seals packets of any lengths.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2,sha")]
fn seal_rest<const R: usize, const WORDS: usize>(
    keys: &Slots<Key>,
    suite: Suite,
    jobs: &mut [EspJob<'_>],
    ahead: &mut impl FnMut(usize),
) {
    let pending = |job: &EspJob<'_>| {
        let key = keys.key(job.slot)?;
        (job.verdict == Verdict::Pending).then_some(key)
    };
    encryption::encrypt::<R>(jobs.iter_mut().enumerate().filter_map(|(i, job)| {
        ahead(i);
        let key = pending(job)?;
        let end = job.packet.len() - suite.icv_len();
        Some((key, job.packet[HEADER_LEN..end].as_chunks_mut().0))
    }));
    hmac::batch::<WORDS, true>(jobs.iter_mut().filter_map(|job| {
        let key = pending(job)?;
        Some(hmac::Packet::new(key, job, suite.icv_len()))
    }));
}

/// The key of a job, or the verdict that there can be none.
#[inline]
fn judge<'k>(
    keys: &'k Slots<Key>,
    suite: Suite,
    direction: Direction,
    job: &mut EspJob<'_>,
) -> Option<&'k Key> {
    if !suite.is_packet_len(job.packet.len()) {
        job.verdict = Verdict::BadLength;
        return None;
    }
    let key = keys.key(job.slot);
    let key = key.filter(|key| key.serves(suite, direction));
    job.verdict = if key.is_some() {
        Verdict::Pending
    } else {
        Verdict::BadIcv
    };
    key
}
