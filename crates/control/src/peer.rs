//! Peers: whom a path leads to, the SAs on it, and what happens when they change.
//!
//! An IKE peer is (identity, endpoint, VRF). It outlives every SA of its own: a rekey adds a pair
//! and takes one away, a new main mode joins the peer and takes its pairs over, and the tunnels
//! above notice nothing. A peer without any pair is given a grace time, then its tunnels die with
//! it. A plain L2TP tunnel has a peer of its own, without IKE.
//!
//! ```text
//!   main mode ──Established──► a new peer ◄──────────────┐
//!                    │                                   │ the same identity and endpoint
//!                    └── joins a living one, inherits ◄──┴── next main mode
//!   no pair ──grace──► tunnels forgotten, DELETE, ClosePath ──PathRetired──► slot free
//!   no pair, ISAKMP SA deleted by the peer ──farewell──► the same, sooner
//! ```

mod ending;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto::cipher::Algorithm;
use crypto::dh::Group;
use crypto::esp::Suite;
use crypto::hash::Hash;
use dataplane::change::{Encapsulation, Event};
use dataplane::id::PathId;
use ike::payload::identification::Identity;
use ike::policy::Phase1Proposal;
use ike::{Established, Spi};
use l2tp::Few;
use packet::Endpoint;

use crate::counters::Counter;
use crate::exchange::IkeId;
use crate::half_open::source_of;
use crate::ids::Ids;
use crate::log::Correlation;
use crate::mtu::Carriage;
use crate::{Control, log};

/// ISAKMP SAs that one peer may have at a time: the living one and the one before it.
const EXCHANGES_MAX: usize = 2;

/// What makes two main modes the same peer's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PeerName {
    pub(crate) identity: Identity,
    /// Where ISAKMP messages go from and to.
    pub(crate) local: Endpoint,
    pub(crate) remote: Endpoint,
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
    /// What a router said about the way to it, while that is believed.
    pub(crate) learnt_mtu: Option<u16>,
    /// `None` for a plain L2TP peer.
    pub(crate) ike: Option<IkePeer>,
    /// Our ids of its tunnels.
    pub(crate) tunnels: Few<u16, ()>,
    /// How many sessions it has had, to number the next.
    pub(crate) sessions_numbered: u32,
}

/// What an IKE peer has beside.
#[derive(Debug)]
pub(crate) struct IkePeer {
    /// Shared with the map of names.
    pub(crate) name: Arc<PeerName>,
    /// Established ISAKMP SAs, the newest last.
    pub(crate) exchanges: Vec<IkeId>,
    /// The main mode by which we renew the ISAKMP SA.
    pub(crate) renewal: Option<IkeId>,
    /// By our SPI.
    pub(crate) children: Few<u32, Box<Pair>>,
    /// The pair that came last.
    pub(crate) newest: Option<u32>,
    /// The lifetime agreed on when the peer asked for a pair last.
    pub(crate) agreed_lifetime: Option<Duration>,
    /// Whether the fast path knows the path.
    pub(crate) is_open: bool,
    /// What is missing, while the time runs that ends it.
    lacks: Option<ending::Lack>,
    /// The peer has deleted the ISAKMP SA that came last.
    has_left: bool,
    /// Whether it is being taken down.
    is_ending: bool,
    /// Ids of its tunnels: the fast path only compares them.
    pub(crate) ids: Ids,
}

/// A pair of IPsec SAs.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// The ISAKMP SA that looks after it.
    pub(crate) exchange: IkeId,
    pub(crate) outbound: u32,
    pub(crate) suite: Suite,
    /// Whether the outbound SA may have been taken into use.
    pub(crate) is_active: bool,
    pub(crate) since: Instant,
    pub(crate) lifetime: Duration,
}

impl IkePeer {
    /// Its ISAKMP SAs, the oldest first, without one of them.
    fn exchanges_but(&self, id: IkeId) -> Vec<IkeId> {
        let exchanges = self.exchanges.iter().copied();
        exchanges.filter(|&other| other != id).collect()
    }
}

impl Peer {
    /// The suite of the newest pair.
    pub(crate) fn suite(&self) -> Option<Suite> {
        let ike = self.ike.as_ref()?;
        Some(ike.children.get(&ike.newest?)?.suite)
    }

    /// Whether an SA of this SPI is, was or will be used to send to it.
    pub(crate) fn sends_on(&self, spi: u32) -> bool {
        let mut pairs = self.ike.iter().flat_map(|ike| ike.children.values());
        pairs.any(|pair| pair.outbound == spi)
    }

    /// How its packets travel.
    pub(crate) fn carriage(&self, path_mtu: u16) -> Carriage {
        Carriage {
            path_mtu: self
                .learnt_mtu
                .map_or(path_mtu, |learnt| learnt.min(path_mtu)),
            remote: self.remote.address(),
            encapsulation: self.encapsulation,
            suite: self.suite(),
        }
    }

    /// Under which source a peer in the clear counts.
    pub(crate) fn plain_source(&self) -> Option<IpAddr> {
        let is_plain = self.ike.is_none();
        is_plain.then(|| source_of(self.remote.address()))
    }

    /// The outer endpoint that tells it from others: with the port, where there is one.
    pub(crate) fn shown(&self) -> Endpoint {
        self.ike.as_ref().map_or(self.remote, |ike| ike.name.remote)
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
        if is_weak_phase1(established.suite) {
            self.counters.add(Counter::WeakPhase1);
        }
        exchange.suite = Some(established.suite);
        let name = Arc::new(PeerName {
            identity: established.identity,
            local: exchange.local,
            remote: exchange.remote,
            vrf: self.settings.listeners[exchange.listener].vrf,
        });
        let living = self.peers.by_name.get(&name).copied();
        let renews = exchange.renews;
        let path = match (living, renews) {
            // Somebody else answered where our peer had been.
            (living, Some(renews)) if living != Some(renews) => None,
            (Some(living), _) => Some(living),
            (None, _) => self.new_peer(now, id, name),
        };
        let Some(path) = path else {
            self.with_sa(now, id, |sa, env, out| sa.close(now, env, out));
            return;
        };
        self.join(now, id, path, living.is_some());
    }

    /// Whether there may be one more peer, at this address.
    fn admit_peer(&self, remote: Endpoint) -> Result<(), (Counter, &'static str)> {
        let limits = &self.settings.limits;
        if self.peers.by_name.len() >= limits.peers || self.shutdown.is_some() {
            return Err((Counter::IkePeerLimit, "IKE peers"));
        }
        let beside = self.peers.at(remote.address());
        let beside = beside.filter(|(_, peer)| peer.ike.is_some());
        if beside.count() >= limits.peers_per_source {
            return Err((Counter::IkeSourcePeerLimit, "IKE peers of one source"));
        }
        Ok(())
    }

    fn new_peer(&mut self, now: Instant, id: IkeId, name: Arc<PeerName>) -> Option<PathId> {
        if let Err((counter, what)) = self.admit_peer(name.remote) {
            self.counters.add(counter);
            self.log_limit(now, name.remote, what);
            return None;
        }
        let exchange = self.ike.slots.get(id.0)?;
        let peer = Peer {
            correlation: exchange.correlation,
            listener: exchange.listener,
            vrf: name.vrf,
            local: name.local,
            remote: name.remote,
            encapsulation: Encapsulation::EspInUdp,
            learnt_mtu: None,
            ike: Some(IkePeer {
                name: Arc::clone(&name),
                exchanges: Vec::new(),
                renewal: None,
                children: Few::default(),
                newest: None,
                agreed_lifetime: None,
                is_open: false,
                lacks: None,
                has_left: false,
                is_ending: false,
                ids: Ids::default(),
            }),
            tunnels: Few::default(),
            sessions_numbered: 0,
        };
        let Some(slot) = self.peers.slots.insert(id.0.shard(), peer) else {
            self.counters.add(Counter::IkeNoSlot);
            return None;
        };
        self.peers.place(PathId(slot), name.remote.address());
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
            // One, as nearly all have: a list that grows by itself begins with room for four.
            ike.exchanges.reserve_exact(1);
            ike.exchanges.push(id);
            ike.has_left = false;
            if let Some(agreed) = ike.agreed_lifetime {
                self.with_sa(now, id, |sa, _, _| sa.agree_lifetime(agreed));
            }
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
        let older = ike.exchanges_but(id);
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
        let older = ike.exchanges_but(id);
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
        let name = Arc::new(PeerName {
            local,
            remote,
            ..PeerName::clone(&ike.name)
        });
        let old = std::mem::replace(&mut ike.name, Arc::clone(&name));
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
        self.peers.place(path, remote.address());
        let Some((_, ike)) = self.ike_peer(path) else {
            return;
        };
        // ESP in UDP shares its ports with IKE (RFC 3948 §2); raw ESP has none.
        let remote = match remote.port() {
            0 => remote.with_port(ike.name.remote.port()),
            _ => remote,
        };
        let local = ike.name.local;
        self.move_peer(path, local, remote);
    }
}

/// The suite of a pair, for people.
pub(crate) fn suite_text(suite: Option<Suite>) -> String {
    suite.map_or_else(|| "none".to_owned(), |suite| suite.to_string())
}

/// What main mode came to, for people.
pub(crate) fn phase1_text(suite: Option<Phase1Proposal>) -> String {
    suite.map_or_else(String::new, |suite| suite.to_string())
}

/// Whether what was negotiated is only there because old clients offer nothing better.
fn is_weak_phase1(suite: Phase1Proposal) -> bool {
    suite.cipher == Algorithm::TripleDesCbc
        || suite.hash == Hash::Sha1
        || matches!(suite.group, Group::Modp1024 | Group::Modp1536)
}
