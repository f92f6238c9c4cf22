//! L2TP tunnels, from their set-up to the last repeat of a StopCCN.
//!
//! A tunnel belongs to a peer, not to an SA and not to an address. In the clear it has a peer, and
//! so a path, of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use dataplane::change::{Change, Entry, Kind};
use dataplane::id::{PathId, SessionSlot, Slot, WorkerId};
use l2tp::{Few, TunnelEnd};
use packet::Endpoint;

use crate::counters::Counter;
use crate::half_open::{Bucket, HalfOpen, Unproven};
use crate::ids::Ids;
use crate::log::Correlation;
use crate::settings::Limits;
use crate::timers::{Place, Timer};
use crate::{Control, log};

/// Names a tunnel: its peer, and our id for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TunnelKey {
    pub(crate) path: PathId,
    pub(crate) id: u16,
}

impl TunnelKey {
    /// None comes before it.
    const FIRST: Self = Self {
        path: PathId(Slot::from_word(0)),
        id: 0,
    };
}

/// Listener, and both outer endpoints of a plain tunnel.
pub(crate) type Ends = (u16, Endpoint, Endpoint);

/// Who counts as one source of half-open tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// In the clear: an address.
    Address(IpAddr),
    /// Inside an SA: a peer.
    Peer(PathId),
}

/// How a control message came, and how its answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// Through an SA of the peer's.
    Secured {
        path: PathId,
        local_port: u16,
        peer_port: u16,
    },
    /// In the clear.
    Plain {
        worker: WorkerId,
        listener: u16,
        local: Endpoint,
        remote: Endpoint,
    },
}

/// A tunnel and what belongs to it.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) machine: l2tp::Tunnel,
    pub(crate) correlation: Correlation,
    /// UDP ports, ours and the peer's, inside the SA or in the clear.
    pub(crate) local_port: u16,
    pub(crate) peer_port: u16,
    /// While it counts as half-open: under which source.
    pub(crate) half_open: Option<Source>,
    /// By our session id.
    pub(crate) sessions: Few<u16, SessionSlot>,
    pub(crate) session_ids: Ids,
    pub(crate) place: Place,
    pub(crate) since: Instant,
    /// Why it is over.
    pub(crate) end: Option<Box<TunnelEnd>>,
}

impl Tunnel {
    pub(crate) fn is_over(&self) -> bool {
        self.end.is_some()
    }
}

/// All tunnels.
#[derive(Debug)]
pub(crate) struct Tunnels {
    /// Apart, since a node of the map is about half empty.
    pub(crate) by_key: BTreeMap<TunnelKey, Box<Tunnel>>,
    pub(crate) half_open: HalfOpen<Source>,
    /// Plain ones of which only the SCCRQ has come.
    pub(crate) unproven: Unproven<Source, TunnelKey>,
    /// Plain tunnels of any state, and their sessions, by source.
    pub(crate) in_the_clear: HalfOpen<IpAddr>,
    pub(crate) sessions_in_the_clear: HalfOpen<IpAddr>,
    /// Plain tunnels by listener and our id.
    pub(crate) plain: BTreeMap<(u16, u16), TunnelKey>,
    /// Plain tunnels by where they begin and end.
    pub(crate) by_ends: BTreeSet<(Ends, TunnelKey)>,
    /// Ids of plain tunnels, by listener.
    pub(crate) ids: BTreeMap<u16, Ids>,
    /// Answers to messages for unknown tunnels, and to SCCRQs that find no room.
    pub(crate) unknown: Bucket,
    pub(crate) refused: Bucket,
}

impl Tunnels {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            by_key: BTreeMap::new(),
            half_open: HalfOpen::new(limits.half_open_l2tp, limits.half_open_l2tp_per_source),
            unproven: Unproven::new(),
            in_the_clear: HalfOpen::new(limits.tunnels, limits.tunnels_per_source),
            sessions_in_the_clear: HalfOpen::new(limits.sessions, limits.sessions_per_source),
            plain: BTreeMap::new(),
            by_ends: BTreeSet::new(),
            ids: BTreeMap::new(),
            unknown: Bucket::new(limits.unknown_tunnel_answers),
            refused: Bucket::new(limits.refused_tunnel_answers),
        }
    }

    /// All plain tunnels between two endpoints.
    pub(crate) fn between(&self, ends: Ends) -> Vec<TunnelKey> {
        let from = self.by_ends.range((ends, TunnelKey::FIRST)..);
        let of_ends = from.take_while(|(other, _)| *other == ends);
        of_ends.map(|&(_, key)| key).collect()
    }
}

impl Control {
    /// Calls a tunnel and does what it asks for.
    pub(crate) fn with_tunnel<R>(
        &mut self,
        now: Instant,
        key: TunnelKey,
        act: impl FnOnce(&mut l2tp::Tunnel, &mut crypto::Random, &mut Vec<l2tp::Output>) -> R,
    ) -> Option<R> {
        let tunnel = self.tunnels.by_key.get_mut(&key)?;
        let mut out = Vec::new();
        let result = act(&mut tunnel.machine, &mut self.random, &mut out);
        // Calls end before their tunnel does, and each is told why.
        if let Some(end) = out.iter().find_map(end_of) {
            tunnel.end = Some(Box::new(end));
        }
        for output in out {
            self.take_tunnel_output(now, key, output);
        }
        self.touch_tunnel(now, key);
        Some(result)
    }

    fn take_tunnel_output(&mut self, now: Instant, key: TunnelKey, output: l2tp::Output) {
        match output {
            l2tp::Output::Send(message) => self.send_l2tp(key, message),
            l2tp::Output::TunnelUp { host_name, .. } => self.tunnel_up(now, key, &host_name),
            l2tp::Output::CallOffered {
                peer_session,
                correlation_id,
                ..
            } => self.call_offered(now, key, peer_session, correlation_id),
            l2tp::Output::OfferWithdrawn { .. } => {}
            l2tp::Output::CallUp {
                session,
                sequencing_required,
                ..
            } => {
                if let Some(slot) = self.session_of(key, session) {
                    self.call_up(now, slot, sequencing_required);
                }
            }
            l2tp::Output::CallDown { session, end } => {
                let tunnel = self.tunnels.by_key.get(&key);
                let tunnel_end = tunnel.and_then(|tunnel| tunnel.end.clone());
                if let Some(slot) = self.session_of(key, session) {
                    self.call_down(now, slot, &end, tunnel_end.as_deref());
                }
            }
            l2tp::Output::TunnelDown { end } => self.tunnel_down(key, &end),
        }
    }

    fn send_l2tp(&mut self, key: TunnelKey, message: Vec<u8>) {
        let peer = self.peers.slots.get(key.path.0);
        let Some((tunnel, peer)) = self.tunnels.by_key.get(&key).zip(peer) else {
            return;
        };
        let shard = key.path.0.shard();
        let entry = match &peer.ike {
            Some(_) => Entry::Tunnel {
                path: key.path,
                local_port: tunnel.local_port,
                peer_port: tunnel.peer_port,
            },
            None => Entry::Transmit {
                shard,
                kind: Kind::L2tp,
                local: peer.local,
                remote: peer.remote,
            },
        };
        self.outbox.inject(shard, entry, message);
    }

    fn leave_half_open_tunnel(&mut self, key: TunnelKey) {
        let tunnel = self.tunnels.by_key.get_mut(&key);
        if let Some(source) = tunnel.and_then(|tunnel| tunnel.half_open.take()) {
            self.tunnels.half_open.leave(&source);
        }
    }

    fn tunnel_up(&mut self, now: Instant, key: TunnelKey, host_name: &str) {
        self.leave_half_open_tunnel(key);
        self.tunnels.unproven.remove(key);
        self.counters.add(Counter::L2tpUp);
        self.forget_predecessor(now, key);
        let peer = self.peers.slots.get(key.path.0);
        if let Some((tunnel, peer)) = self.tunnels.by_key.get(&key).zip(peer) {
            log::tunnel_up(
                &self.log,
                tunnel.correlation,
                peer.shown(),
                host_name,
                key.id,
            );
        }
    }

    /// A peer that has dialled in under an id that another tunnel of its has, has forgotten that one.
    /// Not before it is up: anybody can send an SCCRQ in somebody else's name.
    fn forget_predecessor(&mut self, now: Instant, key: TunnelKey) {
        let Some(id) = self.tunnels.by_key.get(&key).map(|t| t.machine.peer_id()) else {
            return;
        };
        let is_same = |other: &TunnelKey| {
            let tunnel = self.tunnels.by_key.get(other);
            *other != key && tunnel.is_some_and(|tunnel| tunnel.machine.peer_id() == id)
        };
        if let Some(old) = self.tunnels_beside(key).into_iter().find(is_same) {
            self.counters.add(Counter::L2tpRedialled);
            self.forget_tunnel(now, old, "the peer has dialled again");
        }
    }

    /// All tunnels between the ends of this one.
    fn tunnels_beside(&self, key: TunnelKey) -> Vec<TunnelKey> {
        let path = key.path;
        let Some(peer) = self.peers.slots.get(path.0) else {
            return Vec::new();
        };
        if peer.ike.is_some() {
            return self.peers.tunnels_of(path);
        }
        let listener = self.settings.listeners[peer.listener].index;
        self.tunnels.between((listener, peer.local, peer.remote))
    }

    fn tunnel_down(&mut self, key: TunnelKey, end: &TunnelEnd) {
        self.leave_half_open_tunnel(key);
        let peer = self.peers.slots.get(key.path.0);
        let Some((tunnel, peer)) = self.tunnels.by_key.get(&key).zip(peer) else {
            return;
        };
        if *end == TunnelEnd::PeerSilent {
            log::peer_silent(&self.log, tunnel.correlation, peer.shown());
        } else {
            log::tunnel_down(&self.log, tunnel.correlation, peer.shown(), end);
        }
    }

    pub(crate) fn tunnel_timeout(&mut self, now: Instant, key: TunnelKey) {
        let Some(tunnel) = self.tunnels.by_key.get(&key) else {
            return;
        };
        let sessions = tunnel.sessions.values();
        let last_seen = sessions
            .filter_map(|&slot| self.activity.session_last_seen(slot))
            .max();
        self.with_tunnel(now, key, |tunnel, random, out| {
            if let Some(at) = last_seen {
                tunnel.saw_traffic(at);
            }
            tunnel.handle_timeout(now, random, out);
        });
    }

    /// Re-reads its deadline; a tunnel that has nothing more to say goes.
    fn touch_tunnel(&mut self, now: Instant, key: TunnelKey) {
        let Some(tunnel) = self.tunnels.by_key.get_mut(&key) else {
            return;
        };
        let deadline = tunnel.machine.poll_timeout().map(|(at, _)| at);
        self.timers
            .put(Timer::Tunnel(key), &mut tunnel.place, deadline);
        if tunnel.machine.is_finished() {
            self.remove_tunnel(now, key);
        }
    }

    /// Ends a tunnel without a word to the peer, who has forgotten it or cannot be reached.
    pub(crate) fn forget_tunnel(&mut self, now: Instant, key: TunnelKey, why: &str) {
        let Some(tunnel) = self.tunnels.by_key.get(&key) else {
            return;
        };
        let sessions: Vec<SessionSlot> = tunnel.sessions.values().copied().collect();
        for slot in sessions {
            self.end_subscriber(now, slot, why);
        }
        if let Some(peer) = self.peers.slots.get(key.path.0)
            && let Some(tunnel) = self.tunnels.by_key.get(&key)
            && !tunnel.is_over()
        {
            log::tunnel_down(&self.log, tunnel.correlation, peer.shown(), &why);
        }
        self.remove_tunnel(now, key);
    }

    pub(crate) fn remove_tunnel(&mut self, now: Instant, key: TunnelKey) {
        self.leave_half_open_tunnel(key);
        let was_up = !self.tunnels.unproven.remove(key);
        let Some(mut tunnel) = self.tunnels.by_key.remove(&key) else {
            return;
        };
        self.timers.put(Timer::Tunnel(key), &mut tunnel.place, None);
        for &slot in tunnel.sessions.values() {
            self.end_subscriber(now, slot, "tunnel gone");
        }
        let Some(peer) = self.peers.slots.get_mut(key.path.0) else {
            return;
        };
        peer.tunnels.remove(&key.id);
        match &mut peer.ike {
            Some(ike) => {
                ike.ids.give_back(now, key.id);
                self.settle(now, key.path);
            }
            None => self.close_plain(now, key, was_up),
        }
    }

    fn close_plain(&mut self, now: Instant, key: TunnelKey, was_up: bool) {
        let Some(peer) = self.peers.slots.get(key.path.0) else {
            return;
        };
        let number = self.settings.listeners[peer.listener].index;
        let ends = (number, peer.local, peer.remote);
        if let Some(source) = peer.plain_source() {
            self.tunnels.in_the_clear.leave(&source);
        }
        self.tunnels.plain.remove(&(number, key.id));
        self.tunnels.by_ends.remove(&(ends, key));
        // Of one that was not, nothing but the SCCCN can be under way, and that only from the same peer.
        if was_up {
            let ids = self.tunnels.ids.entry(number).or_default();
            ids.give_back(now, key.id);
        }
        let closed = Change::CloseTunnel {
            listener: number,
            tunnel: key.id,
        };
        let shard = key.path.0.shard();
        self.outbox.change(shard, closed);
        self.peers.displace(key.path);
        self.peers.slots.retire(key.path.0);
        self.outbox.change(shard, Change::ClosePath(key.path));
    }
}

fn end_of(output: &l2tp::Output) -> Option<TunnelEnd> {
    match output {
        l2tp::Output::TunnelDown { end } => Some(end.clone()),
        l2tp::Output::Send(_)
        | l2tp::Output::TunnelUp { .. }
        | l2tp::Output::CallOffered { .. }
        | l2tp::Output::OfferWithdrawn { .. }
        | l2tp::Output::CallUp { .. }
        | l2tp::Output::CallDown { .. } => None,
    }
}
