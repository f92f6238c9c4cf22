//! [`Socket`]: one queue of one interface.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::area::{Area, Chunk};

/// How frames get from the interface into the area.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Zero-copy where the driver has it, otherwise copy.
    #[default]
    Auto,
    /// The kernel copies.
    Copy,
    /// The driver writes into the area itself, or [`Socket::bind`] fails.
    ZeroCopy,
}

/// What [`Socket::bind`] needs to know.
#[derive(Clone, Debug)]
pub struct SocketSettings<'a> {
    /// Interface index.
    pub interface: u32,
    /// Queue of the interface.
    pub queue: u32,
    /// Entries of the fill and completion rings: a power of two.
    pub fill_size: u32,
    /// Entries of the receive ring: a power of two.
    pub receive_size: u32,
    /// Entries of the transmit ring: a power of two.
    pub transmit_size: u32,
    /// Copy or zero-copy. A shared registration inherits the mode and ignores this.
    pub mode: Mode,
    /// Frames the kernel may send for one [`Socket::kick`] in copy mode.
    pub transmit_budget: u32,
    /// Uses the registration of the area that this socket made, instead of one of its own: locked
    /// memory is then counted once. It must be of the same area and of another interface or queue.
    pub shared: Option<&'a Socket>,
}

impl SocketSettings<'_> {
    /// Rings of 2048, mode [`Mode::Auto`], a registration of its own.
    pub fn new(interface: u32, queue: u32) -> Self {
        Self {
            interface,
            queue,
            fill_size: 2048,
            receive_size: 2048,
            transmit_size: 2048,
            mode: Mode::Auto,
            transmit_budget: 64,
            shared: None,
        }
    }
}

/// Why a socket could not be bound.
#[derive(Debug)]
pub enum BindError {
    /// The kernel has no AF_XDP.
    NoAfXdp,
    /// CAP_NET_RAW is missing.
    NotPermitted,
    /// The area is larger than the locked-memory limit allows (CAP_IPC_LOCK lifts it).
    LockedMemory {
        /// Octets to be locked.
        needed: u64,
    },
    /// Another AF_XDP socket kept the queue for two seconds.
    QueueBusy,
    /// There is no interface with this index, or it is down for good.
    NoSuchInterface,
    /// The interface has no such queue.
    NoSuchQueue,
    /// The driver has no zero-copy mode.
    NoZeroCopy,
    /// A ring size is not a power of two.
    RingSize(u32),
    /// The shared socket belongs to another area.
    ForeignArea,
    /// The shared socket serves the same queue of the same interface.
    SameQueue,
    /// Any other system error, with the step that failed.
    System {
        /// What was being done.
        step: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for BindError {}

/// Counters of one socket since it was bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames the kernel dropped for other reasons than a full receive ring.
    pub dropped: u64,
    /// Receive descriptors the kernel found invalid.
    pub invalid_receive: u64,
    /// Transmit descriptors the kernel found invalid.
    pub invalid_transmit: u64,
    /// Frames dropped because the receive ring was full.
    pub ring_full: u64,
    /// Times the kernel found the fill ring empty.
    pub fill_empty: u64,
    /// Times the kernel found the transmit ring empty.
    pub transmit_empty: u64,
    /// Descriptors from the kernel that we refused.
    pub refused: u64,
}

/// One AF_XDP socket: the owner of one queue of one interface.
#[derive(Debug)]
pub struct Socket {
    area: Arc<Area>,
    fd: OwnedFd,
}

impl Socket {
    /// Registers `area` (or shares a registration), makes the four rings, puts chunks from
    /// `chunks` into the fill ring until it is full, and binds. A queue that is still busy is tried
    /// again for up to two seconds. When it fails, the chunks are back in `chunks`.
    pub fn bind(
        _area: &Arc<Area>,
        _settings: &SocketSettings<'_>,
        _chunks: &mut Vec<Chunk>,
    ) -> Result<Self, BindError> {
        todo!()
    }

    /// Puts chunks into the fill ring until it is full or `source` has none; returns how many.
    pub fn fill(&mut self, _source: impl FnMut() -> Option<Chunk>) -> usize {
        todo!()
    }

    /// Hands over at most `max` received frames: chunk, offset of the frame in it, length.
    pub fn receive(&mut self, _max: usize, _frame: impl FnMut(Chunk, usize, usize)) -> usize {
        todo!()
    }

    /// Queues `len` octets at `offset` of `chunk` for sending at the next [`Socket::kick`]. A full
    /// ring, or a frame that is not inside the chunk, gives it back.
    pub fn transmit(&mut self, _chunk: Chunk, _offset: usize, _len: usize) -> Result<(), Chunk> {
        todo!()
    }

    /// Hands over the chunks whose frames have been sent; returns how many.
    pub fn complete(&mut self, _chunk: impl FnMut(Chunk)) -> usize {
        todo!()
    }

    /// Shows the kernel what has been queued and wakes it where it asks for that. Returns how many
    /// frames it has not taken yet; while there are any, kick again.
    pub fn kick(&mut self) -> io::Result<usize> {
        todo!()
    }

    /// Whether the kernel asks to be woken for receiving or sending.
    pub fn needs_wakeup(&self) -> bool {
        todo!()
    }

    /// Chunks with the kernel for receiving, including frames that wait in the receive ring.
    pub fn in_fill(&self) -> usize {
        todo!()
    }

    /// Chunks with the kernel for sending, including those that wait in the completion ring.
    pub fn in_transmit(&self) -> usize {
        todo!()
    }

    /// Counters since the socket was bound.
    pub fn statistics(&self) -> io::Result<Statistics> {
        todo!()
    }

    /// Whether the driver works on the area without a copy.
    pub fn is_zero_copy(&self) -> bool {
        todo!()
    }

    /// The area it works on.
    pub fn area(&self) -> &Arc<Area> {
        &self.area
    }

    /// The descriptor, for poll(2).
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Closes the socket and gives back every chunk that was inside. Detach the classifier first.
    pub fn into_chunks(self) -> Vec<Chunk> {
        todo!()
    }
}
