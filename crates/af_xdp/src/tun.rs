//! Multi-queue TUN devices.

use std::io;
use std::os::fd::OwnedFd;

/// A TUN device, made by opening it; it goes when the last queue is closed.
#[derive(Debug)]
pub struct Tun {
    /// Its name.
    pub name: String,
    /// One non-blocking descriptor per queue. A read or write is one IP packet without a header
    /// in front.
    pub queues: Vec<OwnedFd>,
}

impl Tun {
    /// Opens `queues` queues of the device `name`, which is made if there is none. A `%d` in the
    /// name stands for the first free number.
    pub fn open(_name: &str, _queues: usize) -> io::Result<Self> {
        todo!()
    }
}
