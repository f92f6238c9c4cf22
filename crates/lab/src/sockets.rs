//! The sockets of a fleet: one raw socket sends for everybody, one UDP socket for each port and one
//! raw ESP socket receive.
//!
//! Sending whole IP packets lets one system call carry packets of many clients, whatever address
//! and port each has, and leaves no checksum to a veth device. Receiving goes through the ordinary
//! sockets, which also keeps the host from answering "port unreachable"; they are bound to every
//! address and say for each datagram where it was sent.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::in_pktinfo;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, recvmmsg, sendmmsg,
    setsockopt, sockopt,
};
use packet::header::Ipv4;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use socket2::{Domain, Protocol, Socket, Type};

use crate::fleet::{Arrival, Outgoing};
use crate::wire;
use crate::wires::{Readiness, Wire};

/// Packets of one system call.
pub const BURST: usize = 64;
/// Octets of a receive buffer: more than any packet of a 1500-octet path.
const BUFFER: usize = 2048;
/// What the kernel may hold for us: 50 ms of small packets at a million a second.
const KERNEL_BUFFER: usize = 32 << 20;
/// Bursts taken from one socket before the next one has its turn.
const ROUNDS: usize = 4;
/// IPPROTO_RAW: the IP header is ours, whatever protocol it names.
const RAW: i32 = 255;

/// What a descriptor in the poll set is.
const WAKER: u64 = u64::MAX;

/// Where packets come in and go out.
pub struct Sockets {
    sender: Socket,
    receivers: Vec<Receiver>,
    poll: OwnedFd,
    ready: Vec<epoll::Event>,
    /// The kernel notes in the headers how much of their room for control messages it used, and
    /// that is all the room the next call has: sockets with and without must not share.
    headers: [MultiHeaders<SockaddrIn>; 2],
    buffers: Vec<[u8; BUFFER]>,
}

struct Receiver {
    socket: Socket,
    /// 0 is raw ESP.
    port: u16,
}

/// What is known of a received datagram.
struct Received {
    from: SocketAddrV4,
    to: SocketAddrV4,
    start: usize,
    end: usize,
}

impl Sockets {
    /// Opens what clients with these ports need. A single address is bound to; with several, all.
    pub fn open(ports: &[u16], addresses: &[Ipv4Addr], waker: &OwnedFd) -> io::Result<Self> {
        let sender = raw(RAW)?;
        sender.set_header_included_v4(true)?;
        let address = match addresses {
            [only] => *only,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        let receivers = receivers(ports, address)?;
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (receiver, index) in receivers.iter().zip(0..) {
            epoll::add(
                &poll,
                &receiver.socket,
                EventData::new_u64(index),
                EventFlags::IN,
            )?;
        }
        epoll::add(&poll, waker, EventData::new_u64(WAKER), EventFlags::IN)?;
        Ok(Self {
            sender,
            receivers,
            poll,
            ready: Vec::with_capacity(BURST),
            headers: [
                MultiHeaders::preallocate(BURST, None),
                MultiHeaders::preallocate(BURST, Some(cmsg_space!(in_pktinfo))),
            ],
            buffers: vec![[0; BUFFER]; BURST],
        })
    }
}

impl Wire for Sockets {
    fn wait(&mut self, timeout: Duration) -> io::Result<Readiness> {
        // epoll counts in milliseconds; rounding up keeps an early deadline from spinning.
        let ms = timeout.as_nanos().div_ceil(1_000_000) as i64;
        let timeout = Timespec {
            tv_sec: ms / 1000,
            tv_nsec: ms % 1000 * 1_000_000,
        };
        self.ready.clear();
        let ready = rustix::buffer::spare_capacity(&mut self.ready);
        match epoll::wait(&self.poll, ready, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_woken = self.ready.iter().any(|event| event.data.u64() == WAKER);
        Ok(Readiness { is_woken })
    }

    /// A datagram that does not say where it was sent cannot be read.
    fn receive(&mut self, take: &mut dyn FnMut(&mut [Arrival<'_>])) -> io::Result<usize> {
        let mut unreadable = 0;
        for event in &self.ready {
            let Some(receiver) = self.receivers.get(event.data.u64() as usize) else {
                continue;
            };
            for _ in 0..ROUNDS {
                let headers = &mut self.headers[usize::from(receiver.port != 0)];
                let burst = receive(receiver, headers, &mut self.buffers)?;
                unreadable += burst.iter().filter(|received| received.is_none()).count();
                let mut arrivals: Vec<Arrival<'_>> = self
                    .buffers
                    .iter_mut()
                    .zip(&burst)
                    .filter_map(|(buffer, received)| received.as_ref().map(|r| (buffer, r)))
                    .map(|(buffer, received)| Arrival {
                        from: received.from,
                        to: received.to,
                        bytes: &mut buffer[received.start..received.end],
                    })
                    .collect();
                take(&mut arrivals);
                if burst.len() < BURST {
                    break;
                }
            }
        }
        Ok(unreadable)
    }

    fn send(&mut self, packets: &[Outgoing]) -> io::Result<usize> {
        let packets = &packets[..packets.len().min(BURST)];
        let slices: Vec<[IoSlice<'_>; 1]> = packets
            .iter()
            .map(|outgoing| [IoSlice::new(&outgoing.packet)])
            .collect();
        let addresses: Vec<Option<SockaddrIn>> = packets
            .iter()
            .map(|outgoing| destination(&outgoing.packet))
            .collect();
        let mut headers = MultiHeaders::preallocate(packets.len(), None);
        let sent = sendmmsg(
            self.sender.as_raw_fd(),
            &mut headers,
            &slices,
            addresses,
            [],
            MsgFlags::MSG_DONTWAIT,
        );
        match sent {
            Ok(results) => Ok(results.count()),
            // A full queue of the device is as good as a socket that is not ready.
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

/// Raw ESP, and each of the ports.
fn receivers(ports: &[u16], address: Ipv4Addr) -> io::Result<Vec<Receiver>> {
    let mut receivers = vec![Receiver {
        socket: esp(address)?,
        port: 0,
    }];
    for port in ports {
        let socket = udp(SocketAddrV4::new(address, *port))
            .map_err(|error| in_words(error, &format!("UDP {address}:{port}")))?;
        receivers.push(Receiver {
            socket,
            port: *port,
        });
    }
    Ok(receivers)
}

fn receive(
    receiver: &Receiver,
    headers: &mut MultiHeaders<SockaddrIn>,
    buffers: &mut [[u8; BUFFER]],
) -> io::Result<Vec<Option<Received>>> {
    let mut slices: Vec<[IoSliceMut<'_>; 1]> = buffers
        .iter_mut()
        .map(|buffer| [IoSliceMut::new(buffer)])
        .collect();
    match recvmmsg(
        receiver.socket.as_raw_fd(),
        headers,
        slices.iter_mut(),
        MsgFlags::MSG_DONTWAIT,
        None,
    ) {
        Ok(results) => Ok(results
            .map(|message| describe(&message, receiver.port))
            .collect()),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn describe(message: &RecvMsg<'_, '_, SockaddrIn>, port: u16) -> Option<Received> {
    if port == 0 {
        // A raw socket gives the IP header along.
        let bytes = message.iovs().next()?;
        let (from, to, payload) = wire::ip_payload(bytes)?;
        return Some(Received {
            from: SocketAddrV4::new(from, 0),
            to: SocketAddrV4::new(to, 0),
            start: payload.start,
            end: payload.end,
        });
    }
    let to = message.cmsgs().ok()?.find_map(|control| {
        let ControlMessageOwned::Ipv4PacketInfo(info) = control else {
            return None;
        };
        Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)))
    })?;
    let from = message.address?;
    Some(Received {
        from: SocketAddrV4::new(from.ip(), from.port()),
        to: SocketAddrV4::new(to, port),
        start: 0,
        end: message.bytes,
    })
}

fn destination(packet: &[u8]) -> Option<SockaddrIn> {
    let octets: [u8; 4] = packet.get(16..Ipv4::LEN)?.try_into().ok()?;
    Some(SocketAddrV4::new(Ipv4Addr::from(octets), 0).into())
}

fn raw(protocol: i32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(protocol)))
        .map_err(|error| in_words(error, "a raw socket"))?;
    roomy(&socket);
    Ok(socket)
}

fn esp(address: Ipv4Addr) -> io::Result<Socket> {
    let socket = raw(i32::from(Ipv4::ESP))?;
    socket.bind(&SocketAddrV4::new(address, 0).into())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn udp(address: SocketAddrV4) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    roomy(&socket);
    Ok(socket)
}

/// Large buffers; where the privilege for them is missing, what there is has to do.
pub(crate) fn roomy(socket: &Socket) {
    if setsockopt(socket, sockopt::RcvBufForce, &KERNEL_BUFFER).is_err() {
        let _smaller_will_do = socket.set_recv_buffer_size(KERNEL_BUFFER);
    }
    if setsockopt(socket, sockopt::SndBufForce, &KERNEL_BUFFER).is_err() {
        let _smaller_will_do = socket.set_send_buffer_size(KERNEL_BUFFER);
    }
}

fn in_words(error: io::Error, what: &str) -> io::Error {
    const HINTS: [(io::ErrorKind, &str); 3] = [
        (
            io::ErrorKind::PermissionDenied,
            "; this needs root, or CAP_NET_RAW",
        ),
        (
            io::ErrorKind::AddrInUse,
            "; another program has it: stop that, or use --ports ephemeral",
        ),
        (
            io::ErrorKind::AddrNotAvailable,
            "; no interface here has this address",
        ),
    ];
    let hint = HINTS.iter().find(|(kind, _)| *kind == error.kind());
    let hint = hint.map_or("", |(_, hint)| hint);
    io::Error::new(error.kind(), format!("cannot open {what}: {error}{hint}"))
}

/// Packets for which the UDP and raw sockets of this thread's network namespace, of whatever
/// program, have had no room since they were opened.
#[must_use]
pub fn overflowed() -> u64 {
    let tables = ["/proc/thread-self/net/udp", "/proc/thread-self/net/raw"];
    let rows = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    // The last column of a row is the number of drops; the first row has the titles.
    rows.iter()
        .flat_map(|table| table.lines().skip(1))
        .filter_map(|row| row.split_whitespace().last()?.parse::<u64>().ok())
        .sum()
}

/// Ports that nobody uses, for clients behind a NAT.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let mut held = BTreeMap::new();
    while held.len() < count {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into())?;
        let address = socket.local_addr()?.as_socket_ipv4();
        held.insert(address.map_or(0, |address| address.port()), socket);
    }
    Ok(held.into_keys().collect())
}
