//! One socket: an endpoint's UDP port, or its raw ESP.

use std::array;
use std::cell::RefCell;
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result};
use dataplane::change::Kind;
use dataplane::port::{Meta, Packet};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use packet::header::Ipv4;
use packet::{Chunk, Endpoint, Frame};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{
    MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, addr::SocketAddrArg, sendmmsg,
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::super::letters::LONGEST;
use super::super::{HEADROOM, holder, low_port};
use super::Share;

/// Messages that one system call moves.
pub(super) const AT_ONCE: usize = 32;
/// What the kernel may hold for us per socket, octets: some 10 ms at 1 Gbit/s.
const RECEIVE_BUFFER: usize = 4 << 20;
/// RFC 3948 §2.2: four zero octets tell IKE from ESP on the NAT-T port.
pub(super) const NON_ESP_MARKER: [u8; 4] = [0; 4];

thread_local! {
    /// Headers for a handful of messages: they hold pointers, so they stay with their thread.
    static HEADERS: RefCell<MultiHeaders<SockaddrStorage>> =
        RefCell::new(MultiHeaders::preallocate(AT_ONCE, None));
}

/// The socket.
pub(super) struct Door {
    pub(super) socket: Socket,
    pub(super) local: Endpoint,
    pub(super) carrier: Carrier,
}

/// What a socket carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Carrier {
    Ike,
    NatT,
    L2tp,
    Esp,
}

/// A message that came.
pub(super) struct Arrival {
    pub(super) len: usize,
    pub(super) remote: Option<Endpoint>,
}

impl Door {
    /// The first worker's socket is bound while it shares with nobody, so that a port that another
    /// program has is refused; the others join it then.
    pub(super) fn udp(address: SocketAddr, carrier: Carrier, share: Share) -> Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        socket.set_reuse_port(share.worker > 0)?;
        socket.set_nonblocking(true)?;
        give_room(&socket);
        let bound = low_port::allowed(address.port(), || socket.bind(&address.into()));
        bound.map_err(|error| holder::refusal(address, &error))?;
        socket.set_reuse_port(true)?;
        Ok(Self {
            socket,
            local: address.into(),
            carrier,
        })
    }

    pub(super) fn raw_esp(address: IpAddr, share: Share) -> Result<Self> {
        let esp = Protocol::from(i32::from(Ipv4::ESP));
        let local = SocketAddr::new(address, 0);
        let socket = Socket::new(Domain::for_address(local), Type::RAW, Some(esp))
            .context("cannot open a raw ESP socket: CAP_NET_RAW is needed")?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(&share.filter())?;
        give_room(&socket);
        socket
            .bind(&local.into())
            .with_context(|| format!("cannot bind raw ESP on {address}"))?;
        Ok(Self {
            socket,
            local: local.into(),
            carrier: Carrier::Esp,
        })
    }

    /// Messages that the kernel dropped because nobody read them in time.
    pub(super) fn drops(&self) -> u64 {
        af_xdp::drops(self.socket.as_fd()).unwrap_or(0)
    }

    /// Receives as many messages as there are, at most [`AT_ONCE`], one into each of `chunks` from
    /// the headroom on; what is longer goes on in `rest`, [`LONGEST`] octets for each.
    pub(super) fn receive<C: Chunk>(
        &self,
        chunks: &mut [C],
        rest: &mut [u8],
        arrivals: &mut Vec<Arrival>,
    ) -> Result<usize, Errno> {
        let count = chunks.len().min(AT_ONCE);
        HEADERS.with_borrow_mut(|headers| {
            let rooms = chunks
                .iter_mut()
                .map(|chunk| &mut chunk.as_mut()[HEADROOM..]);
            let mut pairs = rooms.zip(rest.chunks_exact_mut(LONGEST));
            let mut parts: [[IoSliceMut<'_>; 2]; AT_ONCE] = array::from_fn(|_| {
                let (room, rest) = pairs.next().unwrap_or_default();
                [IoSliceMut::new(room), IoSliceMut::new(rest)]
            });
            let received = recvmmsg(
                self.socket.as_raw_fd(),
                headers,
                parts[..count].iter_mut(),
                MsgFlags::MSG_DONTWAIT,
                None,
            );
            let received = received.map_err(|error| Errno::from_raw_os_error(error as i32))?;
            let before = arrivals.len();
            arrivals.extend(received.map(|message| Arrival {
                len: message.bytes,
                remote: message.address.as_ref().and_then(endpoint),
            }));
            Ok(arrivals.len() - before)
        })
    }

    /// Gives the kernel the first of `messages`, at most [`AT_ONCE`]; how many it took. An error is
    /// about the first.
    pub(super) fn send<'f>(
        &self,
        mut messages: impl Iterator<Item = (&'f [u8], Endpoint)>,
    ) -> Result<usize, Errno> {
        let mut count = 0;
        let letters: [(&[u8], Endpoint); AT_ONCE] = array::from_fn(|_| {
            let next = messages.next();
            count += usize::from(next.is_some());
            next.unwrap_or_default()
        });
        let parts = letters.map(|(bytes, _)| [IoSlice::new(bytes)]);
        let remotes: [SocketAddrAny; AT_ONCE] =
            array::from_fn(|n| SocketAddr::from(letters[n].1).as_any());
        let mut nothing: [SendAncillaryBuffer<'_, '_, '_>; AT_ONCE] =
            array::from_fn(|_| SendAncillaryBuffer::default());
        let mut controls = nothing.iter_mut();
        let mut headers: [MMsgHdr<'_>; AT_ONCE] = array::from_fn(|n| {
            let control = controls.next().expect("there is one for each message");
            MMsgHdr::new_with_addr(&remotes[n], &parts[n], control)
        });
        sendmmsg(&self.socket, &mut headers[..count], SendFlags::DONTWAIT)
    }

    /// Takes off what the kernel left outside the window, and names what is in it.
    pub(super) fn canonical<C: Chunk>(
        &self,
        mut frame: Frame<C>,
        remote: Endpoint,
        port: u8,
    ) -> Result<Packet<C>, Frame<C>> {
        let mut dscp_ecn = 0;
        let kind = match self.carrier {
            Carrier::Ike => Kind::Ike,
            Carrier::L2tp => Kind::L2tp,
            Carrier::NatT => match frame.bytes() {
                [0xff] => Kind::Keepalive,
                bytes if bytes.starts_with(&NON_ESP_MARKER) => {
                    if frame.skip(NON_ESP_MARKER.len()).is_none() {
                        return Err(frame);
                    }
                    Kind::Ike
                }
                _ => Kind::EspInUdp,
            },
            Carrier::Esp => {
                let Some(ip) = frame.peek::<Ipv4>().copied() else {
                    return Err(frame);
                };
                dscp_ecn = ip.dscp_ecn;
                if frame.skip(ip.header_len()).is_none() {
                    return Err(frame);
                }
                Kind::Esp
            }
        };
        let meta = Meta {
            kind,
            local: self.local,
            remote: if kind == Kind::Esp {
                remote.with_port(0)
            } else {
                remote
            },
            port,
            vrf: 0,
            next_hop: None,
            dscp_ecn,
            bad_checksum: false,
            checksum: false,
            moves: 0,
        };
        Ok(Packet { frame, meta })
    }
}

/// As much as asked for needs CAP_NET_ADMIN; a smaller buffer costs packets in a burst.
fn give_room(socket: &Socket) {
    if set_socket_recv_buffer_size_force(socket, RECEIVE_BUFFER).is_err() {
        let _ = set_socket_recv_buffer_size(socket, RECEIVE_BUFFER);
    }
}

fn endpoint(address: &SockaddrStorage) -> Option<Endpoint> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::from(*v4));
    let address = v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::from(*v6)))?;
    Some(address.into())
}

impl Share {
    /// Classic BPF over an IPv4 packet: takes it if (SPI & 63) % workers == worker.
    fn filter(self) -> Vec<SockFilter> {
        const LOAD_HEADER_LENGTH: u16 = 0xb1; // BPF_LDX | BPF_B | BPF_MSH
        const LOAD_WORD_AT_X: u16 = 0x40; // BPF_LD | BPF_W | BPF_IND
        const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
        const MODULO: u16 = 0x94; // BPF_ALU | BPF_MOD | BPF_K
        const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
        const RETURN: u16 = 0x06; // BPF_RET | BPF_K
        const ALL: u32 = u32::MAX;
        vec![
            SockFilter::new(LOAD_HEADER_LENGTH, 0, 0, 0),
            SockFilter::new(LOAD_WORD_AT_X, 0, 0, 0),
            SockFilter::new(AND, 0, 0, dataplane::id::SHARDS as u32 - 1),
            SockFilter::new(MODULO, 0, 0, u32::from(self.workers)),
            SockFilter::new(JUMP_IF_EQUAL, 0, 1, u32::from(self.worker)),
            SockFilter::new(RETURN, 0, 0, ALL),
            SockFilter::new(RETURN, 0, 0, 0),
        ]
    }
}
