//! How a peer ends: what it cannot be without, for how long, and what goes with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dataplane::change::Change;
use dataplane::id::PathId;
use ike::DownReason;

use crate::exchange::IkeId;
use crate::timers::Timer;
use crate::tunnel::TunnelKey;
use crate::{Control, log};

/// How long the tunnels of a peer outlive its own DELETE of all it had, if the grace time is not
/// shorter: time for a main mode from a client that renews by ending first.
const FAREWELL: Duration = Duration::from_secs(3);

/// What a peer cannot be without for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// It cannot be reached: RFC 3193 §3.1 takes the tunnels down after the SAs.
    Sas,
    /// Nor can it ask for SAs: it has deleted the last ISAKMP SA too, as who goes for good does.
    Everything,
    /// The SAs are there for nothing.
    Tunnels,
}

impl Control {
    /// An ISAKMP SA of the peer's has ended.
    pub(crate) fn peer_lost_exchange(
        &mut self,
        now: Instant,
        path: PathId,
        id: IkeId,
        reason: DownReason,
    ) {
        let Some((_, ike)) = self.ike_peer(path) else {
            return;
        };
        if ike.exchanges.last() != Some(&id) {
            return;
        }
        if reason == DownReason::PeerDead {
            self.end_peer(now, path, "peer unreachable");
        } else if let Some((_, ike)) = self.ike_peer_mut(path) {
            ike.has_left = reason == DownReason::PeerDeleted;
        }
    }

    pub(crate) fn peer_without_exchange(&mut self, now: Instant, path: PathId, id: IkeId) {
        if let Some((_, ike)) = self.ike_peer_mut(path) {
            ike.exchanges.retain(|&other| other != id);
            if ike.renewal == Some(id) {
                ike.renewal = None;
            }
        }
        self.settle(now, path);
    }

    /// Starts or stops the time after which a peer that lacks something ends; ends one that has
    /// nothing left.
    pub(crate) fn settle(&mut self, now: Instant, path: PathId) {
        let settings = &self.settings;
        let Some(peer) = self.peers.slots.get_mut(path.0) else {
            return;
        };
        let Some(ike) = peer.ike.as_mut().filter(|ike| !ike.is_ending) else {
            return;
        };
        let has_phase1 = !ike.exchanges.is_empty() || ike.renewal.is_some();
        let tunnels = &self.tunnels.by_key;
        // A closed tunnel only answers repeats, for which it needs SAs.
        let is_over = |&id| {
            let tunnel = tunnels.get(&TunnelKey { path, id });
            tunnel.is_none_or(|tunnel| tunnel.is_over())
        };
        let lacks = match (ike.children.is_empty(), peer.tunnels.is_empty()) {
            (true, _) if !has_phase1 && peer.tunnels.keys().all(is_over) => {
                let why = match ike.has_left {
                    true => "the peer hung up",
                    false => "no SA, no tunnel",
                };
                return self.end_peer(now, path, why);
            }
            (true, _) if !has_phase1 && ike.has_left => Some(Lack::Everything),
            (true, _) => Some(Lack::Sas),
            (false, true) => Some(Lack::Tunnels),
            (false, false) => None,
        };
        if lacks == ike.lacks {
            return;
        }
        ike.lacks = lacks;
        let deadline = lacks.map(|lack| match lack {
            Lack::Sas => (now + settings.peer_grace, "peer without SAs"),
            Lack::Everything => (
                now + FAREWELL.min(settings.peer_grace),
                "peer that has left",
            ),
            Lack::Tunnels => (now + settings.peer_idle, "peer without tunnels"),
        });
        self.timers.set(Timer::Peer(path), deadline);
    }

    pub(crate) fn peer_timeout(&mut self, now: Instant, path: PathId) {
        let Some((_, ike)) = self.ike_peer(path) else {
            return;
        };
        let why = match ike.lacks {
            Some(Lack::Everything) => "the peer deleted its SAs",
            Some(Lack::Sas) => "no IPsec SA left",
            // RFC 3193 §3.1: when the L2TP tunnel goes, so should the SAs that were made for it.
            Some(Lack::Tunnels) => "no L2TP tunnel left",
            None => return,
        };
        self.end_peer(now, path, why);
    }

    /// Everything of the peer's goes. It is told what it can still be told.
    pub(crate) fn end_peer(&mut self, now: Instant, path: PathId, why: &str) {
        let Some((_, ike)) = self.ike_peer_mut(path) else {
            return;
        };
        if std::mem::replace(&mut ike.is_ending, true) {
            return;
        }
        self.forget_tunnels(now, path, why);
        let Some((peer, ike)) = self.ike_peer(path) else {
            return;
        };
        log::peer_gone(&self.log, peer.correlation, ike.name.remote, why);
        let pairs: Vec<u32> = ike.children.keys().copied().collect();
        let exchanges: Vec<IkeId> = ike.exchanges.iter().copied().chain(ike.renewal).collect();
        for &id in &exchanges {
            self.with_sa(now, id, |sa, env, out| sa.close(now, env, out));
        }
        for spi in pairs {
            self.retire_pair(path, spi);
        }
        let Some(peer) = self.peers.slots.get_mut(path.0) else {
            return;
        };
        let Some(ike) = peer.ike.as_mut() else {
            return;
        };
        let (name, is_open) = (Arc::clone(&ike.name), ike.is_open);
        if self.peers.by_name.get(&name) == Some(&path) {
            self.peers.by_name.remove(&name);
        }
        self.timers.set(Timer::Peer(path), None);
        self.peers.displace(path);
        if is_open {
            self.peers.slots.retire(path.0);
            self.outbox.change(path.0.shard(), Change::ClosePath(path));
        } else {
            self.peers.slots.release(path.0);
        }
        for id in exchanges {
            self.remove_exchange(now, id);
        }
    }

    pub(super) fn forget_tunnels(&mut self, now: Instant, path: PathId, why: &str) {
        for key in self.peers.tunnels_of(path) {
            self.forget_tunnel(now, key, why);
        }
    }
}
