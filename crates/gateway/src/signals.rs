//! SIGTERM and SIGINT, or an order from within the process: the first says goodbye to everybody, the
//! second ends at once.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// The signals that have come and have not been looked at.
pub(crate) struct Signals {
    pipe: UnixStream,
    seen: usize,
}

impl Signals {
    pub(crate) fn catch() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        pipe::register(SIGTERM, writer.try_clone()?)?;
        pipe::register(SIGINT, writer)?;
        Ok(Self {
            pipe: reader,
            seen: 0,
        })
    }

    /// Heeds no signal, only the order.
    pub(crate) fn ordered() -> io::Result<(Self, Order)> {
        let (pipe, writer) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        Ok((Self { pipe, seen: 0 }, Order(writer)))
    }

    /// Whether a shutdown is newly wanted, and if so whether it is to hurry.
    pub(crate) fn shutdown_wanted(&mut self) -> Option<bool> {
        self.seen += match self.pipe.read(&mut [0; 16]) {
            // Nobody is left who could give the order.
            Ok(0) => 2,
            Ok(count) => count,
            Err(_) => return None,
        };
        Some(self.seen > 1)
    }
}

/// Whoever has it may end the gateway, which ends at once when it is dropped.
#[derive(Debug)]
pub(crate) struct Order(UnixStream);

impl Order {
    /// The same as one signal.
    pub(crate) fn give(&self) {
        // A gateway that has ended does not listen.
        let _ = (&self.0).write(&[0]);
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
