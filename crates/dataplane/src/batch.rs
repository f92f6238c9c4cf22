//! The frames of one burst.

use crate::port::Packet;

/// A frame on its way through a line.
#[derive(Debug)]
pub(crate) struct Traveller<C> {
    pub(crate) packet: Packet<C>,
}
