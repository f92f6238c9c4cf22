//! Which tunnel an L2TP message is for, and who may open a new one.
//!
//! Inside an SA a tunnel is found by (path, our tunnel id), in the clear by (listener, our tunnel
//! id), and there the peer's endpoint must be the one that dialled. An SCCRQ names no tunnel of
//! ours; a repeated one is told from a new one by the tunnel machine itself. Who is not admitted is told so
//! without a trace of him being kept; only where room is had again in moments, silence makes him repeat himself.

use std::sync::Arc;
use std::time::Instant;

use dataplane::change::{Change, Encapsulation, Entry, Kind, Path};
use dataplane::id::{PathId, WorkerId};
use l2tp::{Few, TunnelId};
use packet::Endpoint;

use crate::counters::Counter;
use crate::half_open::{self, Full};
use crate::ids::{self, Ids};
use crate::log::Correlation;
use crate::peer::Peer;
use crate::timers::Place;
use crate::tunnel::{Carrier, Source, Tunnel, TunnelKey};
use crate::{Control, log};

/// Why there is no room for another tunnel.
struct NoRoom {
    counter: Counter,
    /// Which limit is met.
    what: &'static str,
    /// A repeat of the SCCRQ may find room.
    is_passing: bool,
}

impl NoRoom {
    fn lasting(counter: Counter, what: &'static str) -> Self {
        Self {
            counter,
            what,
            is_passing: false,
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
            TunnelId(0) => {
                let ns = header.sequence.map_or(0, |(ns, _)| ns);
                self.opening(now, carrier, ns, message)
            }
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
    fn opening(
        &mut self,
        now: Instant,
        carrier: Carrier,
        ns: u16,
        message: &[u8],
    ) -> Option<TunnelKey> {
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
            if self.is_guess(&carrier, key, ns) {
                self.counters.add(Counter::L2tpRefused);
                return None;
            }
            return Some(key);
        }
        /// RFC 2661 §3.2.
        const SCCRQ: u16 = 1;
        if opening.message_type != SCCRQ || self.shutdown.is_some() {
            return None;
        }
        // RFC 2661 §5.8: numbers begin at 0.
        if ns != 0 {
            self.counters.add(Counter::L2tpRefused);
            return None;
        }
        match self.new_tunnel(now, carrier, listener) {
            Ok(key) => Some(key),
            Err(no_room) => {
                self.refuse_tunnel(now, carrier, &opening, &no_room);
                None
            }
        }
    }

    /// A StopCCN that does not know our id ends an established tunnel in the clear only if its Ns is
    /// the one that is due: with any Ns, whoever knows the peer's id and address could hang up.
    fn is_guess(&self, carrier: &Carrier, key: TunnelKey, ns: u16) -> bool {
        let machine = self.tunnels.by_key.get(&key).map(|tunnel| &tunnel.machine);
        let is_plain = matches!(carrier, Carrier::Plain { .. });
        is_plain && machine.is_some_and(|tunnel| tunnel.is_established() && ns != tunnel.expected())
    }

    fn tunnels_of(&self, carrier: &Carrier) -> Vec<TunnelKey> {
        match *carrier {
            Carrier::Secured { path, .. } => self.peers.tunnels_of(path),
            Carrier::Plain {
                listener,
                local,
                remote,
                ..
            } => self.tunnels.between((listener, local, remote)),
        }
    }

    fn listener_of(&self, carrier: &Carrier) -> Option<usize> {
        match *carrier {
            Carrier::Secured { path, .. } => Some(self.peers.slots.get(path.0)?.listener),
            Carrier::Plain { listener, .. } => self.listener_index(listener),
        }
    }

    /// Room for one more tunnel, and its id: the fast path knows it before the peer does.
    fn new_tunnel(
        &mut self,
        now: Instant,
        carrier: Carrier,
        listener: usize,
    ) -> Result<TunnelKey, NoRoom> {
        self.admit_tunnel(now, &carrier)?;
        let source = source_of(&carrier);
        let Some((key, correlation)) = self.name_tunnel(now, carrier, listener) else {
            self.tunnels.half_open.leave(&source);
            let what = "L2TP tunnel ids of one listener or peer";
            return Err(NoRoom::lasting(Counter::L2tpNoId, what));
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
            sessions: Few::default(),
            session_ids: Ids::default(),
            place: Place::default(),
            since: now,
            end: None,
        };
        self.tunnels.by_key.insert(key, Box::new(tunnel));
        if let Source::Address(_) = source {
            self.tunnels.unproven.add(source, key);
        }
        self.settle(now, key.path);
        Ok(key)
    }

    fn admit_tunnel(&mut self, now: Instant, carrier: &Carrier) -> Result<(), NoRoom> {
        let limits = &self.settings.limits;
        let lasting = |counter, what| Err(NoRoom::lasting(counter, what));
        if self.tunnels.by_key.len() >= limits.tunnels {
            return lasting(Counter::L2tpTunnelLimit, "L2TP tunnels");
        }
        if let Carrier::Secured { path, .. } = carrier {
            let peer = self.peers.slots.get(path.0);
            if peer.is_none_or(|peer| peer.tunnels.len() >= limits.tunnels_per_peer) {
                return lasting(Counter::L2tpPeerTunnelLimit, "L2TP tunnels of one peer");
            }
        }
        if let Carrier::Plain { remote, .. } = carrier {
            let source = half_open::source_of(remote.address());
            if self.tunnels.in_the_clear.limit_met(&source).is_some() {
                return lasting(Counter::L2tpSourceTunnelLimit, "L2TP tunnels of one source");
            }
        }
        let entered = self.enter_half_open_tunnel(now, source_of(carrier));
        entered.map_err(|full| {
            let (counter, what) = match full {
                Full::InAll => (Counter::L2tpHalfOpenLimit, "half-open L2TP tunnels"),
                Full::Source => (
                    Counter::L2tpHalfOpenSourceLimit,
                    "half-open L2TP tunnels of one source",
                ),
            };
            NoRoom {
                counter,
                what,
                is_passing: true,
            }
        })
    }

    /// Tells a peer, now and then, that there is no room for its tunnel, and why.
    fn refuse_tunnel(
        &mut self,
        now: Instant,
        carrier: Carrier,
        opening: &l2tp::Opening,
        no_room: &NoRoom,
    ) {
        self.counters.add(no_room.counter);
        if let Some(remote) = self.remote_of(&carrier) {
            self.log_limit(now, remote, no_room.what);
        }
        if no_room.is_passing || !self.tunnels.refused.take(now) {
            return;
        }
        let why = format!("at their limit: {}", no_room.what);
        if let Some(answer) = l2tp::no_room(opening, TunnelId(ids::NOBODY), &why) {
            self.counters.add(Counter::L2tpNoRoomAnswered);
            self.send_of_no_tunnel(carrier, answer);
        }
    }

    /// A place among the half-open, if need be that of one that has not answered.
    fn enter_half_open_tunnel(&mut self, now: Instant, source: Source) -> Result<(), Full> {
        while let Err(full) = self.tunnels.half_open.enter(source) {
            let oldest = self.tunnels.unproven.oldest(full, source).ok_or(full)?;
            self.counters.add(Counter::L2tpHalfOpenEvicted);
            self.remove_tunnel(now, oldest);
        }
        Ok(())
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
                let is_held = |id| peer.tunnels.contains_key(&id);
                let shard = path.0.shard();
                let id = ike.ids.take(now, shard, &mut self.random, is_held)?;
                peer.tunnels.insert(id, ());
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

    /// A plain tunnel has a peer, and so a path, of its own.
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
        let path = PathId(self.peers.slots.vacant(shard)?);
        let ids = self.tunnels.ids.entry(number).or_default();
        let is_held = |id| self.tunnels.plain.contains_key(&(number, id));
        let id = ids.take(now, shard, &mut self.random, is_held)?;
        let correlation = Correlation::new(&mut self.random);
        let peer = Peer {
            correlation,
            listener,
            vrf,
            local,
            remote,
            encapsulation: Encapsulation::Plain,
            learnt_mtu: None,
            ike: None,
            tunnels: Few::of(id, ()),
            sessions_numbered: 0,
        };
        self.announce_plain(path, number, id, &peer);
        let inserted = self.peers.slots.insert(shard, peer);
        debug_assert_eq!(inserted, Some(path.0), "the path names its slot");
        self.peers.place(path, remote.address());
        let source = half_open::source_of(remote.address());
        let entered = self.tunnels.in_the_clear.enter(source);
        debug_assert_eq!(entered, Ok(()), "admitted before");
        let key = TunnelKey { path, id };
        self.tunnels.plain.insert((number, id), key);
        self.tunnels.by_ends.insert(((number, local, remote), key));
        Some((key, correlation))
    }

    fn announce_plain(&mut self, path: PathId, listener: u16, tunnel: u16, peer: &Peer) {
        let opened = Path {
            id: path,
            local: peer.local,
            remote: peer.remote,
            encapsulation: peer.encapsulation,
            mtu: self.settings.path_mtu,
            vrf: peer.vrf,
        };
        let shard = path.0.shard();
        self.outbox.change(shard, Change::OpenPath(opened));
        let opened = Change::OpenTunnel {
            listener,
            tunnel,
            path,
        };
        self.outbox.change(shard, opened);
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
        self.send_of_no_tunnel(carrier, answer);
    }

    fn send_of_no_tunnel(&mut self, carrier: Carrier, message: Vec<u8>) {
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
                self.outbox.inject(path.0.shard(), entry, message);
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
                self.outbox.inject(shard, entry, message);
            }
        }
    }

    /// A first message that was refused leaves nothing behind.
    fn forget_if_empty(&mut self, now: Instant, key: TunnelKey) {
        let tunnel = self.tunnels.by_key.get(&key);
        if tunnel.is_some_and(|tunnel| tunnel.machine.peer_id() == TunnelId(0)) {
            self.remove_tunnel(now, key);
        }
    }
}

fn source_of(carrier: &Carrier) -> Source {
    match carrier {
        Carrier::Secured { path, .. } => Source::Peer(*path),
        Carrier::Plain { remote, .. } => Source::Address(half_open::source_of(remote.address())),
    }
}
