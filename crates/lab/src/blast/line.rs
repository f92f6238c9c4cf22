//! What carries the packets of a far end: a UDP socket, or AF_XDP past the kernel's stack.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use packet::header::{Ipv4, Udp};
use rustix::event::{EventfdFlags, eventfd};
use socket2::Socket;
use zerocopy::IntoBytes;

use super::{far_end, near};
use crate::cli::Io;
use crate::clock;
use crate::datagrams::{self, Datagrams, WAIT_MAX};
use crate::fleet::Outgoing;
use crate::flow::Mark;
use crate::scenario::NetworkPort;
use crate::traffic::write;
use crate::wires::Wire;
use crate::xdp::Xdp;

/// Datagrams that may wait for the kernel.
const WAITING_MAX: usize = 256;

/// A line behind the gateway, while nobody serves it.
pub enum Line {
    /// A UDP socket.
    Socket(Socket),
    /// AF_XDP on the interface that has the address.
    Frames(Box<Frames>),
}

/// A line in the hands of the thread that serves it.
pub enum Served {
    /// With what its system calls need.
    Socket(Datagrams),
    /// As it was.
    Frames(Box<Frames>),
}

/// Whole packets of one place, past the kernel's stack.
pub struct Frames {
    xdp: Xdp,
    place: SocketAddrV4,
    waiting: Vec<Outgoing>,
    /// Buffers of packets that have been sent.
    spare: Vec<Vec<u8>>,
}

impl Line {
    /// Opens a line at a network port, for packets to and from subscribers such as this one.
    pub fn open(io: Io, port: &NetworkPort, subscriber: Ipv4Addr) -> Result<Self> {
        let own = Path::new("/proc/thread-self/ns/net");
        let namespace = port.namespace.as_deref().unwrap_or(own);
        match io {
            Io::Sockets => {
                let socket = datagrams::open(namespace, port.address)?;
                Ok(Self::Socket(socket))
            }
            Io::Xdp => {
                let place = far_end::place(port.address);
                let xdp = datagrams::within(namespace, move || {
                    // Nobody rings it: the far end looks often enough whether all is over.
                    let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
                    Xdp::open(&[place], subscriber, &Arc::new(bell))
                });
                Ok(Self::Frames(Box::new(Frames {
                    xdp: xdp.map_err(|error| anyhow!("the far end: {error:#}"))?,
                    place,
                    waiting: Vec::new(),
                    spare: Vec::new(),
                })))
            }
        }
    }

    /// For the thread that serves it.
    #[must_use]
    pub fn serve(self) -> Served {
        match self {
            Self::Socket(socket) => Served::Socket(Datagrams::new(socket)),
            Self::Frames(frames) => Served::Frames(frames),
        }
    }

    /// Packets that came and for which AF_XDP had no room; what a socket had no room for, the kernel
    /// counts for its namespace.
    pub fn overflowed(&self) -> io::Result<u64> {
        match self {
            Self::Socket(_) => Ok(0),
            Self::Frames(frames) => frames.xdp.overflowed(),
        }
    }
}

impl Served {
    /// Nobody serves it any more.
    #[must_use]
    pub fn rest(self) -> Line {
        match self {
            Self::Socket(datagrams) => Line::Socket(datagrams.into_socket()),
            Self::Frames(frames) => Line::Frames(frames),
        }
    }

    /// Waits until something comes, at most [`WAIT_MAX`].
    pub fn wait(&mut self, patience: Duration) -> io::Result<()> {
        match self {
            Self::Socket(datagrams) => datagrams.wait(patience),
            Self::Frames(frames) => frames.xdp.wait(patience.min(WAIT_MAX)).map(drop),
        }
    }

    /// Hands over what has come, with the time at which it was there; what is damaged has not come.
    pub fn receive(
        &mut self,
        mut take: impl FnMut(Instant, SocketAddrV4, &[u8]),
    ) -> io::Result<()> {
        match self {
            Self::Socket(datagrams) => datagrams.receive(take),
            Self::Frames(frames) => {
                let place = frames.place;
                frames.xdp.packets(&mut |packets| {
                    let now = clock::now();
                    for packet in packets {
                        if let Some((from, payload)) = near::read(packet, place) {
                            take(now, from, payload);
                        }
                    }
                });
                Ok(())
            }
        }
    }

    /// Whether more may be made than has been sent.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let waiting = match self {
            Self::Socket(datagrams) => datagrams.waiting.len(),
            Self::Frames(frames) => frames.waiting.len(),
        };
        waiting < WAITING_MAX
    }

    /// A datagram that is to be sent.
    pub fn push(&mut self, to: SocketAddrV4, mark: &Mark, size: usize) {
        match self {
            Self::Socket(datagrams) => {
                let payload = size.saturating_sub(Ipv4::LEN + Udp::LEN).max(Mark::LEN);
                let mut datagram = vec![0; payload];
                datagram[..Mark::LEN].copy_from_slice(mark.as_bytes());
                datagrams.waiting.push((to, datagram));
            }
            Self::Frames(frames) => {
                let mut packet = frames.spare.pop().unwrap_or_default();
                packet.clear();
                write(&mut packet, frames.place, to, mark, size);
                frames.waiting.push(Outgoing::finished(packet));
            }
        }
    }

    /// Sends what waits, as far as there is room.
    pub fn send(&mut self) -> io::Result<()> {
        match self {
            Self::Socket(datagrams) => datagrams.send(),
            Self::Frames(frames) => {
                if !frames.waiting.is_empty() {
                    let sent = frames.xdp.send(&frames.waiting)?;
                    let sent = frames.waiting.drain(..sent);
                    frames.spare.extend(sent.map(|outgoing| outgoing.packet));
                }
                Ok(())
            }
        }
    }
}
