//! What has happened in a run: always as a digest, and in words where somebody wants to read it.
//!
//! A run that fails is run once more with a [`Record`], which is possible because the same seed is
//! the same run; the digest is how that is tested.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Lines that a record keeps.
const LINES_MAX: usize = 500_000;

/// The last lines of a trace; outlives a run that panics.
#[derive(Clone, Debug, Default)]
pub struct Record(Arc<Mutex<VecDeque<String>>>);

impl Record {
    pub(crate) fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The last `count` lines.
    #[must_use]
    pub fn tail(&self, count: usize) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = lines.len().saturating_sub(count);
        lines.iter().skip(skip).cloned().collect()
    }
}

/// The trace of one run.
#[derive(Debug)]
pub struct Trace {
    epoch: Instant,
    digest: u64,
    events: u64,
    record: Option<Record>,
}

impl Trace {
    /// An empty trace; times count from `epoch`.
    #[must_use]
    pub fn new(epoch: Instant, record: Option<Record>) -> Self {
        Self {
            epoch,
            digest: 0xcbf2_9ce4_8422_2325,
            events: 0,
            record,
        }
    }

    /// Notes an event: `octets` go into the digest, `text` is made only for a record.
    pub fn note(&mut self, now: Instant, octets: &[u8], text: impl FnOnce() -> String) {
        let at = now.saturating_duration_since(self.epoch);
        self.events += 1;
        self.mix(at.as_nanos() as u64);
        for chunk in octets.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        if let Some(record) = &self.record {
            record.push(format!("{:>10.3} {}", at.as_secs_f64(), text()));
        }
    }

    /// As [`Trace::note`], of an event that is told by its words alone.
    pub fn say(&mut self, now: Instant, text: &str) {
        self.note(now, text.as_bytes(), || text.to_owned());
    }

    fn mix(&mut self, word: u64) {
        // The multiplication of FNV-1a, on words; the rotation brings the upper bits back down.
        self.digest = (self.digest ^ word)
            .wrapping_mul(0x100_0000_01b3)
            .rotate_left(23);
    }

    /// Stands for everything that has happened so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// How much has happened so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether somebody wants to read it.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.record.is_some()
    }
}
