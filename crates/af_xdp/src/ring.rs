//! The rings shared with the kernel: one side produces, the other consumes, nothing is locked.
//!
//! ```text
//!        consumer                 producer        both count up and wrap at 2³²;
//!           ▼                        ▼            slot = count mod size
//!   ┌───┬───┬───┬───┬───┬───┬───┬───┬───┬───┐
//!   │   │   │ ■ │ ■ │ ■ │ ■ │ ■ │ ■ │   │   │     ■ belongs to the consumer, the rest to the producer
//!   └───┴───┴───┴───┴───┴───┴───┴───┴───┴───┘
//! ```
//!
//! A producer writes slots, then stores its count with Release; a consumer loads it with Acquire,
//! reads the slots, then stores its own count with Release, which the producer loads with Acquire.
//! What the other side stores is never trusted beyond the size of the ring.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::syscall::{self, Mapping};

/// What a slot of a ring holds.
///
/// # Safety
/// Every bit pattern is a valid value.
pub(crate) unsafe trait Slot: Copy {}

/// A slot of the receive and transmit rings (`struct xdp_desc`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub(crate) struct Descriptor {
    /// Octets from the start of the registered memory.
    pub(crate) address: u64,
    pub(crate) len: u32,
    pub(crate) options: u32,
}

const _: () = assert!(size_of::<Descriptor>() == 16);

// SAFETY: an integer.
unsafe impl Slot for u64 {}
// SAFETY: integers only.
unsafe impl Slot for Descriptor {}

/// Where the parts of a ring lie in its mapping, in octets.
#[derive(Clone, Copy, Debug)]
struct Layout {
    producer: usize,
    consumer: usize,
    flags: usize,
    slots: usize,
}

impl From<libc::xdp_ring_offset> for Layout {
    fn from(offset: libc::xdp_ring_offset) -> Self {
        Self {
            producer: offset.producer as usize,
            consumer: offset.consumer as usize,
            flags: offset.flags as usize,
            slots: offset.desc as usize,
        }
    }
}

/// The memory of a ring. An end reads and writes only the slots that are its own (see above).
#[derive(Debug)]
struct Shared<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<T>,
    size: u32,
    /// Keeps the pointers above valid.
    _mapping: Arc<Mapping>,
}

// SAFETY: the counts are atomics, and the slots are read and written by one `Producer` and one
// `Consumer` under the protocol above, from whatever thread owns that end.
unsafe impl<T: Slot + Send> Send for Shared<T> {}

impl<T: Slot> Shared<T> {
    /// `None` if the layout does not fit the mapping or `size` is not a power of two.
    fn new(mapping: Arc<Mapping>, layout: Layout, size: u32) -> Option<Self> {
        let counts = [layout.producer, layout.consumer, layout.flags];
        let inside = |offset: usize, len: usize, align: usize| {
            offset.is_multiple_of(align)
                && offset
                    .checked_add(len)
                    .is_some_and(|end| end <= mapping.len())
        };
        let slots_len = size_of::<T>().checked_mul(size as usize)?;
        if !size.is_power_of_two()
            || !counts.iter().all(|offset| inside(*offset, 4, 4))
            || !inside(layout.slots, slots_len, align_of::<T>())
        {
            return None;
        }
        // SAFETY: each offset was checked to be inside the mapping.
        let at = |offset: usize| unsafe { mapping.base().add(offset) };
        Some(Self {
            producer: at(layout.producer).cast(),
            consumer: at(layout.consumer).cast(),
            flags: at(layout.flags).cast(),
            slots: at(layout.slots).cast(),
            size,
            _mapping: mapping,
        })
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: `new` checked place and alignment, `_mapping` keeps it mapped, and both sides
        // only ever access it atomically.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn needs_wakeup(&self) -> bool {
        // SAFETY: as for `producer`.
        let flags = unsafe { self.flags.as_ref() };
        flags.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    /// The slot that `count` falls on.
    fn slot(&self, count: u32) -> NonNull<T> {
        // SAFETY: the index is below `size`, and `new` checked that so many slots are mapped.
        unsafe { self.slots.add((count & (self.size - 1)) as usize) }
    }
}

/// The end of a ring that writes: fill and transmit rings are written by us.
#[derive(Debug)]
pub(crate) struct Producer<T> {
    shared: Shared<T>,
    /// Slots written, including those not published yet.
    written: u32,
    /// What the consumer had taken when we last looked.
    taken: u32,
}

impl<T: Slot> Producer<T> {
    fn new(shared: Shared<T>) -> Self {
        let written = shared.producer().load(Ordering::Relaxed);
        let taken = shared.consumer().load(Ordering::Acquire);
        Self {
            shared,
            written,
            taken,
        }
    }

    /// How many slots are free.
    pub(crate) fn room(&mut self) -> usize {
        self.taken = self.shared.consumer().load(Ordering::Acquire);
        (self.shared.size - self.written.wrapping_sub(self.taken)) as usize
    }

    /// Whether a slot is free; looks at the consumer's count only when it must.
    #[inline]
    pub(crate) fn has_room(&mut self) -> bool {
        if self.written.wrapping_sub(self.taken) < self.shared.size {
            return true;
        }
        self.taken = self.shared.consumer().load(Ordering::Acquire);
        self.written.wrapping_sub(self.taken) < self.shared.size
    }

    /// Writes a slot, for the consumer to see at the next [`Producer::publish`]; `false` if the
    /// ring is full.
    #[inline]
    pub(crate) fn push(&mut self, value: T) -> bool {
        if !self.has_room() {
            return false;
        }
        // SAFETY: fewer than `size` slots are ahead of the consumer's count, so this one is the
        // producer's, and `&mut self` makes us the only producer.
        unsafe { self.shared.slot(self.written).write(value) };
        self.written = self.written.wrapping_add(1);
        true
    }

    /// Shows the consumer all that has been written.
    #[inline]
    pub(crate) fn publish(&mut self) {
        self.shared
            .producer()
            .store(self.written, Ordering::Release);
    }

    /// Slots that the consumer has not taken yet.
    #[inline]
    pub(crate) fn pending(&self) -> u32 {
        let taken = self.shared.consumer().load(Ordering::Acquire);
        self.written.wrapping_sub(taken).min(self.shared.size)
    }

    /// Whether the consumer sleeps until it is woken.
    #[inline]
    pub(crate) fn needs_wakeup(&self) -> bool {
        self.shared.needs_wakeup()
    }
}

/// The end of a ring that reads: completion and receive rings are read by us.
#[derive(Debug)]
pub(crate) struct Consumer<T> {
    shared: Shared<T>,
    /// Slots read, including those not released yet.
    read: u32,
    /// What the producer had written when we last looked, at most `size` ahead of `read`.
    written: u32,
}

impl<T: Slot> Consumer<T> {
    fn new(shared: Shared<T>) -> Self {
        let read = shared.consumer().load(Ordering::Relaxed);
        Self {
            shared,
            read,
            written: read,
        }
    }

    /// Reads the next slot, if the producer has published one.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.read == self.written {
            self.look();
            if self.read == self.written {
                return None;
            }
        }
        // SAFETY: `read` is behind a count of the producer loaded with Acquire, so the slot is
        // written and ours until we release it; any bits are a value of a `Slot` type.
        let value = unsafe { self.shared.slot(self.read).read() };
        self.read = self.read.wrapping_add(1);
        Some(value)
    }

    /// The slot that `pop` will read after `nth` others, if it was published when we last looked.
    #[inline]
    pub(crate) fn peek(&self, nth: u32) -> Option<T> {
        if nth >= self.written.wrapping_sub(self.read) {
            return None;
        }
        // SAFETY: as in `pop`: the slot is behind `written`, which never is ahead of the
        // producer's count, and not released before `read` has passed it.
        Some(unsafe { self.shared.slot(self.read.wrapping_add(nth)).read() })
    }

    /// Gives the slots that have been read back to the producer, and looks what else is there if
    /// that was all.
    #[inline]
    pub(crate) fn release(&mut self) {
        self.shared.consumer().store(self.read, Ordering::Release);
        if self.read == self.written {
            self.look();
        }
    }

    fn look(&mut self) {
        let written = self.shared.producer().load(Ordering::Acquire);
        let ahead = written.wrapping_sub(self.read).min(self.shared.size);
        self.written = self.read.wrapping_add(ahead);
    }
}

/// The four rings of a socket, and the socket: unmapped first and closed last, because an open
/// mapping would keep the queue bound after the close.
#[derive(Debug)]
pub(crate) struct Rings {
    pub(crate) fill: Producer<u64>,
    pub(crate) completion: Consumer<u64>,
    pub(crate) receive: Consumer<Descriptor>,
    pub(crate) transmit: Producer<Descriptor>,
    fd: OwnedFd,
}

/// Entries of the four rings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingSizes {
    pub(crate) fill: u32,
    pub(crate) completion: u32,
    pub(crate) receive: u32,
    pub(crate) transmit: u32,
}

impl Rings {
    /// Makes and maps the rings of an AF_XDP socket. It takes the socket, so that no second end of
    /// the same kind can come to be.
    pub(crate) fn map(fd: OwnedFd, sizes: RingSizes) -> io::Result<Self> {
        let socket = fd.as_fd();
        for (name, size) in [
            (libc::XDP_UMEM_FILL_RING, sizes.fill),
            (libc::XDP_UMEM_COMPLETION_RING, sizes.completion),
            (libc::XDP_RX_RING, sizes.receive),
            (libc::XDP_TX_RING, sizes.transmit),
        ] {
            syscall::set_option(socket, libc::SOL_XDP, name, size)?;
        }
        let at: libc::xdp_mmap_offsets =
            syscall::option(socket, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS)?;
        let fill_page = libc::XDP_UMEM_PGOFF_FILL_RING as i64;
        let completion_page = libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64;
        Ok(Self {
            fill: Producer::new(map(socket, at.fr, sizes.fill, fill_page)?),
            completion: Consumer::new(map(socket, at.cr, sizes.completion, completion_page)?),
            receive: Consumer::new(map(socket, at.rx, sizes.receive, libc::XDP_PGOFF_RX_RING)?),
            transmit: Producer::new(map(socket, at.tx, sizes.transmit, libc::XDP_PGOFF_TX_RING)?),
            fd,
        })
    }

    /// The socket.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn map<T: Slot>(
    fd: BorrowedFd<'_>,
    offset: libc::xdp_ring_offset,
    size: u32,
    page: i64,
) -> io::Result<Shared<T>> {
    let layout = Layout::from(offset);
    let len = size_of::<T>()
        .checked_mul(size as usize)
        .and_then(|slots| slots.checked_add(layout.slots))
        .ok_or(io::ErrorKind::InvalidInput)?;
    let mapping = Arc::new(Mapping::shared(fd, len, page)?);
    Shared::new(mapping, layout, size).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
pub(crate) mod tests;
