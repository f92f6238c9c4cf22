//! `adit0`, the host's way to subscribers and theirs to the host.
//!
//! In `sockets` mode it is the whole network side: the kernel routes the pools to it, and what
//! subscribers send leaves through it. With XDP it carries what is for or from the host itself.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use dataplane::port::{Burst, Meta, Packet, Pool, Port, SendError};
use packet::{Chunk, Frame};
use rustix::io::{Errno, read, write};

use super::glance::Glance;
use super::{HEADROOM, QUEUE};

/// One queue of the TUN device.
pub(crate) struct Tun<C> {
    port: u8,
    queue: OwnedFd,
    mtu: usize,
    glance: Glance,
    sent: Vec<C>,
}

impl<C: Chunk> Tun<C> {
    /// The port over an open queue; `mtu` is the largest IP packet the device takes.
    pub(crate) fn new(port: u8, queue: OwnedFd, mtu: usize) -> Self {
        Self {
            port,
            queue,
            mtu,
            glance: Glance::default(),
            sent: Vec::with_capacity(QUEUE),
        }
    }

    /// What a parked worker waits for.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }

    pub(super) fn into_chunks(self) -> Vec<C> {
        self.sent
    }
}

impl<C: Chunk> Port for Tun<C> {
    type Chunk = C;

    fn receive(&mut self, pool: &mut dyn Pool<C>, burst: &mut Burst<C>, max: usize) -> usize {
        let before = burst.len();
        if !self.glance.is_due() {
            return 0;
        }
        while burst.len() - before < max {
            let Some(mut chunk) = pool.take() else { break };
            let Ok(len) = read(&self.queue, &mut chunk.as_mut()[HEADROOM..]) else {
                pool.put(chunk);
                break;
            };
            let frame = Frame::new(chunk, HEADROOM, len).expect("the kernel wrote into the chunk");
            burst.push(Packet {
                frame,
                meta: Meta::ip(self.port),
            });
        }
        let count = burst.len() - before;
        self.glance.found(count);
        count
    }

    fn send(&mut self, packet: Packet<C>) -> Result<(), (Packet<C>, SendError)> {
        if self.sent.len() == QUEUE {
            return Err((packet, SendError::Full));
        }
        if packet.frame.len() > self.mtu {
            return Err((packet, SendError::TooLong));
        }
        match write(&self.queue, packet.frame.bytes()) {
            Ok(_) => {
                self.sent.push(packet.frame.into_chunk());
                Ok(())
            }
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => Err((packet, SendError::Full)),
            Err(_) => Err((packet, SendError::Unresolved)),
        }
    }

    fn flush(&mut self, pool: &mut dyn Pool<C>) {
        for chunk in self.sent.drain(..) {
            pool.put(chunk);
        }
    }

    fn in_flight(&self) -> usize {
        self.sent.len()
    }
}
