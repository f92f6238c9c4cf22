//! L2TP tunnels: which message is for which, who may open one, and what becomes of their calls.
//!
//! A tunnel belongs to a peer, not to an SA and not to an address: inside an SA it is found by
//! (path, our tunnel id), in the clear by (listener, our tunnel id), and there the peer's endpoint
//! must be the one that dialled. An SCCRQ names no tunnel of ours; a repeated one is told from a
//! new one by the tunnel machine itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use dataplane::change::{Change, Encapsulation, Entry, Kind, Path, Session};
use dataplane::id::{PathId, SessionSlot, WorkerId};
use l2tp::{CallEnd, CallRefusal, Opening, SessionId, TunnelEnd, TunnelId};
use packet::Endpoint;

use crate::counters::Counter;
use crate::half_open::{Bucket, Full, HalfOpen};
use crate::ids::Ids;
use crate::log::Correlation;
use crate::peer::Peer;
use crate::settings::Limits;
use crate::timers::Timer;
use crate::{Control, log};

/// Names a tunnel: its peer, and our id for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TunnelKey {
    pub(crate) path: PathId,
    pub(crate) id: u16,
}

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
    half_open: Option<Source>,
    /// By our session id.
    pub(crate) sessions: BTreeMap<u16, SessionSlot>,
    session_ids: Ids,
    pub(crate) since: Instant,
    pub(crate) is_over: bool,
}

/// All tunnels.
#[derive(Debug)]
pub(crate) struct Tunnels {
    pub(crate) by_key: BTreeMap<TunnelKey, Tunnel>,
    pub(crate) half_open: HalfOpen<Source>,
    /// Plain tunnels by listener and our id.
    plain: BTreeMap<(u16, u16), TunnelKey>,
    /// Plain tunnels of one endpoint.
    endpoints: BTreeMap<(u16, Endpoint, Endpoint), BTreeSet<TunnelKey>>,
    /// Ids of plain tunnels, by listener.
    ids: BTreeMap<u16, Ids>,
    unknown: Bucket,
}

impl Tunnels {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            by_key: BTreeMap::new(),
            half_open: HalfOpen::new(limits.half_open_l2tp, limits.half_open_l2tp_per_source),
            plain: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            ids: BTreeMap::new(),
            unknown: Bucket::new(limits.unknown_tunnel_answers),
        }
    }
}

impl Control {
    /// An L2TP control message has come.
    pub(crate) fn on_l2tp(&mut self, now: Instant, carrier: Carrier, message: &[u8]) {
        let header = match l2tp::peek(message) {
            Ok(header) if header.kind == l2tp::Kind::Control => header,
            Ok(_) | Err(_) => return self.counters.add(Counter::L2tpMalformed),
        };
        if self.is_refused_in_silence(&carrier) {
            return self.counters.add(Counter::PlainRefused);
        }
        let key = match header.tunnel {
            TunnelId(0) => self.opening(now, carrier, message),
            TunnelId(id) => match self.find_tunnel(&carrier, id) {
                Some(key) => Some(key),
                None => return self.unknown_tunnel(now, carrier, message),
            },
        };
        let Some(key) = key else {
            return;
        };
        let refused = self.with_tunnel(now, key, |tunnel, random, out| {
            tunnel.handle_input(now, message, random, out).err()
        });
        if let Some(Some(refusal)) = refused {
            self.counters.add(Counter::L2tpRefused);
            if let Some(tunnel) = self.tunnels.by_key.get(&key) {
                log::note(tunnel.correlation, &refusal, "L2TP message refused");
            }
        }
        self.forget_if_empty(now, key);
    }

    /// Whether IPsec is required where it came in the clear.
    fn is_refused_in_silence(&self, carrier: &Carrier) -> bool {
        match carrier {
            Carrier::Secured { path, .. } => self.peers.slots.get(path.0).is_none(),
            Carrier::Plain { listener, .. } => self
                .listener_index(*listener)
                .is_none_or(|listener| self.settings.listeners[listener].ipsec_required),
        }
    }

    /// A tunnel by our id, if this peer may speak for it.
    fn find_tunnel(&mut self, carrier: &Carrier, id: u16) -> Option<TunnelKey> {
        match *carrier {
            Carrier::Secured { path, .. } => {
                let key = TunnelKey { path, id };
                self.tunnels.by_key.contains_key(&key).then_some(key)
            }
            Carrier::Plain {
                listener,
                local,
                remote,
                ..
            } => {
                let key = *self.tunnels.plain.get(&(listener, id))?;
                let peer = self.peers.slots.get(key.path.0)?;
                if (peer.local, peer.remote) == (local, remote) {
                    return Some(key);
                }
                self.counters.add(Counter::L2tpWrongPeer);
                None
            }
        }
    }

    /// The issue of a message that names no tunnel: a repeat, or a new tunnel.
    fn opening(&mut self, now: Instant, carrier: Carrier, message: &[u8]) -> Option<TunnelKey> {
        let settings = Arc::clone(&self.settings);
        let listener = self.listener_of(&carrier)?;
        let secret = settings.listeners[listener].l2tp.secret.as_ref();
        let opening = l2tp::peek_opening(message, secret)?;
        let of_peer = self.tunnels_of(&carrier);
        let expects = |key: &&TunnelKey| {
            let tunnel = self.tunnels.by_key.get(key);
            tunnel.is_some_and(|tunnel| tunnel.machine.expects(&opening))
        };
        if let Some(&key) = of_peer.iter().find(expects) {
            return Some(key);
        }
        /// RFC 2661 §3.2.
        const SCCRQ: u16 = 1;
        if opening.message_type != SCCRQ || self.shutdown.is_some() {
            return None;
        }
        self.forget_predecessor(now, &of_peer, &opening);
        self.new_tunnel(now, carrier, listener)
    }

    /// A peer that dials in under an id that a living tunnel of its has, has forgotten that one.
    fn forget_predecessor(&mut self, now: Instant, of_peer: &[TunnelKey], opening: &Opening) {
        let is_same = |key: &&TunnelKey| {
            let tunnel = self.tunnels.by_key.get(key);
            tunnel.is_some_and(|tunnel| tunnel.machine.peer_id() == opening.assigned_tunnel)
        };
        if let Some(&key) = of_peer.iter().find(is_same) {
            self.counters.add(Counter::L2tpRedialled);
            self.forget_tunnel(now, key, "the peer has dialled again");
        }
    }

    fn tunnels_of(&self, carrier: &Carrier) -> Vec<TunnelKey> {
        match *carrier {
            Carrier::Secured { path, .. } => {
                let ids = self.peers.slots.get(path.0).map(|peer| peer.tunnels.iter());
                let key = |&id| TunnelKey { path, id };
                ids.into_iter().flatten().map(key).collect()
            }
            Carrier::Plain {
                listener,
                local,
                remote,
                ..
            } => {
                let keys = self.tunnels.endpoints.get(&(listener, local, remote));
                keys.into_iter().flatten().copied().collect()
            }
        }
    }

    fn listener_of(&self, carrier: &Carrier) -> Option<usize> {
        match *carrier {
            Carrier::Secured { path, .. } => Some(self.peers.slots.get(path.0)?.listener),
            Carrier::Plain { listener, .. } => self.listener_index(listener),
        }
    }

    /// Room for one more tunnel, and its id: the fast path knows it before the peer does.
    fn new_tunnel(&mut self, now: Instant, carrier: Carrier, listener: usize) -> Option<TunnelKey> {
        if let Err((counter, what)) = self.admit_tunnel(&carrier) {
            self.counters.add(counter);
            if self.lines.take(now) {
                let remote = self.remote_of(&carrier)?;
                log::limit(&self.log, remote, what);
            }
            return None;
        }
        let source = source_of(&carrier);
        let Some((key, correlation)) = self.name_tunnel(now, carrier, listener) else {
            self.tunnels.half_open.leave(&source);
            self.counters.add(Counter::L2tpNoId);
            return None;
        };
        let l2tp = Arc::clone(&self.settings.listeners[listener].l2tp);
        let (local_port, peer_port) = match carrier {
            Carrier::Secured {
                local_port,
                peer_port,
                ..
            } => (local_port, peer_port),
            Carrier::Plain { local, remote, .. } => (local.port(), remote.port()),
        };
        let tunnel = Tunnel {
            machine: l2tp::Tunnel::answer(l2tp, TunnelId(key.id), now),
            correlation,
            local_port,
            peer_port,
            half_open: Some(source),
            sessions: BTreeMap::new(),
            session_ids: Ids::default(),
            since: now,
            is_over: false,
        };
        self.tunnels.by_key.insert(key, tunnel);
        Some(key)
    }

    fn admit_tunnel(&mut self, carrier: &Carrier) -> Result<(), (Counter, &'static str)> {
        let limits = &self.settings.limits;
        if self.tunnels.by_key.len() >= limits.tunnels {
            return Err((Counter::L2tpTunnelLimit, "L2TP tunnels"));
        }
        if let Carrier::Secured { path, .. } = carrier {
            let peer = self.peers.slots.get(path.0);
            if peer.is_none_or(|peer| peer.tunnels.len() >= limits.tunnels_per_peer) {
                return Err((Counter::L2tpPeerTunnelLimit, "L2TP tunnels of one peer"));
            }
        }
        let entered = self.tunnels.half_open.enter(source_of(carrier));
        entered.map_err(|full| match full {
            Full::InAll => (Counter::L2tpHalfOpenLimit, "half-open L2TP tunnels"),
            Full::Source => (
                Counter::L2tpHalfOpenSourceLimit,
                "half-open L2TP tunnels of one source",
            ),
        })
    }

    fn name_tunnel(
        &mut self,
        now: Instant,
        carrier: Carrier,
        listener: usize,
    ) -> Option<(TunnelKey, Correlation)> {
        match carrier {
            Carrier::Secured { path, .. } => {
                let peer = self.peers.slots.get_mut(path.0)?;
                let ike = peer.ike.as_mut()?;
                let id = ike.ids.take(now, path.0.shard, &mut self.random)?;
                peer.tunnels.insert(id);
                Some((TunnelKey { path, id }, peer.correlation))
            }
            Carrier::Plain {
                worker,
                local,
                remote,
                ..
            } => self.open_plain(now, worker, listener, local, remote),
        }
    }

    /// A plain tunnel has a path of its own.
    fn open_plain(
        &mut self,
        now: Instant,
        worker: WorkerId,
        listener: usize,
        local: Endpoint,
        remote: Endpoint,
    ) -> Option<(TunnelKey, Correlation)> {
        let (number, vrf) = {
            let listener = &self.settings.listeners[listener];
            (listener.index, listener.vrf)
        };
        let shard = self.outbox.choose_shard(worker);
        let ids = self.tunnels.ids.entry(number).or_default();
        let id = ids.take(now, shard, &mut self.random)?;
        let correlation = Correlation::new(&mut self.random);
        let peer = Peer {
            correlation,
            listener,
            vrf,
            local,
            remote,
            encapsulation: Encapsulation::Plain,
            ike: None,
            tunnels: BTreeSet::from([id]),
            sessions_numbered: 0,
        };
        let Some(slot) = self.peers.slots.insert(shard, peer) else {
            ids.give_back(now, id);
            return None;
        };
        let path = PathId(slot);
        let key = TunnelKey { path, id };
        let mtu = self.settings.path_mtu;
        let opened = Path {
            id: path,
            local,
            remote,
            encapsulation: Encapsulation::Plain,
            mtu,
            vrf,
        };
        self.outbox.change(shard, Change::OpenPath(opened));
        let opened = Change::OpenTunnel {
            listener: number,
            tunnel: id,
            path,
        };
        self.outbox.change(shard, opened);
        self.tunnels.plain.insert((number, id), key);
        let keys = self
            .tunnels
            .endpoints
            .entry((number, local, remote))
            .or_default();
        keys.insert(key);
        Some((key, correlation))
    }

    fn remote_of(&self, carrier: &Carrier) -> Option<Endpoint> {
        match carrier {
            Carrier::Secured { path, .. } => Some(self.peers.slots.get(path.0)?.shown()),
            Carrier::Plain { remote, .. } => Some(*remote),
        }
    }

    /// Tells the peer, now and then, that nobody knows the tunnel it speaks of.
    fn unknown_tunnel(&mut self, now: Instant, carrier: Carrier, message: &[u8]) {
        self.counters.add(Counter::L2tpUnknownTunnel);
        let Some(answer) = l2tp::unknown_tunnel(message) else {
            return;
        };
        if !self.tunnels.unknown.take(now) {
            return;
        }
        self.counters.add(Counter::L2tpUnknownTunnelAnswered);
        match carrier {
            Carrier::Secured {
                path,
                local_port,
                peer_port,
            } => {
                let entry = Entry::Tunnel {
                    path,
                    local_port,
                    peer_port,
                };
                self.outbox.inject(path.0.shard, entry, answer);
            }
            Carrier::Plain {
                worker,
                local,
                remote,
                ..
            } => {
                let shard = self.outbox.choose_shard(worker);
                let kind = Kind::L2tp;
                let entry = Entry::Transmit {
                    shard,
                    kind,
                    local,
                    remote,
                };
                self.outbox.inject(shard, entry, answer);
            }
        }
    }

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
        for output in out {
            self.take_tunnel_output(now, key, output);
        }
        self.touch_tunnel(now, key);
        Some(result)
    }

    fn take_tunnel_output(&mut self, now: Instant, key: TunnelKey, output: l2tp::Output) {
        match output {
            l2tp::Output::Send(message) => self.send_l2tp(key, message),
            l2tp::Output::TunnelUp { host_name, .. } => self.tunnel_up(key, &host_name),
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
                if let Some(slot) = self.session_of(key, session) {
                    self.end_subscriber(now, slot, &end.to_string());
                }
            }
            l2tp::Output::TunnelDown { end } => self.tunnel_down(key, &end),
        }
    }

    fn session_of(&self, key: TunnelKey, session: SessionId) -> Option<SessionSlot> {
        self.tunnels
            .by_key
            .get(&key)?
            .sessions
            .get(&session.0)
            .copied()
    }

    fn send_l2tp(&mut self, key: TunnelKey, message: Vec<u8>) {
        let peer = self.peers.slots.get(key.path.0);
        let Some((tunnel, peer)) = self.tunnels.by_key.get(&key).zip(peer) else {
            return;
        };
        let shard = key.path.0.shard;
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

    fn tunnel_up(&mut self, key: TunnelKey, host_name: &str) {
        self.leave_half_open_tunnel(key);
        self.counters.add(Counter::L2tpUp);
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

    fn tunnel_down(&mut self, key: TunnelKey, end: &TunnelEnd) {
        self.leave_half_open_tunnel(key);
        let Some(tunnel) = self.tunnels.by_key.get_mut(&key) else {
            return;
        };
        tunnel.is_over = true;
        let Some(peer) = self.peers.slots.get(key.path.0) else {
            return;
        };
        match end {
            TunnelEnd::PeerSilent => log::peer_silent(&self.log, tunnel.correlation, peer.shown()),
            end => log::tunnel_down(&self.log, tunnel.correlation, peer.shown(), end),
        }
    }

    /// Somebody calls: an id and a slot, or a refusal.
    fn call_offered(
        &mut self,
        now: Instant,
        key: TunnelKey,
        peer_session: SessionId,
        correlation_id: Option<[u8; 16]>,
    ) {
        let accepted = self.admit_call(now, key, peer_session);
        self.with_tunnel(now, key, |tunnel, _, out| match accepted {
            Ok(session) => tunnel.accept_call(now, peer_session, session, out),
            Err(why) => tunnel.reject_call(now, peer_session, why, out),
        });
        let Some(guid) = correlation_id else {
            return;
        };
        let guid: String = guid.iter().map(|byte| format!("{byte:02x}")).collect();
        if let Some(tunnel) = self.tunnels.by_key.get(&key) {
            // The client's event log has the same number.
            log::note(tunnel.correlation, &guid, "Microsoft correlation id");
        }
    }

    fn admit_call(
        &mut self,
        now: Instant,
        key: TunnelKey,
        peer_session: SessionId,
    ) -> Result<SessionId, CallRefusal> {
        if self.shutdown.is_some() {
            self.counters.add(Counter::CallRefusedShutdown);
            return Err(CallRefusal::TryAnother);
        }
        if self.subscribers.len() >= self.settings.limits.sessions {
            self.counters.add(Counter::CallRefusedLimit);
            if let Some(peer) = self.peers.slots.get(key.path.0) {
                log::limit(&self.log, peer.shown(), "sessions");
            }
            return Err(CallRefusal::Busy);
        }
        let opened = self.open_session(now, key, peer_session);
        opened.ok_or_else(|| {
            self.counters.add(Counter::CallRefusedNoId);
            CallRefusal::Busy
        })
    }

    /// The fast path knows the session before the peer does.
    fn open_session(
        &mut self,
        now: Instant,
        key: TunnelKey,
        peer_session: SessionId,
    ) -> Option<SessionId> {
        let tunnel = self.tunnels.by_key.get_mut(&key)?;
        let peer = self.peers.slots.get_mut(key.path.0)?;
        let shard = key.path.0.shard;
        let id = tunnel.session_ids.take(now, shard, &mut self.random)?;
        peer.sessions_numbered += 1;
        let correlation = tunnel.correlation.session(peer.sessions_numbered);
        let opened = Session {
            id: SessionSlot(key.path.0),
            path: key.path,
            listener: self.settings.listeners[peer.listener].index,
            tunnel: key.id,
            session: id,
            peer_tunnel: tunnel.machine.peer_id().0,
            peer_session: peer_session.0,
            local_port: tunnel.local_port,
            peer_port: tunnel.peer_port,
            sequencing: false,
        };
        let subscriber = crate::subscriber::Subscriber::new(correlation, key, opened, peer, now);
        let Some(slot) = self
            .subscribers
            .insert_with(shard, |slot| subscriber.at(slot))
        else {
            tunnel.session_ids.give_back(now, id);
            return None;
        };
        let slot = SessionSlot(slot);
        tunnel.sessions.insert(id, slot);
        let opened = Session { id: slot, ..opened };
        self.outbox.change(shard, Change::OpenSession(opened));
        Some(SessionId(id))
    }

    /// The session is off the tunnel's books.
    pub(crate) fn leave_tunnel(&mut self, now: Instant, key: TunnelKey, session: u16) {
        if let Some(tunnel) = self.tunnels.by_key.get_mut(&key)
            && tunnel.sessions.remove(&session).is_some()
        {
            tunnel.session_ids.give_back(now, session);
        }
    }

    pub(crate) fn hang_up(&mut self, now: Instant, key: TunnelKey, session: u16, end: CallEnd) {
        self.with_tunnel(now, key, |tunnel, _, out| {
            tunnel.hang_up(now, SessionId(session), end, out);
        });
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
        let Some(tunnel) = self.tunnels.by_key.get(&key) else {
            return;
        };
        let deadline = tunnel.machine.poll_timeout();
        let is_finished = tunnel.machine.is_finished();
        self.timers.set(Timer::Tunnel(key), deadline);
        if is_finished {
            self.remove_tunnel(now, key);
        }
    }

    /// A first message that was refused leaves nothing behind.
    fn forget_if_empty(&mut self, now: Instant, key: TunnelKey) {
        let tunnel = self.tunnels.by_key.get(&key);
        if tunnel.is_some_and(|tunnel| tunnel.machine.peer_id() == TunnelId(0)) {
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
            && !tunnel.is_over
        {
            log::tunnel_down(&self.log, tunnel.correlation, peer.shown(), &why);
        }
        self.remove_tunnel(now, key);
    }

    fn remove_tunnel(&mut self, now: Instant, key: TunnelKey) {
        self.leave_half_open_tunnel(key);
        self.timers.set(Timer::Tunnel(key), None);
        let Some(tunnel) = self.tunnels.by_key.remove(&key) else {
            return;
        };
        for slot in tunnel.sessions.into_values() {
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
            None => self.close_plain(now, key),
        }
    }

    fn close_plain(&mut self, now: Instant, key: TunnelKey) {
        let Some(peer) = self.peers.slots.get(key.path.0) else {
            return;
        };
        let number = self.settings.listeners[peer.listener].index;
        let endpoint = (number, peer.local, peer.remote);
        self.tunnels.plain.remove(&(number, key.id));
        if let Some(keys) = self.tunnels.endpoints.get_mut(&endpoint) {
            keys.remove(&key);
            if keys.is_empty() {
                self.tunnels.endpoints.remove(&endpoint);
            }
        }
        self.tunnels
            .ids
            .entry(number)
            .or_default()
            .give_back(now, key.id);
        let closed = Change::CloseTunnel {
            listener: number,
            tunnel: key.id,
        };
        let shard = key.path.0.shard;
        self.outbox.change(shard, closed);
        self.peers.slots.retire(key.path.0);
        self.outbox.change(shard, Change::ClosePath(key.path));
    }
}

fn source_of(carrier: &Carrier) -> Source {
    match carrier {
        Carrier::Secured { path, .. } => Source::Peer(*path),
        Carrier::Plain { remote, .. } => Source::Address(remote.address()),
    }
}
