//! Calls as their owner sees them, and the messages that we send about them, RFC 2661 §6.6 to §6.12.

use std::sync::Arc;
use std::time::Instant;

use crate::message::{self, Judgement};
use crate::session::{self, Action, Call, Event, Side, State};
use crate::{CallEnd, CallParameters, CallRefusal, Output, Refusal, ResultCode, SessionId};

use super::register::Waiting;
use super::{End, Tunnel};

/// How often an id for a refused call is drawn before any will do.
const DRAWS: usize = 8;

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

    /// Ends what took too long.
    pub(super) fn expire_calls(&mut self, now: Instant, out: &mut Vec<Output>) {
        while let Some(waiting) = self.calls.take_overdue(now) {
            match waiting {
                Waiting::Offer(peer_session) => {
                    self.calls.remove_offer(peer_session);
                    self.refuse_call(peer_session, CallRefusal::Busy.cdn(self.settings.busy));
                    let end = CallEnd::SetupTimedOut;
                    out.push(Output::OfferWithdrawn { peer_session, end });
                }
                Waiting::Call(session) => {
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

    pub(super) fn drive_judged(
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
    pub(super) fn drive_call(
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
    pub(super) fn refuse_call(&mut self, peer: SessionId, result: ResultCode) {
        let own = self.draw_unused_id();
        self.channel.send(message::cdn(peer, own, &result));
    }

    /// RFC 2661 §5.3: even a CDN never names 0. The id is used for nothing else.
    fn draw_unused_id(&mut self) -> SessionId {
        for _ in 0..DRAWS {
            let drawn = self.draw().map(u16::from_le_bytes).map(SessionId);
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
