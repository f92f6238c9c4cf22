//! One PPP session from the first Configure-Request to the last Terminate-Ack.
//!
//! The link sorts frames to the machine they belong to and carries the news between them: LCP is
//! open, so somebody has to show who he is; he has, so IPCP may begin; it ended, so all ends.
//! `link/packets.rs` has the packets that no automaton answers.

use std::sync::Arc;
use std::time::Instant;

use crypto::Random;

use crate::auth::Exchange;
use crate::echo::{Echo, Pulse};
use crate::frame::{self, Packet, code, protocol};
use crate::ipcp::Ipcp;
use crate::lcp::Lcp;
use crate::negotiation::{Context, Negotiation, Signals};
use crate::{DEFAULT_MRU, DownReason, Method, Name, Negotiated, Output, Phase, Refusal, Settings};

mod authentication;
mod foreign;
mod network;
mod packets;

use foreign::Foreign;
use packets::RejectBudget;

/// One PPP session.
pub struct Link {
    settings: Arc<Settings>,
    lcp: Negotiation<Lcp>,
    exchange: Option<Exchange>,
    /// Who the exchange is about, for the record, until he is taken.
    claimant: Option<Box<(Name, Method)>>,
    /// There from the moment authentication is over.
    ipcp: Option<Negotiation<Ipcp>>,
    /// Network protocols that are asked for out of habit.
    foreign: Box<[Foreign]>,
    echo: Echo,
    /// An `Up` is out that no `NetworkDown` has taken back.
    is_up: bool,
    /// The peer has spoken a network control protocol since we accepted it.
    has_followed: bool,
    negotiation_deadline: Option<Instant>,
    renegotiations: u32,
    idents: u32,
    rejects: RejectBudget,
    /// Why the link is going down, as soon as it is.
    reason: Option<Box<DownReason>>,
    /// What the peer said in a Terminate-Request.
    farewell: Option<Box<DownReason>>,
    is_over: bool,
}

impl Link {
    /// A link that waits for [`Self::open`].
    pub fn new(settings: Arc<Settings>, now: Instant, random: &mut Random) -> Self {
        Self {
            lcp: Negotiation::new(Lcp::new(Arc::clone(&settings), random)),
            exchange: None,
            claimant: None,
            ipcp: None,
            foreign: Box::default(),
            echo: Echo::default(),
            is_up: false,
            has_followed: false,
            negotiation_deadline: None,
            renegotiations: 0,
            idents: 0,
            rejects: RejectBudget::new(now),
            reason: None,
            farewell: None,
            is_over: false,
            settings,
        }
    }

    /// The lower layer is up: negotiation begins. A second call does nothing.
    pub fn open(&mut self, now: Instant, _random: &mut Random, out: &mut Vec<Output>) {
        if self.is_over || !self.lcp.is_initial() {
            return;
        }
        self.negotiation_deadline = Some(now + self.settings.negotiation_limit);
        let mut ctx = self.context(now, out);
        self.lcp.start(&mut ctx);
    }

    /// Takes one PPP frame as L2TP carries it: with or without `FF 03`, with one or two octets of
    /// protocol.
    pub fn handle_input(
        &mut self,
        now: Instant,
        frame: &[u8],
        random: &mut Random,
        out: &mut Vec<Output>,
    ) {
        if let Err(refusal) = self.sort(now, frame, random, out) {
            // Down is last, also behind the packet that caused it.
            if !self.is_over || refusal == Refusal::LinkDown {
                out.push(Output::Discarded(refusal));
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, random: &mut Random, out: &mut Vec<Output>) {
        if self.is_over {
            return;
        }
        if self.negotiation_deadline.is_some_and(|limit| limit <= now) {
            self.negotiation_deadline = None;
            self.close(now, DownReason::NegotiationLimit, out);
        }
        let signals = self.lcp.handle_timeout(&mut self.context(now, out));
        self.follow_lcp(now, signals, random, out);
        self.exchange_timeout(now, random, out);
        self.ipcp_timeout(now, out);
        self.foreign_timeout(now, out);
        self.echo_timeout(now, out);
    }

    /// When the link next wants to be called, and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        if self.is_over {
            return None;
        }
        [
            (self.negotiation_deadline, "PPP negotiation limit"),
            (self.lcp.deadline(), "LCP restart timer"),
            (
                self.exchange.as_ref().and_then(Exchange::deadline),
                "authentication repeat",
            ),
            (
                self.ipcp.as_ref().and_then(Negotiation::deadline),
                "IPCP restart timer",
            ),
            (self.foreign_deadline(), "other network protocols"),
            (self.echo.deadline(), "LCP echo"),
        ]
        .into_iter()
        .filter_map(|(deadline, why)| deadline.map(|at| (at, why)))
        .min_by_key(|(at, _)| *at)
    }

    /// Ends the link: Terminate-Request, and [`Output::Down`] when it is answered or has gone
    /// unanswered Max-Terminate times. With [`DownReason::LowerLayerDown`] there is nobody left to
    /// tell, and `Down` comes at once. The first reason stands.
    pub fn close(&mut self, now: Instant, reason: DownReason, out: &mut Vec<Output>) {
        if self.is_over || self.reason.is_some() {
            return;
        }
        self.reason = Some(Box::new(reason));
        self.leave_network(out);
        self.negotiation_deadline = None;
        let is_carried = self.reason.as_deref() != Some(&DownReason::LowerLayerDown);
        let mut ctx = self.context(now, out);
        let _nothing_new = match is_carried {
            true => self.lcp.close(&mut ctx),
            false => self.lcp.down(&mut ctx),
        };
        if !self.lcp.is_closing() || self.lcp.deadline().is_none() {
            self.finish(out);
        }
    }

    /// Something came from the peer: no Echo-Request until an interval after `at`.
    pub fn saw_traffic(&mut self, at: Instant) {
        self.echo.saw_traffic(at, &self.settings);
    }

    /// Why the link is taking its leave, or why the peer wants it to; `None` while nobody does.
    pub fn ending(&self) -> Option<&DownReason> {
        self.reason.as_deref().or(self.farewell.as_deref())
    }

    /// What LCP has agreed on, while it is open.
    pub fn negotiated(&self) -> Option<Negotiated> {
        let is_open = self.lcp.is_opened();
        is_open.then(|| self.lcp.dialect.negotiated())
    }

    /// RFC 1661 §3.2.
    pub fn phase(&self) -> Phase {
        if self.is_over || self.lcp.is_initial() {
            Phase::Dead
        } else if self.lcp.is_closing() {
            Phase::Terminate
        } else if !self.lcp.is_opened() {
            Phase::Establish
        } else if self.ipcp.is_none() {
            Phase::Authenticate
        } else {
            Phase::Network
        }
    }

    fn sort(
        &mut self,
        now: Instant,
        frame: &[u8],
        random: &mut Random,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let phase = self.phase();
        if phase == Phase::Dead {
            return Err(Refusal::LinkDown);
        }
        let (protocol, information) = frame::parse(frame)?;
        // RFC 1661 §3.4, §3.5, §3.7: LCP always, authentication once LCP is open, network
        // protocols once the peer is known; all else is dropped in silence.
        match (protocol, phase) {
            (protocol::LCP, _) => self.lcp_input(now, information, random, out),
            (protocol::PAP | protocol::CHAP, Phase::Authenticate | Phase::Network) => {
                self.auth_input(now, protocol, information, random, out)
            }
            (protocol::IPCP, Phase::Network) => self.ipcp_input(now, information, random, out),
            // RFC 1661 §3.6: network packets before their NCP is open (after that they do not
            // come here).
            (protocol::IP, _) => Err(Refusal::WrongPhase(protocol)),
            (_, Phase::Network) if self.speaks_foreign(protocol) => {
                self.foreign_input(now, protocol, information, out)
            }
            (_, Phase::Network) => self.reject_protocol(now, protocol, information, out),
            _ => Err(Refusal::WrongPhase(protocol)),
        }
    }

    fn lcp_input(
        &mut self,
        now: Instant,
        information: &[u8],
        random: &mut Random,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let packet = Packet::parse(information)?;
        self.hear_out_of_band(packet, out)?;
        let mut ctx = self.context(now, out);
        let signals = self.lcp.handle_packet(packet, random, &mut ctx)?;
        if packet.code == code::TERMINATE_REQUEST {
            self.hear_farewell(packet);
        }
        if signals.echo {
            return self.maintain(now, packet, out);
        }
        self.follow_lcp(now, signals, random, out);
        Ok(())
    }

    /// Taken for the reason if the link ends by it; one that still negotiates goes on trying
    /// (RFC 1661 §4.1: RTR in Req-Sent leads to Req-Sent).
    fn hear_farewell(&mut self, packet: Packet<'_>) {
        let farewell = Box::new(DownReason::PeerTerminated {
            message: frame::printable(packet.body),
        });
        if self.lcp.is_closing() {
            self.reason.get_or_insert(farewell);
        } else {
            self.farewell = Some(farewell);
        }
    }

    /// Carries LCP's news to the machines above it.
    fn follow_lcp(
        &mut self,
        now: Instant,
        signals: Signals,
        random: &mut Random,
        out: &mut Vec<Output>,
    ) {
        if signals.down {
            self.leave_network(out);
            self.restart_negotiation(now, out);
        }
        if signals.up {
            self.farewell = None;
            self.echo.start(now, &self.settings);
            out.push(Output::LcpUp(self.lcp.dialect.negotiated()));
            self.introduce(now, out);
            self.enter_authentication(now, random, out);
        }
        if signals.finished {
            self.reason = self.reason.take().or_else(|| signals.fatal.map(Box::new));
            self.finish(out);
        } else if let Some(reason) = signals.fatal {
            self.close(now, reason, out);
        }
    }

    /// The peer negotiates anew what was agreed, or takes its leave.
    pub(super) fn restart_negotiation(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.lcp.is_closing() {
            self.negotiation_deadline = None;
            return;
        }
        self.renegotiations += 1;
        if self.renegotiations > self.settings.max_renegotiations {
            return self.close(now, DownReason::TooManyRenegotiations, out);
        }
        if self.negotiation_deadline.is_none() {
            self.negotiation_deadline = Some(now + self.settings.negotiation_limit);
        }
    }

    fn echo_timeout(&mut self, now: Instant, out: &mut Vec<Output>) {
        match self.echo.handle_timeout(now, &self.settings) {
            Pulse::Rest => {}
            Pulse::Ask => self.ask_echo(now, out),
            Pulse::Dead => self.close(now, DownReason::EchoTimeout, out),
        }
    }

    /// Everything above LCP ends.
    pub(super) fn leave_network(&mut self, out: &mut Vec<Output>) {
        self.exchange = None;
        self.ipcp = None;
        self.foreign = Box::default();
        self.echo.stop();
        if std::mem::take(&mut self.is_up) {
            out.push(Output::NetworkDown);
        }
    }

    fn finish(&mut self, out: &mut Vec<Output>) {
        self.is_over = true;
        self.leave_network(out);
        let reason = self.reason.take().or_else(|| self.farewell.take());
        let reason = reason.map_or(DownReason::NoAnswer, |reason| *reason);
        out.push(Output::Down(reason));
    }

    /// RFC 1661 §6.1: what LCP agreed on holds from Opened.
    fn context<'a>(&self, now: Instant, out: &'a mut Vec<Output>) -> Context<'a> {
        let peer_mru = self.negotiated().map_or(DEFAULT_MRU, |both| both.peer_mru);
        Context {
            now,
            settings: Arc::clone(&self.settings),
            peer_mru,
            out,
        }
    }
}
