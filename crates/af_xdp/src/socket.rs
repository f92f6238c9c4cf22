//! [`Socket`]: one queue of one interface, as the worker that serves it uses it.
//!
//! The rings carry addresses; the `Holder`s of the area turn chunks into addresses and back, and
//! refuse what the kernel never had. Nothing here is `unsafe`.

mod bind;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::area::{Area, Chunk, Holder};
use crate::ring::{Descriptor, RingSizes, Rings};
use crate::syscall;

pub use bind::{BindError, Mode, SocketSettings};

use bind::{bind_refusal, refusal, while_busy};

/// How long a driver in zero-copy mode may still write into chunks after the socket was closed:
/// the kernel takes its queue down in the background.
const ZERO_COPY_GRACE: Duration = Duration::from_millis(500);

/// Most calls that one [`Socket::kick`] makes.
const MAX_WAKES: usize = 8;

/// `XDP_MAX_TX_SKB_BUDGET` of `linux/if_xdp.h`, since Linux 6.18.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// Octets of frames that may be on their way in copy mode, where the kernel counts its copies
/// against the buffer of the socket: more than a whole transmit ring of the largest.
const SEND_BUFFER: u32 = 16 << 20;

/// Counters of one socket since it was bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames the kernel dropped for other reasons than a full receive ring.
    pub dropped: u64,
    /// Fill descriptors the kernel found invalid.
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
    // The order matters on drop: the rings are unmapped and the socket closed before the holders
    // end the kernel's time with the chunks.
    rings: Rings,
    filled: Holder,
    sending: Holder,
    area: Arc<Area>,
    interface: u32,
    queue: u32,
    zero_copy: bool,
    refused: u64,
}

impl Socket {
    /// Registers `area` (or shares a registration), makes the four rings, moves chunks from
    /// `chunks` into the fill ring until it is full (drivers in zero-copy mode want them before the
    /// bind), and binds. A queue that is still busy is tried again for up to two seconds.
    /// When it fails, the chunks are back in `chunks`.
    pub fn bind(
        area: &Arc<Area>,
        settings: &SocketSettings<'_>,
        chunks: &mut Vec<Chunk>,
    ) -> Result<Self, BindError> {
        settings.check(area)?;
        let mut socket = Self::open(area, settings)?;
        socket.fill(|| chunks.pop());
        match socket.attach(settings) {
            Ok(()) => Ok(socket),
            Err(error) => {
                chunks.extend(socket.into_chunks());
                Err(error)
            }
        }
    }

    /// Everything up to the rings.
    fn open(area: &Arc<Area>, settings: &SocketSettings<'_>) -> Result<Self, BindError> {
        let fd = syscall::socket(libc::AF_XDP, libc::SOCK_RAW, 0)
            .map_err(|error| refusal("opening the socket", error, area))?;
        if settings.shared.is_none() {
            area.register(fd.as_fd())
                .map_err(|error| refusal("registering the memory", error, area))?;
        }
        let sizes = RingSizes {
            fill: settings.fill_size,
            completion: settings.fill_size.max(settings.transmit_size),
            receive: settings.receive_size,
            transmit: settings.transmit_size,
        };
        let rings =
            Rings::map(fd, sizes).map_err(|error| refusal("making the rings", error, area))?;
        Self::over(rings, area, settings.interface, settings.queue).ok_or_else(|| {
            let error = io::ErrorKind::QuotaExceeded.into();
            refusal("naming the socket", error, area)
        })
    }

    /// A socket over rings; `None` when the area has no name left for it.
    fn over(rings: Rings, area: &Arc<Area>, interface: u32, queue: u32) -> Option<Self> {
        Some(Self {
            rings,
            filled: Holder::new(area)?,
            sending: Holder::new(area)?,
            area: area.clone(),
            interface,
            queue,
            zero_copy: false,
            refused: 0,
        })
    }

    fn attach(&mut self, settings: &SocketSettings<'_>) -> Result<(), BindError> {
        let address = settings.address();
        // Best effort: the budget only saves calls, and older kernels do not know it.
        let _ = syscall::set_option(
            self.fd(),
            libc::SOL_XDP,
            XDP_MAX_TX_SKB_BUDGET,
            settings.transmit_budget,
        );
        let room = syscall::set_option(
            self.fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDBUFFORCE,
            SEND_BUFFER,
        );
        if room.is_err() {
            // Without the privilege, as much as everybody may have.
            let _ = syscall::set_option(self.fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, SEND_BUFFER);
        }
        while_busy(|| syscall::bind_xdp(self.fd(), &address))
            .map_err(|error| bind_refusal(error, settings.mode))?;
        let options: libc::xdp_options =
            syscall::option(self.fd(), libc::SOL_XDP, libc::XDP_OPTIONS)
                .map_err(|error| refusal("asking for the mode", error, &self.area))?;
        self.zero_copy = options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0;
        Ok(())
    }

    /// How many chunks the fill ring has room for.
    pub fn fill_room(&mut self) -> usize {
        self.rings.fill.room()
    }

    /// Puts chunks into the fill ring until it is full or `source` has none; returns how many.
    ///
    /// # Panics
    /// If `source` gives a chunk of another area.
    pub fn fill(&mut self, mut source: impl FnMut() -> Option<Chunk>) -> usize {
        let mut count = 0;
        while self.rings.fill.has_room()
            && let Some(chunk) = source()
        {
            let Ok(address) = self.filled.surrender(chunk) else {
                panic!("a chunk of another area was given to the fill ring");
            };
            self.rings.fill.push(address);
            count += 1;
        }
        if count > 0 {
            self.rings.fill.publish();
        }
        count
    }

    /// Hands over at most `max` received frames: chunk, offset of the frame in it, length.
    pub fn receive(&mut self, max: usize, mut frame: impl FnMut(Chunk, usize, usize)) -> usize {
        let mut count = 0;
        while count < max
            && let Some(descriptor) = self.rings.receive.pop()
        {
            match self.received(descriptor) {
                Some((chunk, offset, len)) => {
                    count += 1;
                    frame(chunk, offset, len);
                }
                None => self.refused += 1,
            }
        }
        self.rings.receive.release();
        count
    }

    /// The octets of the frame that the next [`Socket::receive`] hands over after `nth` others, and
    /// what is behind it in its chunk; `None` if it was not there yet at the last call. For asking
    /// for it to be brought near.
    #[inline]
    pub fn waiting(&self, nth: usize) -> Option<&[u8]> {
        let descriptor = self.rings.receive.peek(u32::try_from(nth).ok()?)?;
        self.filled.look(descriptor.address)
    }

    /// The frame that a descriptor of the kernel tells of, if it can be true.
    fn received(&mut self, descriptor: Descriptor) -> Option<(Chunk, usize, usize)> {
        let len = descriptor.len as usize;
        let size = self.area.chunk_size();
        let offset = descriptor.address as usize & (size - 1);
        // Frames in several pieces come only to sockets that ask for them.
        if len > size - offset || descriptor.options & libc::XDP_PKT_CONTD != 0 {
            return None;
        }
        let (chunk, offset) = self.filled.reclaim(descriptor.address)?;
        Some((chunk, offset, len))
    }

    /// Queues `len` octets at `offset` of `chunk` for sending at the next [`Socket::kick`]. A full
    /// ring, a frame that is empty or not inside the chunk, or a chunk of another area is given
    /// back.
    pub fn transmit(&mut self, chunk: Chunk, offset: usize, len: usize) -> Result<(), Chunk> {
        let size = self.area.chunk_size();
        let fits = offset.checked_add(len).is_some_and(|end| end <= size);
        if len == 0 || !fits || !self.rings.transmit.has_room() {
            return Err(chunk);
        }
        let address = self.sending.surrender(chunk)?;
        self.rings.transmit.push(Descriptor {
            address: address + offset as u64,
            len: len as u32,
            options: 0,
        });
        Ok(())
    }

    /// Hands over the chunks whose frames have been sent; returns how many.
    pub fn complete(&mut self, mut spent: impl FnMut(Chunk)) -> usize {
        let mut count = 0;
        while let Some(address) = self.rings.completion.pop() {
            match self.sending.reclaim(address) {
                Some((chunk, _)) => {
                    count += 1;
                    spent(chunk);
                }
                None => self.refused += 1,
            }
        }
        self.rings.completion.release();
        count
    }

    /// Shows the kernel what has been queued, and wakes it where it asks for that. Returns how many
    /// frames it has not taken yet: while there are any, kick again. Waiting in poll(2) wakes it as
    /// well.
    ///
    /// A link that is down is an error (`ENETDOWN`); what is queued stays and leaves when it is up.
    pub fn kick(&mut self) -> io::Result<usize> {
        self.rings.transmit.publish();
        if self.rings.fill.needs_wakeup() {
            harmless(syscall::wake_receive(self.fd()))?;
        }
        let mut pending = self.rings.transmit.pending();
        // One call sends one budget in copy mode; in zero-copy mode it also has the driver collect
        // what has left, so it is made while anything is outstanding.
        for _ in 0..MAX_WAKES {
            let wanted = pending > 0 || (self.zero_copy && self.sending.held() > 0);
            if !wanted || !self.rings.transmit.needs_wakeup() {
                break;
            }
            harmless(syscall::wake_transmit(self.fd()))?;
            let left = self.rings.transmit.pending();
            if left == pending {
                break;
            }
            pending = left;
        }
        Ok(pending as usize)
    }

    /// Whether the kernel asks to be woken for receiving or sending.
    pub fn needs_wakeup(&self) -> bool {
        self.rings.fill.needs_wakeup() || self.rings.transmit.needs_wakeup()
    }

    /// Chunks with the kernel for receiving, including frames that wait in the receive ring.
    pub fn in_fill(&self) -> usize {
        self.filled.held() as usize
    }

    /// Chunks with the kernel for sending, including those that wait in the completion ring.
    pub fn in_transmit(&self) -> usize {
        self.sending.held() as usize
    }

    /// Counters since the socket was bound.
    pub fn statistics(&self) -> io::Result<Statistics> {
        let kernel: libc::xdp_statistics =
            syscall::option(self.fd(), libc::SOL_XDP, libc::XDP_STATISTICS)?;
        Ok(Statistics {
            dropped: kernel.rx_dropped,
            invalid_receive: kernel.rx_invalid_descs,
            invalid_transmit: kernel.tx_invalid_descs,
            ring_full: kernel.rx_ring_full,
            fill_empty: kernel.rx_fill_ring_empty_descs,
            transmit_empty: kernel.tx_ring_empty_descs,
            refused: self.refused,
        })
    }

    /// Whether the driver works on the area without a copy.
    pub fn is_zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// The area it works on.
    pub fn area(&self) -> &Arc<Area> {
        &self.area
    }

    /// The interface index and queue it is bound to.
    pub fn bound_to(&self) -> (u32, u32) {
        (self.interface, self.queue)
    }

    /// The descriptor, for poll(2).
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.rings.fd()
    }

    /// Closes the socket and gives back every chunk that was inside. Detach the classifier first:
    /// some drivers do not like to lose the socket under load. A zero-copy socket takes
    /// half a second, until the driver has certainly let go of the memory.
    pub fn into_chunks(self) -> Vec<Chunk> {
        let Self {
            rings,
            mut filled,
            mut sending,
            zero_copy,
            ..
        } = self;
        drop(rings);
        if zero_copy {
            pause(ZERO_COPY_GRACE);
        }
        let mut chunks = filled.reclaim_all();
        chunks.extend(sending.reclaim_all());
        chunks
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "sockets open and close at start-up and shutdown"
)]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// A wake-up that the kernel has no room for is repeated with the next kick.
fn harmless(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR)
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
