//! What an operator decides, as plain checked values. Whoever builds them (the gateway's
//! configuration, a test) has resolved names and refused contradictions before.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dataplane::change::Rate;
use dataplane::id::{SHARDS, WorkerId};
use ipnet::IpNet;

/// Everything that can be set about the slow path.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where peers are served.
    pub listeners: Vec<Listener>,
    /// Addresses for subscribers.
    pub pools: Vec<Pool>,
    /// What subscribers get; listeners and users name them.
    pub profiles: Vec<Profile>,
    /// Who may come in.
    pub users: Vec<User>,
    /// How much of everything there may be.
    pub limits: Limits,
    /// Which worker owns which shard at the start.
    pub owners: [WorkerId; SHARDS],
    /// Largest outer IP packet towards peers, octets.
    pub path_mtu: u16,
    /// How long a smaller path MTU is believed after a router has told of it (RFC 1191 §6.3).
    pub path_mtu_age: Duration,
    /// Replay window of inbound SAs, frames; 0 switches the check off.
    pub replay_window: u32,
    /// When IPsec SAs are renewed by use; by time, [`ike::Policy`] decides.
    pub rekey: Rekey,
    /// How long a peer's L2TP tunnels outlive its last SA and phase 1.
    pub peer_grace: Duration,
    /// How long the SAs of a peer outlive its last L2TP tunnel (RFC 3193 §3.1).
    pub peer_idle: Duration,
    /// How long a shutdown waits for peers that are silent; at most
    /// [`crate::SHUTDOWN_LIMIT_MAX`].
    pub shutdown_limit: Duration,
    /// Hide user names and addresses in log lines.
    pub redact: bool,
    /// Hand out keys as [`crate::Output::KeyLog`].
    pub key_log: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            pools: Vec::new(),
            profiles: Vec::new(),
            users: Vec::new(),
            limits: Limits::default(),
            owners: [WorkerId(0); SHARDS],
            path_mtu: 1500,
            path_mtu_age: Duration::from_secs(600),
            replay_window: 1024,
            rekey: Rekey::default(),
            peer_grace: Duration::from_secs(30),
            peer_idle: Duration::from_secs(300),
            shutdown_limit: crate::SHUTDOWN_LIMIT_MAX,
            redact: false,
            key_log: false,
        }
    }
}

/// An address at which peers are served, and how.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Names it towards the fast path.
    pub index: u16,
    /// Names it in logs and tables.
    pub name: String,
    /// The outer address; unspecified serves every address of the host.
    pub address: IpAddr,
    /// Routing instance of its subscribers, 0 = default.
    pub vrf: u16,
    /// Whether plain L2TP is refused in silence.
    pub ipsec_required: bool,
    /// How IKE is spoken here; `None` does not answer it.
    pub ike: Option<Arc<ike::Policy>>,
    /// How L2TP is spoken here.
    pub l2tp: Arc<l2tp::Settings>,
    /// How PPP is spoken here; `mru` is the most that is ever asked for, path MTU and suite lower
    /// it (see [`crate::mtu`]).
    pub ppp: ppp::Settings,
    /// [`Profile::name`] of subscribers whose user entry names none.
    pub profile: String,
    /// Whether the UDP checksum of plain L2TP data is made and verified.
    pub data_checksum: bool,
}

/// What a subscriber gets.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Names it in listeners and users.
    pub name: String,
    /// [`Pool::name`]s to take an address from, in order; if there are none, those of the
    /// listener's profile.
    pub pools: Vec<String>,
    /// Name servers; empty takes those of the pool.
    pub dns: Vec<IpAddr>,
    /// NetBIOS name servers; empty takes those of the pool.
    pub wins: Vec<IpAddr>,
    /// How often one user may be connected.
    pub sessions: SessionLimit,
    /// Clamp the MSS of TCP SYNs in both directions.
    pub clamp_mss: bool,
    /// Refuse traffic between this and other subscribers.
    pub isolate: bool,
    /// Longest time a session may last.
    pub session_timeout: Option<Duration>,
    /// Longest time without a packet of the subscriber's.
    pub idle_timeout: Option<Duration>,
    /// How fast the subscriber may send; without it, as fast as it can.
    pub up: Option<Rate>,
    /// How fast the subscriber is sent to.
    pub down: Option<Rate>,
}

impl Profile {
    /// A profile that takes addresses from one pool and leaves the rest at its default.
    pub fn new(name: &str, pool: &str) -> Self {
        Self {
            name: name.to_owned(),
            pools: vec![pool.to_owned()],
            dns: Vec::new(),
            wins: Vec::new(),
            sessions: SessionLimit::default(),
            clamp_mss: true,
            isolate: false,
            session_timeout: None,
            idle_timeout: None,
            up: None,
            down: None,
        }
    }
}

/// How often one user may be connected, and what happens beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimit {
    /// Sessions of one user at a time; 0 sets no limit.
    pub max: u32,
    /// What a dial-in beyond it brings about.
    pub beyond: Beyond,
}

impl Default for SessionLimit {
    fn default() -> Self {
        Self {
            max: 1,
            beyond: Beyond::Replace,
        }
    }
}

/// What a dial-in beyond the limit of a user brings about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// The user's oldest session ends: most likely it is a dead one that nobody has noticed yet.
    Replace,
    /// The new session is refused.
    Deny,
}

/// A subscriber who may come in.
#[derive(Clone, Debug)]
pub struct User {
    /// The name that PPP authenticates.
    pub name: String,
    /// What proves it.
    pub secret: ppp::UserSecret,
    /// Always this address, pool or no pool.
    pub address: Option<IpAddr>,
    /// Prefixes routed to the subscriber.
    pub prefixes: Vec<IpNet>,
    /// [`Profile::name`], instead of the listener's.
    pub profile: Option<String>,
    /// [`Pool::name`], instead of the profile's.
    pub pool: Option<String>,
    /// Instead of the profile's.
    pub sessions: Option<SessionLimit>,
    /// Instead of the profile's.
    pub up: Option<Rate>,
    /// Instead of the profile's.
    pub down: Option<Rate>,
}

impl User {
    /// A user with a password and everything else as the listener's profile says.
    pub fn new(name: &str, secret: ppp::UserSecret) -> Self {
        Self {
            name: name.to_owned(),
            secret,
            address: None,
            prefixes: Vec::new(),
            profile: None,
            pool: None,
            sessions: None,
            up: None,
            down: None,
        }
    }
}

/// Addresses for subscribers.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Names it in profiles and users.
    pub name: String,
    /// Routing instance, 0 = default.
    pub vrf: u16,
    /// What it consists of; ranges do not overlap, within a pool or between pools of one VRF.
    pub ranges: Vec<Range>,
    /// Our own address inside the tunnels, told to subscribers in IPCP; never leased.
    pub gateway: IpAddr,
    /// Name servers for subscribers.
    pub dns: Vec<IpAddr>,
    /// NetBIOS name servers for subscribers.
    pub wins: Vec<IpAddr>,
    /// How long a released address rests before another user may get it.
    pub quarantine: Duration,
}

/// Addresses from `first` to `last`, both included, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The lowest.
    pub first: IpAddr,
    /// The highest.
    pub last: IpAddr,
}

impl From<IpNet> for Range {
    /// Every address of the prefix but, for IPv4 prefixes shorter than /31, the network's and the
    /// broadcast address.
    fn from(prefix: IpNet) -> Self {
        let hosts = prefix.prefix_len() + 1 < prefix.max_prefix_len();
        let (IpAddr::V4(first), IpAddr::V4(last), true) =
            (prefix.network(), prefix.broadcast(), hosts)
        else {
            return Self {
                first: prefix.network(),
                last: prefix.broadcast(),
            };
        };
        Self {
            first: IpAddr::from(first.to_bits().wrapping_add(1).to_be_bytes()),
            last: IpAddr::from(last.to_bits().wrapping_sub(1).to_be_bytes()),
        }
    }
}

/// How much of everything there may be. What goes beyond is refused and counted by name.
#[derive(Clone, Debug)]
pub struct Limits {
    /// IKE peers, half-open ones not included.
    pub peers: usize,
    /// IKE peers behind one source address.
    pub peers_per_source: usize,
    /// L2TP tunnels.
    pub tunnels: usize,
    /// L2TP tunnels of one IKE peer.
    pub tunnels_per_peer: usize,
    /// L2TP tunnels in the clear from one source address.
    pub tunnels_per_source: usize,
    /// Sessions.
    pub sessions: usize,
    /// Sessions in the clear from one source address.
    pub sessions_per_source: usize,
    /// Main modes under way.
    pub half_open_ike: usize,
    /// Main modes under way from one source address.
    pub half_open_ike_per_source: usize,
    /// L2TP tunnels being set up.
    pub half_open_l2tp: usize,
    /// L2TP tunnels being set up from one source address, or by one IKE peer.
    pub half_open_l2tp_per_source: usize,
    /// StopCCNs for unknown tunnels, a second.
    pub unknown_tunnel_answers: u32,
    /// StopCCNs for tunnels that there is no room for, a second.
    pub refused_tunnel_answers: u32,
    /// Public-key jobs under way.
    pub computations: usize,
    /// Punted frames waiting for their turn, of each class.
    pub backlog: usize,
    /// A stranger's frame older than this is dropped unread: the sender has given up or repeats.
    pub backlog_age: Duration,
    /// Rows that one turn spends on showing tables.
    pub rows_per_turn: usize,
    /// Requests for tables under way.
    pub admin_requests: usize,
    /// Slots that a shard has of each kind, as the fast path was built.
    pub slots_per_shard: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            peers: 100_000,
            peers_per_source: 1_000,
            tunnels: 100_000,
            tunnels_per_peer: 8,
            tunnels_per_source: 1_024,
            sessions: 100_000,
            sessions_per_source: 32_768,
            half_open_ike: 4_096,
            half_open_ike_per_source: 64,
            half_open_l2tp: 4_096,
            half_open_l2tp_per_source: 64,
            unknown_tunnel_answers: 50,
            refused_tunnel_answers: 200,
            computations: 1_024,
            backlog: 4_096,
            backlog_age: Duration::from_secs(4),
            rows_per_turn: 512,
            admin_requests: 16,
            slots_per_shard: 4_096,
        }
    }
}

/// When IPsec SAs are renewed by use; by time, [`ike::Policy`] decides.
#[derive(Clone, Debug)]
pub struct Rekey {
    /// Share of an IPsec SA's octets after which we start a quick mode, in percent.
    pub soft_percent: u32,
    /// Packets after which a pair is renewed, whatever its lifetime.
    pub soft_packets: u64,
    /// Packets after which a pair is unusable.
    pub hard_packets: u64,
}

impl Default for Rekey {
    fn default() -> Self {
        Self {
            soft_percent: 80,
            // Without ESN the sequence number has 32 bits (RFC 4303 §3.3.3).
            soft_packets: 0xd000_0000,
            hard_packets: 0xffff_fff0,
        }
    }
}

impl Range {
    /// The prefixes that the range consists of, largest first where it can be.
    pub fn prefixes(&self) -> Vec<IpNet> {
        match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => ipnet::Ipv4Subnets::new(first, last, 0)
                .map(IpNet::V4)
                .collect(),
            (IpAddr::V6(first), IpAddr::V6(last)) => ipnet::Ipv6Subnets::new(first, last, 0)
                .map(IpNet::V6)
                .collect(),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Vec::new(),
        }
    }
}
