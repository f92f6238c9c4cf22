//! One call of the cipher for each suite of a batch.
//!
//! An index list is sorted by suite and length; the frames stay in their seats. Equal neighbours in
//! length let a multi-buffer cipher keep its lanes full, and spare every cipher mispredicted tails
//! (PERF §7: IMIX −10 % to −30 %). A batch of one suite and size is in order already.

use crypto::esp::{EspJob, KeySlot, Suite, Verdict};

use crate::batch::{BATCH_FRAMES, Work};

/// Lengths in one class need the same number of wide registers.
const LENGTH_CLASS: usize = 64;

/// Rank of the suite, length class and seat, in one word to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Entry(u32);

const SEAT_BITS: u32 = BATCH_FRAMES.ilog2();
const CLASS_BITS: u32 = 10;

const _: () = assert!(BATCH_FRAMES.is_power_of_two());

impl Entry {
    #[inline]
    fn new(suite: Suite, len: usize, seat: usize) -> Self {
        let class = (len / LENGTH_CLASS).min((1 << CLASS_BITS) - 1);
        Self((u32::from(rank(suite)) << CLASS_BITS | class as u32) << SEAT_BITS | seat as u32)
    }

    fn seat(self) -> usize {
        self.0 as usize % BATCH_FRAMES
    }

    fn suite(self) -> u32 {
        self.0 >> (CLASS_BITS + SEAT_BITS)
    }
}

/// A number for each suite.
#[inline]
fn rank(suite: Suite) -> u8 {
    match suite {
        Suite::AesGcm16 { key_bits } => (key_bits / 64) as u8,
        Suite::AesCbc {
            key_bits,
            integrity,
        } => ((key_bits / 64) as u8) << 4 | integrity as u8,
        Suite::TripleDesCbc { integrity } => 0x80 | integrity as u8,
    }
}

/// A packet, until a job borrows it, and what is to be done with it.
type Seat<'b> = Option<(&'b mut [u8], &'b mut Work)>;

/// Calls `cipher` for each suite with the packets that are of it, and leaves the verdicts with them.
pub(crate) fn run<'b>(
    works: impl Iterator<Item = (&'b mut [u8], &'b mut Work)>,
    mut cipher: impl FnMut(Suite, &mut [EspJob<'_>]),
) {
    let mut seats: [Seat<'b>; BATCH_FRAMES] = [const { None }; _];
    let mut order = [Entry::default(); BATCH_FRAMES];
    let mut count = 0;
    for (packet, work) in works.take(BATCH_FRAMES) {
        order[count] = Entry::new(work.suite, packet.len(), count);
        seats[count] = Some((packet, work));
        count += 1;
    }
    let order = &mut order[..count];
    order.sort_unstable();
    for group in order.chunk_by(|a, b| a.suite() == b.suite()) {
        run_group(group, &mut seats, &mut cipher);
    }
}

fn run_group<'b>(
    group: &[Entry],
    seats: &mut [Seat<'b>; BATCH_FRAMES],
    cipher: &mut impl FnMut(Suite, &mut [EspJob<'_>]),
) {
    let mut jobs: [EspJob<'b>; BATCH_FRAMES] = std::array::from_fn(|_| nothing());
    let mut verdicts: [Option<&mut Verdict>; BATCH_FRAMES] = [const { None }; _];
    let mut whose = None;
    let jobs = &mut jobs[..group.len()];
    for ((job, verdict), entry) in jobs.iter_mut().zip(&mut verdicts).zip(group) {
        if let Some((packet, work)) = seats[entry.seat()].take() {
            whose = Some(work.suite);
            *job = job_of(work, packet);
            *verdict = Some(&mut work.verdict);
        }
    }
    if let Some(suite) = whose {
        cipher(suite, jobs);
    }
    for (job, verdict) in jobs.iter().zip(verdicts) {
        if let Some(verdict) = verdict {
            *verdict = job.verdict;
        }
    }
}

#[inline]
fn job_of<'f>(work: &Work, packet: &'f mut [u8]) -> EspJob<'f> {
    EspJob {
        packet,
        slot: work.key,
        esn_high: work.esn.then_some((work.sequence >> 32) as u32),
        verdict: Verdict::Pending,
    }
}

fn nothing<'f>() -> EspJob<'f> {
    EspJob {
        packet: &mut [],
        slot: KeySlot(0),
        esn_high: None,
        verdict: Verdict::Pending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_suite_has_a_rank_of_its_own() {
        let ranks: BTreeSet<_> = Suite::ALL.into_iter().map(rank).collect();
        assert_eq!(ranks.len(), Suite::ALL.len());
    }
}
