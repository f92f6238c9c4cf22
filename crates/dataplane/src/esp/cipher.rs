//! One call of the cipher for each suite of a batch.
//!
//! An index list is sorted by suite and length; the frames stay in their seats. Equal neighbours in
//! length let a multi-buffer cipher keep its lanes full, and spare every cipher mispredicted tails
//! (PERF §7: IMIX −10 % to −30 %). A batch of one suite and size is in order already.

use arrayvec::ArrayVec;
use crypto::esp::{EspJob, Suite, Verdict};

use super::shape::Shape;
use crate::batch::{BATCH_FRAMES, Seats};

/// Lengths in one class need the same number of wide registers.
const LENGTH_CLASS: usize = 64;

/// Rank of the suite, length class and seat, in one word to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Entry(u32);

const SEAT_BITS: u32 = BATCH_FRAMES.ilog2();
const CLASS_BITS: u32 = 16 - LENGTH_CLASS.ilog2();

const _: () = assert!(BATCH_FRAMES.is_power_of_two());

impl Entry {
    /// An IP packet, and so what it carries, has less than 2^16 octets.
    #[inline(always)]
    fn new(shape: Shape, len: usize, seat: usize) -> Self {
        let class = (len / LENGTH_CLASS) as u32;
        Self((u32::from(shape.rank()) << CLASS_BITS | class) << SEAT_BITS | seat as u32)
    }

    fn seat(self) -> usize {
        self.0 as usize % BATCH_FRAMES
    }

    fn rank(self) -> u8 {
        (self.0 >> (CLASS_BITS + SEAT_BITS)) as u8
    }
}

/// What a batch has for the ciphers: a job for some of its seats, in order of arrival.
pub(crate) struct Jobs<'b> {
    jobs: ArrayVec<EspJob<'b>, BATCH_FRAMES>,
    /// Of each job.
    entries: [Entry; BATCH_FRAMES],
    /// The last one.
    last: Entry,
    is_out_of_order: bool,
}

impl Default for Jobs<'_> {
    fn default() -> Self {
        Self {
            jobs: ArrayVec::new(),
            entries: [Entry::default(); BATCH_FRAMES],
            last: Entry::default(),
            is_out_of_order: false,
        }
    }
}

impl<'b> Jobs<'b> {
    /// Adds what is to be done for the frame in a seat.
    #[inline(always)]
    pub(crate) fn add(&mut self, seat: usize, shape: Shape, job: EspJob<'b>) {
        let entry = Entry::new(shape, job.packet.len(), seat);
        self.is_out_of_order |= entry < self.last;
        self.last = entry;
        self.entries[self.jobs.len()] = entry;
        self.jobs.push(job);
    }

    /// Calls `cipher` once for each suite, with the packets that are of it.
    #[inline]
    pub(crate) fn run(mut self, mut cipher: impl FnMut(Suite, &mut [EspJob<'_>])) -> Verdicts {
        if self.is_out_of_order {
            self.sort();
        }
        let entries = &self.entries[..self.jobs.len()];
        let mut rest = &mut *self.jobs;
        for group in entries.chunk_by(|a, b| a.rank() == b.rank()) {
            let (some, others) = rest.split_at_mut(group.len());
            cipher(Shape::suite_of(group[0].rank()), some);
            rest = others;
        }
        let mut verdicts = Verdicts::default();
        for (entry, job) in entries.iter().zip(&self.jobs) {
            verdicts.note(entry.seat(), job.verdict);
        }
        verdicts
    }

    /// By suite, then by length.
    #[inline(never)]
    fn sort(&mut self) {
        // One word to compare, which takes no branch: an entry, and the place of its job.
        let mut order: ArrayVec<u64, BATCH_FRAMES> = ArrayVec::new();
        let entries = self.entries.iter().zip(0..self.jobs.len() as u64);
        order.extend(entries.map(|(entry, place)| u64::from(entry.0) << SEAT_BITS | place));
        order.sort_unstable();
        let mut jobs: ArrayVec<_, BATCH_FRAMES> = self.jobs.drain(..).map(Some).collect();
        for (entry, word) in self.entries.iter_mut().zip(order) {
            *entry = Entry((word >> SEAT_BITS) as u32);
            self.jobs.extend(jobs[word as usize % BATCH_FRAMES].take());
        }
    }
}

/// What the ciphers have said of the frames in some seats.
#[derive(Default)]
pub(crate) struct Verdicts {
    /// Whose packet is sealed, or authentic.
    pub(crate) good: Seats,
    bad_icv: Seats,
    bad_length: Seats,
}

impl Verdicts {
    #[inline(always)]
    fn note(&mut self, seat: usize, verdict: Verdict) {
        let is_good = verdict == Verdict::Ok;
        self.good |= u64::from(is_good) << seat;
        if !is_good {
            self.note_bad(seat, verdict);
        }
    }

    #[cold]
    fn note_bad(&mut self, seat: usize, verdict: Verdict) {
        match verdict {
            Verdict::BadIcv => self.bad_icv |= 1 << seat,
            Verdict::BadLength => self.bad_length |= 1 << seat,
            Verdict::Ok | Verdict::Pending => {}
        }
    }

    /// Of the frame in a seat.
    #[inline(always)]
    pub(crate) fn of(&self, seat: usize) -> Verdict {
        let is_in = |seats: Seats| seats >> seat & 1 != 0;
        if is_in(self.good) {
            Verdict::Ok
        } else if is_in(self.bad_icv) {
            Verdict::BadIcv
        } else if is_in(self.bad_length) {
            Verdict::BadLength
        } else {
            Verdict::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypto::esp::KeySlot;

    const GCM: Suite = Suite::AesGcm16 { key_bits: 128 };

    #[test]
    fn each_suite_is_called_once_shortest_first_and_every_seat_hears_its_own_verdict() {
        let dear = Suite::ALL[Suite::ALL.len() - 1];
        let mut packets: Vec<_> = [900, 100, 500, 100].map(|len| vec![0; len]).into();
        let mut jobs = Jobs::default();
        let suites = [dear, GCM, GCM, dear];
        for (at, packet) in packets.iter_mut().enumerate() {
            let job = EspJob {
                packet,
                slot: KeySlot(at as u32),
                esn_high: None,
                verdict: Verdict::Pending,
            };
            jobs.add(10 + at, Shape::of(suites[at]), job);
        }
        let mut calls = Vec::new();
        let verdicts = jobs.run(|suite, jobs| {
            let slots: Vec<_> = jobs.iter().map(|job| job.slot.0).collect();
            calls.push((suite, slots));
            for job in jobs {
                job.verdict = match job.slot.0 {
                    0 => Verdict::BadIcv,
                    1 => Verdict::BadLength,
                    _ => Verdict::Ok,
                };
            }
        });
        assert_eq!(calls, [(GCM, vec![1, 2]), (dear, vec![3, 0])]);
        let said = [10, 11, 12, 13, 14].map(|seat| verdicts.of(seat));
        use Verdict::{BadIcv, BadLength, Ok, Pending};
        assert_eq!(said, [BadIcv, BadLength, Ok, Ok, Pending]);
    }
}
