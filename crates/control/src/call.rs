//! Calls: the sessions of a tunnel, from the offer to the CDN.

use std::time::Instant;

use dataplane::change::{Change, Session};
use dataplane::id::SessionSlot;
use l2tp::{CallEnd, CallRefusal, SessionId};

use crate::counters::Counter;
use crate::peer::Peer;
use crate::subscriber::Subscriber;
use crate::tunnel::TunnelKey;
use crate::{Control, log};

/// Sessions of a tunnel that live in the shard of its path; a fat tunnel's are spread over all.
const SESSIONS_AT_HOME: usize = 256;

impl Control {
    /// Somebody calls: an id and a slot, or a refusal.
    pub(crate) fn call_offered(
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
        let peer = self.peers.slots.get(key.path.0);
        let remote = peer.map(Peer::shown);
        if self.subscribers.len() >= self.settings.limits.sessions {
            self.counters.add(Counter::CallRefusedLimit);
            if let Some(remote) = remote {
                self.log_limit(now, remote, "sessions");
            }
            return Err(CallRefusal::Busy);
        }
        let source = peer.and_then(Peer::plain_source);
        let sessions = &self.tunnels.sessions_in_the_clear;
        if source.is_some_and(|source| sessions.limit_met(&source).is_some()) {
            self.counters.add(Counter::CallRefusedSourceLimit);
            if let Some(remote) = remote {
                self.log_limit(now, remote, "sessions of one source");
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
        let mut shard = match tunnel.sessions.len() < SESSIONS_AT_HOME {
            true => key.path.0.shard(),
            false => self.outbox.any_shard(),
        };
        let (ids, sessions) = (&mut tunnel.session_ids, &tunnel.sessions);
        let is_held = |id| sessions.contains_key(&id);
        let mut id = ids.take(now, shard, &mut self.random, is_held);
        if id.is_none() {
            // Short calls leave so many ids at rest that a shard can run out of them.
            shard = self.outbox.any_shard();
            id = ids.take(now, shard, &mut self.random, is_held);
        }
        let id = id?;
        let slot = SessionSlot(self.subscribers.vacant(shard)?);
        peer.sessions_numbered += 1;
        let correlation = tunnel.correlation.session(peer.sessions_numbered);
        let opened = Session {
            id: slot,
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
        let subscriber = Subscriber::new(correlation, opened, peer, now);
        let inserted = self.subscribers.insert(shard, subscriber);
        debug_assert_eq!(inserted, Some(slot.0), "the session names its slot");
        tunnel.sessions.insert(id, slot);
        if let Some(source) = peer.plain_source() {
            let entered = self.tunnels.sessions_in_the_clear.enter(source);
            debug_assert_eq!(entered, Ok(()), "admitted before");
        }
        self.outbox.change(shard, Change::OpenSession(opened));
        if shard != key.path.0.shard() {
            // The path's directory has to know the session too, before the ICRP names it.
            self.outbox
                .change(key.path.0.shard(), Change::OpenSession(opened));
        }
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

    pub(crate) fn session_of(&self, key: TunnelKey, session: SessionId) -> Option<SessionSlot> {
        self.tunnels
            .by_key
            .get(&key)?
            .sessions
            .get(&session.0)
            .copied()
    }
}
