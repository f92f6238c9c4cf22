//! What an operator may ask, and the rows that answer.
//!
//! A table goes out in pages: one turn reads at most [`crate::settings::Limits::rows_per_turn`]
//! rows, so that a long table never holds up the protocols.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A question or an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Rows of a table, pages until `last`; totals come with the last.
    Show {
        /// Which table.
        table: Table,
        /// Which rows.
        #[serde(default)]
        filter: Filter,
    },
    /// Ends what the filter matches; an empty filter matches nothing.
    Clear {
        /// What is ended.
        what: Clear,
        /// Which.
        filter: Filter,
    },
    /// Holds every lease against the sessions and every address against the pool's books.
    VerifyPools,
    /// How often each named thing happened.
    Counters,
}

/// A table that can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Table {
    /// [`SessionRow`].
    Sessions,
    /// [`TunnelRow`].
    Tunnels,
    /// [`SaRow`].
    Sas,
    /// [`PoolRow`].
    Pools,
}

/// What can be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clear {
    /// Sessions.
    Session,
    /// Tunnels with their sessions.
    Tunnel,
    /// IKE peers with their tunnels.
    Peer,
}

/// Which rows; every condition that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// User name of a session.
    pub user: Option<String>,
    /// Inner address of a session, or address in a pool.
    pub address: Option<IpAddr>,
    /// Outer address of the peer.
    pub peer: Option<IpAddr>,
    /// Our L2TP tunnel id.
    pub tunnel: Option<u16>,
    /// Our L2TP session id.
    pub session: Option<u16>,
}

impl Filter {
    /// Whether there is no condition in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One page of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// Rows of [`Table::Sessions`].
    Sessions(Vec<SessionRow>),
    /// Rows of [`Table::Tunnels`].
    Tunnels(Vec<TunnelRow>),
    /// Rows of [`Table::Sas`].
    Sas(Vec<SaRow>),
    /// Rows of [`Table::Pools`].
    Pools(Vec<PoolRow>),
    /// Ends every `Show`.
    Totals(Totals),
    /// How many things `Clear` has begun to end.
    Cleared(usize),
    /// What `VerifyPools` found wrong; empty is good.
    Verified(Vec<String>),
    /// Name and count, names in order.
    Counters(Vec<(String, u64)>),
    /// The request cannot be served, and why.
    Refused(String),
}

/// What there is, and how much there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Rows that matched.
    pub matched: usize,
    /// Sessions with an address.
    pub sessions_up: usize,
    /// Sessions of any state.
    pub sessions: Usage,
    /// Tunnels of any state.
    pub tunnels: Usage,
    /// IKE peers.
    pub peers: Usage,
    /// Main modes under way.
    pub half_open_ike: Usage,
    /// Tunnels being set up.
    pub half_open_l2tp: Usage,
}

/// A number and its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// How many there are.
    pub now: usize,
    /// How many there may be.
    pub limit: usize,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Correlation id: on every log line about this subscriber.
    pub id: String,
    /// User name, empty before authentication.
    pub user: String,
    /// Inner address, once assigned.
    pub address: Option<IpAddr>,
    /// Outer address and port of the peer.
    pub peer: String,
    /// Listener.
    pub listener: String,
    /// Our L2TP tunnel id.
    pub tunnel: u16,
    /// Our L2TP session id.
    pub session: u16,
    /// `lcp`, `authenticating`, `ipcp`, `up`, `ending`.
    pub state: String,
    /// ESP suite, `none` for plain L2TP.
    pub suite: String,
    /// The MRU that we asked for.
    pub mru: u16,
    /// Seconds since the call came.
    pub seconds: u64,
    /// Packets from the subscriber.
    pub up_packets: u64,
    /// Octets from the subscriber.
    pub up_bytes: u64,
    /// Packets to the subscriber.
    pub down_packets: u64,
    /// Octets to the subscriber.
    pub down_bytes: u64,
    /// Shard that carries it.
    pub shard: u8,
    /// Worker that runs the shard.
    pub worker: u8,
}

/// A tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelRow {
    /// Our tunnel id.
    pub tunnel: u16,
    /// The peer's tunnel id.
    pub peer_tunnel: u16,
    /// The peer's Host Name AVP.
    pub host_name: String,
    /// Outer address and port of the peer.
    pub peer: String,
    /// Listener.
    pub listener: String,
    /// `setting up`, `up`, `ending`.
    pub state: String,
    /// Whether it lies inside an SA.
    pub secured: bool,
    /// Its sessions.
    pub sessions: usize,
    /// Seconds since its first message.
    pub seconds: u64,
    /// Shard that carries it.
    pub shard: u8,
}

/// A pair of IPsec SAs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaRow {
    /// Who the peer has proved to be.
    pub identity: String,
    /// Outer address and port of the peer.
    pub peer: String,
    /// Phase 1 suite; empty while the peer has no ISAKMP SA.
    pub phase1: String,
    /// What packets to us carry, hexadecimal.
    pub inbound_spi: String,
    /// What packets to the peer carry, hexadecimal.
    pub outbound_spi: String,
    /// ESP suite.
    pub suite: String,
    /// `esp` or `esp-in-udp`.
    pub encapsulation: String,
    /// `current`, `waiting`, `lingering`.
    pub state: String,
    /// Packets received.
    pub packets: u64,
    /// Octets received.
    pub bytes: u64,
    /// Age in seconds.
    pub seconds: u64,
    /// Lifetime in seconds.
    pub lifetime: u64,
    /// Shard that carries it.
    pub shard: u8,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRow {
    /// Its name.
    pub name: String,
    /// Addresses in it.
    pub size: u64,
    /// Leased.
    pub leased: u64,
    /// Resting.
    pub quarantined: u64,
    /// Kept: the gateway's own, and the fixed ones of users who are not connected.
    pub reserved: u64,
    /// To be had at once.
    pub free: u64,
    /// Dial-ins that found it empty.
    pub exhausted: u64,
}
