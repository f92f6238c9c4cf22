//! Multi-queue TUN devices: the host's way to subscribers and theirs to the host.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::syscall;

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
    pub fn open(name: &str, queues: usize) -> io::Result<Self> {
        if queues == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut tun = Self {
            name: name.to_owned(),
            queues: Vec::with_capacity(queues),
        };
        for _ in 0..queues {
            // The first queue settles the name for the others.
            let (queue, name) = queue(&tun.name)?;
            tun.name = name;
            tun.queues.push(queue);
        }
        Ok(tun)
    }
}

/// Opens one queue of the device `name`, which is made if there is none.
pub fn open(name: &str) -> io::Result<OwnedFd> {
    Ok(queue(name)?.0)
}

fn queue(name: &str) -> io::Result<(OwnedFd, String)> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_MULTI_QUEUE;
    let name = syscall::attach_tun(file.as_fd(), name, flags as i16)?;
    Ok((file.into(), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_a_queue() {
        assert!(Tun::open("adit%d", 0).is_err());
        assert!(Tun::open("a-name-that-is-too-long", 1).is_err());
    }
}
