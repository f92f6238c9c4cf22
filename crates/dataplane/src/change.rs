//! The whole vocabulary between the planes.
//!
//! ```text
//!   slow path ── Change (state) · Inject (a control frame) ──► worker     one ring each, in order
//!   slow path ◄── Event (state) · Punt (a control frame) ───── worker     three rings, by class
//! ```
//!
//! A [`Change`] holds values only: it can be logged, replayed and diffed, and a shard's state is the
//! fold of its changes. An [`Inject`] follows the changes it depends on through the same ring, so a
//! frame that tells a peer of an id or a key cannot leave before the state behind it is applied.

use std::net::IpAddr;

use crypto::esp::{Keymat, Suite};
use ipnet::IpNet;
use packet::Endpoint;

use crate::cookie::CookieKey;
use crate::id::{InboundSa, PathId, SessionSlot, ShardId, WorkerId};

/// What the slow path sends to the worker that owns a shard.
#[derive(Debug)]
pub enum ToWorker {
    /// State of a shard.
    Change(Change),
    /// A control frame, and where it enters the line.
    Inject(Inject),
}

/// One change of a shard's state.
#[derive(Clone, Debug)]
pub enum Change {
    /// A peer appears.
    OpenPath(Path),
    /// The peer is reached elsewhere now: a new phase 1, or a mapping that changed under IKE.
    MovePath {
        /// Whose.
        path: PathId,
        /// Its new outer endpoint.
        remote: Endpoint,
        /// The new form of encapsulation.
        encapsulation: Encapsulation,
    },
    /// The peer and all that still hangs on it are gone. Answered by [`Event::PathRetired`].
    ClosePath(PathId),
    /// An SA on which the peer may send from here on.
    InstallInbound(InstallInbound),
    /// The SA is gone. Answered by [`Event::InboundRetired`].
    RetireInbound(InboundSa),
    /// An SA to send on: at once, or after the first packet on an inbound one.
    InstallOutbound(InstallOutbound),
    /// The waiting outbound SA with this (the peer's) SPI is to be used now.
    ActivateOutbound {
        /// Whose.
        path: PathId,
        /// The peer's SPI.
        spi: u32,
    },
    /// The peer deleted the SA; if it is the current one, nothing can be sent until the next.
    RetireOutbound {
        /// Whose.
        path: PathId,
        /// The peer's SPI.
        spi: u32,
    },
    /// A plain L2TP tunnel: its data messages are looked up by (listener, our tunnel id).
    OpenTunnel {
        /// The listener it was dialled at, [`Listener::index`].
        listener: u16,
        /// Our tunnel id: index 10 bits, shard 6 bits.
        tunnel: u16,
        /// Source address and port that its messages must have.
        path: PathId,
    },
    /// The tunnel is gone.
    CloseTunnel {
        /// The listener it was dialled at.
        listener: u16,
        /// Our tunnel id.
        tunnel: u16,
    },
    /// A call was accepted: PPP control flows, data does not yet.
    OpenSession(Session),
    /// The subscriber has an address: data flows.
    OpenNetwork(Network),
    /// How fast a subscriber may send and be sent to; a session begins without limits.
    SetPolicers {
        /// Whose.
        session: SessionSlot,
        /// Subscriber to network.
        up: Option<Rate>,
        /// Network to subscriber.
        down: Option<Rate>,
    },
    /// Packets towards the subscriber may have another size: the way to it, or the suite, is
    /// another. Nothing happens if the session carries no IP yet.
    ResizeNetwork {
        /// Whose.
        session: SessionSlot,
        /// As [`Network::mtu`].
        mtu: u16,
    },
    /// The session is gone. Answered by [`Event::SessionRetired`].
    CloseSession(SessionSlot),
    /// The shard belongs to another worker from here on. The new owner answers with
    /// [`Event::ShardArrived`]; until then the slow path sends nothing for this shard.
    GiveShard {
        /// Which.
        shard: ShardId,
        /// To whom.
        to: WorkerId,
    },
}

/// How a path's packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// Plain L2TP in UDP, no IPsec.
    Plain,
    /// ESP as IP protocol 50.
    Esp,
    /// ESP in UDP (RFC 3948).
    EspInUdp,
}

/// A peer as the fast path sees it.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Its slot.
    pub id: PathId,
    /// Our outer endpoint: the address the peer asked. Port 0 for raw ESP.
    pub local: Endpoint,
    /// The peer's outer endpoint. Port 0 for raw ESP.
    pub remote: Endpoint,
    /// The form.
    pub encapsulation: Encapsulation,
    /// Largest outer IP packet towards the peer, octets.
    pub mtu: u16,
    /// Routing instance, 0 = default.
    pub vrf: u16,
}

/// An SA to receive on.
#[derive(Clone, Debug)]
pub struct InstallInbound {
    /// Its slot, and so its SPI.
    pub sa: InboundSa,
    /// Whose it is.
    pub path: PathId,
    /// The algorithms.
    pub suite: Suite,
    /// The keys, in KEYMAT order.
    pub keys: Keymat,
    /// Whether sequence numbers have 64 bits (RFC 4303 §2.2.1).
    pub esn: bool,
    /// Replay window, frames; 0 switches the check off.
    pub window: u32,
    /// When it ends by use.
    pub limits: Limits,
}

/// An SA to send on.
#[derive(Clone, Debug)]
pub struct InstallOutbound {
    /// Whose it is.
    pub path: PathId,
    /// The SPI that the peer chose.
    pub spi: u32,
    /// The algorithms.
    pub suite: Suite,
    /// The keys, in KEYMAT order.
    pub keys: Keymat,
    /// Key under which CBC IVs are drawn from a counter.
    pub iv_key: [u8; 16],
    /// Whether sequence numbers have 64 bits.
    pub esn: bool,
    /// The sequence number of the first packet.
    pub first_sequence: u64,
    /// When it ends by use.
    pub limits: Limits,
    /// When to begin.
    pub activation: Activation,
}

/// When a new outbound SA replaces the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// At once.
    Now,
    /// After the first authentic packet on this inbound SA, or [`Change::ActivateOutbound`]; at
    /// once if the path has no outbound SA.
    AfterFirst(InboundSa),
}

/// Ends of an SA's life by use. Soft ones are reported once, hard ones stop the SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Packets after which [`Event::SoftLimit`] is raised.
    pub soft_packets: u64,
    /// Packets after which the SA is unusable.
    pub hard_packets: u64,
    /// Octets after which [`Event::SoftLimit`] is raised.
    pub soft_bytes: u64,
    /// Octets after which the SA is unusable.
    pub hard_bytes: u64,
}

impl Limits {
    /// No end by use, but the one that the sequence number itself sets.
    pub const NONE: Self = Self {
        soft_packets: u64::MAX,
        hard_packets: u64::MAX,
        soft_bytes: u64::MAX,
        hard_bytes: u64::MAX,
    };
}

/// An L2TP session, from the moment its id is told to the peer.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// Its slot.
    pub id: SessionSlot,
    /// The peer's path.
    pub path: PathId,
    /// The listener, for plain tunnels: [`Listener::index`].
    pub listener: u16,
    /// Our tunnel id, as the peer sends it.
    pub tunnel: u16,
    /// Our session id, as the peer sends it.
    pub session: u16,
    /// The peer's tunnel id.
    pub peer_tunnel: u16,
    /// The peer's session id.
    pub peer_session: u16,
    /// Our UDP port inside an SA, or of a plain tunnel.
    pub local_port: u16,
    /// The peer's UDP port inside an SA, or of a plain tunnel.
    pub peer_port: u16,
    /// Whether data messages carry Ns (RFC 2661 §5.4), because the peer required it.
    pub sequencing: bool,
}

/// What a session needs to carry IP.
#[derive(Clone, Debug)]
pub struct Network {
    /// Whose.
    pub session: SessionSlot,
    /// The subscriber's address, the only source its packets may have …
    pub address: IpAddr,
    /// … beside these prefixes that are routed to it.
    pub prefixes: Vec<IpNet>,
    /// Largest IP packet towards the subscriber, octets: the lesser of its MRU and the path's.
    pub mtu: u16,
    /// The protocol field towards the peer may have one octet.
    pub pfc: bool,
    /// Address and control field towards the peer may be left out.
    pub acfc: bool,
    /// Clamp the MSS of TCP SYNs in both directions to `mtu` less 40.
    pub clamp_mss: bool,
    /// Refuse traffic between this and other subscribers.
    pub isolate: bool,
}

/// What a policer lets pass, counted in octets of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub bits_per_second: u64,
    /// At once, octets.
    pub burst: u32,
}

/// A control frame from the slow path.
#[derive(Clone, Debug)]
pub struct Inject {
    /// Where it enters.
    pub entry: Entry,
    /// From the first octet of what the entry names.
    pub bytes: Vec<u8>,
}

/// Where an injected frame enters a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Straight to the port: an IKE or plain L2TP control message or a keepalive.
    Transmit {
        /// The shard whose changes it must not overtake.
        shard: ShardId,
        /// What it is; the port adds UDP, and the non-ESP marker to IKE on the NAT-T port.
        kind: Kind,
        /// Our endpoint.
        local: Endpoint,
        /// The peer's endpoint.
        remote: Endpoint,
    },
    /// An L2TP control message for a tunnel inside an SA: UDP header, then `esp::seal`.
    Tunnel {
        /// The peer.
        path: PathId,
        /// UDP port of ours inside the SA.
        local_port: u16,
        /// UDP port of the peer inside the SA.
        peer_port: u16,
    },
    /// A PPP frame (from its address field on): `l2tp::encap`.
    Session(SessionSlot),
    /// A frame that came by an exception socket: `link`.
    Link {
        /// What it is.
        kind: Kind,
        /// Our endpoint.
        local: Endpoint,
        /// The sender.
        remote: Endpoint,
    },
    /// An IP packet of the host's own for a subscriber: `ip::route`.
    Route {
        /// Routing instance.
        vrf: u16,
    },
}

/// What the window of a frame starts at, when a port hands it in or gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ESP as IP protocol 50: window at the SPI.
    Esp,
    /// ESP in UDP: window at the SPI.
    EspInUdp,
    /// ISAKMP: window at the initiator cookie, the non-ESP marker taken off.
    Ike,
    /// L2TP in UDP: window at the flags word.
    L2tp,
    /// RFC 3948 §2.3: one octet of 0xff.
    Keepalive,
    /// From or to the network: window at the IP header.
    Ip,
}

/// How well we know the sender of a punted frame; each class has a ring of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A known SA, tunnel or session.
    Established,
    /// A responder cookie of ours, or a known half-open tunnel.
    InProgress,
    /// Anything else.
    Stranger,
}

/// A frame copied to the slow path.
#[derive(Clone, Debug)]
pub struct Punt {
    /// How well we know its sender.
    pub class: Class,
    /// What it is and where it came from.
    pub origin: Origin,
    /// The window as it was.
    pub bytes: Vec<u8>,
}

/// Where a punted frame came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An ISAKMP message, marker stripped; `local.port()` tells 500 from 4500.
    Ike {
        /// The worker at which it arrived.
        worker: WorkerId,
        /// Our endpoint.
        local: Endpoint,
        /// The sender.
        remote: Endpoint,
    },
    /// An L2TP control message in the clear.
    PlainL2tp {
        /// The worker at which it arrived.
        worker: WorkerId,
        /// [`Listener::index`].
        listener: u16,
        /// Our endpoint.
        local: Endpoint,
        /// The sender.
        remote: Endpoint,
    },
    /// An L2TP control message that came through an SA; it is authentic.
    SecuredL2tp {
        /// The peer.
        path: PathId,
        /// UDP port of ours inside the SA.
        local_port: u16,
        /// UDP port of the peer inside the SA.
        peer_port: u16,
    },
    /// A PPP frame that is not IP, from the address field on; or IP before the network is open.
    Ppp(SessionSlot),
    /// An IP packet of a subscriber for the host itself (through `adit0`).
    Host(SessionSlot),
}

/// What a worker tells the slow path about its shards. Each is kept in the slot it is about until
/// it has been delivered: a full ring delays an event and never loses one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An authentic frame, newest in its sequence, came from elsewhere; replies go there.
    PathMoved {
        /// Whose.
        path: PathId,
        /// The new outer endpoint.
        remote: Endpoint,
    },
    /// The first authentic packet of an inbound SA; a waiting outbound SA was activated.
    FirstInbound(InboundSa),
    /// A soft limit of one of the path's SAs is reached: rekey.
    SoftLimit(PathId),
    /// A hard limit of one of the path's SAs is reached: nothing flows on it any more.
    HardLimit(PathId),
    /// The slot is free; these are the last counters.
    InboundRetired(InboundSa, Traffic),
    /// The slot is free.
    PathRetired(PathId),
    /// The slot is free; upstream and downstream, the last counters.
    SessionRetired(SessionSlot, SessionTraffic),
    /// The shard is at home at this worker.
    ShardArrived(ShardId, WorkerId),
}

/// Packets and octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Octets.
    pub bytes: u64,
}

/// What a session moved, in octets of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SessionTraffic {
    /// Subscriber to network.
    pub up: Traffic,
    /// Network to subscriber.
    pub down: Traffic,
    /// Discarded, either way.
    pub discarded: Traffic,
}

/// What the slow path changes in the tables that all workers read; applied by
/// [`crate::Shared::apply`], seen at once.
#[derive(Clone, Debug)]
pub enum SharedChange {
    /// An address where peers are served.
    SetListener(Listener),
    /// No longer.
    RemoveListener(u16),
    /// An address of ours inside the tunnels: answers ping, never forwarded.
    AddLocal {
        /// Routing instance.
        vrf: u16,
        /// The address.
        address: IpAddr,
    },
    /// A pool: packets for its addresses that belong to no session are answered "unreachable".
    AddPool {
        /// Routing instance.
        vrf: u16,
        /// The pool's addresses.
        prefix: IpNet,
    },
    /// An address or prefix leads to a session.
    Attach {
        /// Routing instance.
        vrf: u16,
        /// A host prefix, or one routed to the subscriber.
        prefix: IpNet,
        /// Whom it leads to.
        session: SessionSlot,
    },
    /// No longer.
    Detach {
        /// Routing instance.
        vrf: u16,
        /// As attached.
        prefix: IpNet,
        /// Whom it led to; ignored if it leads to another by now.
        session: SessionSlot,
    },
    /// A route of the kernel's.
    SetRoute {
        /// Routing instance.
        vrf: u16,
        /// Where to.
        prefix: IpNet,
        /// By what way.
        target: RouteTarget,
    },
    /// The kernel no longer has it.
    RemoveRoute {
        /// Routing instance.
        vrf: u16,
        /// Where to.
        prefix: IpNet,
    },
    /// The key under which our IKE cookies are made, so that workers can sort ISAKMP messages
    /// into classes.
    SetCookieKey(CookieKey),
    /// A next hop, resolved or not.
    SetAdjacency(AdjacencyId, Adjacency),
}

/// An address and the ports at which peers are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Names it in [`Change::OpenTunnel`] and [`Origin::PlainL2tp`].
    pub index: u16,
    /// The outer address; unspecified serves every address of the host.
    pub address: IpAddr,
    /// Whether plain L2TP is refused in silence.
    pub ipsec_required: bool,
    /// Whether the UDP checksum of plain L2TP data is made and verified.
    pub data_checksum: bool,
    /// Routing instance of its subscribers.
    pub vrf: u16,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// To a next hop.
    Via(AdjacencyId),
    /// To the host itself, through `adit0`.
    Host,
    /// Discarded in silence.
    Blackhole,
    /// Discarded with ICMP "unreachable".
    Unreachable,
}

/// A slot of the adjacency table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AdjacencyId(pub u16);

/// A next hop on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjacency {
    /// Index of the port that leaves to it.
    pub port: u8,
    /// Largest IP packet towards it, octets.
    pub mtu: u16,
    /// Destination and source MAC address; `None` while it is being resolved, or on a port that
    /// needs none.
    pub rewrite: Option<[[u8; 6]; 2]>,
    /// Whether the neighbour is known to be there: unresolved ones hold one packet and discard the
    /// rest by name.
    pub is_resolved: bool,
}
