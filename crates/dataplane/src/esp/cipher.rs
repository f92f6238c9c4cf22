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

/// Jobs, and where their verdicts go.
struct Jobs<'b> {
    jobs: [EspJob<'b>; BATCH_FRAMES],
    verdicts: [Option<&'b mut Verdict>; BATCH_FRAMES],
}

impl Jobs<'_> {
    #[inline]
    fn none() -> Self {
        Self {
            jobs: std::array::from_fn(|_| nothing()),
            verdicts: [const { None }; _],
        }
    }

    /// Has the first `count` done, which are of one suite.
    #[inline]
    fn run(
        &mut self,
        count: usize,
        suite: Suite,
        cipher: &mut impl FnMut(Suite, &mut [EspJob<'_>]),
    ) {
        cipher(suite, &mut self.jobs[..count]);
        for (job, verdict) in self.jobs.iter().zip(&mut self.verdicts[..count]) {
            if let Some(verdict) = verdict.take() {
                *verdict = job.verdict;
            }
        }
    }
}

/// Calls `cipher` for each suite with the packets that are of it, and leaves the verdicts with them.
#[inline]
pub(crate) fn run<'b>(
    works: impl Iterator<Item = (&'b mut [u8], &'b mut Work)>,
    mut cipher: impl FnMut(Suite, &mut [EspJob<'_>]),
) {
    let mut all = Jobs::none();
    let mut order = [Entry::default(); BATCH_FRAMES];
    let mut suites = [None; BATCH_FRAMES];
    let mut count = 0;
    for (packet, work) in works.take(BATCH_FRAMES) {
        order[count] = Entry::new(work.suite, packet.len(), count);
        suites[count] = Some(work.suite);
        all.jobs[count] = job_of(work, packet);
        all.verdicts[count] = Some(&mut work.verdict);
        count += 1;
    }
    let order = &mut order[..count];
    let is_one = order.first().map(|one| one.suite()) == order.last().map(|one| one.suite());
    match suites[0] {
        Some(suite) if is_one && order.is_sorted() => all.run(count, suite, &mut cipher),
        Some(_) => run_groups(order, &suites, &mut all, &mut cipher),
        None => {}
    }
}

/// Packets of several suites or lengths.
fn run_groups<'b>(
    order: &mut [Entry],
    suites: &[Option<Suite>; BATCH_FRAMES],
    all: &mut Jobs<'b>,
    cipher: &mut impl FnMut(Suite, &mut [EspJob<'_>]),
) {
    order.sort_unstable();
    for group in order.chunk_by(|a, b| a.suite() == b.suite()) {
        let mut some = Jobs::none();
        for (place, entry) in group.iter().enumerate() {
            std::mem::swap(&mut some.jobs[place], &mut all.jobs[entry.seat()]);
            some.verdicts[place] = all.verdicts[entry.seat()].take();
        }
        if let Some(suite) = group.first().and_then(|first| suites[first.seat()]) {
            some.run(group.len(), suite, cipher);
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
