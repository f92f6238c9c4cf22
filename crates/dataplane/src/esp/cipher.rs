//! One call of the cipher for each suite of a batch.
//!
//! An index list is sorted by suite and length; the frames stay in their seats. Equal neighbours in
//! length let a multi-buffer cipher keep its lanes full, and spare every cipher mispredicted tails
//! (PERF §7: IMIX −10 % to −30 %). A batch of one suite and size is in order already.

use crypto::esp::{EspJob, KeySlot, Suite, Verdict};
use packet::{Chunk, Frame};

use crate::batch::{BATCH_FRAMES, Batch, Work};

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

/// Calls `cipher` for each suite with the frames in line that have work for it, and leaves the
/// verdicts with them.
pub(super) fn run<C: Chunk>(
    batch: &mut Batch<C>,
    mut cipher: impl FnMut(Suite, &mut [EspJob<'_>]),
) {
    let mut order = [Entry::default(); BATCH_FRAMES];
    let count = sort(batch, &mut order);
    let order = &order[..count];
    if order.is_empty() {
        return;
    }
    let mut seats: Seated<'_, C> = [const { None }; _];
    for (seat, (frame, work)) in seats.iter_mut().zip(batch.works_mut()) {
        *seat = work.as_mut().map(|work| (frame, work));
    }
    let mut jobs: [EspJob<'_>; BATCH_FRAMES] = std::array::from_fn(|_| nothing());
    let mut rest = &mut jobs[..order.len()];
    for group in order.chunk_by(|a, b| a.suite() == b.suite()) {
        let (jobs, others) = rest.split_at_mut(group.len());
        run_group(group, jobs, &mut seats, &mut cipher);
        rest = others;
    }
}

/// The seats' windows and work, each until a job borrows the window.
type Seated<'b, C> = [Option<(&'b mut Frame<C>, &'b mut Work)>; BATCH_FRAMES];

fn run_group<'b, C: Chunk>(
    group: &[Entry],
    jobs: &mut [EspJob<'b>],
    seats: &mut Seated<'b, C>,
    cipher: &mut impl FnMut(Suite, &mut [EspJob<'_>]),
) {
    let mut verdicts: [Option<&mut Verdict>; BATCH_FRAMES] = [const { None }; _];
    let mut whose = None;
    for ((job, verdict), entry) in jobs.iter_mut().zip(&mut verdicts).zip(group) {
        if let Some((frame, work)) = seats[entry.seat()].take() {
            whose = Some(work.suite);
            *job = job_of(work, frame.bytes_mut());
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

/// Fills the index list, sorted; says how many have work.
fn sort<C: Chunk>(batch: &Batch<C>, order: &mut [Entry; BATCH_FRAMES]) -> usize {
    let mut count = 0;
    for (seat, work, len) in batch.at_work() {
        order[count] = Entry::new(work.suite, len, seat);
        count += 1;
    }
    order[..count].sort_unstable();
    count
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
