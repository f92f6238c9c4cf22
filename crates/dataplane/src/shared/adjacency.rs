//! The next hops, each in two words under a sequence lock.
//!
//! A reader that meets a writer tries again a bounded number of times: the writer holds a cell for
//! a few nanoseconds, and never while it waits for anything.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

use zerocopy::{FromBytes, IntoBytes};

use crate::change::{Adjacency, AdjacencyId};

/// How often a reader that meets the writer looks again.
const READ_TRIES: usize = 1000;

const PRESENT: u8 = 1;
const RESOLVED: u8 = 2;
const REWRITE: u8 = 4;

/// The table of next hops.
#[derive(Debug)]
pub(crate) struct Adjacencies(Box<[Cell]>);

#[derive(Debug, Default)]
struct Cell {
    /// Odd while the words are being written.
    version: AtomicU64,
    /// The first half of [`Octets`], which lie as they are sent, so that a rewrite is two stores.
    first: AtomicU64,
    second: AtomicU64,
}

/// What the two words hold.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct Octets {
    macs: [[u8; 6]; 2],
    mtu: [u8; 2],
    port: u8,
    flags: u8,
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
        let [first, second] = words(adjacency);
        cell.version.store(version + 1, Relaxed);
        fence(Release);
        cell.first.store(first, Relaxed);
        cell.second.store(second, Relaxed);
        cell.version.store(version + 2, Release);
        true
    }

    /// A slot, if it was ever set. Inlined, so that who wants one field unpacks one field.
    #[inline(always)]
    pub(crate) fn at(&self, id: AdjacencyId) -> Option<Adjacency> {
        let cell = self.0.get(usize::from(id.0))?;
        for _ in 0..READ_TRIES {
            let version = cell.version.load(Acquire);
            let words = [cell.first.load(Relaxed), cell.second.load(Relaxed)];
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
    zerocopy::transmute!(Octets {
        macs: adjacency.rewrite.unwrap_or_default(),
        mtu: adjacency.mtu.to_ne_bytes(),
        port: adjacency.port,
        flags,
    })
}

#[inline(always)]
fn adjacency(words: [u64; 2]) -> Option<Adjacency> {
    let Octets {
        macs,
        mtu,
        port,
        flags,
    } = zerocopy::transmute!(words);
    let has = |flag| flags & flag != 0;
    has(PRESENT).then(|| Adjacency {
        port,
        mtu: u16::from_ne_bytes(mtu),
        rewrite: has(REWRITE).then_some(macs),
        is_resolved: has(RESOLVED),
    })
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
