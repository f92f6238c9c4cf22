//! One PPP session from the first Configure-Request to the last Terminate-Ack.
//!
//! The link sorts frames to the machine they belong to and carries the news between them: LCP is
//! open, so somebody has to show who he is; he has, so IPCP may begin; it ended, so all ends.
//! `link/packets.rs` has the packets that no automaton answers.

use std::sync::Arc;
use std::time::Instant;

use crypto::Random;

use crate::auth::{Exchange, Outcome, Progress};
use crate::echo::{Echo, Pulse};
use crate::frame::{self, Packet, code, protocol};
use crate::ipcp::Ipcp;
use crate::lcp::Lcp;
use crate::negotiation::{Context, Negotiation, Signals};
use crate::{
    Credentials, DEFAULT_MRU, DownReason, Grant, Name, Output, Phase, Refusal, Role, Settings,
    Verdict,
};

mod packets;

use packets::RejectBudget;

/// One PPP session.
pub struct Link {
    settings: Arc<Settings>,
    lcp: Negotiation<Lcp>,
    exchange: Option<Exchange>,
    /// Who the exchange is about, for the record.
    claimant: Option<(Name, crate::Method)>,
    /// There from the moment authentication is over.
    ipcp: Option<Negotiation<Ipcp>>,
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
    reason: Option<DownReason>,
    /// What the peer said in a Terminate-Request.
    farewell: Option<DownReason>,
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
            echo: Echo::new(&settings),
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
        let settings = Arc::clone(&self.settings);
        let mut ctx = self.context(&settings, now, out);
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
        let settings = Arc::clone(&self.settings);
        let signals = self
            .lcp
            .handle_timeout(&mut self.context(&settings, now, out));
        self.follow_lcp(now, signals, random, out);
        self.exchange_timeout(now, random, out);
        self.ipcp_timeout(now, out);
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
            (self.echo.deadline(), "LCP echo"),
        ]
        .into_iter()
        .filter_map(|(deadline, why)| deadline.map(|at| (at, why)))
        .min_by_key(|(at, _)| *at)
    }

    /// The answer to [`Output::Authenticate`]. One that nobody waits for is ignored.
    pub fn authorize(
        &mut self,
        now: Instant,
        verdict: Verdict,
        random: &mut Random,
        out: &mut Vec<Output>,
    ) {
        if self.phase() != Phase::Authenticate {
            return;
        }
        let Some(mut exchange) = self.exchange.take() else {
            return;
        };
        let settings = Arc::clone(&self.settings);
        let mut ctx = self.context(&settings, now, out);
        let outcome = exchange.decide(&verdict, random, &mut ctx);
        self.exchange = Some(exchange);
        match (outcome, verdict) {
            (Outcome::Granted, Verdict::Accept(grant)) => {
                self.enter_network(now, Some(&grant), out)
            }
            (Outcome::Refused { may_retry, message }, _) => {
                self.report_refusal(message.clone(), out);
                if !may_retry {
                    self.close(now, DownReason::AuthenticationFailed { message }, out);
                }
            }
            (Outcome::Granted | Outcome::NotAsked, _) => {}
        }
    }

    /// Ends the link: Terminate-Request, and [`Output::Down`] when it is answered or has gone
    /// unanswered Max-Terminate times. With [`DownReason::LowerLayerDown`] there is nobody left to
    /// tell, and `Down` comes at once. The first reason stands.
    pub fn close(&mut self, now: Instant, reason: DownReason, out: &mut Vec<Output>) {
        if self.is_over || self.reason.is_some() {
            return;
        }
        self.reason = Some(reason);
        self.leave_network(out);
        self.negotiation_deadline = None;
        let is_carried = self.reason != Some(DownReason::LowerLayerDown);
        let settings = Arc::clone(&self.settings);
        let mut ctx = self.context(&settings, now, out);
        let _is_followed_here = match is_carried {
            true => self.lcp.close(&mut ctx),
            false => self.lcp.down(&mut ctx),
        };
        if !self.lcp.is_closing() || self.lcp.deadline().is_none() {
            self.finish(out);
        }
    }

    /// Something came from the peer: no Echo-Request until an interval after `at`.
    pub fn saw_traffic(&mut self, at: Instant) {
        self.echo.saw_traffic(at);
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
        let settings = Arc::clone(&self.settings);
        let mut ctx = self.context(&settings, now, out);
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
        let farewell = DownReason::PeerTerminated {
            message: frame::printable(packet.body),
        };
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
            self.echo.start(now);
            out.push(Output::LcpUp(self.lcp.dialect.negotiated()));
            self.enter_authentication(now, random, out);
        }
        if signals.finished {
            self.reason = self.reason.take().or(signals.fatal);
            self.finish(out);
        } else if let Some(reason) = signals.fatal {
            self.close(now, reason, out);
        }
    }

    /// The peer negotiates anew what was agreed, or takes its leave.
    fn restart_negotiation(&mut self, now: Instant, out: &mut Vec<Output>) {
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

    /// RFC 1661 §3.5. Both Configure-Acks are out and in, the peer's before ours here or ours
    /// just before this: a challenge cannot overtake them.
    fn enter_authentication(&mut self, now: Instant, random: &mut Random, out: &mut Vec<Output>) {
        let method = self.lcp.dialect.negotiated().auth;
        let settings = Arc::clone(&self.settings);
        let mut ctx = self.context(&settings, now, out);
        match (settings.role, method) {
            (Role::Server, _) => {
                self.exchange = Some(Exchange::server(method, random, &mut ctx));
                if method.is_none() {
                    out.push(Output::Authenticate(Credentials::None));
                }
            }
            (Role::Client, Some(method)) => {
                self.exchange = Some(Exchange::client(method, random, &mut ctx));
            }
            (Role::Client, None) => self.enter_network(now, None, out),
        }
    }

    fn auth_input(
        &mut self,
        now: Instant,
        protocol: u16,
        information: &[u8],
        random: &mut Random,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let packet = Packet::parse(information)?;
        let mut exchange = self.exchange.take().ok_or(Refusal::OtherMethod)?;
        let settings = Arc::clone(&self.settings);
        let mut ctx = self.context(&settings, now, out);
        let progress = exchange.handle_packet(protocol, packet, random, &mut ctx);
        self.exchange = Some(exchange);
        match progress? {
            Progress::Waiting => {}
            Progress::Shown(credentials) => {
                self.claimant = credentials.claimant();
                out.push(Output::Authenticate(credentials));
            }
            Progress::Accepted if self.ipcp.is_none() => self.enter_network(now, None, out),
            Progress::Accepted => {}
            Progress::Refused {
                user,
                method,
                message,
                reason,
            } => {
                self.claimant = Some((user, method));
                self.report_refusal(message, out);
                self.close(now, reason, out);
            }
        }
        Ok(())
    }

    fn report_refusal(&mut self, message: String, out: &mut Vec<Output>) {
        if let Some((user, method)) = self.claimant.take() {
            out.push(Output::AuthRefused {
                user,
                method,
                message,
            });
        }
    }

    fn exchange_timeout(&mut self, now: Instant, random: &mut Random, out: &mut Vec<Output>) {
        let Some(mut exchange) = self.exchange.take() else {
            return;
        };
        let settings = Arc::clone(&self.settings);
        let timed_out = exchange.handle_timeout(random, &mut self.context(&settings, now, out));
        self.exchange = Some(exchange);
        if let Err(reason) = timed_out {
            self.close(now, reason, out);
        }
    }

    /// RFC 1661 §3.6.
    fn enter_network(&mut self, now: Instant, grant: Option<&Grant>, out: &mut Vec<Output>) {
        let mut ipcp = Negotiation::new(match grant {
            Some(grant) => Ipcp::server(grant),
            None => Ipcp::client(&self.settings),
        });
        let settings = Arc::clone(&self.settings);
        ipcp.start(&mut self.context(&settings, now, out));
        self.ipcp = Some(ipcp);
        self.has_followed = false;
    }

    fn ipcp_input(
        &mut self,
        now: Instant,
        information: &[u8],
        random: &mut Random,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let packet = Packet::parse(information)?;
        self.has_followed = true;
        let Some(mut ipcp) = self.ipcp.take() else {
            return Err(Refusal::WrongPhase(protocol::IPCP));
        };
        let settings = Arc::clone(&self.settings);
        // `Up` goes before whatever this packet is answered with.
        let before = out.len();
        let mut ctx = self.context(&settings, now, out);
        let signals = ipcp.handle_packet(packet, random, &mut ctx);
        self.ipcp = Some(ipcp);
        self.follow_ipcp(now, signals?, before, out);
        Ok(())
    }

    fn follow_ipcp(
        &mut self,
        now: Instant,
        signals: Signals,
        before: usize,
        out: &mut Vec<Output>,
    ) {
        if signals.down && self.is_up {
            self.is_up = false;
            out.push(Output::NetworkDown);
            self.restart_negotiation(now, out);
        }
        if signals.up {
            self.ipcp_up(now, before, out);
        }
        let ended = signals.finished.then_some(DownReason::NetworkClosed);
        if let Some(reason) = signals.fatal.or(ended) {
            self.close(now, reason, out);
        }
    }

    fn ipcp_up(&mut self, now: Instant, before: usize, out: &mut Vec<Output>) {
        let Some(ipcp) = &self.ipcp else { return };
        match ipcp.dialect.addresses() {
            Ok(addresses) => {
                self.is_up = true;
                self.negotiation_deadline = None;
                out.insert(before, Output::Up(addresses));
            }
            Err(reason) => self.close(now, reason, out),
        }
    }

    fn ipcp_timeout(&mut self, now: Instant, out: &mut Vec<Output>) {
        let is_due = |ipcp: &Negotiation<Ipcp>| ipcp.deadline().is_some_and(|at| at <= now);
        let Some(mut ipcp) = self.ipcp.take_if(|ipcp| is_due(ipcp)) else {
            return;
        };
        let settings = Arc::clone(&self.settings);
        let before = out.len();
        let mut ctx = self.context(&settings, now, out);
        if let (false, Some(exchange)) = (self.has_followed, &self.exchange) {
            // RFC 1994 §4.1 leaves it to the peer to ask again when Success is lost, and most
            // don't: a peer that does not follow into the network phase is told once more.
            exchange.repeat_answer(&mut ctx);
        }
        let signals = ipcp.handle_timeout(&mut ctx);
        self.ipcp = Some(ipcp);
        self.follow_ipcp(now, signals, before, out);
    }

    fn echo_timeout(&mut self, now: Instant, out: &mut Vec<Output>) {
        match self.echo.handle_timeout(now) {
            Pulse::Rest => {}
            Pulse::Ask => self.ask_echo(now, out),
            Pulse::Dead => self.close(now, DownReason::EchoTimeout, out),
        }
    }

    /// Everything above LCP ends.
    fn leave_network(&mut self, out: &mut Vec<Output>) {
        self.exchange = None;
        self.ipcp = None;
        self.echo.stop();
        if std::mem::take(&mut self.is_up) {
            out.push(Output::NetworkDown);
        }
    }

    fn finish(&mut self, out: &mut Vec<Output>) {
        self.is_over = true;
        self.leave_network(out);
        let reason = self.reason.take().or_else(|| self.farewell.take());
        out.push(Output::Down(reason.unwrap_or(DownReason::NoAnswer)));
    }

    /// RFC 1661 §6.1: what LCP agreed on holds from Opened.
    fn context<'a>(
        &self,
        settings: &'a Settings,
        now: Instant,
        out: &'a mut Vec<Output>,
    ) -> Context<'a> {
        let peer_mru = match self.lcp.is_opened() {
            true => self.lcp.dialect.negotiated().peer_mru,
            false => DEFAULT_MRU,
        };
        Context {
            now,
            settings,
            peer_mru,
            out,
        }
    }
}
