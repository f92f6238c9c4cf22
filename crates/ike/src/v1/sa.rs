//! The ISAKMP SA: what the owner holds and calls.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto::dh::Outcome;

use super::children::{Children, LiveChildren};
use super::core::{Core, Received, Turn};
use super::fragments::Fragments;
use super::informational;
use super::isakmp::Isakmp;
use super::main_mode::responder::ExpectOffer;
use super::main_mode::{Handshake, initiator};
use super::quick_mode;
use super::replies::digest;
use crate::message::{HEADER_LEN, MESSAGE_LEN_MAX, kind, peek};
use crate::output::{ChildEnd, DownReason};
use crate::payload::delete::Delete;
use crate::policy::Psk;
use crate::{Cookie, Cookies, Environment, Identity, Output, Policy, Refusal, Spi};

mod receive;
mod time;

/// One ISAKMP SA and the quick modes under it.
#[derive(Debug)]
pub struct Sa {
    core: Core,
    phase: Phase,
    children: Children,
    /// Of a message that has not come whole yet.
    fragments: Option<Box<Fragments>>,
    /// When main mode has to be complete.
    setup_deadline: Instant,
    /// A notification that came in clear.
    complaint: Option<u16>,
    /// Why the last message of main mode that was dropped was dropped.
    last_refusal: Option<Refusal>,
    /// There is a NAT in front of us, and a mapping to be kept alive.
    keeps_alive: bool,
}

#[derive(Debug)]
enum Phase {
    /// Both apart: the SA lives on when they have gone.
    MainMode(Box<Handshake>),
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

    /// Starts the main mode that is to follow this one: on the path that was used last (RFC 3947
    /// §4), with the suite and the key that the peer has accepted already, and only with the
    /// identity that it has shown. `None` before phase 1 is complete and after it has ended.
    #[must_use]
    pub fn renew(
        &self,
        cookie: Cookie,
        now: Instant,
        env: &mut dyn Environment,
        out: &mut Vec<Output>,
    ) -> Option<Self> {
        let Phase::Established(isakmp) = &self.phase else {
            return None;
        };
        let identity = Some(isakmp.identity.clone());
        let policy = Policy {
            phase1: vec![isakmp.keys.suite()],
            psks: vec![Psk {
                peer: None,
                identity,
                key: isakmp.psk.clone(),
            }],
            initial_contact: false,
            ..Policy::clone(&self.core.policy)
        };
        let (local, remote) = self.path();
        Some(Self::initiate(
            Arc::new(policy),
            cookie,
            now,
            local,
            remote,
            env,
            out,
        ))
    }

    fn new(core: Core, handshake: Handshake, now: Instant) -> Self {
        Self {
            setup_deadline: now + core.policy.setup_limit,
            core,
            phase: Phase::MainMode(Box::new(handshake)),
            children: Children::default(),
            fragments: None,
            complaint: None,
            last_refusal: None,
            keeps_alive: false,
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
        let whole = self.reassemble(message)?;
        let message = whole.as_deref().unwrap_or(message);
        let header = peek(message)?;
        self.check_cookies(&header)?;
        let digest = digest(message);
        let received = Received {
            header,
            bytes: message,
            local,
            remote,
            digest,
        };
        let result = self.handle_message(&received, now, env, out);
        if let (Phase::MainMode(_), Err(refusal)) = (&self.phase, result) {
            self.last_refusal = Some(refusal);
        }
        result
    }

    /// The message that a fragment completes; `None` if this is no fragment.
    fn reassemble(&mut self, message: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        if message.len() > MESSAGE_LEN_MAX {
            return Err(Refusal::TooLong);
        }
        let header = peek(message)?;
        // A fragment is never encrypted itself, whatever the flag that some copy from the whole.
        if header.next_payload != kind::FRAGMENT {
            return Ok(None);
        }
        self.check_cookies(&header)?;
        let whole = self
            .fragments
            .get_or_insert_default()
            .add(header.next_payload, &message[HEADER_LEN..])?;
        self.fragments = None;
        Ok(Some(whole))
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
                let state = std::mem::replace(&mut **state, Handshake::Failed(DownReason::Closed));
                let next = state.computed(token, outcome, turn);
                self.settle(next, now, env, out);
            }
            Phase::Established(isakmp) => {
                let mut all = isakmp.exchanges.iter();
                let waiting = all.find(|(_, exchange)| exchange.token() == Some(token));
                let Some(&id) = waiting.map(|(id, _)| id) else {
                    return;
                };
                let Some(exchange) = isakmp.take_exchange(id) else {
                    return;
                };
                let next = exchange.computed(outcome, isakmp, &mut self.children, turn);
                isakmp
                    .exchanges
                    .extend(next.map(|next| (id, Box::new(next))));
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
        if receive::room(isakmp, &mut self.children, turn).is_err() {
            self.children.renew_later(now);
            let reason = ChildEnd::NoRoom;
            turn.out.push(Output::ChildFailed {
                inbound: None,
                reason,
            });
            return;
        }
        let exchange = quick_mode::initiator::start(isakmp, &mut self.children, turn);
        let exchange = exchange.map(|(id, exchange)| (id, Box::new(exchange)));
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
            let exchanges = isakmp.exchanges.values_mut();
            exchanges.for_each(|exchange| exchange.confirm(inbound));
        }
        self.children.confirm(inbound, out);
    }

    /// The lifetime that the peer has agreed to before, under another ISAKMP SA: pairs that we ask
    /// for live no longer.
    pub fn agree_lifetime(&mut self, agreed: Duration) {
        self.children.agree_lifetime(agreed);
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
        match &self.phase {
            Phase::Established(isakmp) => Some(&isakmp.identity),
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
    /// Everything but what is kept for the operator, for tests that say that nothing has changed.
    pub(super) fn state(&self) -> String {
        format!("{:?} {:?} {:?}", self.core, self.phase, self.children)
    }

    /// The keys, for tests that forge authentic messages.
    pub(super) fn isakmp(&self) -> &Isakmp {
        match &self.phase {
            Phase::Established(isakmp) => isakmp,
            Phase::MainMode(_) | Phase::Down => panic!("not established"),
        }
    }
}
