//! What all workers read and only the slow path changes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use packet::Endpoint;

use crate::change::{Adjacency, AdjacencyId, Listener, SessionTraffic, SharedChange, Traffic};
use crate::counters::WorkerCounters;
use crate::id::{InboundSa, PathId, SessionSlot, ShardId, WorkerId};

/// How large the shared tables may grow. Memory is taken as it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Workers, at least 1.
    pub workers: u8,
    /// Routing instances.
    pub vrfs: u16,
    /// Next hops.
    pub adjacencies: u16,
    /// Nodes of 256 words (2 KiB) in the trie of addresses and prefixes.
    pub trie_nodes: u32,
    /// Paths, and sessions, and inbound SAs, of each shard.
    pub slots_per_shard: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            workers: 1,
            vrfs: 16,
            adjacencies: 4096,
            trie_nodes: 1 << 16,
            slots_per_shard: crate::id::Slot::LIMIT,
        }
    }
}

/// Where a look-up leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// No route.
    None,
    /// To a subscriber.
    Session(SessionSlot),
    /// To us: an address inside the tunnels.
    Local,
    /// An outer address of ours.
    Endpoint,
    /// A pool address that belongs to no session.
    Pool,
    /// To a next hop.
    Via(AdjacencyId),
    /// To the host.
    Host,
    /// Discarded in silence.
    Blackhole,
    /// Discarded with ICMP "unreachable".
    Unreachable,
}

/// What a session moved so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Packets and octets.
    pub traffic: SessionTraffic,
    /// When the subscriber was last heard.
    pub last_seen_up: Option<Instant>,
    /// When something was last sent to the subscriber.
    pub last_seen_down: Option<Instant>,
}

/// A path so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathView {
    /// When an authentic frame (a plain tunnel's: any frame of its endpoint) was last received.
    pub last_authentic: Option<Instant>,
    /// When something was last sent.
    pub last_sent: Option<Instant>,
    /// What was sent on the current outbound SA (plain: in all).
    pub sent: Traffic,
    /// The sequence number of the last packet sent.
    pub sequence: u64,
}

/// An inbound SA so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaView {
    /// What was received, authentic.
    pub received: Traffic,
    /// The highest authentic sequence number.
    pub sequence: u64,
    /// Frames refused as replayed.
    pub replayed: u64,
    /// Frames refused as not authentic.
    pub forged: u64,
}

/// The tables that all workers read.
#[derive(Debug)]
pub struct Shared {}

impl Shared {
    /// Empty tables; shard *s* belongs to worker *s* mod `limits.workers`. Stamps count from
    /// `epoch`.
    pub fn new(limits: Limits, epoch: Instant) -> Arc<Self> {
        let _ = (limits, epoch);
        todo!()
    }

    /// Applies a change; the slow path only. All workers see it at once.
    pub fn apply(&self, change: SharedChange) {
        let _ = change;
        todo!()
    }

    /// The worker that runs a shard.
    pub fn owner(&self, shard: ShardId) -> WorkerId {
        let _ = shard;
        todo!()
    }

    /// The listener that serves an address of ours.
    pub fn listener(&self, local: IpAddr) -> Option<Listener> {
        let _ = local;
        todo!()
    }

    /// Where packets for `address` go.
    pub fn lookup(&self, vrf: u16, address: IpAddr) -> Target {
        let _ = (vrf, address);
        todo!()
    }

    /// The next hop towards an outer endpoint.
    pub fn next_hop(&self, remote: Endpoint) -> Option<AdjacencyId> {
        let _ = remote;
        todo!()
    }

    /// A next hop.
    pub fn adjacency(&self, id: AdjacencyId) -> Option<Adjacency> {
        let _ = id;
        todo!()
    }

    /// A session so far; `None` if the slot has another holder.
    pub fn session(&self, slot: SessionSlot) -> Option<SessionView> {
        let _ = slot;
        todo!()
    }

    /// A path so far.
    pub fn path(&self, id: PathId) -> Option<PathView> {
        let _ = id;
        todo!()
    }

    /// An inbound SA so far.
    pub fn inbound(&self, sa: InboundSa) -> Option<SaView> {
        let _ = sa;
        todo!()
    }

    /// What a worker counts.
    pub fn worker(&self, id: WorkerId) -> &WorkerCounters {
        let _ = id;
        todo!()
    }
}
