//! Ethernet, VLAN, IPv4 and UDP around the canonical frame.

use packet::{Chunk, Frame};

use crate::port::{Packet, SendError};
use crate::shared::Shared;

/// What a port knows of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Index of the port.
    pub port: u8,
    /// Routing instance of what arrives.
    pub vrf: u16,
    /// Largest IP packet, octets.
    pub mtu: u16,
    /// Its MAC address.
    pub mac: [u8; 6],
}

/// Why a received frame is not for the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOurs {
    /// Not IPv4: ARP, IPv6, …: the kernel's.
    OtherProtocol,
    /// A fragment: the kernel reassembles it.
    Fragment,
    /// Malformed.
    Malformed,
}

/// Reads what surrounds a frame whose window starts at Ethernet: gives the canonical packet.
pub fn read<C: Chunk>(
    frame: Frame<C>,
    interface: &Interface,
    shared: &Shared,
) -> Result<Packet<C>, (Frame<C>, NotOurs)> {
    let _ = (interface, shared);
    Err((frame, NotOurs::Malformed))
}

/// Writes what surrounds a packet that is to be sent; the window then starts at Ethernet. `rewrite`
/// is destination and source MAC.
pub fn write<C: Chunk>(
    packet: &mut Packet<C>,
    interface: &Interface,
    rewrite: [[u8; 6]; 2],
) -> Result<(), SendError> {
    let _ = (packet, interface, rewrite);
    Err(SendError::NoRoom)
}
