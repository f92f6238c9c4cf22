//! [`Area`]: packet memory, and [`Chunk`]: the right to use a piece of it.
//!
//! The bytes of a chunk have one owner at a time: whoever holds the `Chunk` value, or the kernel.
//! The area's table of holders says which. A `Holder` turns a `Chunk` into an address for the
//! kernel and enters itself in the table; an address that comes back becomes a `Chunk` only if the
//! table has that same holder for it. So not even an address that the kernel invents, or gives
//! back twice, makes two owners.

use std::io;
use std::mem;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::syscall::{self, Advice, Mapping, PageKind};

/// Size of a huge page on every machine we know.
const HUGE_PAGE: usize = 2 << 20;

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

/// The sizes of a chunk that make sense.
const CHUNK_SIZES: Range<u32> = 2048..65537;

/// Memory cut into chunks of one size.
#[derive(Debug)]
pub struct Area {
    memory: Mapping,
    /// Where the first chunk starts in `memory`; the rest is alignment.
    start: usize,
    chunks: u32,
    /// log2 of the size of a chunk.
    shift: u32,
    pages: Pages,
    /// Who holds each chunk: [`NOBODY`] while there is a `Chunk` value, else a [`Holder`].
    holders: Box<[AtomicU16]>,
    /// Names in use by holders, in order.
    names: Mutex<Vec<u16>>,
    lost: AtomicU64,
}

/// In the table of holders: not with the kernel.
const NOBODY: u16 = 0;

impl Area {
    /// Maps the memory and gives out each of its chunks, exactly once.
    pub fn new(settings: AreaSettings) -> io::Result<(Arc<Self>, Vec<Chunk>)> {
        let size = settings.chunk_size;
        if settings.chunks == 0 || !CHUNK_SIZES.contains(&size) || !size.is_power_of_two() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let len = (settings.chunks as usize)
            .checked_mul(size as usize)
            .and_then(|len| len.checked_next_multiple_of(HUGE_PAGE))
            .ok_or(io::ErrorKind::InvalidInput)?;
        let (memory, start, pages) = map(len, settings.huge)?;
        let holders = (0..settings.chunks).map(|_| AtomicU16::new(NOBODY));
        let area = Arc::new(Self {
            memory,
            start,
            chunks: settings.chunks,
            shift: size.trailing_zeros(),
            pages,
            holders: holders.collect(),
            names: Mutex::default(),
            lost: AtomicU64::new(0),
        });
        let chunks = (0..settings.chunks as usize).map(|index| Chunk {
            // SAFETY: the index is below `chunks`.
            memory: unsafe { area.bytes_of(index) },
            area: area.clone(),
        });
        let chunks = chunks.collect();
        Ok((area, chunks))
    }

    /// How many chunks there are.
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Octets of one chunk.
    pub fn chunk_size(&self) -> usize {
        1 << self.shift
    }

    /// The pages it is made of.
    pub fn pages(&self) -> Pages {
        self.pages
    }

    /// Chunks that were dropped instead of being given back to a pool.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Octets that are registered with the kernel, and so locked.
    pub(crate) fn registered_len(&self) -> usize {
        let len = (self.chunks as usize) << self.shift;
        match self.pages {
            Pages::Reserved => len.next_multiple_of(HUGE_PAGE),
            Pages::Transparent | Pages::Small => len.next_multiple_of(SMALL_PAGE),
        }
    }

    /// Registers the memory with an AF_XDP socket.
    pub(crate) fn register(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let len = self.registered_len();
        syscall::register_memory(socket, &self.memory, self.start, len, 1 << self.shift)
    }

    /// The bytes of the chunk `index`.
    ///
    /// # Safety
    /// `index` is below `chunks`.
    unsafe fn bytes_of(&self, index: usize) -> NonNull<[u8]> {
        debug_assert!(index < self.chunks as usize);
        // SAFETY: `map` gave at least `chunks << shift` octets from `start` on, and the caller
        // keeps `index` below `chunks`.
        let first = unsafe { self.memory.base().add(self.start + (index << self.shift)) };
        NonNull::slice_from_raw_parts(first, self.chunk_size())
    }

    /// The bytes at an address as the kernel reaches them, for a test that is the kernel.
    ///
    /// # Safety
    /// The range is inside a chunk that a holder has, and the test has its address from a ring
    /// and has not given it back.
    #[cfg(test)]
    #[expect(clippy::mut_from_ref, reason = "the kernel has pointers of its own")]
    pub(crate) unsafe fn kernel_bytes(&self, address: u64, len: usize) -> &mut [u8] {
        assert!(address as usize + len <= (self.chunks as usize) << self.shift);
        // SAFETY: inside the mapping, as asserted; exclusive, as the caller promises.
        unsafe {
            let first = self.memory.base().add(self.start + address as usize);
            std::slice::from_raw_parts_mut(first.as_ptr(), len)
        }
    }

    fn names(&self) -> std::sync::MutexGuard<'_, Vec<u16>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registered memory is a whole number of pages; this is the largest size of a small one.
const SMALL_PAGE: usize = 65_536;

/// Maps `len` octets, a multiple of [`HUGE_PAGE`]: the mapping, where they start, their pages.
fn map(len: usize, huge: HugePages) -> io::Result<(Mapping, usize, Pages)> {
    if huge == HugePages::Prefer
        && let Ok(memory) = Mapping::anonymous(len, PageKind::Reserved)
        && memory.advise(0, len, Advice::Populate).is_ok()
    {
        memory.advise(0, len, Advice::KeepFromChildren)?;
        return Ok((memory, 0, Pages::Reserved));
    }
    let memory = Mapping::anonymous(len + HUGE_PAGE, PageKind::Ordinary)?;
    let address = memory.base().as_ptr() as usize;
    let start = address.next_multiple_of(HUGE_PAGE) - address;
    // Advice that a kernel built without huge pages does not know is no fault.
    let _ = memory.advise(
        start,
        len,
        match huge {
            HugePages::Prefer => Advice::HugePages,
            HugePages::Never => Advice::SmallPages,
        },
    );
    memory.advise(start, len, Advice::Populate)?;
    // After a fork, a write of ours would otherwise give us a copy that the kernel does not see.
    memory.advise(start, len, Advice::KeepFromChildren)?;
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let pages = match huge_kib(&smaps, address + start) {
        0 => Pages::Small,
        _ => Pages::Transparent,
    };
    Ok((memory, start, pages))
}

/// How many KiB of the mapping that holds `address` are transparent huge pages, by proc_pid_smaps(5).
fn huge_kib(smaps: &str, address: usize) -> u64 {
    let holds = |line: &str| {
        let (from, to) = line.split_whitespace().next()?.split_once('-')?;
        let from = usize::from_str_radix(from, 16).ok()?;
        let to = usize::from_str_radix(to, 16).ok()?;
        Some((from..to).contains(&address))
    };
    smaps
        .lines()
        .skip_while(|line| holds(line) != Some(true))
        .find_map(|line| line.strip_prefix("AnonHugePages:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// A piece of an area that belongs to whoever holds the value.
///
/// It keeps the area alive. Dropping it loses the piece for good, which [`Area::lost`] counts.
#[derive(Debug)]
pub struct Chunk {
    memory: NonNull<[u8]>,
    area: Arc<Area>,
}

// SAFETY: a chunk owns its bytes alone (see the module's head), and memory is of no thread.
unsafe impl Send for Chunk {}
// SAFETY: a shared chunk gives only shared references to its bytes.
unsafe impl Sync for Chunk {}

impl Chunk {
    /// The area it is of.
    pub fn area(&self) -> &Arc<Area> {
        &self.area
    }

    /// Octets from the start of the area.
    fn address(&self) -> usize {
        let first = self.area.memory.base().as_ptr() as usize + self.area.start;
        self.memory.cast::<u8>().as_ptr() as usize - first
    }
}

impl AsRef<[u8]> for Chunk {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the range is inside the area, which `self.area` keeps mapped, and initialised
        // (it was mapped zeroed); nobody else has it while this value exists.
        unsafe { self.memory.as_ref() }
    }
}

impl AsMut<[u8]> for Chunk {
    #[inline]
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `as_ref`, and `&mut self` makes it the only reference.
        unsafe { self.memory.as_mut() }
    }
}

impl packet::Chunk for Chunk {}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.area.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// The kernel's name in the table of holders, for one direction of one socket.
///
/// It must outlive the kernel's use of the chunks it has taken: dropping it ends their time with
/// the kernel and loses them.
#[derive(Debug)]
pub(crate) struct Holder {
    area: Arc<Area>,
    name: u16,
    held: u32,
}

impl Holder {
    /// A new holder; `None` when there are as many as there are names.
    pub(crate) fn new(area: &Arc<Area>) -> Option<Self> {
        let mut names = area.names();
        let name = (1..=u16::MAX).zip(names.iter().map(Some).chain(std::iter::repeat(None)));
        let name = name.into_iter().find(|(name, used)| *used != Some(name))?.0;
        names.insert(usize::from(name) - 1, name);
        Some(Self {
            area: area.clone(),
            name,
            held: 0,
        })
    }

    /// Takes a chunk for the kernel and returns its address. A chunk of another area is given back.
    #[inline]
    pub(crate) fn surrender(&mut self, chunk: Chunk) -> Result<u64, Chunk> {
        if !Arc::ptr_eq(&self.area, &chunk.area) {
            return Err(chunk);
        }
        let address = chunk.address();
        self.area.holders[address >> self.area.shift].store(self.name, Ordering::Relaxed);
        self.held += 1;
        // The chunk's count on the area stays, for `reclaim` to take over.
        mem::forget(chunk);
        Ok(address as u64)
    }

    /// Makes the chunk at `address` again, and tells where in it the address points. `None` if
    /// this holder has no such chunk.
    ///
    /// The caller has the address from the kernel, which by handing it over ends its use of the
    /// chunk, or knows that the kernel's use has ended otherwise.
    #[inline]
    pub(crate) fn reclaim(&mut self, address: u64) -> Option<(Chunk, usize)> {
        let index = usize::try_from(address >> self.area.shift).ok()?;
        let entry = self.area.holders.get(index)?;
        if entry.load(Ordering::Relaxed) != self.name {
            return None;
        }
        entry.store(NOBODY, Ordering::Relaxed);
        self.held -= 1;
        // SAFETY: `surrender` forgot a chunk, and with it one count on this same area, when it
        // wrote our name; the name is gone now, so the count is taken over once.
        let area = unsafe { Arc::from_raw(Arc::as_ptr(&self.area)) };
        // SAFETY: `holders` has an entry for `index`, and it has as many as there are chunks.
        let memory = unsafe { area.bytes_of(index) };
        let offset = address as usize & (area.chunk_size() - 1);
        Some((Chunk { memory, area }, offset))
    }

    /// The octets from `address` to the end of its chunk. `None` if this holder has no such chunk.
    ///
    /// The caller has the address from the kernel, as for [`Holder::reclaim`].
    #[inline]
    pub(crate) fn look(&self, address: u64) -> Option<&[u8]> {
        let index = usize::try_from(address >> self.area.shift).ok()?;
        if self.area.holders.get(index)?.load(Ordering::Relaxed) != self.name {
            return None;
        }
        let offset = address as usize & (self.area.chunk_size() - 1);
        // SAFETY: `holders` has an entry for `index`, and it has as many as there are chunks. The
        // kernel's use of the chunk has ended, and nobody gets it as a `Chunk` before `reclaim`,
        // which needs `&mut self`.
        let memory = unsafe { self.area.bytes_of(index).as_ref() };
        memory.get(offset..)
    }

    /// Chunks it has.
    #[inline]
    pub(crate) fn held(&self) -> u32 {
        self.held
    }

    /// Makes every chunk again that it has. The caller has ended the kernel's use of them.
    pub(crate) fn reclaim_all(&mut self) -> Vec<Chunk> {
        let size = self.area.chunk_size() as u64;
        let addresses = (0..u64::from(self.area.chunks)).map(|index| index * size);
        addresses
            .filter_map(|address| self.reclaim(address))
            .map(|(chunk, _)| chunk)
            .collect()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Dropped chunks count themselves as lost.
        drop(self.reclaim_all());
        self.area.names().retain(|name| *name != self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_given_out_once() {
        let (area, mut chunks) = area(100);
        assert_eq!(chunks.len(), 100);
        for (n, chunk) in (0u8..).zip(chunks.iter_mut()) {
            assert_eq!(chunk.as_ref().len(), 2048);
            assert!(chunk.as_ref().iter().all(|octet| *octet == 0));
            chunk.as_mut().fill(n);
        }
        for (n, chunk) in (0u8..).zip(&chunks) {
            assert!(chunk.as_ref().iter().all(|octet| *octet == n));
        }
        assert_eq!(area.lost(), 0);
        chunks.truncate(90);
        assert_eq!(area.lost(), 10);
    }

    #[test]
    fn a_chunk_keeps_the_area_alive() {
        let (area, mut chunks) = area(2);
        let weak = Arc::downgrade(&area);
        let mut last = chunks.pop().unwrap();
        drop((area, chunks));
        last.as_mut()[2047] = 7;
        assert_eq!(last.as_ref()[2047], 7);
        drop(last);
        assert_eq!(weak.strong_count(), 0);
    }

    #[test]
    fn odd_sizes_are_refused() {
        for (chunks, chunk_size) in [(0, 2048), (1, 1024), (1, 3000), (1, 131_072)] {
            let huge = HugePages::Never;
            assert!(
                Area::new(AreaSettings {
                    chunks,
                    chunk_size,
                    huge
                })
                .is_err()
            );
        }
        for chunk_size in [2048, 4096, 65536] {
            let huge = HugePages::Prefer;
            assert!(
                Area::new(AreaSettings {
                    chunks: 3,
                    chunk_size,
                    huge
                })
                .is_ok()
            );
        }
    }

    #[test]
    fn only_the_holder_gets_a_chunk_back_and_only_once() {
        let (area, mut chunks) = area(4);
        let mut holder = Holder::new(&area).unwrap();
        let mut other = Holder::new(&area).unwrap();
        chunks[3].as_mut()[100] = 42;
        let address = holder.surrender(chunks.pop().unwrap()).unwrap();
        assert_eq!(address, 3 * 2048);
        assert!(other.reclaim(address).is_none(), "another holder");
        assert!(holder.reclaim(0).is_none(), "a chunk in our hands");
        assert!(holder.reclaim(4 * 2048).is_none(), "behind the area");
        assert!(holder.reclaim(u64::MAX).is_none());
        let (chunk, offset) = holder.reclaim(address + 100).unwrap();
        assert_eq!((offset, chunk.as_ref()[offset]), (100, 42));
        assert!(holder.reclaim(address).is_none(), "a second time");
        assert_eq!(holder.held(), 0);
    }

    #[test]
    fn a_foreign_chunk_is_given_back() {
        let (area_a, _chunks) = area(1);
        let (_area_b, mut foreign) = area(1);
        let mut holder = Holder::new(&area_a).unwrap();
        assert!(holder.surrender(foreign.pop().unwrap()).is_err());
    }

    #[test]
    fn a_dropped_holder_loses_what_it_held_and_frees_its_name() {
        let (area, chunks) = area(8);
        let mut holder = Holder::new(&area).unwrap();
        let second = Holder::new(&area).unwrap();
        for chunk in chunks {
            holder.surrender(chunk).unwrap();
        }
        let weak = Arc::downgrade(&area);
        drop(holder);
        assert_eq!(area.lost(), 8);
        assert_eq!(Holder::new(&area).unwrap().name, 1);
        drop((area, second));
        assert_eq!(
            weak.strong_count(),
            0,
            "no count on the area is left behind"
        );
    }

    #[test]
    fn smaps_tells_the_mapping_that_holds_an_address() {
        let smaps = "00400000-00500000 rw-p 00000000 00:00 0\n\
                     Size: 1024 kB\nAnonHugePages:      2048 kB\n\
                     00500000-00600000 rw-p 00000000 00:00 0\n\
                     Size: 1024 kB\nAnonHugePages:         0 kB\n";
        assert_eq!(huge_kib(smaps, 0x400000), 2048);
        assert_eq!(huge_kib(smaps, 0x5fffff), 0);
        assert_eq!(huge_kib(smaps, 0x600000), 0);
    }

    fn area(chunks: u32) -> (Arc<Area>, Vec<Chunk>) {
        let settings = AreaSettings {
            chunks,
            chunk_size: 2048,
            huge: HugePages::Never,
        };
        Area::new(settings).unwrap()
    }
}
