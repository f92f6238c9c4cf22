//! What carries the packets of a fleet: sockets of the kernel, AF_XDP, or memory.
//!
//! A wire is of one thread, the driver's. It takes whole IP packets and gives what is behind the
//! UDP header, or the ESP packet, as the fleet wants them; whatever is outside is its own affair.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use packet::header::{Ipv4, Udp};
use zerocopy::FromBytes;

use crate::cli::Io;
use crate::fleet::{Arrival, Outgoing};
use crate::sockets::Sockets;
use crate::wire;
use crate::xdp::Xdp;

/// An eventfd that ends the wait of a driver: whoever has something for it rings it.
pub type Waker = Arc<OwnedFd>;

/// Where packets come in and go out.
pub trait Wire {
    /// Waits until something is there or the waker it was opened with rings, at most this long.
    fn wait(&mut self, timeout: Duration) -> io::Result<Readiness>;

    /// Hands over, burst by burst, what the last wait found; how many arrivals could not be read.
    fn receive(&mut self, take: &mut dyn FnMut(&mut [Arrival<'_>])) -> io::Result<usize>;

    /// Sends the first of these packets; how many it took, which is none when it is full. An error
    /// is about the first packet.
    fn send(&mut self, packets: &[Outgoing]) -> io::Result<usize>;

    /// Packets that came and for which there was no room, so far, where the wire itself counts them.
    fn overflowed(&self) -> io::Result<u64> {
        Ok(0)
    }
}

/// What came of a wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// The waker was rung.
    pub is_woken: bool,
}

/// Opens the wire for clients at these places, who talk to this server.
pub fn open(
    io: Io,
    places: &BTreeSet<SocketAddrV4>,
    server: Ipv4Addr,
    waker: &Waker,
) -> io::Result<Box<dyn Wire>> {
    match io {
        Io::Sockets => {
            let ports: BTreeSet<u16> = places.iter().map(SocketAddrV4::port).collect();
            let addresses: BTreeSet<Ipv4Addr> = places.iter().map(|place| *place.ip()).collect();
            let (ports, addresses) = (Vec::from_iter(ports), Vec::from_iter(addresses));
            Ok(Box::new(Sockets::open(&ports, &addresses, waker)?))
        }
        Io::Xdp => {
            let places = Vec::from_iter(places.iter().copied());
            let xdp = Xdp::open(&places, server, waker);
            let xdp = xdp.map_err(|error| io::Error::other(format!("{error:#}")))?;
            Ok(Box::new(xdp))
        }
    }
}

/// What an IP packet brings, as a socket would give it.
pub fn arrival(packet: &mut [u8]) -> Option<Arrival<'_>> {
    let (from, to, payload) = wire::ip_payload(packet)?;
    let protocol = packet[wire::PROTOCOL];
    let bytes = &mut packet[payload];
    if protocol == Ipv4::ESP {
        return Some(Arrival {
            from: SocketAddrV4::new(from, 0),
            to: SocketAddrV4::new(to, 0),
            bytes,
        });
    }
    let (udp, _) = Udp::read_from_prefix(bytes).ok()?;
    let bytes = bytes.get_mut(Udp::LEN..usize::from(udp.length.get()))?;
    (protocol == Ipv4::UDP).then_some(Arrival {
        from: SocketAddrV4::new(from, udp.source.get()),
        to: SocketAddrV4::new(to, udp.destination.get()),
        bytes,
    })
}

#[cfg(test)]
mod tests;
