//! Initialisation vectors of the packets that are sealed.

use super::{BODY, LANES, judge};
use crate::esp::avx512::vector::{Block, seen};
use crate::esp::avx512::{Key, Slots, aes};
use crate::esp::{Direction, EspJob, HEADER_LEN, Suite, Verdict};

/// RFC 3602 §3: the IV must be unpredictable, so the counter itself would not do. NIST
/// SP 800-38A appendix C encrypts it.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,vaes")]
pub(super) fn write(keys: &Slots<Key>, suite: Suite, jobs: &mut [EspJob<'_>]) {
    let mut iv_keys = IvKeys([Block::default(); LANES]);
    let mut counters = [Block::default(); LANES];
    for ((job, iv_key), counter) in jobs.iter_mut().zip(&mut iv_keys.0).zip(&mut counters) {
        if let Some(key) = judge(keys, suite, Direction::Seal, job) {
            *iv_key = key.iv_key();
            *counter = u128::from(job.counter()).to_be_bytes();
        }
    }
    let ivs = aes::encrypt_each(&iv_keys.0, &counters);
    for (job, iv) in jobs.iter_mut().zip(&ivs) {
        if job.verdict == Verdict::Pending {
            job.packet[HEADER_LEN..BODY].copy_from_slice(iv);
        }
    }
}

struct IvKeys([Block; LANES]);

impl Drop for IvKeys {
    fn drop(&mut self) {
        self.0 = [Block::default(); LANES];
        seen(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::esp::avx512::vector::is_erased_on_drop;

    #[test]
    fn a_batch_leaves_no_key_of_ivs_behind() {
        assert!(is_erased_on_drop(IvKeys([[7; 16]; LANES])));
    }
}
