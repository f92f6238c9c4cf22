//! What carries the packets of a fleet: sockets of the kernel, or memory.
//!
//! A wire is of one thread, the driver's. It takes whole IP packets and gives what is behind the
//! UDP header, or the ESP packet, as the fleet wants them; whatever is outside is its own affair.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::fleet::{Arrival, Outgoing};

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
}

/// What came of a wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// The waker was rung.
    pub is_woken: bool,
}
