//! The ISAKMP SA: what the owner holds and calls.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crypto::dh::Outcome;

use super::children::{ChildDue, Children, LiveChildren};
use super::core::{Core, Received, Turn};
use super::fragments::Fragments;
use super::informational;
use super::isakmp::{Isakmp, Silence};
use super::main_mode::responder::ExpectOffer;
use super::main_mode::{Handshake, initiator};
use super::quick_mode;
use super::replies::digest;
use super::resend::Due;
use crate::message::{Exchange, HEADER_LEN, MESSAGE_LEN_MAX, kind, peek};
use crate::nat::IKE_PORT;
use crate::output::{ChildEnd, DownReason, Established};
use crate::payload::delete::Delete;
use crate::payload::notification::R_U_THERE;
use crate::{Cookie, Cookies, Environment, Header, Identity, Output, Policy, Refusal, Spi};

/// One ISAKMP SA and the quick modes under it.
#[derive(Debug)]
pub struct Sa {
    core: Core,
    phase: Phase,
    children: Children,
    fragments: Fragments,
    /// When main mode has to be complete.
    setup_deadline: Instant,
    /// A notification that came in clear.
    complaint: Option<u16>,
}

#[derive(Debug)]
enum Phase {
    MainMode(Handshake),
    Established(Box<Isakmp>),
    Down,
}

impl Sa {
    /// Answers a main mode: `cookie` is ours, and the next call is
    /// [`handle_input`](Self::handle_input) with message 1.
    #[must_use]
    pub fn respond(
        policy: Arc<Policy>,
        cookie: Cookie,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Self {
        let cookies = Cookies {
            initiator: Cookie::ZERO,
            responder: cookie,
        };
        let core = Core::new(policy, cookies, false, (local, remote), now);
        Self::new(core, Handshake::ExpectOffer(ExpectOffer), now)
    }

    /// Starts a main mode: message 1 is in `out`. `cookie` is ours.
    pub fn initiate(
        policy: Arc<Policy>,
        cookie: Cookie,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) -> Self {
        let cookies = Cookies {
            initiator: cookie,
            responder: Cookie::ZERO,
        };
        let mut core = Core::new(policy, cookies, true, (local, remote), now);
        let state = initiator::start(&mut Turn {
            now,
            core: &mut core,
            env,
            out,
        });
        let mut sa = Self::new(core, Handshake::Failed(DownReason::Closed), now);
        sa.settle(state, now, env, out);
        sa
    }

    fn new(core: Core, handshake: Handshake, now: Instant) -> Self {
        Self {
            setup_deadline: now + core.policy.setup_limit,
            core,
            phase: Phase::MainMode(handshake),
            children: Children::default(),
            fragments: Fragments::default(),
            complaint: None,
        }
    }

    /// Takes a message, without non-ESP marker. `Err` says why it was dropped; nothing has changed
    /// then, except that an authentic quick mode may have been refused with a notification.
    pub fn handle_input(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        message: &[u8],
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        if message.len() > MESSAGE_LEN_MAX {
            return Err(Refusal::TooLong);
        }
        let header = peek(message)?;
        self.check_cookies(&header)?;
        if header.next_payload == kind::FRAGMENT && !header.is_encrypted() {
            let whole = self
                .fragments
                .add(header.next_payload, &message[HEADER_LEN..])?;
            let header = peek(&whole)?;
            self.check_cookies(&header)?;
            let digest = digest(&whole);
            let received = Received {
                header,
                bytes: &whole,
                local,
                remote,
                digest,
            };
            return self.handle_message(&received, now, env, out);
        }
        let digest = digest(message);
        let received = Received {
            header,
            bytes: message,
            local,
            remote,
            digest,
        };
        self.handle_message(&received, now, env, out)
    }

    /// Takes the outcome of an [`Output::Compute`]; one that is not waited for is ignored.
    pub fn handle_computed(
        &mut self,
        now: Instant,
        token: u64,
        outcome: Outcome,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) {
        let turn = &mut Turn {
            now,
            core: &mut self.core,
            env,
            out,
        };
        match &mut self.phase {
            Phase::MainMode(state) => {
                let state = std::mem::replace(state, Handshake::Failed(DownReason::Closed));
                let next = state.computed(token, outcome, turn);
                self.settle(next, now, env, out);
            }
            Phase::Established(isakmp) => {
                let mut all = isakmp.exchanges.iter();
                let waiting = all.find(|(_, exchange)| exchange.token() == Some(token));
                let Some(&id) = waiting.map(|(id, _)| id) else {
                    return;
                };
                let Some(exchange) = isakmp.exchanges.remove(&id) else {
                    return;
                };
                let next = exchange.computed(outcome, isakmp, &mut self.children, turn);
                isakmp.exchanges.extend(next.map(|next| (id, next)));
            }
            Phase::Down => {}
        }
    }

    /// Does what has come due.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) {
        match &self.phase {
            Phase::MainMode(_) => self.time_main_mode(now, env, out),
            Phase::Established(_) => self.time_isakmp(now, env, out),
            Phase::Down => {}
        }
        self.time_children(now, env, out);
        if self.keepalive_at().is_some_and(|at| at <= now) {
            self.core.last_sent = now;
            out.push(Output::Keepalive {
                local: self.core.local,
                remote: self.core.remote,
            });
        }
        self.core.replies.expire(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let phase = match &self.phase {
            Phase::MainMode(state) => {
                let resend = state
                    .resend()
                    .map(|resend| (resend.deadline(), "main mode request"));
                resend
                    .into_iter()
                    .chain([(self.setup_deadline, "main mode limit")])
                    .min()
            }
            Phase::Established(isakmp) => isakmp.deadline(&self.core.policy),
            Phase::Down => None,
        };
        let keepalive = self.keepalive_at().map(|at| (at, "NAT keepalive"));
        let replies = self.core.replies.deadline().map(|at| (at, "old replies"));
        [phase, self.children.deadline(), keepalive, replies]
            .into_iter()
            .flatten()
            .min()
    }

    /// Starts a quick mode: for the first IPsec SA pair, or for the next one.
    pub fn create_child(&mut self, now: Instant, env: &mut dyn Environment, out: &mut Vec<Output>) {
        let Phase::Established(isakmp) = &mut self.phase else {
            let reason = ChildEnd::NoPhase1;
            out.push(Output::ChildFailed {
                inbound: None,
                reason,
            });
            return;
        };
        let turn = &mut Turn {
            now,
            core: &mut self.core,
            env,
            out,
        };
        if room(isakmp, &mut self.children, turn).is_err() {
            self.children.renew_later(now);
            let reason = ChildEnd::NoRoom;
            turn.out.push(Output::ChildFailed {
                inbound: None,
                reason,
            });
            return;
        }
        let exchange = quick_mode::initiator::start(isakmp, &mut self.children, turn);
        isakmp.exchanges.extend(exchange);
    }

    /// Gives up an IPsec SA pair, and tells the peer.
    pub fn delete_child(
        &mut self,
        now: Instant,
        inbound: Spi,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) {
        self.end_child(now, inbound, ChildEnd::Closed, env, out);
    }

    /// Gives up everything, and tells the peer.
    pub fn close(&mut self, now: Instant, env: &mut dyn Environment, out: &mut Vec<Output>) {
        let inbound = self.children.inbound();
        if let Phase::Established(isakmp) = &self.phase {
            let turn = &mut Turn {
                now,
                core: &mut self.core,
                env,
                out,
            };
            if !inbound.is_empty() {
                informational::delete(isakmp, &Delete::Esp(inbound), turn);
            }
            let cookies = turn.core.cookies;
            informational::delete(isakmp, &Delete::Isakmp(vec![cookies]), turn);
        }
        self.go_down(DownReason::Closed, now, env, out);
    }

    /// Authentic ESP came from the peer at this time, so it need not be asked whether it lives.
    pub fn saw_traffic(&mut self, at: Instant) {
        if let Phase::Established(isakmp) = &mut self.phase {
            isakmp.liveness.heard(at);
        }
    }

    /// Authentic ESP came over this pair, so the peer has it, even if message 3 was lost.
    pub fn saw_child_traffic(&mut self, at: Instant, inbound: Spi, out: &mut Vec<Output>) {
        self.saw_traffic(at);
        if let Phase::Established(isakmp) = &mut self.phase {
            isakmp
                .exchanges
                .retain(|_, exchange| !exchange.confirms(inbound));
        }
        self.children.confirm(inbound, out);
    }

    /// Gives away the living IPsec SA pairs, without ending them: a newer ISAKMP SA with the same
    /// peer takes them over.
    pub fn take_children(&mut self) -> LiveChildren {
        self.children.take()
    }

    /// Takes over IPsec SA pairs from an older ISAKMP SA with the same peer.
    pub fn adopt_children(&mut self, children: LiveChildren) {
        self.children.adopt(children);
    }

    /// Both cookies; the responder's is zero until message 2 if we are the initiator.
    #[must_use]
    pub fn cookies(&self) -> Cookies {
        self.core.cookies
    }

    /// Our end and the peer's.
    #[must_use]
    pub fn path(&self) -> (SocketAddr, SocketAddr) {
        (self.core.local, self.core.remote)
    }

    /// Who the peer has proved to be.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.negotiated().map(|established| &established.identity)
    }

    /// What phase 1 came to, while it lasts. The refused offers are not kept.
    #[must_use]
    pub fn negotiated(&self) -> Option<&Established> {
        match &self.phase {
            Phase::Established(isakmp) => Some(&isakmp.established),
            Phase::MainMode(_) | Phase::Down => None,
        }
    }

    /// Whether phase 1 is complete and has not ended.
    #[must_use]
    pub fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Established(_))
    }

    /// Whether phase 1 has ended. There may still be living IPsec SA pairs.
    #[must_use]
    pub fn is_down(&self) -> bool {
        matches!(self.phase, Phase::Down)
    }

    /// Whether nothing is left: no phase 1 and no IPsec SA pair.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.is_down() && self.children.is_empty()
    }

    /// The living IPsec SA pairs, the oldest first.
    #[must_use]
    pub fn children(&self) -> Vec<Spi> {
        self.children.inbound()
    }
}

#[cfg(test)]
impl Sa {
    /// The keys, for tests that forge authentic messages.
    pub(super) fn isakmp(&self) -> &Isakmp {
        match &self.phase {
            Phase::Established(isakmp) => isakmp,
            Phase::MainMode(_) | Phase::Down => panic!("not established"),
        }
    }
}

// What messages do.
impl Sa {
    /// RFC 2408 §5.2: unknown cookies discard the message.
    fn check_cookies(&self, header: &Header) -> Result<(), Refusal> {
        let (ours, theirs) = (self.core.cookies, header.cookies);
        let is_known = match &self.phase {
            Phase::MainMode(Handshake::ExpectOffer(_)) => true,
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

    fn handle_message(
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
        self.core.replies.note(now, received.digest);
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
        let is_offer = matches!(state, Handshake::ExpectOffer(_));
        if received.header.message_id != 0 {
            return Err(Refusal::MessageIdSet);
        }
        if received.header.is_first() && !is_offer && !self.core.is_initiator {
            return Err(Refusal::Unexpected);
        }
        let state = std::mem::replace(state, Handshake::Failed(DownReason::Closed));
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
    fn settle(
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
                self.phase = Phase::Established(Box::new(Isakmp::new(*complete, turn)));
            }
            Handshake::Failed(reason) => self.go_down(reason, now, env, out),
            waiting @ (Handshake::ExpectOffer(_)
            | Handshake::ExpectKe(_)
            | Handshake::ExpectIdI(_)
            | Handshake::ExpectChoice(_)
            | Handshake::ExpectKeyPair(_)
            | Handshake::ExpectKeReply(_)
            | Handshake::ExpectIdR(_)) => self.phase = Phase::MainMode(waiting),
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
        let Some(exchange) = isakmp.exchanges.remove(&message_id) else {
            return quick_mode_request(received, isakmp, &mut self.children, turn);
        };
        let (next, result) = exchange.receive(received, isakmp, &mut self.children, turn);
        isakmp.exchanges.extend(next.map(|next| (message_id, next)));
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
        if matches!(self.phase, Phase::MainMode(_)) && !received.header.is_encrypted() {
            self.complaint = Some(informational::complaint(received)?);
            return Err(Refusal::UnauthenticatedNotification);
        }
        let isakmp = established(&mut self.phase)?;
        if received.header.message_id == 0 {
            return Err(Refusal::MessageIdMissing);
        }
        let all = informational::open(received, isakmp, &self.children, &self.core)?;
        let (mut is_fresh, mut down, mut refusal) = (false, None, None);
        for news in all {
            let turn = &mut Turn {
                now,
                core: &mut self.core,
                env,
                out,
            };
            match informational::advance(news, received, isakmp, &mut self.children, turn) {
                Ok(effect) => {
                    is_fresh |= effect.is_fresh;
                    down = down.or(effect.down);
                }
                Err(reason) => refusal = Some(reason),
            }
        }
        if is_fresh {
            isakmp.liveness.heard(now);
            self.follow(received, out);
        }
        if let Some(reason) = down {
            self.go_down(reason, now, env, out);
        }
        refusal.map_or(Ok(()), Err)
    }

    /// RFC 3947 §7: the last fresh authentic message says where the peer is.
    fn follow(&mut self, received: &Received<'_>, out: &mut Vec<Output>) {
        let Phase::Established(isakmp) = &self.phase else {
            return;
        };
        let nat = isakmp.nat();
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
    isakmp.liveness.heard(turn.now);
    let next = begin(request, isakmp, children, turn).ok_or(Refusal::NoSpiLeft)?;
    isakmp.exchanges.insert(received.header.message_id, next);
    Ok(())
}

/// Whether one more exchange and one more pair may be; the oldest pair that has a successor makes
/// room.
fn room(isakmp: &Isakmp, children: &mut Children, turn: &mut Turn<'_>) -> Result<(), Refusal> {
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

// What time does.
impl Sa {
    fn time_main_mode(&mut self, now: Instant, env: &mut dyn Environment, out: &mut Vec<Output>) {
        let Phase::MainMode(state) = &mut self.phase else {
            return;
        };
        let (waiting_for, complaint) = (state.waiting_for(), self.complaint);
        if now >= self.setup_deadline {
            let reason = DownReason::SetupTimeout {
                waiting_for,
                complaint,
            };
            return self.go_down(reason, now, env, out);
        }
        let turn = &mut Turn {
            now,
            core: &mut self.core,
            env,
            out,
        };
        match state.fire(turn) {
            Due::Wait => {}
            Due::Again(messages) => messages.into_iter().for_each(|one| turn.send(one)),
            Due::GiveUp => {
                let reason = DownReason::Unanswered {
                    waiting_for,
                    complaint,
                };
                self.go_down(reason, now, env, out);
            }
        }
    }

    fn time_isakmp(&mut self, now: Instant, env: &mut dyn Environment, out: &mut Vec<Output>) {
        let Phase::Established(isakmp) = &mut self.phase else {
            return;
        };
        let turn = &mut Turn {
            now,
            core: &mut self.core,
            env,
            out,
        };
        let policy = turn.core.policy.clone();
        for (id, exchange) in std::mem::take(&mut isakmp.exchanges) {
            let next = exchange.fire(&mut self.children, turn);
            isakmp.exchanges.extend(next.map(|next| (id, next)));
        }
        if isakmp.renew_at.is_some_and(|at| at <= now) {
            isakmp.renew_at = None;
            turn.out.push(Output::RenewalDue);
        }
        let silence = match policy.dpd.filter(|_| isakmp.established.dpd) {
            Some(dpd) => isakmp.liveness.fire(now, dpd),
            None => Silence::Wait,
        };
        if let Silence::Ask(sequence) = silence {
            let message = informational::dpd(isakmp, R_U_THERE, sequence, turn);
            turn.send(message);
        }
        if isakmp.expires_at <= now {
            let cookies = turn.core.cookies;
            informational::delete(isakmp, &Delete::Isakmp(vec![cookies]), turn);
            self.go_down(DownReason::Expired, now, env, out);
        } else if silence == Silence::Dead {
            self.go_down(DownReason::PeerDead, now, env, out);
        }
    }

    /// Each turn of the loop ends or renews a pair, so it ends.
    fn time_children(&mut self, now: Instant, env: &mut dyn Environment, out: &mut Vec<Output>) {
        while let Some(due) = self.children.due(now) {
            match due {
                ChildDue::Renew if self.is_established() => self.create_child(now, env, out),
                ChildDue::Renew => {}
                ChildDue::End(inbound, reason) => self.end_child(now, inbound, reason, env, out),
            }
        }
    }

    fn end_child(
        &mut self,
        now: Instant,
        inbound: Spi,
        reason: ChildEnd,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) {
        if !self.children.down(inbound, reason, out) {
            return;
        }
        if let Phase::Established(isakmp) = &mut self.phase {
            isakmp
                .exchanges
                .retain(|_, exchange| !exchange.confirms(inbound));
            let turn = &mut Turn {
                now,
                core: &mut self.core,
                env,
                out,
            };
            informational::delete(isakmp, &Delete::Esp(vec![inbound]), turn);
        }
    }

    /// Ends phase 1. The IPsec SA pairs outlast it, unless the peer is gone or the owner wants it.
    fn go_down(
        &mut self,
        reason: DownReason,
        now: Instant,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) {
        let was = std::mem::replace(&mut self.phase, Phase::Down);
        let children_end = match reason {
            DownReason::PeerDead => Some(ChildEnd::PeerDead),
            DownReason::Closed => Some(ChildEnd::Closed),
            DownReason::SetupTimeout { .. }
            | DownReason::Unanswered { .. }
            | DownReason::ProposalRefused
            | DownReason::NoPreSharedKey
            | DownReason::BadPublicValue
            | DownReason::PeerDeleted
            | DownReason::Expired => None,
        };
        match was {
            Phase::Established(isakmp) => {
                let turn = &mut Turn {
                    now,
                    core: &mut self.core,
                    env,
                    out,
                };
                for (_, exchange) in isakmp.exchanges {
                    exchange.fail(ChildEnd::NoPhase1, &mut self.children, turn);
                }
            }
            Phase::MainMode(_) => {}
            Phase::Down => return self.end_children(children_end, out),
        }
        self.end_children(children_end, out);
        out.push(Output::Down { reason });
    }

    fn end_children(&mut self, reason: Option<ChildEnd>, out: &mut Vec<Output>) {
        let Some(reason) = reason else { return };
        for inbound in self.children.inbound() {
            self.children.down(inbound, reason, out);
        }
    }

    /// RFC 3948 §4: whoever is behind a NAT keeps its mapping alive when nothing else does.
    fn keepalive_at(&self) -> Option<Instant> {
        if let Phase::Established(isakmp) = &self.phase {
            let nat = isakmp.nat();
            let due = nat.method.is_some() && nat.local_behind && self.core.is_floated();
            return due.then(|| self.core.last_sent + self.core.policy.nat_keepalive);
        }
        None
    }
}
