//! A gateway of a few workers over ports in memory, and peers that speak to it with the same
//! cryptography turned round.

mod gateway;
mod peer;

mod counts;
mod esp;
mod express;
mod forged;
mod handover;
mod ip;
mod l2tp;
mod lines;
mod link;
mod parking;
mod ppp;

use gateway::{Gateway, NETWORK, TUNNEL};
use peer::Peer;

/// What became of a frame: every way out of the line.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Sent to the network: the IP packet.
    Network(Vec<u8>),
    /// Sent to a peer: the Ethernet frame.
    Peer(Vec<u8>),
    Punted(crate::change::Origin, Vec<u8>),
    Discarded(crate::Discard),
}
