//! Peers: whom a path leads to, the SAs on it, and what happens when they change.
//!
//! An IKE peer is (identity, endpoint, VRF). It outlives every SA of its own: a rekey adds a pair
//! and takes one away, a new main mode joins the peer and takes its pairs over, and the tunnels
//! above notice nothing. A peer without any pair is given a grace time, then its tunnels die with
//! it. A plain L2TP tunnel has a peer of its own, without IKE.
//!
//! ```text
//!   quick mode       fast path
//!   ChildUp          InstallInbound, InstallOutbound (waiting, if the peer began)    then QM2
//!   ChildConfirmed   ActivateOutbound
//!   ChildDown        ActivateOutbound (of the next), RetireInbound, RetireOutbound
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crypto::esp::Suite;
use dataplane::change::{
    Activation, Change, Encapsulation, Event, InstallInbound, InstallOutbound, Limits, Path,
};
use dataplane::id::{InboundSa, PathId, Slot};
use ike::payload::identification::Identity;
use ike::{Child, ChildEnd, DownReason, Established, Spi};
use packet::Endpoint;

use crate::counters::Counter;
use crate::exchange::IkeId;
use crate::ids::Ids;
use crate::log::Correlation;
use crate::mtu::Carriage;
use crate::settings::Rekey;
use crate::slots::Slots;
use crate::timers::Timer;
use crate::tunnel::TunnelKey;
use crate::{Control, KeyLog, Output, log};

/// ISAKMP SAs that one peer may have at a time: the living one and the one before it.
const EXCHANGES_MAX: usize = 2;

/// What makes two main modes the same peer's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PeerName {
    pub(crate) identity: Identity,
    local: Endpoint,
    remote: Endpoint,
    vrf: u16,
}

/// Whom a path leads to.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) correlation: Correlation,
    /// Index in the settings.
    pub(crate) listener: usize,
    pub(crate) vrf: u16,
    /// Outer endpoints of data; port 0 for raw ESP.
    pub(crate) local: Endpoint,
    pub(crate) remote: Endpoint,
    pub(crate) encapsulation: Encapsulation,
    /// `None` for a plain L2TP peer.
    pub(crate) ike: Option<IkePeer>,
    /// Our ids of its tunnels.
    pub(crate) tunnels: BTreeSet<u16>,
    /// How many sessions it has had, to number the next.
    pub(crate) sessions_numbered: u32,
}

/// What an IKE peer has beside.
#[derive(Debug)]
pub(crate) struct IkePeer {
    pub(crate) name: PeerName,
    /// Where ISAKMP messages go from and to.
    pub(crate) local: Endpoint,
    pub(crate) remote: Endpoint,
    /// Established ISAKMP SAs, the newest last.
    pub(crate) exchanges: Vec<IkeId>,
    /// The main mode by which we renew the ISAKMP SA.
    pub(crate) renewal: Option<IkeId>,
    /// By our SPI.
    pub(crate) children: BTreeMap<u32, Pair>,
    /// The pair that came last.
    newest: Option<u32>,
    /// Whether the fast path knows the path.
    is_open: bool,
    /// Whether the grace time runs.
    in_grace: bool,
    /// Whether it is being taken down.
    is_ending: bool,
    /// Ids of its tunnels: the fast path only compares them.
    pub(crate) ids: Ids,
}

/// A pair of IPsec SAs.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// The ISAKMP SA that looks after it.
    exchange: IkeId,
    pub(crate) outbound: u32,
    pub(crate) suite: Suite,
    /// Whether the outbound SA may have been taken into use.
    pub(crate) is_active: bool,
    pub(crate) since: Instant,
    pub(crate) lifetime: Duration,
}

/// All peers.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) slots: Slots<Peer>,
    pub(crate) by_name: BTreeMap<PeerName, PathId>,
}

impl Peers {
    pub(crate) fn new(per_shard: u32) -> Self {
        Self {
            slots: Slots::new(per_shard),
            by_name: BTreeMap::new(),
        }
    }
}

impl Peer {
    /// The suite of the newest pair.
    pub(crate) fn suite(&self) -> Option<Suite> {
        let ike = self.ike.as_ref()?;
        Some(ike.children.get(&ike.newest?)?.suite)
    }

    pub(crate) fn suite_text(&self) -> String {
        self.suite()
            .map_or_else(|| "none".to_owned(), |suite| suite.to_string())
    }

    /// How its packets travel.
    pub(crate) fn carriage(&self, path_mtu: u16) -> Carriage {
        Carriage {
            path_mtu,
            remote: self.remote.address(),
            encapsulation: self.encapsulation,
            suite: self.suite(),
        }
    }

    /// The outer endpoint that tells it from others: with the port, where there is one.
    pub(crate) fn shown(&self) -> Endpoint {
        self.ike.as_ref().map_or(self.remote, |ike| ike.remote)
    }
}

impl Control {
    pub(crate) fn ike_peer(&self, path: PathId) -> Option<(&Peer, &IkePeer)> {
        let peer = self.peers.slots.get(path.0)?;
        Some((peer, peer.ike.as_ref()?))
    }

    pub(crate) fn ike_peer_mut(&mut self, path: PathId) -> Option<(Correlation, &mut IkePeer)> {
        let peer = self.peers.slots.get_mut(path.0)?;
        Some((peer.correlation, peer.ike.as_mut()?))
    }

    pub(crate) fn has_children(&self, id: IkeId) -> bool {
        let path = self.ike.slots.get(id.0).and_then(|exchange| exchange.peer);
        path.and_then(|path| self.ike_peer(path))
            .is_some_and(|(_, ike)| ike.children.values().any(|pair| pair.exchange == id))
    }

    /// Main mode is complete: the exchange joins its peer, or becomes one.
    pub(crate) fn exchange_established(
        &mut self,
        now: Instant,
        id: IkeId,
        established: Established,
    ) {
        self.leave_half_open(id);
        self.counters.add(Counter::IkeEstablished);
        let Some(exchange) = self.ike.slots.get_mut(id.0) else {
            return;
        };
        exchange.suite = established.suite;
        let name = PeerName {
            identity: established.identity,
            local: exchange.local,
            remote: exchange.remote,
            vrf: self.settings.listeners[exchange.listener].vrf,
        };
        let living = self.peers.by_name.get(&name).copied();
        let renews = exchange.renews;
        let path = match (living, renews) {
            // Somebody else answered where our peer had been.
            (living, Some(renews)) if living != Some(renews) => None,
            (Some(living), _) => Some(living),
            (None, _) => self.new_peer(id, name),
        };
        let Some(path) = path else {
            self.with_sa(now, id, |sa, env, out| sa.close(now, env, out));
            return;
        };
        self.join(now, id, path, living.is_some());
    }

    fn new_peer(&mut self, id: IkeId, name: PeerName) -> Option<PathId> {
        let exchange = self.ike.slots.get(id.0)?;
        if self.peers.by_name.len() >= self.settings.limits.peers || self.shutdown.is_some() {
            self.counters.add(Counter::IkePeerLimit);
            log::limit(&self.log, exchange.remote, "IKE peers");
            return None;
        }
        let peer = Peer {
            correlation: exchange.correlation,
            listener: exchange.listener,
            vrf: name.vrf,
            local: name.local,
            remote: name.remote,
            encapsulation: Encapsulation::EspInUdp,
            ike: Some(IkePeer {
                local: name.local,
                remote: name.remote,
                name: name.clone(),
                exchanges: Vec::new(),
                renewal: None,
                children: BTreeMap::new(),
                newest: None,
                is_open: false,
                in_grace: false,
                is_ending: false,
                ids: Ids::default(),
            }),
            tunnels: BTreeSet::new(),
            sessions_numbered: 0,
        };
        let Some(slot) = self.peers.slots.insert(id.0.shard, peer) else {
            self.counters.add(Counter::IkeNoSlot);
            return None;
        };
        self.peers.by_name.insert(name, PathId(slot));
        Some(PathId(slot))
    }

    fn join(&mut self, now: Instant, id: IkeId, path: PathId, is_living: bool) {
        let Some(exchange) = self.ike.slots.get_mut(id.0) else {
            return;
        };
        exchange.peer = Some(path);
        let is_initial_contact = exchange.is_initial_contact;
        let wants_child = exchange.wants_child;
        if let Some(peer) = self.peers.slots.get(path.0) {
            exchange.correlation = peer.correlation;
        }
        if let Some((_, ike)) = self.ike_peer_mut(path) {
            if ike.renewal == Some(id) {
                ike.renewal = None;
            }
            ike.exchanges.push(id);
        }
        if is_living {
            self.counters.add(Counter::IkeRenewed);
            self.inherit(now, id, path);
        }
        if is_initial_contact {
            self.forget_everything_else(now, path, id);
        }
        if let Some((exchange, (_, ike))) = self.ike.slots.get(id.0).zip(self.ike_peer(path)) {
            log::peer_up(
                &self.log,
                exchange,
                &ike.name.identity.to_string(),
                is_living,
            );
        }
        if wants_child {
            self.with_sa(now, id, |sa, env, out| sa.create_child(now, env, out));
        }
        self.settle(now, path);
    }

    /// The living pairs of the older ISAKMP SAs go over to the new one.
    fn inherit(&mut self, now: Instant, id: IkeId, path: PathId) {
        let Some((_, ike)) = self.ike_peer_mut(path) else {
            return;
        };
        let older: Vec<IkeId> = ike
            .exchanges
            .iter()
            .copied()
            .filter(|&other| other != id)
            .collect();
        ike.children
            .values_mut()
            .for_each(|pair| pair.exchange = id);
        for &old in &older {
            let children = self.with_sa(now, old, |sa, _, _| sa.take_children());
            if let Some(children) = children {
                self.with_sa(now, id, |sa, _, _| sa.adopt_children(children));
            }
        }
        let surplus = (older.len() + 1).saturating_sub(EXCHANGES_MAX);
        for &old in older.iter().take(surplus) {
            self.with_sa(now, old, |sa, env, out| sa.close(now, env, out));
        }
    }

    /// RFC 2407 §4.6.3.3: the peer knows of no other SA with us. It has started anew, and what was
    /// there before is dead: it is not told, because ids of old and new may be the same.
    pub(crate) fn initial_contact(&mut self, now: Instant, id: IkeId) {
        let Some(exchange) = self.ike.slots.get_mut(id.0) else {
            return;
        };
        match exchange.peer {
            Some(path) => self.forget_everything_else(now, path, id),
            None => exchange.is_initial_contact = true,
        }
    }

    fn forget_everything_else(&mut self, now: Instant, path: PathId, id: IkeId) {
        let Some((_, ike)) = self.ike_peer(path) else {
            return;
        };
        let older: Vec<IkeId> = ike
            .exchanges
            .iter()
            .copied()
            .filter(|&other| other != id)
            .collect();
        let pairs: Vec<u32> = ike.children.keys().copied().collect();
        self.forget_tunnels(now, path, "the peer has started anew");
        for spi in pairs {
            self.with_sa(now, id, |sa, env, out| {
                sa.delete_child(now, Spi(spi), env, out)
            });
        }
        for old in older {
            self.with_sa(now, old, |sa, env, out| sa.close(now, env, out));
        }
    }

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
        self.place(path, encapsulation);
        self.install(path, &child);
        self.log_keys(path, &child);
        let pair = Pair {
            exchange: id,
            outbound: child.outbound.0,
            suite: child.suite,
            is_active: child.initiator,
            since: now,
            lifetime: Duration::from_secs(child.lifetime.seconds.into()),
        };
        if let Some((_, ike)) = self.ike_peer_mut(path) {
            ike.children.insert(spi, pair);
            ike.newest = Some(spi);
        }
        self.settle(now, path);
    }

    /// Tells the fast path where the peer is, if it does not know yet.
    fn place(&mut self, path: PathId, encapsulation: Encapsulation) {
        let path_mtu = self.settings.path_mtu;
        let Some(peer) = self.peers.slots.get_mut(path.0) else {
            return;
        };
        let Some(ike) = peer.ike.as_mut() else {
            return;
        };
        let (local, remote) = match encapsulation {
            Encapsulation::EspInUdp | Encapsulation::Plain => (ike.local, ike.remote),
            Encapsulation::Esp => (ike.local.with_port(0), ike.remote.with_port(0)),
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
        self.outbox.change(path.0.shard, change);
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
            activation: match child.initiator {
                // The peer installed its end before it answered us.
                true => Activation::Now,
                false => Activation::AfterFirst(sa),
            },
        };
        let shard = path.0.shard;
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
            self.outbox.change(path.0.shard, change);
        }
    }

    pub(crate) fn child_failed(&mut self, id: IkeId, inbound: Option<Spi>, reason: ChildEnd) {
        let Some(exchange) = self.ike.slots.get_mut(id.0) else {
            return;
        };
        log::child_failed(exchange.correlation, reason);
        if let Some(spi) = inbound.filter(|spi| exchange.reserved.remove(&spi.0)) {
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

    fn retire_pair(&mut self, path: PathId, inbound: u32) {
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
        let (shard, sa) = (path.0.shard, InboundSa::from_spi(inbound));
        let spi = pair.outbound;
        self.outbox.change(shard, Change::RetireInbound(sa));
        self.outbox
            .change(shard, Change::RetireOutbound { path, spi });
        self.inbound.retire(sa.0);
    }

    /// A new pair for the peer, by the newest ISAKMP SA or by a new one.
    fn renew_child(&mut self, now: Instant, path: PathId) {
        match self.established(path) {
            Some(id) => {
                self.with_sa(now, id, |sa, env, out| sa.create_child(now, env, out));
            }
            None => self.start_exchange(now, path, true),
        }
    }

    fn established(&self, path: PathId) -> Option<IkeId> {
        let (_, ike) = self.ike_peer(path)?;
        let is_usable = |id: &&IkeId| {
            self.ike
                .slots
                .get(id.0)
                .is_some_and(|exchange| exchange.sa.is_established())
        };
        ike.exchanges.iter().rev().find(is_usable).copied()
    }

    /// An authentic ISAKMP message came from elsewhere.
    pub(crate) fn remote_moved(&mut self, id: IkeId, local: Endpoint, remote: Endpoint) {
        let Some(exchange) = self.ike.slots.get_mut(id.0) else {
            return;
        };
        (exchange.local, exchange.remote) = (local, remote);
        let Some(path) = exchange.peer else {
            return;
        };
        self.move_peer(path, local, remote);
        let opened = self.ike_peer(path).filter(|(_, ike)| ike.is_open);
        if let Some(encapsulation) = opened.map(|(peer, _)| peer.encapsulation) {
            self.place(path, encapsulation);
        }
    }

    fn move_peer(&mut self, path: PathId, local: Endpoint, remote: Endpoint) {
        let Some((id, ike)) = self.ike_peer_mut(path) else {
            return;
        };
        let old = ike.name.clone();
        (ike.local, ike.remote) = (local, remote);
        (ike.name.local, ike.name.remote) = (local, remote);
        let name = ike.name.clone();
        log::note(id, &remote, "peer moved");
        if self.peers.by_name.get(&old) == Some(&path) {
            self.peers.by_name.remove(&old);
        }
        self.peers.by_name.insert(name, path);
    }

    /// News of the fast path about a path or an SA.
    pub(crate) fn on_path_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::PathMoved { path, remote } => self.path_moved(path, remote),
            Event::FirstInbound(sa) => self.first_inbound(now, sa),
            Event::SoftLimit(path) => self.renew_child(now, path),
            Event::HardLimit(path) => {
                if let Some((peer, _)) = self.ike_peer(path) {
                    log::hard_limit(peer.correlation);
                }
                self.renew_child(now, path);
            }
            Event::InboundRetired(sa, _) => {
                if self.inbound.release(sa.0).is_none() {
                    self.counters.add(Counter::UnknownEvent);
                }
            }
            Event::PathRetired(path) => {
                if self.peers.slots.release(path.0).is_none() {
                    self.counters.add(Counter::UnknownEvent);
                }
            }
            Event::SessionRetired(..) | Event::ShardArrived(..) => {}
        }
    }

    fn path_moved(&mut self, path: PathId, remote: Endpoint) {
        let Some(peer) = self.peers.slots.get_mut(path.0) else {
            return self.counters.add(Counter::UnknownEvent);
        };
        peer.remote = remote;
        let Some(ike) = &peer.ike else {
            return;
        };
        // ESP in UDP shares its ports with IKE (RFC 3948 §2); raw ESP has none.
        let remote = match remote.port() {
            0 => remote.with_port(ike.remote.port()),
            _ => remote,
        };
        let local = ike.local;
        self.move_peer(path, local, remote);
    }

    fn first_inbound(&mut self, now: Instant, sa: InboundSa) {
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
        let was_newest = ike.exchanges.last() == Some(&id);
        if was_newest && reason == DownReason::PeerDead {
            self.end_peer(now, path, "peer unreachable");
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

    /// Starts or stops the grace time; ends a peer that has nothing left.
    pub(crate) fn settle(&mut self, now: Instant, path: PathId) {
        let grace = self.settings.peer_grace;
        let Some(peer) = self.peers.slots.get_mut(path.0) else {
            return;
        };
        let Some(ike) = peer.ike.as_mut().filter(|ike| !ike.is_ending) else {
            return;
        };
        let has_pairs = !ike.children.is_empty();
        let is_empty = ike.exchanges.is_empty() && ike.renewal.is_none() && peer.tunnels.is_empty();
        if !has_pairs && is_empty {
            return self.end_peer(now, path, "nothing left");
        }
        if has_pairs == ike.in_grace {
            ike.in_grace = !has_pairs;
            let deadline = (!has_pairs).then_some((now + grace, "peer without SAs"));
            self.timers.set(Timer::Grace(path), deadline);
        }
    }

    pub(crate) fn grace_over(&mut self, now: Instant, path: PathId) {
        self.end_peer(now, path, "no IPsec SA left");
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
        log::peer_gone(&self.log, peer.correlation, ike.remote, why);
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
        let (name, is_open) = (ike.name.clone(), ike.is_open);
        if self.peers.by_name.get(&name) == Some(&path) {
            self.peers.by_name.remove(&name);
        }
        self.timers.set(Timer::Grace(path), None);
        if is_open {
            self.peers.slots.retire(path.0);
            self.outbox.change(path.0.shard, Change::ClosePath(path));
        } else {
            self.peers.slots.release(path.0);
        }
        for id in exchanges {
            self.remove_exchange(now, id);
        }
    }

    fn forget_tunnels(&mut self, now: Instant, path: PathId, why: &str) {
        let tunnels = self
            .peers
            .slots
            .get(path.0)
            .map(|peer| peer.tunnels.clone());
        for id in tunnels.unwrap_or_default() {
            self.forget_tunnel(now, TunnelKey { path, id }, why);
        }
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
