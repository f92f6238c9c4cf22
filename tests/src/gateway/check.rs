//! What is counted, and what must be true of it.

use std::collections::BTreeMap;

use dataplane::change::Class;
use dataplane::id::{SHARDS, WorkerId};
use dataplane::{Discard, WorkerCounters};

use super::Gateway;
use super::seat::{CHUNKS, Seat};
use crate::trace::Trace;

/// Chunks in a parcel that the depot takes or gives.
const DEPOT_PARCEL: usize = 64;

impl Gateway {
    /// Frames discarded for this reason, by all workers.
    #[must_use]
    pub fn discarded(&self, reason: Discard) -> u64 {
        let workers = 0..self.seats.len() as u8;
        workers
            .map(|worker| self.shared.worker(WorkerId(worker)).discarded(reason))
            .sum()
    }

    /// What was discarded so far; only for somebody who wants to read it.
    pub(super) fn discards(&self, trace: &Trace) -> BTreeMap<Discard, u64> {
        if !trace.is_recorded() {
            return BTreeMap::new();
        }
        let reasons = Discard::ALL.iter();
        reasons
            .map(|reason| (*reason, self.discarded(*reason)))
            .collect()
    }

    /// How often each named thing has happened to the slow path.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.control.counters()
    }

    /// How often each named thing has happened, to the slow path and to the workers.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts: BTreeMap<_, _> = self.counters().collect();
        counts.extend(
            Discard::ALL
                .iter()
                .map(|reason| (reason.text(), self.discarded(*reason))),
        );
        let sum = |of: fn(&WorkerCounters) -> u64| -> u64 {
            let workers = (0..self.seats.len() as u8).map(WorkerId);
            workers.map(|worker| of(self.shared.worker(worker))).sum()
        };
        counts.extend([
            (
                "frames handed over",
                sum(|counters| counters.handed_out.value()),
            ),
            (
                "frames received",
                sum(|counters| counters.received.value().packets),
            ),
            ("frames sent", sum(|counters| counters.sent.value().packets)),
            ("naps", self.naps),
        ]);
        counts.extend(self.ledger.counts());
        counts
    }

    /// Changes for which the shared tables had no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.refused()
    }

    pub(super) fn assert_nobody_sleeps_in(&mut self) {
        self.seats.iter_mut().for_each(Seat::assert_woken);
        if self.stalled_until.is_some() {
            return;
        }
        let classes = [Class::Established, Class::InProgress, Class::Stranger];
        let is_empty = self.slow.workers.iter().all(|link| {
            link.events.is_empty() && classes.iter().all(|class| link.punts(*class).is_empty())
        });
        assert!(is_empty, "the slow path has slept through its bell");
    }

    /// Every shard is at home at one worker, the one that frames for it are handed to.
    pub(super) fn assert_shards_have_one_owner(&self) {
        let mut homes = [0; SHARDS];
        for (worker, seat) in self.seats.iter().enumerate() {
            for shard in seat.worker.shards() {
                assert_eq!(self.owner(shard), worker, "{shard:?} lives elsewhere");
                homes[shard.index()] += 1;
            }
        }
        assert_eq!(homes, [1; SHARDS], "how often each shard is at home");
    }

    /// Free, waiting, in parcels between workers, in the depot: none is lost, none is made.
    pub(super) fn assert_chunks_sum_up(&self) {
        let workers = (0..self.seats.len() as u8).map(|w| self.shared.worker(WorkerId(w)));
        let mut chunks = 0;
        let mut travelling = 0;
        for (counters, seat) in workers.zip(&self.seats) {
            chunks += seat.worker.chunks() as u64;
            travelling += counters.handed_out.value() as i64 - counters.handed_in.value() as i64;
        }
        let missing = (self.seats.len() * CHUNKS) as i64 - chunks as i64 - travelling;
        let parcel = DEPOT_PARCEL as i64;
        let fits = missing >= 0 && missing % parcel == 0 && missing <= parcel * self.depot as i64;
        assert!(fits, "{missing} chunks are missing, {travelling} travel");
    }

    /// Takes everything apart and counts the chunks.
    ///
    /// # Panics
    /// If one is missing.
    pub fn dismantle(self) {
        let expected = self.seats.len() * CHUNKS;
        let mut found = 0;
        for seat in self.seats {
            let (_, chunks) = seat.worker.dismantle();
            found += chunks.len();
        }
        assert_eq!(found, expected, "chunks");
    }
}
