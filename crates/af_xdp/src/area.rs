//! [`Area`]: packet memory, and [`Chunk`]: the right to use a piece of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Whether to try for huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HugePages {
    /// Reserved huge pages, else transparent ones, else small pages.
    #[default]
    Prefer,
    /// Small pages.
    Never,
}

/// The pages an area is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Reserved huge pages (hugetlb).
    Reserved,
    /// Transparent huge pages, at least in part.
    Transparent,
    /// Small pages.
    Small,
}

/// What [`Area::new`] needs to know.
#[derive(Clone, Copy, Debug)]
pub struct AreaSettings {
    /// How many chunks.
    pub chunks: u32,
    /// Octets of one chunk: a power of two from 2048 to 65536. AF_XDP takes 2048 and 4096.
    pub chunk_size: u32,
    /// Whether to try for huge pages.
    pub huge: HugePages,
}

/// Memory cut into chunks of one size.
#[derive(Debug)]
pub struct Area {
    lost: AtomicU64,
}

impl Area {
    /// Maps the memory and gives out each of its chunks, exactly once.
    pub fn new(_settings: AreaSettings) -> io::Result<(Arc<Self>, Vec<Chunk>)> {
        todo!()
    }

    /// How many chunks there are.
    pub fn chunks(&self) -> u32 {
        todo!()
    }

    /// Octets of one chunk.
    pub fn chunk_size(&self) -> usize {
        todo!()
    }

    /// The pages it is made of.
    pub fn pages(&self) -> Pages {
        todo!()
    }

    /// Chunks that were dropped instead of being given back to a pool.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// A piece of an area that belongs to whoever holds the value.
///
/// It keeps the area alive. Dropping it loses the piece for good, which [`Area::lost`] counts.
#[derive(Debug)]
pub struct Chunk {
    area: Arc<Area>,
}

impl Chunk {
    /// The area it is of.
    pub fn area(&self) -> &Arc<Area> {
        &self.area
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        todo!()
    }
}

impl AsMut<[u8]> for Chunk {
    fn as_mut(&mut self) -> &mut [u8] {
        todo!()
    }
}

impl packet::Chunk for Chunk {}
