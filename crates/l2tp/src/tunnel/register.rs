//! The calls of a tunnel by their ids, and what is still waiting for something.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::session::Call;
use crate::{CallEnd, Few, Output, SessionId};

/// All calls of one tunnel. Most tunnels have one, which waits for nothing.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// By our id.
    pub(super) living: Few<SessionId, Box<Call>>,
    /// Our id by the peer's.
    by_peer: Few<SessionId, SessionId>,
    /// What waits, while anything does.
    pending: Option<Box<Pending>>,
}

#[derive(Debug, Default)]
struct Pending {
    /// Calls that the owner has not answered yet, by the peer's id.
    offers: BTreeMap<SessionId, Instant>,
    /// When offers and half-open calls end, earliest first.
    deadlines: BTreeSet<(Instant, Waiting)>,
}

/// What a deadline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waiting {
    /// By the peer's id.
    Offer(SessionId),
    /// By our id.
    Call(SessionId),
}

impl Calls {
    pub(super) fn ids(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.living.keys().copied()
    }

    pub(super) fn first_deadline(&self) -> Option<Instant> {
        self.first().map(|(at, _)| at)
    }

    /// What should have been done by `now`; each is told once.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Option<Waiting> {
        let (at, waiting) = self.first().filter(|(at, _)| now >= *at)?;
        self.stop_waiting(at, waiting);
        Some(waiting)
    }

    fn first(&self) -> Option<(Instant, Waiting)> {
        self.pending.as_ref()?.deadlines.first().copied()
    }

    fn offers(&self) -> Option<&BTreeMap<SessionId, Instant>> {
        self.pending.as_ref().map(|pending| &pending.offers)
    }

    /// The tunnel ends: every call and offer with it.
    pub(super) fn end_all(&mut self, out: &mut Vec<Output>) {
        let calls = std::mem::take(self);
        for &session in calls.living.keys() {
            out.push(Output::CallDown {
                session,
                end: CallEnd::TunnelDown,
            });
        }
        for &peer_session in calls.offers().into_iter().flat_map(BTreeMap::keys) {
            out.push(Output::OfferWithdrawn {
                peer_session,
                end: CallEnd::TunnelDown,
            });
        }
    }

    pub(super) fn count(&self) -> usize {
        self.living.len() + self.offers().map_or(0, BTreeMap::len)
    }

    pub(super) fn insert(&mut self, session: SessionId, call: Call) {
        self.wait(call.deadline, Waiting::Call(session));
        if call.peer != SessionId(0) {
            self.by_peer.insert(call.peer, session);
        }
        self.living.insert(session, Box::new(call));
    }

    pub(super) fn remove(&mut self, session: SessionId) -> Option<Call> {
        let call = self.living.remove(&session)?;
        self.stop_waiting(call.deadline, Waiting::Call(session));
        if call.peer != SessionId(0) {
            self.by_peer.remove(&call.peer);
        }
        Some(*call)
    }

    pub(super) fn insert_offer(&mut self, peer: SessionId, deadline: Instant) {
        self.wait(deadline, Waiting::Offer(peer));
        let pending = self.pending.get_or_insert_default();
        pending.offers.insert(peer, deadline);
    }

    pub(super) fn remove_offer(&mut self, peer: SessionId) -> bool {
        let pending = self.pending.as_mut();
        let deadline = pending.and_then(|pending| pending.offers.remove(&peer));
        if let Some(deadline) = deadline {
            self.stop_waiting(deadline, Waiting::Offer(peer));
        }
        deadline.is_some()
    }

    /// The peer has named its end of the call.
    pub(super) fn name_peer(&mut self, session: SessionId, peer: SessionId) {
        if let Some(call) = self.living.get_mut(&session) {
            call.peer = peer;
            self.by_peer.insert(peer, session);
        }
    }

    /// The call is established: its deadline is met.
    pub(super) fn meet_deadline(&mut self, session: SessionId) {
        if let Some(call) = self.living.get(&session) {
            self.stop_waiting(call.deadline, Waiting::Call(session));
        }
    }

    fn wait(&mut self, until: Instant, waiting: Waiting) {
        let pending = self.pending.get_or_insert_default();
        pending.deadlines.insert((until, waiting));
    }

    fn stop_waiting(&mut self, at: Instant, waiting: Waiting) {
        let Some(pending) = &mut self.pending else {
            return;
        };
        pending.deadlines.remove(&(at, waiting));
        if pending.deadlines.is_empty() && pending.offers.is_empty() {
            self.pending = None;
        }
    }

    /// The peer's id is taken, by a call or by an offer.
    pub(super) fn has_peer(&self, peer: SessionId) -> bool {
        let is_offered = self
            .offers()
            .is_some_and(|offers| offers.contains_key(&peer));
        is_offered || self.by_peer.contains_key(&peer)
    }

    /// The call that a message is about: by the id in its header, or where that is 0 by the peer's own.
    pub(super) fn find(&self, header: SessionId, assigned: Option<SessionId>) -> Option<SessionId> {
        if self.living.contains_key(&header) {
            return Some(header);
        }
        let assigned = assigned.filter(|_| header == SessionId(0))?;
        self.by_peer.get(&assigned).copied()
    }
}
