//! From an admitted datagram to an event of the tables: the channel's order first, then the type of the message.

use std::sync::Arc;
use std::time::Instant;

use super::table::{Event, State};
use super::{BACKLOG_SPARE, End, Tunnel};
use crate::avp::Attributes;
use crate::channel::Arrival;
use crate::header::Header;
use crate::message::{self, Judgement, MessageType, Opening};
use crate::result::Scope;
use crate::{Output, Refusal, SessionId, TunnelEnd, TunnelId};

impl Tunnel {
    /// A header with tunnel id 0, or with an id that isn't ours.
    pub(super) fn admit_without_id(&self, header: &Header, body: &[u8]) -> Result<(), Refusal> {
        if header.tunnel != TunnelId(0) || body.is_empty() {
            return Err(Refusal::WrongTunnel);
        }
        if self.state == State::Idle && self.end == End::Open {
            return Ok(());
        }
        let avps = Attributes::read(body, self.settings.secret.as_ref())?;
        let opening = Opening::of(&avps);
        if self.expects(&opening) {
            Ok(())
        } else {
            Err(Refusal::WrongTunnel)
        }
    }

    /// Passes one admitted message through the channel, and with it those that waited for it.
    pub(super) fn take(
        &mut self,
        now: Instant,
        (ns, nr): (u16, u16),
        header: &Header,
        body: &[u8],
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        self.channel.acknowledge(now, nr);
        if body.is_empty() {
            return Ok(());
        }
        if self.is_deaf() {
            return Err(Refusal::OutsideWindow);
        }
        match self.channel.arrive(ns, header.session, body) {
            Arrival::InOrder => {}
            Arrival::Kept => return Ok(()),
            Arrival::Duplicate if header.tunnel == TunnelId(0) && self.is_farewell(body) => {
                // Departs from RFC 2661 §5.8: the Ns of such a StopCCN isn't looked at, because its sender
                // has no state and had to guess.
                self.channel.resynchronise(ns);
            }
            Arrival::Duplicate => return Err(Refusal::Duplicate),
            Arrival::Outside => return Err(Refusal::OutsideWindow),
        }
        let mut taken = self.process(now, header.session, body, out);
        while let Some(ahead) = self.channel.take_next() {
            let next = self.process(now, ahead.session, &ahead.body, out);
            taken = taken.and(next);
        }
        let backlog_max = self
            .settings
            .max_sessions
            .saturating_mul(2)
            .saturating_add(BACKLOG_SPARE);
        if self.channel.backlog() > backlog_max {
            return self.give_up(now, Refusal::NeverAcknowledges, out);
        }
        taken
    }

    /// Some clients hear nothing while their own message is unacknowledged (mtpd).
    fn is_deaf(&self) -> bool {
        let habits = self.settings.habits.as_ref();
        habits.is_some_and(|habits| habits.hears_one_at_a_time) && !self.channel.is_idle()
    }

    /// A peer that lost its state answers with a StopCCN whose Ns it had to guess.
    fn is_farewell(&self, body: &[u8]) -> bool {
        let is_stop = |avps: Attributes<'_>| avps.message_type() == MessageType::StopCcn as u16;
        self.end == End::Open && Attributes::read(body, None).is_ok_and(is_stop)
    }

    /// Acts on one message whose turn it is.
    fn process(
        &mut self,
        now: Instant,
        session: SessionId,
        body: &[u8],
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let settings = Arc::clone(&self.settings);
        let avps = match Attributes::read(body, settings.secret.as_ref()) {
            Ok(avps) => avps,
            Err(refusal) => return self.give_up(now, refusal, out),
        };
        let number = avps.message_type();
        let kind = MessageType::from_number(number);
        if self.end != End::Open {
            return self.process_after_end(kind, &avps);
        }
        match kind {
            // A first message that is no set-up message opens nothing.
            Some(kind) if self.state == State::Idle && !kind.is_set_up() => {
                self.give_up(now, Refusal::UnexpectedMessage(number), out)
            }
            Some(kind) => self.dispatch(now, kind, session, &avps, out),
            // RFC 2661 §4.4.1: an unknown message clears the tunnel if its type has the M bit, and is ignored otherwise.
            None if avps.type_mandatory => {
                self.give_up(now, Refusal::UnknownMandatoryMessage(number), out)
            }
            None => Ok(()),
        }
    }

    fn dispatch(
        &mut self,
        now: Instant,
        kind: MessageType,
        session: SessionId,
        avps: &Attributes<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        match kind {
            MessageType::Sccrq => {
                let judged = self.judge_sccrq(avps);
                self.conclude(now, Event::Sccrq, judged, out)
            }
            MessageType::Sccrp => {
                let judged = self.judge_sccrp(avps);
                self.conclude(now, Event::Sccrp, judged, out)
            }
            MessageType::Scccn => {
                let judged = self.judge_scccn(avps);
                self.conclude(now, Event::Scccn, judged, out)
            }
            MessageType::StopCcn => {
                let end = TunnelEnd::PeerStopped(message::result(avps, Scope::Tunnel));
                self.drive(now, Event::StopCcn, end, out);
                Ok(())
            }
            // The acknowledgement is all that the peer wants.
            MessageType::Hello => match &avps.fault {
                None => Ok(()),
                Some(fault) => self.give_up(now, fault.clone(), out),
            },
            MessageType::Icrq => self.receive_icrq(now, avps, out),
            MessageType::Icrp => self.receive_icrp(session, avps, out),
            MessageType::Iccn => self.receive_iccn(session, avps, out),
            MessageType::Cdn => self.receive_cdn(session, avps, out),
            MessageType::Wen | MessageType::Sli => self.receive_status(session, avps, out),
            MessageType::Ocrq | MessageType::Ocrp | MessageType::Occn => {
                self.receive_outgoing(kind, session, avps, out)
            }
        }
    }

    /// Runs the row for a set-up message that has been judged.
    fn conclude(
        &mut self,
        now: Instant,
        event: fn(Judgement) -> Event,
        judged: Result<(), Refusal>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let (judgement, end) = match &judged {
            Ok(()) => (Judgement::Good, TunnelEnd::Administrative),
            Err(refusal) => (Judgement::Bad, TunnelEnd::PeerMisbehaved(refusal.clone())),
        };
        self.drive(now, event(judgement), end, out);
        judged
    }

    /// The channel lives on after the end; what comes is acknowledged and no more.
    fn process_after_end(
        &mut self,
        kind: Option<MessageType>,
        avps: &Attributes<'_>,
    ) -> Result<(), Refusal> {
        if kind == Some(MessageType::StopCcn) {
            // Both sides closed at once: neither waits for the other any longer.
            self.channel.abandon();
            return Ok(());
        }
        if kind == Some(MessageType::Sccrp) && self.channel.peer == TunnelId(0) {
            // Closed while dialling: this tells where the StopCCN belongs.
            self.channel.peer = message::assigned_tunnel(avps).unwrap_or_default();
        }
        Err(Refusal::TunnelOver)
    }
}
