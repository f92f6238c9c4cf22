//! The next hops, each in two words under a sequence lock.
//!
//! A reader that meets a writer tries again a bounded number of times: the writer holds a cell for
//! a few nanoseconds, and never while it waits for anything.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

use crate::change::{Adjacency, AdjacencyId};

/// How often a reader that meets the writer looks again.
const READ_TRIES: usize = 1000;

const PRESENT: u64 = 1;
const RESOLVED: u64 = 2;
const REWRITE: u64 = 4;

/// The table of next hops.
#[derive(Debug)]
pub(crate) struct Adjacencies(Box<[Cell]>);

#[derive(Debug, Default)]
struct Cell {
    /// Odd while the words are being written.
    version: AtomicU64,
    /// Destination MAC 48 · port 8 · flags 8.
    destination: AtomicU64,
    /// Source MAC 48 · MTU 16.
    source: AtomicU64,
}

impl Adjacencies {
    pub(crate) fn new(count: u16) -> Self {
        Self((0..count).map(|_| Cell::default()).collect())
    }

    /// Overwrites a slot; `false` beyond the limit. One writer at a time.
    pub(crate) fn set(&self, id: AdjacencyId, adjacency: &Adjacency) -> bool {
        let Some(cell) = self.0.get(usize::from(id.0)) else {
            return false;
        };
        let version = cell.version.load(Relaxed);
        let [destination, source] = words(adjacency);
        cell.version.store(version + 1, Relaxed);
        fence(Release);
        cell.destination.store(destination, Relaxed);
        cell.source.store(source, Relaxed);
        cell.version.store(version + 2, Release);
        true
    }

    /// A slot, if it was ever set. Inlined, so that who wants one field unpacks one field.
    #[inline(always)]
    pub(crate) fn at(&self, id: AdjacencyId) -> Option<Adjacency> {
        let cell = self.0.get(usize::from(id.0))?;
        for _ in 0..READ_TRIES {
            let version = cell.version.load(Acquire);
            let words = [cell.destination.load(Relaxed), cell.source.load(Relaxed)];
            fence(Acquire);
            if version.is_multiple_of(2) && cell.version.load(Relaxed) == version {
                return adjacency(words);
            }
        }
        None
    }
}

fn words(adjacency: &Adjacency) -> [u64; 2] {
    let mut flags = PRESENT;
    if adjacency.is_resolved {
        flags |= RESOLVED;
    }
    if adjacency.rewrite.is_some() {
        flags |= REWRITE;
    }
    let [destination, source] = adjacency.rewrite.unwrap_or_default();
    [
        mac_word(destination) | u64::from(adjacency.port) << 8 | flags,
        mac_word(source) | u64::from(adjacency.mtu),
    ]
}

#[inline(always)]
fn adjacency([destination, source]: [u64; 2]) -> Option<Adjacency> {
    let has = |flag| destination & flag != 0;
    has(PRESENT).then(|| Adjacency {
        port: (destination >> 8) as u8,
        mtu: source as u16,
        rewrite: has(REWRITE).then(|| [mac(destination), mac(source)]),
        is_resolved: has(RESOLVED),
    })
}

fn mac_word(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([a, b, c, d, e, f, 0, 0])
}

#[inline(always)]
fn mac(word: u64) -> [u8; 6] {
    let [a, b, c, d, e, f, ..] = word.to_be_bytes();
    [a, b, c, d, e, f]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read() {
        let table = Adjacencies::new(2);
        let known = Adjacency {
            port: 3,
            mtu: 1500,
            rewrite: Some([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]]),
            is_resolved: true,
        };
        let unknown = Adjacency {
            rewrite: None,
            is_resolved: false,
            ..known
        };
        assert_eq!(table.at(AdjacencyId(1)), None);
        for adjacency in [known, unknown] {
            assert!(table.set(AdjacencyId(1), &adjacency));
            assert_eq!(table.at(AdjacencyId(1)), Some(adjacency));
        }
        assert!(!table.set(AdjacencyId(2), &known));
        assert_eq!(table.at(AdjacencyId(2)), None);
    }
}
