//! What surrounds the canonical frame on Ethernet: Ethernet, IPv4 and, for endpoint protocols, UDP.
//!
//! Outer packets are sent with DF set and identification 0 (RFC 6864 §4.1 allows that for packets
//! that are never fragmented): the MTU inside follows from the path's, so none is too large to
//! begin with, and a router with a smaller MTU says so by ICMP, which reaches the slow path.

use std::mem::offset_of;
use std::net::Ipv4Addr;

use crypto::cpu::Address;
use packet::header::{Ethernet, Ipv4, L2tp, Udp};
use packet::{Chunk, Endpoint, Frame, checksum};
use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::change::Kind;
use crate::discard::Discard;
use crate::port::{Meta, Packet, SendError};
use crate::shard::path::{Ends, ends};
use crate::shared::{Shared, Target};

/// RFC 3948 §2.2: four zero octets in front of ISAKMP on the NAT-T port.
const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// RFC 3948 §2.3: the payload of a keepalive.
const KEEPALIVE: [u8; 1] = [0xff];

/// What a port knows of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Interface {
    /// Index of the port.
    pub port: u8,
    /// Routing instance of what arrives.
    pub vrf: u16,
    /// Largest IP packet, octets.
    pub mtu: u16,
    /// Its MAC address.
    pub mac: [u8; 6],
}

/// Why a received frame is not for the line: the XDP program leaves such frames to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOurs {
    /// Not IPv4: ARP, IPv6, a VLAN, …: the kernel's.
    OtherProtocol,
    /// A fragment for one of our endpoints: the kernel reassembles it.
    Fragment,
    /// Malformed.
    Malformed,
}

impl From<NotOurs> for Discard {
    fn from(why: NotOurs) -> Self {
        match why {
            NotOurs::OtherProtocol => Self::OuterProtocol,
            NotOurs::Fragment => Self::OuterFragment,
            NotOurs::Malformed => Self::OuterMalformed,
        }
    }
}

/// Reads what surrounds a frame that starts at its Ethernet header; one that is not for the line is
/// given back as it was. VLANs are the interfaces of the kernel that take them off.
#[cold]
pub(crate) fn read<C: Chunk>(
    mut frame: Frame<C>,
    interface: &Interface,
    shared: &Shared,
) -> Result<Packet<C>, (Frame<C>, NotOurs)> {
    let (head, tail) = (frame.headroom(), frame.tailroom());
    match canonical(&mut frame, interface, shared) {
        Ok(meta) => Ok(Packet { frame, meta }),
        Err(why) => {
            frame.grow_front(frame.headroom() - head);
            frame.grow_back(frame.tailroom() - tail);
            Err((frame, why))
        }
    }
}

/// Cache lines of a frame to ask for before it is read: all headers, and the first octets of what they
/// are in front of.
const HEAD_LINES: usize = 3;

/// Asks for the head of the frame that begins so many octets into `memory`. It may end before: a line too
/// many does no harm, and counting them would cost as much.
#[inline(always)]
pub fn approach_head(memory: &[u8], offset: usize) {
    let head = Address::in_bytes(memory, offset);
    (0..HEAD_LINES).for_each(|line| head.prefetch(line));
}

/// What nearly every frame begins with, and the octets that tell what is in it.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Head {
    pub(crate) ethernet: Ethernet,
    pub(crate) ip: Ipv4,
    pub(crate) udp: Udp,
    pub(crate) first: [u8; 8],
}

/// Octets of Ethernet and IPv4, and of UDP with them.
pub(crate) const OUTER_IP: usize = size_of::<Ethernet>() + Ipv4::LEN;
pub(crate) const OUTER: usize = OUTER_IP + Udp::LEN;

/// What a frame as usual is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usual {
    /// ESP as an IP protocol of its own.
    Esp,
    /// Data of ESP in UDP.
    EspInUdp,
    /// Data of plain L2TP.
    L2tp,
    /// A packet for no endpoint protocol.
    Ip,
}

impl Usual {
    pub(crate) const COUNT: usize = 4;

    /// Octets in front of the canonical frame.
    #[inline(always)]
    pub(crate) fn front(self) -> usize {
        match self {
            Self::EspInUdp | Self::L2tp => OUTER,
            Self::Esp => OUTER_IP,
            Self::Ip => size_of::<Ethernet>(),
        }
    }
}

impl Head {
    /// What a frame of `frame_len` octets is, if everything outside is as usual: a whole IPv4 packet
    /// without options whose lengths agree and whose checksum is right, data of L2TP or of ESP, or
    /// anything that is for no endpoint protocol. A destination that is no endpoint of ours makes
    /// it plain IP nevertheless. `None` says nothing against any other frame.
    #[inline(always)]
    pub(crate) fn usual(&self, frame_len: usize) -> Option<Usual> {
        // Three loads: ethertype to identification, fragment to source, ports to checksum.
        let [front, middle, udp] = [self.word(12), self.word(20), self.word(34)];
        let len = usize::from((front >> 16) as u16);
        let is_fragment = middle >> 48 & u64::from(Ipv4::MF | Ipv4::OFFSET) != 0;
        if front >> 40 != PLAIN_IPV4
            || is_fragment
            || len < size_of::<Self>() - size_of::<Ethernet>()
            || size_of::<Ethernet>() + len > frame_len
            || !self.ip.is_right()
        {
            return None;
        }
        let (protocol, port) = ((middle >> 32) as u8, (udp >> 32) as u16);
        let kind = match (protocol, port) {
            (Ipv4::UDP, Udp::L2TP) if !is_control(&self.first) => Usual::L2tp,
            (Ipv4::UDP, Udp::NAT_T) if self.first[..4] != NON_ESP_MARKER => Usual::EspInUdp,
            (Ipv4::ESP, _) => Usual::Esp,
            (Ipv4::UDP, Udp::L2TP | Udp::NAT_T | Udp::IKE) => return None,
            _ => return Some(Usual::Ip),
        };
        let do_agree = kind == Usual::Esp || usize::from((udp >> 16) as u16) == len - Ipv4::LEN;
        do_agree.then_some(kind)
    }

    /// The ends, as the outer headers name them.
    #[inline(always)]
    pub(crate) fn ends(&self) -> &Ends {
        const AT: usize = offset_of!(Head, ip) + offset_of!(Ipv4, source);
        let octets: &[u8; size_of::<Self>()] = zerocopy::transmute_ref!(self);
        octets[AT..].first_chunk().expect("they lie inside")
    }

    /// SPI and sequence number of ESP that has so many octets in front of it.
    #[inline(always)]
    pub(crate) fn esp(&self, front: usize) -> (u32, u32) {
        let word = self.word(front);
        ((word >> 32) as u32, word as u32)
    }

    /// Eight octets, in the order of the network.
    #[inline(always)]
    fn word(&self, at: usize) -> u64 {
        let octets: &[u8; size_of::<Self>()] = zerocopy::transmute_ref!(self);
        let mut word = [0; 8];
        word.copy_from_slice(&octets[at..at + 8]);
        u64::from_be_bytes(word)
    }
}

/// The ethertype of IPv4, version 4, and a header of five words.
const PLAIN_IPV4: u64 = (Ethernet::IPV4 as u64) << 8 | 0x45;

/// What is said of a frame outside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around {
    pub(crate) ethernet: Ethernet,
    /// From whom to whom.
    pub(crate) ends: Ends,
    pub(crate) dscp_ecn: u8,
    /// Octets of the canonical frame.
    pub(crate) len: usize,
}

/// Headers that go in front of a canonical frame.
pub(crate) trait Outside:
    FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned
{
    /// Writes all of them.
    fn write(&mut self, around: &Around);
}

/// Those of raw ESP.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct OuterIp {
    ethernet: Ethernet,
    ip: Ipv4,
}

impl OuterIp {
    #[inline(always)]
    fn write_for(&mut self, around: &Around, protocol: u8, len: usize) {
        let [a, b, c, d, e, f, g, h, ..] = around.ends;
        let (source, destination) = ([a, b, c, d].into(), [e, f, g, h].into());
        let mut ip = Ipv4::bare(source, destination, protocol, len as u16);
        ip.dscp_ecn = around.dscp_ecn;
        ip.renew_checksum();
        (self.ethernet, self.ip) = (around.ethernet, ip);
    }
}

impl Outside for OuterIp {
    #[inline(always)]
    fn write(&mut self, around: &Around) {
        self.write_for(around, Ipv4::ESP, around.len);
    }
}

/// Those of nearly every frame to a peer.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Outer {
    ip: OuterIp,
    udp: Udp,
}

impl Outside for Outer {
    #[inline(always)]
    fn write(&mut self, around: &Around) {
        let [.., i, j, k, l] = around.ends;
        let len = Udp::LEN + around.len;
        self.ip.write_for(around, Ipv4::UDP, len);
        self.udp = Udp {
            source: U16::from_bytes([i, j]),
            destination: U16::from_bytes([k, l]),
            length: (len as u16).into(),
            checksum: 0.into(),
        };
    }
}

fn canonical<C: Chunk>(
    frame: &mut Frame<C>,
    interface: &Interface,
    shared: &Shared,
) -> Result<Meta, NotOurs> {
    let ethernet = frame.peel::<Ethernet>().ok_or(NotOurs::Malformed)?;
    if ethernet.ethertype.get() != Ethernet::IPV4 {
        return Err(NotOurs::OtherProtocol);
    }
    let ip = *frame.peek::<Ipv4>().ok_or(NotOurs::Malformed)?;
    let (header_len, len) = (ip.header_len(), usize::from(ip.total_length.get()));
    if ip.version_ihl >> 4 != 4 || header_len < Ipv4::LEN || len < header_len {
        return Err(NotOurs::Malformed);
    }
    frame.truncate(len).ok_or(NotOurs::Malformed)?;
    let mut meta = Meta {
        vrf: interface.vrf,
        dscp_ecn: ip.dscp_ecn,
        ..Meta::ip(interface.port)
    };
    if may_be_ours(frame, &ip) && shared.is_endpoint(interface.vrf, ip.destination()) {
        if ip.is_fragment() {
            return Err(NotOurs::Fragment);
        }
        if !is_right(frame, &ip) {
            return Err(NotOurs::Malformed);
        }
        endpoint_protocol(frame, &ip, &mut meta, shared)?;
    }
    Ok(meta)
}

/// Whether a packet is of an endpoint protocol: cheaper than to look its destination up. A fragment
/// may be.
#[inline]
fn may_be_ours<C: Chunk>(frame: &Frame<C>, ip: &Ipv4) -> bool {
    let port = || frame.bytes()[ip.header_len()..].get(2..4);
    let is_known = |port: &[u8]| {
        let port = u16::from_be_bytes([port[0], port[1]]);
        matches!(port, Udp::NAT_T | Udp::L2TP | Udp::IKE)
    };
    match ip.protocol {
        Ipv4::ESP => true,
        Ipv4::UDP => ip.is_fragment() || port().is_none_or(is_known),
        _ => false,
    }
}

/// Whether the header's checksum is right.
#[inline]
fn is_right<C: Chunk>(frame: &Frame<C>, ip: &Ipv4) -> bool {
    match ip.header_len() {
        Ipv4::LEN => ip.is_right(),
        len => checksum::checksum(&frame.bytes()[..len]) == 0,
    }
}

/// Peels the outer headers off, unless it is UDP to another port: that stays IP.
fn endpoint_protocol<C: Chunk>(
    frame: &mut Frame<C>,
    ip: &Ipv4,
    meta: &mut Meta,
    shared: &Shared,
) -> Result<(), NotOurs> {
    let header_len = ip.header_len();
    let (kind, ports, outside) = if ip.protocol == Ipv4::ESP {
        (Kind::Esp, [0; 2], header_len)
    } else {
        let datagram = &frame.bytes()[header_len..];
        let datagram_len = udp_len(datagram).ok_or(NotOurs::Malformed)?;
        let Some((kind, ports, outside)) = udp_kind(&datagram[..datagram_len]) else {
            return Ok(());
        };
        frame
            .truncate(header_len + datagram_len)
            .ok_or(NotOurs::Malformed)?;
        let datagram = &frame.bytes()[header_len..];
        let is_checked = match kind {
            Kind::Ike => true,
            Kind::L2tp => is_control(&datagram[outside..]) || shared.checks_data(),
            Kind::Esp | Kind::EspInUdp | Kind::Keepalive | Kind::Ip => false,
        };
        meta.bad_checksum = is_checked && is_bad_checksum(ip, datagram);
        (kind, ports, header_len + outside)
    };
    frame.skip(outside).ok_or(NotOurs::Malformed)?;
    let [from, to] = ports;
    meta.kind = kind;
    meta.local = Endpoint::v4(ip.destination, to);
    meta.remote = Endpoint::v4(ip.source, from);
    Ok(())
}

/// The length of a datagram by its own account, if that can be true.
#[inline]
fn udp_len(datagram: &[u8]) -> Option<usize> {
    let len = usize::from(u16::from_be_bytes([*datagram.get(4)?, *datagram.get(5)?]));
    (Udp::LEN..=datagram.len()).contains(&len).then_some(len)
}

/// What a datagram is by its destination port, its ports, and the octets in front of the frame.
#[inline]
fn udp_kind(datagram: &[u8]) -> Option<(Kind, [u16; 2], usize)> {
    let (header, payload) = datagram.split_at_checked(Udp::LEN)?;
    let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let ports = [field(0), field(2)];
    match ports[1] {
        Udp::IKE => Some((Kind::Ike, ports, Udp::LEN)),
        Udp::L2TP => Some((Kind::L2tp, ports, Udp::LEN)),
        // RFC 3948 §2.2–3: the marker, a keepalive, or else ESP.
        Udp::NAT_T if payload.starts_with(&NON_ESP_MARKER) => {
            Some((Kind::Ike, ports, Udp::LEN + NON_ESP_MARKER.len()))
        }
        Udp::NAT_T if payload == KEEPALIVE => Some((Kind::Keepalive, ports, Udp::LEN)),
        Udp::NAT_T => Some((Kind::EspInUdp, ports, Udp::LEN)),
        _ => None,
    }
}

/// Whether L2TP is a control message.
#[inline]
fn is_control(l2tp: &[u8]) -> bool {
    l2tp.first()
        .is_some_and(|flags| flags & (L2tp::CONTROL >> 8) as u8 != 0)
}

/// Whether a checksum is there and wrong. A field equal to the bare sum of the pseudo-header was
/// left to a network card that did not exist, as on a veth: it counts as unset.
#[cold]
fn is_bad_checksum(ip: &Ipv4, datagram: &[u8]) -> bool {
    let field = u16::from_be_bytes([datagram[6], datagram[7]]);
    let len = datagram.len() as u16;
    let pseudo = checksum::pseudo_header(ip.source(), ip.destination(), Ipv4::UDP, len);
    let sum = checksum::add(&[pseudo, checksum::sum(datagram)]);
    field != 0 && field != pseudo && sum != 0xffff
}

/// Writes what surrounds a packet that is to be sent; the window then starts at Ethernet. `rewrite`
/// is destination and source MAC.
#[inline(always)]
pub fn write<C: Chunk>(
    packet: &mut Packet<C>,
    interface: &Interface,
    rewrite: [[u8; 6]; 2],
) -> Result<(), SendError> {
    let Packet { frame, meta } = packet;
    match meta.kind {
        Kind::Ip => {}
        Kind::Esp => write_ip(frame, meta, Ipv4::ESP)?,
        Kind::Ike if meta.local.port() != Udp::IKE => {
            frame
                .prepend_bytes(&NON_ESP_MARKER)
                .ok_or(SendError::NoRoom)?;
            write_udp(frame, meta)?;
        }
        Kind::Ike => write_udp(frame, meta)?,
        Kind::L2tp if is_control(frame.bytes()) || meta.checksum => write_udp(frame, meta)?,
        // Departs from RFC 2661 §8.1: data goes without a checksum, because the packets inside
        // carry their own and the sum costs more than all other rooms.
        // RFC 3948 §2.1: the checksum of encapsulated ESP is sent as zero.
        Kind::L2tp | Kind::EspInUdp | Kind::Keepalive => {
            if frame.len() + (OUTER - size_of::<Ethernet>()) > usize::from(interface.mtu) {
                return Err(SendError::TooLong);
            }
            let ends = [meta.local, meta.remote];
            return write_outer(frame, ends, meta.dscp_ecn, ethernet(rewrite));
        }
    }
    if frame.len() > usize::from(interface.mtu) {
        return Err(SendError::TooLong);
    }
    let ethernet = ethernet(rewrite);
    frame.prepend(&ethernet).ok_or(SendError::NoRoom)
}

#[inline]
fn ethernet([destination, source]: [[u8; 6]; 2]) -> Ethernet {
    Ethernet {
        destination,
        source,
        ethertype: Ethernet::IPV4.into(),
    }
}

/// All outer headers at once, UDP without a checksum: from the first end to the second.
#[inline(always)]
pub(crate) fn write_outer<C: Chunk>(
    frame: &mut Frame<C>,
    [local, remote]: [Endpoint; 2],
    dscp_ecn: u8,
    ethernet: Ethernet,
) -> Result<(), SendError> {
    let len = frame.len();
    addresses(&local, &remote)?;
    // Written in place: a copy of what has just been put together would wait for its parts.
    frame.grow_front(OUTER).ok_or(SendError::NoRoom)?;
    let outer = frame.peek_mut::<Outer>().ok_or(SendError::NoRoom)?;
    outer.write(&Around {
        ethernet,
        ends: ends(local, remote),
        dscp_ecn,
        len,
    });
    Ok(())
}

/// UDP with a checksum, and IPv4.
fn write_udp<C: Chunk>(frame: &mut Frame<C>, meta: &Meta) -> Result<(), SendError> {
    let len = u16::try_from(frame.len() + Udp::LEN).map_err(|_| SendError::TooLong)?;
    let mut udp = Udp {
        source: meta.local.port().into(),
        destination: meta.remote.port().into(),
        length: len.into(),
        checksum: 0.into(),
    };
    frame.prepend(&udp).ok_or(SendError::NoRoom)?;
    let [source, destination] = addresses(&meta.local, &meta.remote)?;
    let pseudo = checksum::pseudo_header(source, destination, Ipv4::UDP, len);
    let sum = !checksum::add(&[pseudo, checksum::sum(frame.bytes())]);
    // RFC 768: a sum of zero is sent as all ones.
    udp.checksum = (if sum == 0 { 0xffff } else { sum }).into();
    *frame.peek_mut::<Udp>().ok_or(SendError::NoRoom)? = udp;
    write_ip(frame, meta, Ipv4::UDP)
}

fn write_ip<C: Chunk>(frame: &mut Frame<C>, meta: &Meta, protocol: u8) -> Result<(), SendError> {
    let [source, destination] = addresses(&meta.local, &meta.remote)?;
    let len = u16::try_from(frame.len()).map_err(|_| SendError::TooLong)?;
    if len > u16::MAX - Ipv4::LEN as u16 {
        return Err(SendError::TooLong);
    }
    let mut ip = Ipv4::bare(source, destination, protocol, len);
    ip.dscp_ecn = meta.dscp_ecn;
    ip.renew_checksum();
    frame.prepend(&ip).ok_or(SendError::NoRoom)
}

/// Our outer address and the peer's; only IPv4 for the time being.
#[inline]
fn addresses(local: &Endpoint, remote: &Endpoint) -> Result<[Ipv4Addr; 2], SendError> {
    match (local.as_v4(), remote.as_v4()) {
        (Some(local), Some(remote)) => Ok([local, remote]),
        _ => Err(SendError::Unresolved),
    }
}

impl Shared {
    /// Whether peers are served at an address: it is a listener's, or a listener serves all
    /// addresses and this one is no subscriber's.
    #[inline]
    fn is_endpoint(&self, vrf: u16, address: Ipv4Addr) -> bool {
        match self.lookup_v4(vrf, address) {
            Target::Endpoint => true,
            Target::Session(_) | Target::Pool => false,
            Target::None
            | Target::Local
            | Target::Via(_)
            | Target::Host
            | Target::Blackhole
            | Target::Unreachable => self.serves_all(),
        }
    }
}

#[cfg(test)]
mod tests;
