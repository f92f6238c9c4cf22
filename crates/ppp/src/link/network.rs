//! The network phase of a link: IPCP, from the verdict to its end.

use std::time::Instant;

use crypto::Random;

use super::Link;
use crate::frame::{Packet, protocol};
use crate::ipcp::Ipcp;
use crate::negotiation::{Negotiation, Signals};
use crate::{DownReason, Grant, Output, Refusal, Role};

impl Link {
    /// RFC 1661 §3.6.
    pub(super) fn enter_network(
        &mut self,
        now: Instant,
        grant: Option<&Grant>,
        out: &mut Vec<Output>,
    ) {
        self.ask_foreign(now, true, out);
        let mut ipcp = Negotiation::new(match grant {
            Some(grant) => Ipcp::server(grant),
            None => Ipcp::client(&self.settings),
        });
        ipcp.start(&mut self.context(now, out));
        self.ipcp = Some(ipcp);
        self.ask_foreign(now, false, out);
        self.has_followed = false;
    }

    pub(super) fn ipcp_input(
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
        // `Up` goes before whatever this packet is answered with.
        let before = out.len();
        let mut ctx = self.context(now, out);
        let signals = ipcp.handle_packet(packet, random, &mut ctx);
        self.ipcp = Some(ipcp);
        self.follow_ipcp(now, signals?, before, out);
        Ok(())
    }

    pub(super) fn follow_ipcp(
        &mut self,
        now: Instant,
        signals: Signals,
        mut before: usize,
        out: &mut Vec<Output>,
    ) {
        if signals.down && self.is_up {
            self.is_up = false;
            out.insert(before, Output::NetworkDown);
            before += 1;
            self.restart_negotiation(now, out);
        }
        // The Ack tells the peer its address, also when its own Ack is still to come.
        if signals.up || (signals.acks && self.settings.role == Role::Server) {
            self.ipcp_up(now, before, out);
        }
        if signals.up {
            self.negotiation_deadline = None;
        }
        if let Some(reason) = signals.fatal {
            self.close(now, reason, out);
        }
    }

    fn ipcp_up(&mut self, now: Instant, before: usize, out: &mut Vec<Output>) {
        let Some(ipcp) = self.ipcp.as_ref().filter(|_| !self.is_up) else {
            return;
        };
        match ipcp.dialect.addresses() {
            Ok(addresses) => {
                self.is_up = true;
                out.insert(before, Output::Up(addresses));
            }
            Err(reason) => self.close(now, reason, out),
        }
    }

    pub(super) fn ipcp_timeout(&mut self, now: Instant, out: &mut Vec<Output>) {
        let is_due = |ipcp: &Negotiation<Ipcp>| ipcp.deadline().is_some_and(|at| at <= now);
        let Some(mut ipcp) = self.ipcp.take_if(|ipcp| is_due(ipcp)) else {
            return;
        };
        let before = out.len();
        let mut ctx = self.context(now, out);
        if let (false, Some(exchange)) = (self.has_followed, &self.exchange) {
            // RFC 1994 §4.1 leaves it to the peer to ask again when Success is lost, and most
            // don't: a peer that does not follow into the network phase is told once more.
            exchange.repeat_answer(&mut ctx);
        }
        let ended = match ipcp.is_closing() {
            true => DownReason::NetworkClosed,
            false => DownReason::NoNetwork,
        };
        let mut signals = ipcp.handle_timeout(&mut ctx);
        // IP is all that a link is for.
        signals.fatal = signals.finished.then_some(ended);
        self.ipcp = Some(ipcp);
        self.follow_ipcp(now, signals, before, out);
    }
}
