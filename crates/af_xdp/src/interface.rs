//! What an interface is and can do.

use std::io;

/// An interface as it is at the moment of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Index.
    pub index: u32,
    /// Link-layer address; zero where it has none of 6 octets.
    pub mac: [u8; 6],
    /// Largest IP packet.
    pub mtu: u32,
    /// Whether it is set up.
    pub is_up: bool,
    /// Whether it has a carrier.
    pub has_carrier: bool,
    /// Name of its driver, where it says.
    pub driver: Option<String>,
    /// Queues it receives on.
    pub receive_queues: u32,
    /// Queues it sends on.
    pub transmit_queues: u32,
    /// Id of the XDP program that is attached.
    pub xdp_program: Option<u32>,
    /// Offloads that matter to us.
    pub offloads: Offloads,
}

/// Offloads; `None` where the driver does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Offloads {
    /// Generic receive offload.
    pub gro: Option<bool>,
    /// Large receive offload: XDP cannot run with it.
    pub lro: Option<bool>,
    /// Transmit checksum offload: on a veth's peer it leaves checksums unset.
    pub transmit_checksum: Option<bool>,
}

impl Interface {
    /// The interface called `name` in the network namespace of the calling thread.
    pub fn by_name(_name: &str) -> io::Result<Self> {
        todo!()
    }
}
