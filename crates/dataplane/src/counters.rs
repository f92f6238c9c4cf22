//! Counters with one writer and any number of readers.
//!
//! A worker counts with a relaxed load and a relaxed store, no read-modify-write: 0.27 ns against
//! 5.2 ns for a locked add. That is right only because exactly one thread writes each counter: the
//! worker itself, or the owner of the shard that the counted thing lives in.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::change::Traffic;
use crate::discard::Discard;
use crate::stages::Stage;

/// A number that one thread writes and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    #[inline]
    pub fn add(&self, n: u64) {
        self.set(self.value().wrapping_add(n));
    }

    /// Overwrites it.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// What it says now.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Packets and octets.
#[derive(Debug, Default)]
pub struct TrafficCounter {
    packets: Counter,
    bytes: Counter,
}

impl TrafficCounter {
    /// Counts one packet of `len` octets.
    #[inline]
    pub fn add(&self, len: usize) {
        self.packets.add(1);
        self.bytes.add(len as u64);
    }

    /// Counts some packets of `len` octets in all.
    #[inline]
    pub(crate) fn add_all(&self, packets: usize, len: usize) {
        self.packets.add(packets as u64);
        self.bytes.add(len as u64);
    }

    /// What it says now.
    pub fn value(&self) -> Traffic {
        Traffic {
            packets: self.packets.value(),
            bytes: self.bytes.value(),
        }
    }

    /// Overwrites it.
    pub(crate) fn set(&self, traffic: Traffic) {
        self.packets.set(traffic.packets);
        self.bytes.set(traffic.bytes);
    }

    pub(crate) fn reset(&self) {
        self.set(Traffic::default());
    }
}

/// Packets and octets that a [`TrafficCounter`] has not been told of, in one word.
#[derive(Debug, Default)]
pub(crate) struct Unpublished {
    packets: u32,
    bytes: u32,
}

impl Unpublished {
    /// Counts one packet of `len` octets. What there is no room for is published first.
    #[inline(always)]
    pub(crate) fn add<'c>(&mut self, len: usize, counter: impl FnOnce() -> &'c TrafficCounter) {
        let bytes = self.bytes.checked_add(len as u32);
        let bytes = bytes.unwrap_or_else(|| {
            self.take_to(counter());
            len as u32
        });
        (self.packets, self.bytes) = (self.packets + 1, bytes);
    }

    /// Whether there is nothing to publish.
    pub(crate) fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// Publishes it.
    #[cold]
    pub(crate) fn take_to(&mut self, counter: &TrafficCounter) {
        let Self { packets, bytes } = std::mem::take(self);
        counter.add_all(packets as usize, bytes as usize);
    }
}

/// What one worker counts of itself.
#[derive(Debug)]
pub struct WorkerCounters {
    /// Frames taken from ports.
    pub received: TrafficCounter,
    /// Frames given to ports.
    pub sent: TrafficCounter,
    /// Frames sent that took the express lane.
    pub express: Counter,
    /// Frames handed over to other workers.
    pub handed_out: Counter,
    /// Frames handed over by other workers.
    pub handed_in: Counter,
    /// Frames copied to the slow path.
    pub punted: Counter,
    /// Frames from the slow path.
    pub injected: Counter,
    /// Changes and injects applied: the number of the last one.
    pub applied: AtomicU64,
    /// Turns that found something to do.
    pub busy_turns: Counter,
    /// All turns.
    pub turns: Counter,
    /// Cycles spent in turns that found something to do.
    pub busy_cycles: Counter,
    /// Cycles since the worker's first turn.
    pub cycles: Counter,
    /// Median of the cycles of a turn that found something to do; published now and then.
    pub burst_cycles_p50: Counter,
    /// The 99th percentile of the same.
    pub burst_cycles_p99: Counter,
    /// The longest.
    pub burst_cycles_max: Counter,
    /// Chunks this worker holds at the end of its last turn, outside the ports.
    pub chunks: Counter,
    discards: [Counter; Discard::COUNT],
    /// Packets and cycles of the turns that were timed.
    stages: [[Counter; 2]; Stage::COUNT],
}

impl Default for WorkerCounters {
    fn default() -> Self {
        Self {
            received: TrafficCounter::default(),
            sent: TrafficCounter::default(),
            express: Counter::default(),
            handed_out: Counter::default(),
            handed_in: Counter::default(),
            punted: Counter::default(),
            injected: Counter::default(),
            applied: AtomicU64::new(0),
            busy_turns: Counter::default(),
            turns: Counter::default(),
            busy_cycles: Counter::default(),
            cycles: Counter::default(),
            burst_cycles_p50: Counter::default(),
            burst_cycles_p99: Counter::default(),
            burst_cycles_max: Counter::default(),
            chunks: Counter::default(),
            discards: [const { Counter(AtomicU64::new(0)) }; Discard::COUNT],
            stages: [const { [const { Counter(AtomicU64::new(0)) }; 2] }; Stage::COUNT],
        }
    }
}

impl WorkerCounters {
    /// Packets and cycles of a stage, in those turns that were timed: one of 64.
    pub fn stage(&self, stage: Stage) -> (u64, u64) {
        let [packets, cycles] = &self.stages[stage as usize];
        (packets.value(), cycles.value())
    }

    pub(crate) fn add_stage(&self, stage: Stage, packets: u64, cycles: u64) {
        let [all_packets, all_cycles] = &self.stages[stage as usize];
        all_packets.add(packets);
        all_cycles.add(cycles);
    }

    /// Frames discarded for this reason.
    pub fn discarded(&self, reason: Discard) -> u64 {
        self.discards[reason.index()].value()
    }

    #[inline]
    pub(crate) fn discard(&self, reason: Discard) {
        self.discards[reason.index()].add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_discard_is_counted_by_its_own_name() {
        let counters = WorkerCounters::default();
        counters.discard(Discard::Replayed);
        counters.discard(Discard::Replayed);
        let total: u64 = Discard::ALL.iter().map(|d| counters.discarded(*d)).sum();
        assert_eq!((counters.discarded(Discard::Replayed), total), (2, 2));
    }
}
