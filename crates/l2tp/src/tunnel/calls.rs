//! The calls of a tunnel: offers, ids, limits, and the messages of RFC 2661 §6.6 to §6.14.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crate::avp::{Attribute, Attributes};
use crate::message::{self, Connected, Judgement, MessageType};
use crate::result::Scope;
use crate::session::{self, Action, Call, Event, Side, State};
use crate::{CallEnd, CallParameters, CallRefusal, Output, Refusal, ResultCode, SessionId};

use super::{End, Tunnel};

/// How often an id for a refused call is drawn before any will do.
const DRAWS: usize = 8;

/// All calls of one tunnel.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// By our id.
    living: BTreeMap<SessionId, Call>,
    /// Our id by the peer's.
    by_peer: BTreeMap<SessionId, SessionId>,
    /// Calls that the owner has not answered yet, by the peer's id.
    offers: BTreeMap<SessionId, Instant>,
    /// When offers and half-open calls end, earliest first.
    deadlines: BTreeSet<(Instant, Waiting)>,
}

/// What a deadline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Waiting {
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
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The tunnel ends: every call and offer with it.
    pub(super) fn end_all(&mut self, out: &mut Vec<Output>) {
        let calls = std::mem::take(self);
        for session in calls.living.into_keys() {
            out.push(Output::CallDown {
                session,
                end: CallEnd::TunnelDown,
            });
        }
        for peer_session in calls.offers.into_keys() {
            out.push(Output::OfferWithdrawn {
                peer_session,
                end: CallEnd::TunnelDown,
            });
        }
    }

    fn count(&self) -> usize {
        self.living.len() + self.offers.len()
    }

    fn insert(&mut self, session: SessionId, call: Call) {
        self.deadlines
            .insert((call.deadline, Waiting::Call(session)));
        if call.peer != SessionId(0) {
            self.by_peer.insert(call.peer, session);
        }
        self.living.insert(session, call);
    }

    fn remove(&mut self, session: SessionId) -> Option<Call> {
        let call = self.living.remove(&session)?;
        self.deadlines
            .remove(&(call.deadline, Waiting::Call(session)));
        if call.peer != SessionId(0) {
            self.by_peer.remove(&call.peer);
        }
        Some(call)
    }

    fn insert_offer(&mut self, peer: SessionId, deadline: Instant) {
        self.deadlines.insert((deadline, Waiting::Offer(peer)));
        self.offers.insert(peer, deadline);
    }

    fn remove_offer(&mut self, peer: SessionId) -> bool {
        let Some(deadline) = self.offers.remove(&peer) else {
            return false;
        };
        self.deadlines.remove(&(deadline, Waiting::Offer(peer)))
    }

    /// The peer has named its end of the call.
    fn name_peer(&mut self, session: SessionId, peer: SessionId) {
        if let Some(call) = self.living.get_mut(&session) {
            call.peer = peer;
            self.by_peer.insert(peer, session);
        }
    }

    /// The call is established: its deadline is met.
    fn meet_deadline(&mut self, session: SessionId) {
        if let Some(call) = self.living.get(&session) {
            self.deadlines
                .remove(&(call.deadline, Waiting::Call(session)));
        }
    }

    /// The peer's id is taken, by a call or by an offer.
    fn has_peer(&self, peer: SessionId) -> bool {
        self.by_peer.contains_key(&peer) || self.offers.contains_key(&peer)
    }

    /// The call that a message is about: by the id in its header, or where that is 0 by the peer's own.
    fn find(&self, header: SessionId, assigned: Option<SessionId>) -> Option<SessionId> {
        if self.living.contains_key(&header) {
            return Some(header);
        }
        let assigned = assigned.filter(|_| header == SessionId(0))?;
        self.by_peer.get(&assigned).copied()
    }
}

impl Tunnel {
    /// Asks the peer to take a call (LAC). May be called before the tunnel is up.
    pub fn place_call(
        &mut self,
        now: Instant,
        session: SessionId,
        call: CallParameters,
        out: &mut Vec<Output>,
    ) {
        let problem = if self.end != End::Open {
            Some(CallEnd::TunnelDown)
        } else if !self.is_free(session) {
            Some(CallEnd::BadSessionId)
        } else if self.calls.count() >= self.settings.max_sessions {
            Some(CallEnd::NoResources)
        } else {
            None
        };
        if let Some(end) = problem {
            out.push(Output::CallDown { session, end });
            return;
        }
        self.insert_call(now, Side::Lac, session, SessionId(0), Some(Box::new(call)));
        self.drive_call(session, Event::LocalOpen, CallEnd::Administrative, out);
        if self.is_established() {
            self.drive_call(session, Event::TunnelOpen, CallEnd::Administrative, out);
        }
        self.channel.flush(now, out);
    }

    /// Takes an offered call (LNS). An offer that is gone by now gives `CallDown`.
    pub fn accept_call(
        &mut self,
        now: Instant,
        peer_session: SessionId,
        session: SessionId,
        out: &mut Vec<Output>,
    ) {
        if !self.calls.remove_offer(peer_session) {
            out.push(Output::CallDown {
                session,
                end: CallEnd::OfferGone,
            });
            return;
        }
        if !self.is_free(session) {
            let end = CallEnd::BadSessionId;
            self.refuse_call(peer_session, end.cdn().unwrap_or_default());
            out.push(Output::CallDown { session, end });
        } else {
            self.insert_call(now, Side::Lns, session, peer_session, None);
            let event = Event::Icrq(Judgement::Good);
            self.drive_call(session, event, CallEnd::Administrative, out);
        }
        self.channel.flush(now, out);
    }

    /// Declines an offered call (LNS). An offer that is gone by now needs no answer.
    pub fn reject_call(
        &mut self,
        now: Instant,
        peer_session: SessionId,
        why: CallRefusal,
        out: &mut Vec<Output>,
    ) {
        if self.calls.remove_offer(peer_session) {
            self.refuse_call(peer_session, why.cdn(self.settings.busy));
            self.channel.flush(now, out);
        }
    }

    /// Ends a call: `CallDown`, CDN. A call that is gone by now needs nothing.
    pub fn hang_up(
        &mut self,
        now: Instant,
        session: SessionId,
        end: CallEnd,
        out: &mut Vec<Output>,
    ) {
        self.drive_call(session, Event::LocalClose, end, out);
        self.channel.flush(now, out);
    }

    /// Acts on a message about a call.
    pub(super) fn process_call(
        &mut self,
        now: Instant,
        kind: MessageType,
        header: SessionId,
        avps: &Attributes<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        if self.state == super::State::Idle {
            return self.give_up(now, Refusal::UnexpectedMessage(kind as u16), out);
        }
        match kind {
            MessageType::Icrq => self.receive_icrq(now, avps, out),
            MessageType::Icrp => self.receive_icrp(header, avps, out),
            MessageType::Iccn => self.receive_iccn(header, avps, out),
            MessageType::Cdn => self.receive_cdn(header, avps, out),
            MessageType::Wen | MessageType::Sli => self.receive_status(header, avps, out),
            _ => self.receive_outgoing(kind, header, avps, out),
        }
    }

    fn receive_icrq(
        &mut self,
        now: Instant,
        avps: &Attributes<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let (peer, serial) = match self.judge_icrq(avps) {
            Ok(request) => request,
            Err(refusal) => return self.decline_icrq(avps, refusal, out),
        };
        self.calls
            .insert_offer(peer, now + self.settings.setup_limit);
        out.push(Output::CallOffered {
            peer_session: peer,
            serial,
            calling_number: avps.text(Attribute::CallingNumber),
            called_number: avps.text(Attribute::CalledNumber),
            sub_address: avps.text(Attribute::SubAddress),
            correlation_id: avps.correlation_id,
        });
        Ok(())
    }

    /// Whether an ICRQ may become an offer.
    fn judge_icrq(&self, avps: &Attributes<'_>) -> Result<(SessionId, u32), Refusal> {
        // RFC 2661 §5: the control connection is established before any call.
        if !self.is_established() {
            return Err(Refusal::NoTunnelYet);
        }
        if let Some(fault) = &avps.fault {
            return Err(fault.clone());
        }
        let peer = message::required_session(avps)?;
        let serial = avps.u32(Attribute::CallSerialNumber);
        let serial = Attributes::require(Attribute::CallSerialNumber, serial)?;
        if self.calls.has_peer(peer) {
            return Err(Refusal::SessionIdInUse);
        }
        if self.calls.count() >= self.settings.max_sessions {
            return Err(Refusal::TooManyCalls);
        }
        Ok((peer, serial))
    }

    fn decline_icrq(
        &mut self,
        avps: &Attributes<'_>,
        refusal: Refusal,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let peer = message::assigned_session(avps);
        let end = CallEnd::PeerMisbehaved(refusal.clone());
        if let Some(session) = self.calls.find(SessionId(0), peer) {
            // RFC 2661 §7.4.2: an ICRQ for a call that is set up ends it.
            self.drive_call(session, Event::Icrq(Judgement::Bad), end, out);
            return Err(refusal);
        }
        if let Some(peer_session) = peer.filter(|peer| self.calls.remove_offer(*peer)) {
            out.push(Output::OfferWithdrawn { peer_session, end });
        }
        let result = match refusal {
            Refusal::TooManyCalls => CallRefusal::Busy.cdn(self.settings.busy),
            _ => refusal.cdn(),
        };
        self.refuse_call(peer.unwrap_or_default(), result);
        Err(refusal)
    }

    fn receive_icrp(
        &mut self,
        header: SessionId,
        avps: &Attributes<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        if !self.calls.living.contains_key(&header) {
            // RFC 2661 §7.4.2: an ICRP for no call is answered with CDN.
            let refusal = Refusal::UnknownSession(header.0);
            if let Some(peer) = message::assigned_session(avps) {
                self.refuse_call(peer, refusal.cdn());
            }
            return Err(refusal);
        }
        let judged = self.judge_icrp(header, avps);
        // Noted even if the rest is unacceptable, so that the CDN finds its way.
        if let Some(peer) = message::assigned_session(avps)
            && self.is_awaiting_reply(header)
            && !self.calls.has_peer(peer)
        {
            self.calls.name_peer(header, peer);
        }
        self.drive_judged(header, Event::Icrp, judged, out)
    }

    fn judge_icrp(&self, session: SessionId, avps: &Attributes<'_>) -> Result<(), Refusal> {
        if !self.is_awaiting_reply(session) {
            return Err(Refusal::UnexpectedMessage(MessageType::Icrp as u16));
        }
        if let Some(fault) = &avps.fault {
            return Err(fault.clone());
        }
        let peer = message::required_session(avps)?;
        if self.calls.has_peer(peer) {
            Err(Refusal::SessionIdInUse)
        } else {
            Ok(())
        }
    }

    fn is_awaiting_reply(&self, session: SessionId) -> bool {
        self.calls
            .living
            .get(&session)
            .is_some_and(|call| call.state == State::WaitReply)
    }

    fn receive_iccn(
        &mut self,
        header: SessionId,
        avps: &Attributes<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let Some(call) = self.calls.living.get(&header) else {
            // RFC 2661 §7.4.2: an ICCN for no call is cleaned up without a word.
            return Err(Refusal::UnknownSession(header.0));
        };
        let (peer_session, is_awaited) = (call.peer, call.state == State::WaitConnect);
        let judged = if is_awaited {
            self.judge_iccn(avps)
        } else {
            Err(Refusal::UnexpectedMessage(MessageType::Iccn as u16))
        };
        match judged {
            Ok(connected) => {
                self.drive_judged(header, Event::Iccn, Ok(()), out)?;
                out.push(Output::CallUp {
                    session: header,
                    peer_session,
                    tx_speed: connected.tx_speed,
                    rx_speed: connected.rx_speed,
                    private_group: connected.private_group,
                    proxy: connected.proxy,
                    sequencing_required: connected.sequencing_required,
                });
                Ok(())
            }
            Err(refusal) => self.drive_judged(header, Event::Iccn, Err(refusal), out),
        }
    }

    fn judge_iccn(&self, avps: &Attributes<'_>) -> Result<Connected, Refusal> {
        if let Some(fault) = &avps.fault {
            return Err(fault.clone());
        }
        let connected = Connected::read(avps)?;
        // RFC 2661 §4.4.3: a framing type that was not advertised is rejected. Some clients name both and mean either,
        // some name none.
        let framing = connected.framing_type;
        if framing != 0 && framing & self.settings.framing_capabilities == 0 {
            return Err(Refusal::FramingType(framing));
        }
        Ok(connected)
    }

    fn receive_cdn(
        &mut self,
        header: SessionId,
        avps: &Attributes<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let end = CallEnd::PeerHungUp(message::result(avps, Scope::Call));
        let assigned = message::assigned_session(avps);
        if let Some(session) = self.calls.find(header, assigned) {
            self.drive_call(session, Event::Cdn, end, out);
            return Ok(());
        }
        if let Some(peer_session) = assigned.filter(|peer| self.calls.remove_offer(*peer)) {
            out.push(Output::OfferWithdrawn { peer_session, end });
            return Ok(());
        }
        // Both sides hung up at once, as a rule.
        Err(Refusal::UnknownSession(header.0))
    }

    /// WEN and SLI: there is no physical line here whose errors or control characters would matter.
    fn receive_status(
        &mut self,
        header: SessionId,
        avps: &Attributes<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let Some(fault) = &avps.fault else {
            return Ok(());
        };
        let end = CallEnd::PeerMisbehaved(fault.clone());
        self.drive_call(header, Event::LocalClose, end, out);
        Err(fault.clone())
    }

    /// OCRQ, OCRP, OCCN: RFC 2661 §7.5 with every request "not acceptable".
    fn receive_outgoing(
        &mut self,
        kind: MessageType,
        header: SessionId,
        avps: &Attributes<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        if self.calls.living.contains_key(&header) {
            let refusal = Refusal::UnexpectedMessage(kind as u16);
            let end = CallEnd::PeerMisbehaved(refusal.clone());
            self.drive_call(header, Event::LocalClose, end, out);
            return Err(refusal);
        }
        // §7.5.1: OCRQ and OCRP are answered with CDN, OCCN with nothing.
        let peer = message::assigned_session(avps).filter(|_| kind != MessageType::Occn);
        if let Some(peer) = peer {
            self.refuse_call(peer, Refusal::OutgoingCall.cdn());
        }
        Err(Refusal::OutgoingCall)
    }

    /// Ends what took too long.
    pub(super) fn expire_calls(&mut self, now: Instant, out: &mut Vec<Output>) {
        while let Some((_, waiting)) = self
            .calls
            .deadlines
            .first()
            .copied()
            .filter(|(at, _)| now >= *at)
        {
            match waiting {
                Waiting::Offer(peer_session) => {
                    self.calls.remove_offer(peer_session);
                    self.refuse_call(peer_session, CallRefusal::Busy.cdn(self.settings.busy));
                    let end = CallEnd::SetupTimedOut;
                    out.push(Output::OfferWithdrawn { peer_session, end });
                }
                Waiting::Call(session) => {
                    self.calls.meet_deadline(session);
                    let end = CallEnd::SetupTimedOut;
                    self.drive_call(session, Event::LocalClose, end, out);
                }
            }
        }
    }

    /// The tunnel is up: calls that waited for it go ahead.
    pub(super) fn open_waiting_calls(&mut self, out: &mut Vec<Output>) {
        let waiting: Vec<SessionId> = self.calls.ids().collect();
        for session in waiting {
            self.drive_call(session, Event::TunnelOpen, CallEnd::Administrative, out);
        }
    }

    fn drive_judged(
        &mut self,
        session: SessionId,
        event: fn(Judgement) -> Event,
        judged: Result<(), Refusal>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let (judgement, end) = match &judged {
            Ok(()) => (Judgement::Good, CallEnd::Administrative),
            Err(refusal) => (Judgement::Bad, CallEnd::PeerMisbehaved(refusal.clone())),
        };
        self.drive_call(session, event(judgement), end, out);
        judged
    }

    /// Runs one row of the table for a call.
    fn drive_call(
        &mut self,
        session: SessionId,
        event: Event,
        end: CallEnd,
        out: &mut Vec<Output>,
    ) {
        let Some(call) = self.calls.living.get_mut(&session) else {
            return;
        };
        let (actions, next) = session::transition(call.side, call.state, event);
        call.state = next;
        for action in actions {
            match action {
                // The tunnel is being opened already: it exists.
                Action::OpenTunnel => {}
                Action::SendIcrq => self.send_icrq(session),
                Action::SendIcrp => self.send_icrp(session),
                Action::SendIccn => self.send_iccn(session, out),
                Action::Prepare => self.calls.meet_deadline(session),
                Action::SendCdn => self.send_cdn(session, &end),
                Action::CleanUp => {
                    self.calls.remove(session);
                    out.push(Output::CallDown {
                        session,
                        end: end.clone(),
                    });
                }
            }
        }
    }

    fn send_icrq(&mut self, session: SessionId) {
        let settings = Arc::clone(&self.settings);
        let hiding = self.hiding(&settings);
        let call = self
            .calls
            .living
            .get(&session)
            .and_then(|call| call.parameters.as_deref());
        if let Some(call) = call {
            self.channel
                .send(message::incoming_call_request(session, call, hiding));
        }
    }

    fn send_icrp(&mut self, session: SessionId) {
        let settings = Arc::clone(&self.settings);
        let hiding = self.hiding(&settings);
        if let Some(call) = self.calls.living.get(&session) {
            self.channel
                .send(message::incoming_call_reply(call.peer, session, hiding));
        }
    }

    fn send_iccn(&mut self, session: SessionId, out: &mut Vec<Output>) {
        let settings = Arc::clone(&self.settings);
        let hiding = self.hiding(&settings);
        let Some(call) = self.calls.living.get_mut(&session) else {
            return;
        };
        let Some(parameters) = call.parameters.take() else {
            return;
        };
        self.channel.send(message::incoming_call_connected(
            call.peer,
            &parameters,
            hiding,
        ));
        out.push(Output::CallUp {
            session,
            peer_session: call.peer,
            tx_speed: parameters.tx_speed,
            rx_speed: parameters.rx_speed,
            private_group: None,
            proxy: None,
            sequencing_required: parameters.sequencing_required,
        });
    }

    fn send_cdn(&mut self, session: SessionId, end: &CallEnd) {
        let peer = self.calls.living.get(&session).map(|call| call.peer);
        if let (Some(peer), Some(result)) = (peer, end.cdn()) {
            self.channel.send(message::cdn(peer, session, &result));
        }
    }

    /// CDN for a call that never got an id of ours.
    fn refuse_call(&mut self, peer: SessionId, result: ResultCode) {
        let own = self.draw_unused_id();
        self.channel.send(message::cdn(peer, own, &result));
    }

    /// RFC 2661 §5.3: even a CDN never names 0. The id is used for nothing else.
    fn draw_unused_id(&mut self) -> SessionId {
        for _ in 0..DRAWS {
            let drawn = self.random.as_mut().map(|random| SessionId(random.u16()));
            if let Some(id) = drawn.filter(|id| self.is_free(*id)) {
                return id;
            }
        }
        SessionId(u16::MAX)
    }

    fn is_free(&self, session: SessionId) -> bool {
        session != SessionId(0) && !self.calls.living.contains_key(&session)
    }

    fn insert_call(
        &mut self,
        now: Instant,
        side: Side,
        session: SessionId,
        peer: SessionId,
        parameters: Option<Box<CallParameters>>,
    ) {
        let deadline = now + self.settings.setup_limit;
        let call = Call {
            side,
            state: State::Idle,
            peer,
            parameters,
            deadline,
        };
        self.calls.insert(session, call);
    }
}

#[cfg(test)]
mod tests;
