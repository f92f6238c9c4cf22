//! The `sockets` back end: UDP 500, 4500 and 1701 and raw ESP on every endpoint.
//!
//! It is the whole tunnel side where there is no XDP, and it is open in every mode: the sockets
//! hold the ports, and fragments reach them reassembled by the kernel. An IKE message that is longer
//! than a chunk goes straight to the slow path ([`super::letters`]). Each worker has its own set
//! with `SO_REUSEPORT`; a filter on the shard bits of the SPI keeps raw ESP from being delivered to
//! every set. The filter knows the shards as they are dealt out at the start: frames of one that has
//! moved since are handed over by the worker that gets them.

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use dataplane::change::Kind;
use dataplane::port::{Meta, Packet, Pool, Port, SendError};
use packet::header::{Ipv4, Udp};
use packet::{Chunk, Endpoint, Frame};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendFlags, recvmsg, sendto};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::glance::Glance;
use super::letters::{LONGEST, LetterBox};
use super::{HEADROOM, QUEUE, holder, low_port};

/// What the kernel may hold for us per socket, octets: some 10 ms at 1 Gbit/s.
const RECEIVE_BUFFER: usize = 4 << 20;
/// RFC 3948 §2.2: four zero octets tell IKE from ESP on the NAT-T port.
const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// One worker's sockets.
pub(crate) struct Sockets<C> {
    port: u8,
    doors: Vec<Door>,
    /// Where the next receive begins, so that no socket starves the others.
    next: usize,
    glance: Glance,
    queue: Vec<Packet<C>>,
    letters: Letters,
}

/// Where a datagram goes that is longer than a chunk.
struct Letters {
    to: LetterBox,
    worker: u8,
    /// What did not fit into the chunk.
    rest: Box<[u8]>,
}

/// One socket: an endpoint's UDP port, or its raw ESP.
struct Door {
    socket: Socket,
    local: Endpoint,
    protocol: Carrier,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Carrier {
    Ike,
    NatT,
    L2tp,
    Esp,
}

/// Which share of the peers a worker's set is to receive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) worker: u8,
    pub(crate) workers: u8,
}

impl<C: Chunk> Sockets<C> {
    /// Opens the sockets of `share.worker` on every address.
    pub(crate) fn open(
        port: u8,
        addresses: &[IpAddr],
        share: Share,
        letters: LetterBox,
    ) -> Result<Self> {
        let mut doors = Vec::new();
        for address in addresses {
            for (number, protocol) in [
                (Udp::IKE, Carrier::Ike),
                (Udp::NAT_T, Carrier::NatT),
                (Udp::L2TP, Carrier::L2tp),
            ] {
                doors.push(Door::udp(
                    SocketAddr::new(*address, number),
                    protocol,
                    share,
                )?);
            }
            doors.push(Door::raw_esp(*address, share)?);
        }
        Ok(Self {
            port,
            doors,
            next: 0,
            glance: Glance::default(),
            queue: Vec::with_capacity(QUEUE),
            letters: Letters {
                to: letters,
                worker: share.worker,
                rest: vec![0; LONGEST].into(),
            },
        })
    }

    /// What a parked worker waits for.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.doors.iter().map(|door| door.socket.as_fd())
    }

    pub(super) fn into_chunks(self) -> Vec<C> {
        let sent = self.queue.into_iter();
        sent.map(|packet| packet.frame.into_chunk()).collect()
    }

    fn door_for(&self, meta: &Meta) -> Option<&Door> {
        let protocol = match meta.kind {
            Kind::Esp => Carrier::Esp,
            Kind::EspInUdp | Kind::Keepalive => Carrier::NatT,
            Kind::Ike if meta.local.port() == Udp::IKE => Carrier::Ike,
            Kind::Ike => Carrier::NatT,
            Kind::L2tp => Carrier::L2tp,
            Kind::Ip => return None,
        };
        let address = meta.local.address();
        self.doors
            .iter()
            .find(|d| d.protocol == protocol && d.local.address() == address)
    }

    fn transmit(&self, packet: &mut Packet<C>) -> Result<(), SendError> {
        let door = self.door_for(&packet.meta).ok_or(SendError::Unresolved)?;
        if packet.meta.kind == Kind::Ike && door.protocol == Carrier::NatT {
            packet
                .frame
                .prepend_bytes(&NON_ESP_MARKER)
                .ok_or(SendError::NoRoom)?;
        }
        let remote = SocketAddr::from(packet.meta.remote);
        match sendto(
            &door.socket,
            packet.frame.bytes(),
            SendFlags::DONTWAIT,
            &remote,
        ) {
            Ok(_) => Ok(()),
            Err(Errno::MSGSIZE) => Err(SendError::TooLong),
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => Err(SendError::Full),
            Err(_) => Err(SendError::Unresolved),
        }
    }
}

impl<C: Chunk> Port for Sockets<C> {
    type Chunk = C;

    fn receive(&mut self, pool: &mut dyn Pool<C>, burst: &mut Vec<Packet<C>>, max: usize) -> usize {
        let before = burst.len();
        if !self.glance.is_due() {
            return 0;
        }
        let waiting = self.readable();
        self.glance.found(waiting.len());
        for index in waiting {
            while burst.len() - before < max {
                let Some(chunk) = pool.take() else {
                    return burst.len() - before;
                };
                match self.doors[index].receive(chunk, self.port, &mut self.letters) {
                    Received::Packet(packet) => burst.push(packet),
                    Received::Other(chunk) => pool.put(chunk),
                    Received::Nothing(chunk) => {
                        pool.put(chunk);
                        break;
                    }
                }
            }
        }
        burst.len() - before
    }

    fn send(&mut self, packet: Packet<C>) -> Result<(), (Packet<C>, SendError)> {
        if self.queue.len() == QUEUE {
            return Err((packet, SendError::Full));
        }
        let mut packet = packet;
        match self.transmit(&mut packet) {
            Ok(()) => {
                self.queue.push(packet);
                Ok(())
            }
            Err(why) => Err((packet, why)),
        }
    }

    fn flush(&mut self, pool: &mut dyn Pool<C>) {
        for packet in self.queue.drain(..) {
            pool.put(packet.frame.into_chunk());
        }
    }

    fn in_flight(&self) -> usize {
        self.queue.len()
    }
}

impl<C> Sockets<C> {
    /// Indexes of the doors at which something waits, another one first at each call.
    fn readable(&mut self) -> Vec<usize> {
        let mut waiting: Vec<PollFd<'_>> = self
            .doors
            .iter()
            .map(|d| PollFd::new(&d.socket, PollFlags::IN))
            .collect();
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        if !matches!(poll(&mut waiting, Some(&now)), Ok(count) if count > 0) {
            return Vec::new();
        }
        let count = self.doors.len();
        let order = (0..count).map(|i| (i + self.next) % count);
        let ready = order
            .filter(|i| !waiting[*i].revents().is_empty())
            .collect();
        self.next = (self.next + 1) % count;
        ready
    }
}

/// What came of one receive.
enum Received<C> {
    Packet(Packet<C>),
    /// Something came that is not for us.
    Other(C),
    Nothing(C),
}

impl Door {
    /// The first worker's socket is bound while it shares with nobody, so that a port that another
    /// program has is refused; the others join it then.
    fn udp(address: SocketAddr, protocol: Carrier, share: Share) -> Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        socket.set_reuse_port(share.worker > 0)?;
        socket.set_nonblocking(true)?;
        // A smaller buffer than asked for costs packets in a burst, nothing else.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        let bound = low_port::allowed(address.port(), || socket.bind(&address.into()));
        bound.map_err(|error| holder::refusal(address, &error))?;
        socket.set_reuse_port(true)?;
        Ok(Self {
            socket,
            local: address.into(),
            protocol,
        })
    }

    fn raw_esp(address: IpAddr, share: Share) -> Result<Self> {
        let esp = Protocol::from(i32::from(Ipv4::ESP));
        let local = SocketAddr::new(address, 0);
        let socket = Socket::new(Domain::for_address(local), Type::RAW, Some(esp))
            .context("cannot open a raw ESP socket: CAP_NET_RAW is needed")?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(&share.filter())?;
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        socket
            .bind(&local.into())
            .with_context(|| format!("cannot bind raw ESP on {address}"))?;
        Ok(Self {
            socket,
            local: local.into(),
            protocol: Carrier::Esp,
        })
    }

    fn receive<C: Chunk>(&self, mut chunk: C, port: u8, letters: &mut Letters) -> Received<C> {
        let room = &mut chunk.as_mut()[HEADROOM..];
        let space = room.len();
        let mut parts = [IoSliceMut::new(room), IoSliceMut::new(&mut letters.rest)];
        let mut nothing = RecvAncillaryBuffer::default();
        let received = recvmsg(&self.socket, &mut parts, &mut nothing, RecvFlags::DONTWAIT);
        let (len, remote) = match received.map(|message| (message.bytes, message.address)) {
            Ok((len, Some(remote))) => (len, remote),
            Ok(_) => return Received::Other(chunk),
            // An ICMP error that the kernel reports here belongs to a packet sent earlier.
            Err(Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH) => {
                return Received::Other(chunk);
            }
            Err(_) => return Received::Nothing(chunk),
        };
        let Ok(remote) = SocketAddr::try_from(remote) else {
            return Received::Other(chunk);
        };
        if len > space {
            let start = &chunk.as_ref()[HEADROOM..];
            self.post(
                letters,
                &[start, &letters.rest[..len - space]].concat(),
                remote,
            );
            return Received::Other(chunk);
        }
        let frame = Frame::new(chunk, HEADROOM, len).expect("the kernel wrote into the chunk");
        match self.canonical(frame, remote.into(), port) {
            Ok(packet) => Received::Packet(packet),
            Err(frame) => Received::Other(frame.into_chunk()),
        }
    }

    /// A datagram that no chunk holds: IKE, or nothing of ours.
    fn post(&self, letters: &Letters, datagram: &[u8], remote: SocketAddr) {
        let message = match self.protocol {
            Carrier::Ike => Some(datagram),
            Carrier::NatT => datagram.strip_prefix(&NON_ESP_MARKER),
            Carrier::L2tp | Carrier::Esp => None,
        };
        if let Some(message) = message {
            let ends = [self.local, remote.into()];
            letters.to.post(letters.worker, ends, message.to_vec());
        }
    }

    /// Takes off what the kernel left outside the window, and names what is in it.
    fn canonical<C: Chunk>(
        &self,
        mut frame: Frame<C>,
        remote: Endpoint,
        port: u8,
    ) -> Result<Packet<C>, Frame<C>> {
        let mut dscp_ecn = 0;
        let kind = match self.protocol {
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
