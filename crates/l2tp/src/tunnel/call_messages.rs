//! Messages about calls, RFC 2661 §6.6 to §6.14.

use std::time::Instant;

use super::Tunnel;
use crate::avp::{Attribute, Attributes};
use crate::message::{self, Connected, Judgement, MessageType};
use crate::result::Scope;
use crate::session::{Event, State};
use crate::{CallEnd, CallRefusal, Output, Refusal, SessionId};

impl Tunnel {
    pub(super) fn receive_icrq(
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
        let result = if refusal == Refusal::TooManyCalls {
            CallRefusal::Busy.cdn(self.settings.busy)
        } else {
            refusal.cdn()
        };
        self.refuse_call(peer.unwrap_or_default(), result);
        Err(refusal)
    }

    pub(super) fn receive_icrp(
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

    pub(super) fn receive_iccn(
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
        // RFC 2661 §4.4.3: a framing type that was not advertised is rejected.
        // Departs from RFC 2661 §4.4.4: one that names both, or none, is taken, because clients mean "any" by it.
        let framing = connected.framing_type;
        if framing != 0 && framing & self.settings.framing_capabilities == 0 {
            return Err(Refusal::FramingType(framing));
        }
        Ok(connected)
    }

    pub(super) fn receive_cdn(
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
    // Departs from RFC 2661 §6.13, §6.14: they are taken without the AVPs that they must have, because nothing
    // depends on those, and some servers send SLI without being asked.
    pub(super) fn receive_status(
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
    pub(super) fn receive_outgoing(
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
}
