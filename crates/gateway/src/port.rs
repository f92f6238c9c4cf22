//! The ports of the gateway: where frames come in and leave.
//!
//! | port | carries | in mode |
//! |---|---|---|
//! | [`Sockets`] | the tunnel side; with XDP only what the kernel reassembled | all |
//! | [`Tun`] | `adit0`: with `sockets` the network side, with XDP the host's own traffic | all |
//! | [`Xdp`] | both sides, on interfaces of their own or on one | `xdp` |
//! | [`Memory`] | both sides, without a kernel | inside `adit-lab` |

#[cfg(test)]
mod conformance;
mod glance;
mod holder;
mod letters;
mod losses;
mod low_port;
mod memory;
mod sockets;
mod tun;
mod xdp;

use std::os::fd::BorrowedFd;

use af_xdp::Chunk;
use dataplane::port::{Burst, Packet, Pool, Port, SendError};
use dataplane::wire::Interface;
use packet::Frame;

pub(crate) use holder::holder;
pub(crate) use letters::LetterBox;
pub(crate) use losses::{Loss, Losses};
pub(crate) use memory::Memory;
pub(crate) use sockets::{Share, Sockets};
pub(crate) use tun::Tun;
pub(crate) use xdp::Xdp;

/// Octets in front of a received frame, for the headers that it may get: as AF_XDP leaves them.
const HEADROOM: usize = 256;
/// Frames that a port may have under way.
const QUEUE: usize = 512;

/// Index of the port of sockets, and of `adit0`; interfaces come after them.
pub(crate) const SOCKETS: u8 = 0;
pub(crate) const TUN: u8 = 1;
pub(crate) const FIRST_INTERFACE: u8 = 2;

/// One of a worker's ports.
pub(crate) enum AnyPort {
    Sockets(Sockets<Chunk>),
    Tun(Tun<Chunk>),
    Xdp(Box<Xdp>),
    Memory(Memory<Chunk>),
    /// One that a test has made.
    #[cfg(test)]
    Staged(Box<dyn Port<Chunk = Chunk> + Send>),
}

impl AnyPort {
    /// What a parked worker waits for.
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Sockets(sockets) => sockets.descriptors().collect(),
            Self::Tun(tun) => vec![tun.descriptor()],
            Self::Xdp(xdp) => vec![xdp.descriptor()],
            Self::Memory(_) => Vec::new(),
            #[cfg(test)]
            Self::Staged(_) => Vec::new(),
        }
    }

    /// Whether a frame waits that no descriptor tells of.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self, Self::Memory(memory) if memory.is_ready())
    }

    /// What the kernel lost here so far.
    pub(crate) fn losses(&self, losses: &mut Losses) {
        match self {
            Self::Sockets(sockets) => sockets.losses(losses),
            // The kernel counts for the whole device.
            Self::Tun(_) => {}
            Self::Xdp(xdp) => xdp.losses(losses),
            Self::Memory(_) => {}
            #[cfg(test)]
            Self::Staged(_) => {}
        }
    }

    /// Closes it and gives back every chunk that was inside.
    pub(crate) fn into_chunks(self) -> Vec<Chunk> {
        match self {
            Self::Sockets(sockets) => sockets.into_chunks(),
            Self::Tun(tun) => tun.into_chunks(),
            Self::Xdp(xdp) => xdp.into_chunks(),
            Self::Memory(memory) => memory.into_chunks(),
            #[cfg(test)]
            Self::Staged(_) => Vec::new(),
        }
    }

    fn port(&mut self) -> &mut dyn Port<Chunk = Chunk> {
        match self {
            Self::Sockets(sockets) => sockets,
            Self::Tun(tun) => tun,
            Self::Xdp(xdp) => &mut **xdp,
            Self::Memory(memory) => memory,
            #[cfg(test)]
            Self::Staged(port) => &mut **port,
        }
    }
}

impl Port for AnyPort {
    type Chunk = Chunk;

    fn receive(
        &mut self,
        pool: &mut dyn Pool<Chunk>,
        burst: &mut Burst<Chunk>,
        max: usize,
    ) -> usize {
        self.port().receive(pool, burst, max)
    }

    fn expect(&self, nth: usize) {
        // Only memory that the network card writes has to be fetched.
        if let Self::Xdp(xdp) = self {
            xdp.expect(nth);
        }
    }

    fn send(&mut self, packet: Packet<Chunk>) -> Result<(), (Packet<Chunk>, SendError)> {
        self.port().send(packet)
    }

    fn interface(&self) -> Option<Interface> {
        match self {
            Self::Sockets(_) | Self::Tun(_) => None,
            Self::Xdp(xdp) => xdp.interface(),
            Self::Memory(memory) => memory.interface(),
            #[cfg(test)]
            Self::Staged(port) => port.interface(),
        }
    }

    fn send_whole(&mut self, frame: Frame<Chunk>) -> Result<(), Frame<Chunk>> {
        self.port().send_whole(frame)
    }

    fn flush(&mut self, pool: &mut dyn Pool<Chunk>) {
        self.port().flush(pool);
    }

    fn in_flight(&self) -> usize {
        match self {
            Self::Sockets(sockets) => sockets.in_flight(),
            Self::Tun(tun) => tun.in_flight(),
            Self::Xdp(xdp) => xdp.in_flight(),
            Self::Memory(memory) => memory.in_flight(),
            #[cfg(test)]
            Self::Staged(port) => port.in_flight(),
        }
    }
}
