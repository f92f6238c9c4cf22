//! What messages do to an ISAKMP SA.

use std::time::Instant;

use super::{Phase, Sa};
use crate::message::Exchange;
use crate::nat::IKE_PORT;
use crate::output::{ChildEnd, DownReason};
use crate::payload::delete::Delete;
use crate::v1::children::Children;
use crate::v1::core::{Received, Turn};
use crate::v1::isakmp::Isakmp;
use crate::v1::main_mode::Handshake;
use crate::v1::{informational, quick_mode};
use crate::{Cookie, Environment, Header, Output, Refusal};
impl Sa {
    /// RFC 2408 §5.2: unknown cookies discard the message.
    pub(super) fn check_cookies(&self, header: &Header) -> Result<(), Refusal> {
        let (ours, theirs) = (self.core.cookies, header.cookies);
        let is_known = match &self.phase {
            Phase::MainMode(state) if matches!(**state, Handshake::ExpectOffer(_)) => true,
            Phase::MainMode(_) => {
                // The responder may not have told its cookie yet, or complains without one.
                let half = header.exchange != Exchange::MainMode || self.core.is_initiator;
                let untold = ours.responder == Cookie::ZERO || header.is_first();
                ours == theirs
                    || (ours.initiator == theirs.initiator && (half && untold || header.is_first()))
            }
            Phase::Established(_) | Phase::Down => {
                ours == theirs || (ours.initiator == theirs.initiator && header.is_first())
            }
        };
        if is_known {
            Ok(())
        } else {
            Err(Refusal::ForeignCookies)
        }
    }

    pub(super) fn handle_message(
        &mut self,
        received: &Received<'_>,
        now: Instant,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let header = &received.header;
        self.check_port(received)?;
        // RFC 2408 §5.1: a repeated request gets the stored reply, and nothing else happens.
        if let Some(reply) = self.core.replies.recall(received.digest)? {
            let turn = &mut Turn {
                now,
                core: &mut self.core,
                env,
                out,
            };
            turn.send_from_to(received.local, received.remote, reply);
            return Ok(());
        }
        match header.exchange {
            Exchange::MainMode => self.main_mode(received, now, env, out)?,
            Exchange::QuickMode => self.quick_mode(received, now, env, out)?,
            Exchange::Informational => self.informational(received, now, env, out)?,
            Exchange::Aggressive => return Err(Refusal::AggressiveMode),
            Exchange::Transaction => return Err(Refusal::Unexpected),
        }
        self.core.replies.note(received.digest);
        Ok(())
    }

    /// RFC 3947 §4: after the move to port 4500 a main mode message on port 500 is an old one.
    fn check_port(&self, received: &Received<'_>) -> Result<(), Refusal> {
        let is_old = self.core.is_floated() && received.local.port() == IKE_PORT;
        if is_old && received.header.exchange == Exchange::MainMode {
            return Err(Refusal::OldPort);
        }
        Ok(())
    }

    fn main_mode(
        &mut self,
        received: &Received<'_>,
        now: Instant,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let state = match &mut self.phase {
            Phase::MainMode(state) => state,
            Phase::Established(_) => return Err(Refusal::Unexpected),
            Phase::Down => return Err(Refusal::Finished),
        };
        let is_offer = matches!(**state, Handshake::ExpectOffer(_));
        if received.header.message_id != 0 {
            return Err(Refusal::MessageIdSet);
        }
        if received.header.is_first() && !is_offer && !self.core.is_initiator {
            return Err(Refusal::Unexpected);
        }
        let state = std::mem::replace(&mut **state, Handshake::Failed(DownReason::Closed));
        let turn = &mut Turn {
            now,
            core: &mut self.core,
            env,
            out,
        };
        let (next, result) = state.receive(received, turn);
        let is_complete = matches!(next, Handshake::Complete(_));
        self.settle(next, now, env, out);
        if is_complete && !self.core.is_initiator {
            // RFC 3947 §4: the port, and possibly the address, of message 5 is the peer's.
            self.move_to(received, out);
        }
        result
    }

    /// Puts main mode where it belongs after a step.
    pub(super) fn settle(
        &mut self,
        next: Handshake,
        now: Instant,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) {
        match next {
            Handshake::Complete(complete) => {
                let turn = &mut Turn {
                    now,
                    core: &mut self.core,
                    env,
                    out,
                };
                let isakmp = Isakmp::new(*complete, turn);
                self.keeps_alive = isakmp.nat.method.is_some() && isakmp.nat.local_behind;
                self.phase = Phase::Established(Box::new(isakmp));
            }
            Handshake::Failed(reason) => self.go_down(reason, now, env, out),
            waiting @ (Handshake::ExpectOffer(_)
            | Handshake::ExpectKe(_)
            | Handshake::ExpectIdI(_)
            | Handshake::ExpectChoice(_)
            | Handshake::ExpectKeyPair(_)
            | Handshake::ExpectKeReply(_)
            | Handshake::ExpectIdR(_)) => self.phase = Phase::MainMode(Box::new(waiting)),
        }
    }

    fn quick_mode(
        &mut self,
        received: &Received<'_>,
        now: Instant,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let isakmp = established(&mut self.phase)?;
        let message_id = received.header.message_id;
        if message_id == 0 {
            return Err(Refusal::MessageIdMissing);
        }
        let turn = &mut Turn {
            now,
            core: &mut self.core,
            env,
            out,
        };
        let Some(exchange) = isakmp.take_exchange(message_id) else {
            return quick_mode_request(received, isakmp, &mut self.children, turn);
        };
        let (next, result) = exchange.receive(received, isakmp, &mut self.children, turn);
        isakmp
            .exchanges
            .extend(next.map(|next| (message_id, Box::new(next))));
        result?;
        isakmp.liveness.heard(now);
        self.follow(received, out);
        Ok(())
    }

    fn informational(
        &mut self,
        received: &Received<'_>,
        now: Instant,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        if let Phase::MainMode(state) = &self.phase {
            let is_proof_due = matches!(**state, Handshake::ExpectIdR(_));
            return Err(self.hear_complaint(received, is_proof_due));
        }
        let isakmp = established(&mut self.phase)?;
        if received.header.message_id == 0 {
            return Err(Refusal::MessageIdMissing);
        }
        let all = informational::open(received, isakmp, &self.children, &self.core)?;
        let turn = &mut Turn {
            now,
            core: &mut self.core,
            env,
            out,
        };
        let effect = informational::advance(all, received, isakmp, &mut self.children, turn);
        if effect.is_fresh {
            isakmp.liveness.heard(now);
            self.follow(received, out);
        }
        if let Some(reason) = effect.down {
            self.go_down(reason, now, env, out);
        }
        effect.refusal.map_or(Ok(()), Err)
    }

    /// A notification during main mode proves nothing, but an operator may want to read it.
    fn hear_complaint(&mut self, received: &Received<'_>, is_proof_due: bool) -> Refusal {
        if received.header.is_encrypted() {
            return if is_proof_due {
                Refusal::ProofRefused
            } else {
                Refusal::Unexpected
            };
        }
        match informational::complaint(received) {
            Ok(kind) => {
                self.complaint = Some(kind);
                Refusal::UnauthenticatedNotification
            }
            Err(refusal) => refusal,
        }
    }

    /// RFC 3947 §7: the last fresh authentic message says where the peer is.
    fn follow(&mut self, received: &Received<'_>, out: &mut Vec<Output>) {
        let Phase::Established(isakmp) = &self.phase else {
            return;
        };
        let nat = isakmp.nat;
        // Departs from RFC 3947 §7: an end behind a NAT follows too if the peer is behind one,
        // because a gateway with a static 1:1 NAT before it would lose every client whose own NAT
        // forgets it.
        if nat.method.is_some() && (!nat.local_behind || nat.remote_behind) {
            self.move_to(received, out);
        }
    }

    fn move_to(&mut self, received: &Received<'_>, out: &mut Vec<Output>) {
        let (local, remote) = (received.local, received.remote);
        if (self.core.local, self.core.remote) != (local, remote) {
            (self.core.local, self.core.remote) = (local, remote);
            out.push(Output::RemoteMoved { local, remote });
        }
    }
}

/// Takes message 1 of a quick mode.
fn quick_mode_request(
    received: &Received<'_>,
    isakmp: &mut Isakmp,
    children: &mut Children,
    turn: &mut Turn<'_>,
) -> Result<(), Refusal> {
    use quick_mode::responder::{Verdict, begin, open_request, refuse};
    let request = match open_request(received, isakmp, turn.core)? {
        Verdict::Answer(request) => *request,
        Verdict::Refuse(refusal, refused) => {
            refuse(refusal, refused, received, isakmp, turn);
            return Err(refusal);
        }
    };
    room(isakmp, children, turn)?;
    if request.initial_contact && !isakmp.initial_contact_seen {
        isakmp.initial_contact_seen = true;
        turn.out.push(Output::InitialContact);
    }
    let next = begin(request, isakmp, children, turn).ok_or(Refusal::NoSpiLeft)?;
    isakmp
        .exchanges
        .insert(received.header.message_id, Box::new(next));
    Ok(())
}

/// Whether one more exchange and one more pair may be; the oldest pair that has a successor makes
/// room.
pub(super) fn room(
    isakmp: &Isakmp,
    children: &mut Children,
    turn: &mut Turn<'_>,
) -> Result<(), Refusal> {
    if isakmp.exchanges.len() >= turn.core.policy.max_exchanges {
        return Err(Refusal::TooManyExchanges);
    }
    if children.len() < turn.core.policy.max_children {
        return Ok(());
    }
    let spared = children
        .oldest_superseded()
        .ok_or(Refusal::TooManyChildren)?;
    informational::delete(isakmp, &Delete::Esp(vec![spared]), turn);
    children.down(spared, ChildEnd::Superseded, turn.out);
    Ok(())
}

fn established(phase: &mut Phase) -> Result<&mut Isakmp, Refusal> {
    match phase {
        Phase::Established(isakmp) => Ok(isakmp),
        Phase::MainMode(_) => Err(Refusal::Unexpected),
        Phase::Down => Err(Refusal::Finished),
    }
}
