//! News of routers on the way to peers, by a raw ICMP socket. It needs CAP_NET_RAW and nothing else,
//! and hears in every mode, since the classifier leaves ICMP to the kernel.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// Messages that are taken in one go.
const SHARE: usize = 64;
/// RFC 1812 §4.3.2.3: no longer than this, and the first octets would do.
const LONGEST: usize = 576;

/// The socket.
pub(crate) struct Icmp {
    socket: Socket,
}

impl Icmp {
    /// Hears "fragmentation needed" from here on, and nothing else.
    pub(crate) fn listen() -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))
            .context("cannot open a raw ICMP socket: CAP_NET_RAW is needed")?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(&fragmentation_needed())?;
        Ok(Self { socket })
    }

    /// Readable when there is news.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What has come, from the IP header on.
    pub(crate) fn messages(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let next = || {
            let mut message = vec![0; LONGEST];
            let len = (&self.socket).read(&mut message).ok()?;
            message.truncate(len);
            Some(message)
        };
        std::iter::from_fn(next).take(SHARE)
    }
}

/// Classic BPF over an IPv4 packet: takes it if the ICMP type is 3 and the code 4 (RFC 792).
fn fragmentation_needed() -> [SockFilter; 5] {
    const LOAD_HEADER_LENGTH: u16 = 0xb1; // BPF_LDX | BPF_B | BPF_MSH
    const LOAD_HALF_AT_X: u16 = 0x48; // BPF_LD | BPF_H | BPF_IND
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    [
        SockFilter::new(LOAD_HEADER_LENGTH, 0, 0, 0),
        SockFilter::new(LOAD_HALF_AT_X, 0, 0, 0),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, 0x0304),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}
