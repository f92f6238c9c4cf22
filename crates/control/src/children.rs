//! The SAs of a peer: pairs that come, take over from each other, and go.
//!
//! ```text
//!   quick mode       fast path
//!   ChildUp          InstallInbound, InstallOutbound (waiting, if there is an older)  then QM2
//!   ChildConfirmed   ActivateOutbound
//!   ChildDown        ActivateOutbound (of the next), RetireInbound, RetireOutbound
//! ```

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crypto::esp::{Integrity, Suite};
use dataplane::change::{
    Activation, Change, Encapsulation, InstallInbound, InstallOutbound, Limits, Path,
};
use dataplane::id::{InboundSa, PathId, Slot};
use ike::{Child, ChildEnd, Spi};

use crate::counters::Counter;
use crate::exchange::IkeId;
use crate::peer::Pair;
use crate::settings::Rekey;
use crate::{Control, KeyLog, Output, log};

impl Control {
    /// A pair exists: installed before the peer is told of it.
    pub(crate) fn child_up(&mut self, now: Instant, id: IkeId, child: Child) {
        let spi = child.inbound.0;
        let Some(exchange) = self.ike.slots.get_mut(id.0) else {
            return;
        };
        exchange.reserved.remove(&spi);
        let Some(path) = exchange.peer else {
            self.inbound.release(Slot::from_word(spi));
            return;
        };
        if let Some(owner) = self.inbound.get_mut(Slot::from_word(spi)) {
            *owner = Some(path);
        }
        let encapsulation = match child.encapsulated {
            true => Encapsulation::EspInUdp,
            false => Encapsulation::Esp,
        };
        if is_weak(child.suite) {
            self.counters.add(Counter::WeakSuite);
        }
        let before = self.carriage(path);
        self.place(path, encapsulation);
        self.install(path, &child);
        self.log_keys(path, &child);
        let pair = Pair {
            exchange: id,
            outbound: child.outbound.0,
            suite: child.suite,
            is_active: false,
            since: now,
            lifetime: Duration::from_secs(child.lifetime.seconds.into()),
        };
        if let Some((_, ike)) = self.ike_peer_mut(path) {
            if !child.initiator {
                ike.agreed_lifetime = Some(pair.lifetime);
            }
            ike.children.insert(spi, Box::new(pair));
            ike.newest = Some(spi);
        }
        self.resize(path, before);
        self.settle(now, path);
    }

    /// Tells the fast path where the peer is, if it does not know yet.
    pub(crate) fn place(&mut self, path: PathId, encapsulation: Encapsulation) {
        let path_mtu = self.settings.path_mtu;
        let Some(peer) = self.peers.slots.get_mut(path.0) else {
            return;
        };
        let Some(ike) = peer.ike.as_mut() else {
            return;
        };
        let (local, remote) = match encapsulation {
            Encapsulation::EspInUdp | Encapsulation::Plain => (ike.name.local, ike.name.remote),
            Encapsulation::Esp => (ike.name.local.with_port(0), ike.name.remote.with_port(0)),
        };
        let is_same = (peer.remote, peer.encapsulation) == (remote, encapsulation);
        (peer.local, peer.remote, peer.encapsulation) = (local, remote, encapsulation);
        let change = match (ike.is_open, is_same) {
            (true, true) => return,
            (true, false) => Change::MovePath {
                path,
                remote,
                encapsulation,
            },
            (false, _) => Change::OpenPath(Path {
                id: path,
                local,
                remote,
                encapsulation,
                mtu: path_mtu,
                vrf: peer.vrf,
            }),
        };
        ike.is_open = true;
        self.outbox.change(path.0.shard(), change);
    }

    fn install(&mut self, path: PathId, child: &Child) {
        let sa = InboundSa::from_spi(child.inbound.0);
        let limits = limits(&self.settings.rekey, child);
        let inbound = InstallInbound {
            sa,
            path,
            suite: child.suite,
            keys: child.inbound_keys.clone(),
            esn: child.esn,
            window: self.settings.replay_window,
            limits,
        };
        let outbound = InstallOutbound {
            path,
            spi: child.outbound.0,
            suite: child.suite,
            keys: child.outbound_keys.clone(),
            iv_key: self.random.array(),
            esn: child.esn,
            first_sequence: 1,
            limits,
            // Also when we began: a responder may install its end only when QM3 has come.
            activation: Activation::AfterFirst(sa),
        };
        let shard = path.0.shard();
        self.outbox.change(shard, Change::InstallInbound(inbound));
        self.outbox.change(shard, Change::InstallOutbound(outbound));
    }

    fn log_keys(&mut self, path: PathId, child: &Child) {
        let Some(peer) = self
            .peers
            .slots
            .get(path.0)
            .filter(|_| self.settings.key_log)
        else {
            return;
        };
        let (ours, theirs) = (peer.local.address(), peer.remote.address());
        let mut log =
            |spi: Spi, keys: &crypto::esp::Keymat, source: IpAddr, destination: IpAddr| {
                self.outbox.push(Output::KeyLog(KeyLog::Esp {
                    spi: spi.0,
                    keys: keys.clone(),
                    source,
                    destination,
                }));
            };
        log(child.inbound, &child.inbound_keys, theirs, ours);
        log(child.outbound, &child.outbound_keys, ours, theirs);
    }

    /// The peer has the pair too: what waits for a sign of it need wait no longer.
    pub(crate) fn child_confirmed(&mut self, id: IkeId, inbound: Spi) {
        if let Some(path) = self.ike.slots.get(id.0).and_then(|exchange| exchange.peer) {
            self.activate(path, inbound.0);
        }
    }

    fn activate(&mut self, path: PathId, inbound: u32) {
        let Some((_, ike)) = self.ike_peer_mut(path) else {
            return;
        };
        let Some(pair) = ike.children.get_mut(&inbound) else {
            return;
        };
        if !std::mem::replace(&mut pair.is_active, true) {
            let spi = pair.outbound;
            let change = Change::ActivateOutbound { path, spi };
            self.outbox.change(path.0.shard(), change);
        }
    }

    pub(crate) fn child_failed(&mut self, id: IkeId, inbound: Option<Spi>, reason: ChildEnd) {
        let Some(exchange) = self.ike.slots.get_mut(id.0) else {
            return;
        };
        log::child_failed(exchange.correlation, reason);
        if let Some(spi) = inbound.filter(|spi| exchange.reserved.remove(&spi.0).is_some()) {
            self.inbound.release(Slot::from_word(spi.0));
        }
    }

    /// A pair is no more.
    pub(crate) fn child_down(&mut self, now: Instant, id: IkeId, inbound: Spi, reason: ChildEnd) {
        let Some(path) = self.ike.slots.get(id.0).and_then(|exchange| exchange.peer) else {
            return;
        };
        self.retire_pair(path, inbound.0);
        let is_last = self
            .ike_peer(path)
            .is_some_and(|(_, ike)| ike.children.is_empty());
        let has_tunnels = self
            .peers
            .slots
            .get(path.0)
            .is_some_and(|peer| !peer.tunnels.is_empty());
        if is_last && has_tunnels && matches!(reason, ChildEnd::Expired | ChildEnd::NoPhase1) {
            self.renew_child(now, path);
        }
        self.settle(now, path);
    }

    pub(crate) fn retire_pair(&mut self, path: PathId, inbound: u32) {
        let Some((_, ike)) = self.ike_peer_mut(path) else {
            return;
        };
        let Some(pair) = ike.children.remove(&inbound) else {
            return;
        };
        if ike.newest == Some(inbound) {
            let latest = ike.children.iter().max_by_key(|(_, pair)| pair.since);
            ike.newest = latest.map(|(&spi, _)| spi);
        }
        // The peer's delete of an old pair is as good a sign as a packet on the new one.
        if let Some(newest) = ike.newest {
            self.activate(path, newest);
        }
        let (shard, sa) = (path.0.shard(), InboundSa::from_spi(inbound));
        let spi = pair.outbound;
        self.outbox.change(shard, Change::RetireInbound(sa));
        self.outbox
            .change(shard, Change::RetireOutbound { path, spi });
        self.inbound.retire(sa.0);
    }

    /// A new pair for the peer, by the newest ISAKMP SA or by a new one.
    pub(crate) fn renew_child(&mut self, now: Instant, path: PathId) {
        match self.established(path) {
            Some(id) => {
                self.with_sa(now, id, |sa, env, out| sa.create_child(now, env, out));
            }
            None => self.start_exchange(now, path, true),
        }
    }

    pub(crate) fn established(&self, path: PathId) -> Option<IkeId> {
        let (_, ike) = self.ike_peer(path)?;
        let is_usable = |id: &&IkeId| {
            self.ike
                .slots
                .get(id.0)
                .is_some_and(|exchange| exchange.sa.is_established())
        };
        ike.exchanges.iter().rev().find(is_usable).copied()
    }

    pub(crate) fn first_inbound(&mut self, now: Instant, sa: InboundSa) {
        let Some(&Some(path)) = self.inbound.get(sa.0) else {
            return self.counters.add(Counter::UnknownEvent);
        };
        let Some((_, ike)) = self.ike_peer_mut(path) else {
            return;
        };
        let Some(pair) = ike.children.get_mut(&sa.spi()) else {
            return;
        };
        pair.is_active = true;
        let id = pair.exchange;
        self.with_sa(now, id, |sa_of, _, out| {
            sa_of.saw_child_traffic(now, Spi(sa.spi()), out)
        });
    }
}

/// The ends by use of both SAs of a pair.
fn limits(rekey: &Rekey, child: &Child) -> Limits {
    let hard_bytes = child
        .lifetime
        .kilobytes
        .map(|kilobytes| u64::from(kilobytes) * 1024);
    let soft_bytes = hard_bytes.map(|bytes| bytes / 100 * u64::from(rekey.soft_percent));
    let by_number = |packets| if child.esn { u64::MAX } else { packets };
    Limits {
        soft_packets: by_number(rekey.soft_packets),
        hard_packets: by_number(rekey.hard_packets),
        soft_bytes: soft_bytes.unwrap_or(u64::MAX),
        hard_bytes: hard_bytes.unwrap_or(u64::MAX),
    }
}

/// Taken because old clients offer nothing better, and counted.
fn is_weak(suite: Suite) -> bool {
    let sha1 = Integrity::HmacSha1_96;
    match suite {
        Suite::TripleDesCbc { .. } => true,
        Suite::AesCbc { integrity, .. } => integrity == sha1,
        Suite::AesGcm16 { .. } => false,
    }
}
