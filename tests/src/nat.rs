//! Where a subscriber is: its own address and ports, and what the world sees of them.

use std::net::{Ipv4Addr, SocketAddrV4};

use lab::wire::{self, Checksum};
use packet::header::{Ipv4, Udp};
use zerocopy::FromBytes;

/// The ports that a subscriber uses.
const PORTS: [u16; 3] = [Udp::IKE, Udp::NAT_T, Udp::L2TP];

/// A place in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The address that the subscriber believes it has.
    pub inside: Ipv4Addr,
    /// The address that the world sees.
    pub public: Ipv4Addr,
    /// What a NAT has made of the ports, in the order of [`PORTS`].
    mapped: Option<[u16; 3]>,
}

impl Place {
    /// A host with an address of its own.
    #[must_use]
    pub fn host(address: Ipv4Addr) -> Self {
        Self {
            inside: address,
            public: address,
            mapped: None,
        }
    }

    /// A host behind a NAT that gives it these ports, from `first` on.
    #[must_use]
    pub fn behind_nat(inside: Ipv4Addr, public: Ipv4Addr, first: u16) -> Self {
        Self {
            inside,
            public,
            mapped: Some([first, first + 1, first + 2]),
        }
    }

    /// Whether there is a NAT.
    #[must_use]
    pub fn is_behind_nat(&self) -> bool {
        self.mapped.is_some()
    }

    /// The NAT has forgotten its mappings and makes new ones.
    pub fn rebind(&mut self, public: Ipv4Addr, first: u16) {
        *self = Self::behind_nat(self.inside, public, first);
    }

    /// What the world sees of a port; 0 is raw ESP.
    #[must_use]
    pub fn outside(&self, port: u16) -> u16 {
        let index = PORTS.iter().position(|inside| *inside == port);
        match (self.mapped, index) {
            (Some(mapped), Some(index)) => mapped[index],
            _ => port,
        }
    }

    /// Whose port the world sees there, if anybody's.
    #[must_use]
    pub fn inside(&self, address: Ipv4Addr, port: u16) -> Option<u16> {
        if address != self.public {
            return None;
        }
        match self.mapped {
            None => Some(port),
            Some(mapped) => {
                let index = mapped.iter().position(|outside| *outside == port)?;
                Some(PORTS[index])
            }
        }
    }
}

/// The two ends of an IP packet; port 0 for what has none.
#[must_use]
pub fn ends(packet: &[u8]) -> Option<(SocketAddrV4, SocketAddrV4)> {
    let (source, destination, payload) = wire::ip_payload(packet)?;
    let (header, _) = Ipv4::read_from_prefix(packet).ok()?;
    let [from, to] = match header.protocol {
        Ipv4::UDP => {
            let (udp, _) = Udp::read_from_prefix(&packet[payload]).ok()?;
            [udp.source.get(), udp.destination.get()]
        }
        _ => [0; 2],
    };
    Some((
        SocketAddrV4::new(source, from),
        SocketAddrV4::new(destination, to),
    ))
}

/// Writes other ends on an IP packet, as a NAT does.
pub fn readdress(packet: &mut [u8], from: SocketAddrV4, to: SocketAddrV4) {
    if packet[9] != Ipv4::UDP {
        return wire::finish_ip(packet, *from.ip(), *to.ip(), packet[9]);
    }
    let has_sum = packet[Ipv4::LEN + 6..Ipv4::LEN + 8] != [0, 0];
    let sum = if has_sum {
        Checksum::Full
    } else {
        Checksum::None
    };
    wire::finish_udp(packet, from, to, sum);
}

/// What a UDP datagram carries, or what is behind the IP header of anything else.
#[must_use]
pub fn payload_start(packet: &[u8]) -> usize {
    match packet[9] {
        Ipv4::UDP => Ipv4::LEN + Udp::LEN,
        _ => Ipv4::LEN,
    }
}
