//! What the line needs from the outside: ports, and the memory that frames rest in.
//!
//! A port strips everything outside the canonical frame and writes it again, so that AF_XDP,
//! sockets and memory look the same to the rooms. An Ethernet interface gives frames as they come, and
//! also takes those that the express lane has made complete.
//!
//! | from the tunnel side | the window starts at | meta line |
//! |---|---|---|
//! | ESP, raw or in UDP | the SPI | [`Kind::Esp`], [`Kind::EspInUdp`], both endpoints |
//! | IKE | the initiator cookie | [`Kind::Ike`], both endpoints |
//! | L2TP | the flags word | [`Kind::L2tp`], both endpoints |
//! | from the network | the IP header | [`Kind::Ip`] |

use packet::{Chunk, Endpoint, Frame};

use crate::change::{AdjacencyId, Kind};
use crate::express::Seat;
use crate::shared::Shared;
use crate::wire::{self, Interface, NotOurs};

/// A frame and its meta line.
#[derive(Debug)]
pub struct Packet<C> {
    /// The window.
    pub frame: Frame<C>,
    /// What was, or will be, outside it.
    pub meta: Meta,
}

/// What is outside the window: filled in by the port on receipt, by the line before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// What the window starts at.
    pub kind: Kind,
    /// Our outer endpoint (tunnel side).
    pub local: Endpoint,
    /// The peer's outer endpoint (tunnel side).
    pub remote: Endpoint,
    /// The port it came by, or leaves by when `next_hop` says nothing.
    pub port: u8,
    /// Routing instance.
    pub vrf: u16,
    /// The next hop it leaves to; `None` lets the port look up the outer destination.
    pub next_hop: Option<AdjacencyId>,
    /// DSCP and ECN of the outermost IP header.
    pub dscp_ecn: u8,
    /// Whether a non-zero UDP checksum was wrong. A field equal to the bare pseudo-header sum
    /// counts as unset. Ports look at it for IKE and L2TP only, and the line decides.
    pub bad_checksum: bool,
    /// Whether to send plain L2TP data with a UDP checksum; control messages always have one.
    pub checksum: bool,
    /// Moves made so far; more than four is a discard.
    pub moves: u8,
}

impl Meta {
    /// Of an IP packet that came by this port, with no outer header.
    #[inline]
    pub fn ip(port: u8) -> Self {
        Self {
            kind: Kind::Ip,
            local: Endpoint::default(),
            remote: Endpoint::default(),
            port,
            vrf: 0,
            next_hop: None,
            dscp_ecn: 0,
            bad_checksum: false,
            checksum: false,
            moves: 0,
        }
    }
}

/// What a port has received, in order of arrival.
#[derive(Debug)]
pub struct Burst<C> {
    /// Frames as they came by an interface, Ethernet header first.
    pub(crate) whole: Vec<Seat<C>>,
    /// All others, canonical.
    pub(crate) packets: Vec<Packet<C>>,
}

impl<C> Burst<C> {
    /// Nothing yet; room for so many frames.
    pub fn with_capacity(frames: usize) -> Self {
        Self {
            whole: Vec::with_capacity(frames),
            packets: Vec::with_capacity(frames),
        }
    }

    /// Adds a canonical packet.
    #[inline]
    pub fn push(&mut self, packet: Packet<C>) {
        self.packets.push(packet);
    }

    /// Adds a frame as it came by an interface, the window at its Ethernet header. VLANs are the
    /// interfaces of the kernel that take them off.
    #[inline(always)]
    pub fn push_whole(&mut self, frame: Frame<C>) {
        self.whole.push(Seat::of(frame));
    }

    /// Reads those that are as they came by an interface: from here on all are canonical. Those that
    /// are not for the line are given back.
    pub fn read_all(
        &mut self,
        interface: &Interface,
        shared: &Shared,
        mut refused: impl FnMut(Frame<C>, NotOurs),
    ) where
        C: Chunk,
    {
        for frame in self.whole.drain(..).filter_map(Seat::leave) {
            match wire::read(frame, interface, shared) {
                Ok(packet) => self.packets.push(packet),
                Err((frame, why)) => refused(frame, why),
            }
        }
    }

    /// The canonical packets.
    pub fn packets(&mut self) -> impl Iterator<Item = Packet<C>> {
        self.packets.drain(..)
    }

    /// How many frames.
    #[inline]
    pub fn len(&self) -> usize {
        self.whole.len() + self.packets.len()
    }

    /// Empties it.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Frame<C>> {
        let packets = self.packets.drain(..).map(|packet| packet.frame);
        self.whole.drain(..).filter_map(Seat::leave).chain(packets)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The free chunks of one worker. Chunks are conserved: what a port takes comes back.
pub trait Pool<C> {
    /// A free chunk, if there is one.
    fn take(&mut self) -> Option<C>;
    /// Puts a chunk back.
    fn put(&mut self, chunk: C);

    /// Adds as many as there are, at most `count`, to `chunks`.
    fn take_some(&mut self, count: usize, chunks: &mut Vec<C>) {
        for _ in 0..count {
            chunks.extend(self.take());
        }
    }

    /// Puts all of them back.
    fn put_all(&mut self, chunks: &mut Vec<C>) {
        chunks.drain(..).for_each(|chunk| self.put(chunk));
    }
}

/// One queue of an interface, of a socket set, or of a memory ring, as one worker uses it.
pub trait Port {
    /// The packet memory it works on.
    type Chunk: Chunk;

    /// Adds at most `max` received frames to `burst`, in order of arrival, and returns how many.
    /// Chunks for later receipts come from `pool`, spent ones go back to it.
    fn receive(
        &mut self,
        pool: &mut dyn Pool<Self::Chunk>,
        burst: &mut Burst<Self::Chunk>,
        max: usize,
    ) -> usize;

    /// Asks for the head of the `nth` frame that the next receipt will give to be brought near, if
    /// it is there already.
    fn expect(&self, nth: usize) {
        let _ = nth;
    }

    /// Queues a frame. A full queue, or a frame that does not fit, gives it back with the reason.
    fn send(&mut self, packet: Packet<Self::Chunk>)
    -> Result<(), (Packet<Self::Chunk>, SendError)>;

    /// The Ethernet interface, if whole frames may come and leave by it; `None` where
    /// [`Port::send_whole`] refuses them all. It stays as it is.
    fn interface(&self) -> Option<Interface> {
        None
    }

    /// Queues a frame that is complete, its Ethernet header in front. A full queue gives it back.
    fn send_whole(&mut self, frame: Frame<Self::Chunk>) -> Result<(), Frame<Self::Chunk>> {
        Err(frame)
    }

    /// Pushes what is queued out and collects what has left.
    fn flush(&mut self, pool: &mut dyn Pool<Self::Chunk>);

    /// Frames accepted by [`Port::send`] whose chunks have not come back yet. While there are any,
    /// the worker flushes again soon, however little else it has to do.
    fn in_flight(&self) -> usize;
}

/// Why a port did not take a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The transmit queue is full.
    Full,
    /// Longer than the interface's MTU.
    TooLong,
    /// No headroom for the outer headers.
    NoRoom,
    /// The outer destination has no resolved next hop.
    Unresolved,
}
