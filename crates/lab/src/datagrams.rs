//! A UDP socket behind the gateway, in its own network namespace or another: datagrams come and go
//! in bursts.
//!
//! A socket stays in the namespace it was opened in. So a thread goes there, opens it, and ends;
//! the one that serves the socket need not move.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Protocol, Socket, Type};

use crate::clock;
use crate::sockets::{self, BURST, roomy};
use crate::traffic::PORT;

/// Octets of a receive buffer.
const BUFFER: usize = 2048;
/// The longest wait: between two looks at whether all is over.
pub const WAIT_MAX: Duration = Duration::from_millis(20);

/// Opens a socket for [`Datagrams`] in a network namespace.
pub fn open(namespace: &Path, address: Ipv4Addr) -> Result<Socket> {
    within(namespace, move || {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        let place = SocketAddrV4::new(address, PORT);
        socket
            .bind(&place.into())
            .with_context(|| format!("cannot bind {place}; is the address there?"))?;
        socket.set_nonblocking(true)?;
        roomy(&socket);
        Ok(socket)
    })
}

/// Packets for which the sockets of a network namespace have had no room.
pub fn overflowed(namespace: &Path) -> Result<u64> {
    within(namespace, || Ok(sockets::overflowed()))
}

/// Does something in a network namespace, on a thread that goes there and ends.
pub fn within<T: Send + 'static>(
    namespace: &Path,
    act: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let file = File::open(namespace)
        .with_context(|| format!("no network namespace at {}", namespace.display()))?;
    let done = thread::spawn(move || -> Result<T> {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .context("cannot enter the network namespace; this needs root")?;
        act()
    });
    done.join()
        .map_err(|_| anyhow!("the thread in the network namespace panicked"))?
}

/// The socket, and what is on its way through it.
pub struct Datagrams {
    socket: Socket,
    headers: MultiHeaders<SockaddrIn>,
    buffers: Vec<[u8; BUFFER]>,
    /// Made, and not taken by the kernel yet.
    pub waiting: Vec<(SocketAddrV4, Vec<u8>)>,
}

impl Datagrams {
    /// Serves a socket that [`open`] gave.
    #[must_use]
    pub fn new(socket: Socket) -> Self {
        Self {
            socket,
            headers: MultiHeaders::preallocate(BURST, None),
            buffers: vec![[0; BUFFER]; BURST],
            waiting: Vec::new(),
        }
    }

    /// The socket, which somebody else may serve from now on.
    #[must_use]
    pub fn into_socket(self) -> Socket {
        self.socket
    }

    /// Waits until something comes, at most [`WAIT_MAX`].
    pub fn wait(&self, patience: Duration) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: patience.min(WAIT_MAX).as_nanos() as i64,
        };
        let mut inputs = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut inputs, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Hands over what has come, one burst at most, with the time at which it was there.
    pub fn receive(
        &mut self,
        mut take: impl FnMut(Instant, SocketAddrV4, &[u8]),
    ) -> io::Result<()> {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = self
            .buffers
            .iter_mut()
            .map(|buffer| [IoSliceMut::new(buffer)])
            .collect();
        let results = match recvmmsg(
            self.socket.as_raw_fd(),
            &mut self.headers,
            slices.iter_mut(),
            MsgFlags::MSG_DONTWAIT,
            None,
        ) {
            Ok(results) => results,
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let now = clock::now();
        for message in results {
            let payload = message.iovs().next().unwrap_or_default();
            if let Some(from) = message.address {
                take(now, SocketAddrV4::new(from.ip(), from.port()), payload);
            }
        }
        Ok(())
    }

    /// Sends what waits, as far as the kernel takes it.
    pub fn send(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            let burst = &self.waiting[..self.waiting.len().min(BURST)];
            let slices: Vec<[IoSlice<'_>; 1]> = burst
                .iter()
                .map(|(_, datagram)| [IoSlice::new(datagram)])
                .collect();
            let addresses: Vec<Option<SockaddrIn>> =
                burst.iter().map(|(to, _)| Some((*to).into())).collect();
            let mut headers = MultiHeaders::preallocate(burst.len(), None);
            let flags = MsgFlags::MSG_DONTWAIT;
            let fd = self.socket.as_raw_fd();
            let sent = match sendmmsg(fd, &mut headers, &slices, addresses, [], flags) {
                Ok(results) => results.count(),
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => return Ok(()),
                // What ICMP said about an earlier datagram; this one has not been tried.
                Err(Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::ECONNREFUSED) => 0,
                Err(error) => return Err(error.into()),
            };
            self.waiting.drain(..sent);
        }
        Ok(())
    }
}
