//! What a client with habits does beside LCP and IPCP: it says who it is, and asks for network
//! protocols that nobody here speaks, until it has an answer.

use std::time::Instant;

use super::Link;
use crate::frame::{Packet, code, protocol};
use crate::habits::Network;
use crate::negotiation::Context;
use crate::{Output, Refusal};

/// A network protocol that was asked for.
pub(super) struct Foreign {
    network: Network,
    tries: u32,
    /// When the Configure-Request is repeated; `None` once it was answered in whatever way.
    deadline: Option<Instant>,
}

impl Foreign {
    fn ask(&mut self, ctx: &mut Context<'_>) {
        self.tries += 1;
        let again = self.tries < ctx.settings.max_configure;
        self.deadline = again.then(|| ctx.now + ctx.settings.restart_timer);
        let options = self.network.request();
        let request = Packet {
            code: code::CONFIGURE_REQUEST,
            id: 1,
            body: &options,
        };
        ctx.send(self.network.protocol, request);
    }
}

impl Link {
    /// RFC 1570 §1.1.
    pub(super) fn introduce(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(habits) = self.settings.habits.clone() else {
            return;
        };
        let magic = self.lcp.dialect.magic().to_be_bytes();
        for text in &habits.identifications {
            let id = self.lcp.next_id();
            let body = [&magic[..], text].concat();
            let packet = Packet {
                code: code::IDENTIFICATION,
                id,
                body: &body,
            };
            self.context(now, out).send(protocol::LCP, packet);
        }
    }

    /// Begins with the foreign protocols that go ahead of IPCP, or with the others.
    pub(super) fn ask_foreign(&mut self, now: Instant, is_first: bool, out: &mut Vec<Output>) {
        let Some(habits) = self.settings.habits.clone() else {
            return;
        };
        let networks = habits.networks.iter().cloned();
        let mut all = std::mem::take(&mut self.foreign).into_vec();
        for network in networks.filter(|network| network.is_first == is_first) {
            let mut foreign = Foreign {
                network,
                tries: 0,
                deadline: None,
            };
            foreign.ask(&mut self.context(now, out));
            all.push(foreign);
        }
        self.foreign = all.into();
    }

    pub(super) fn speaks_foreign(&self, protocol: u16) -> bool {
        self.foreign
            .iter()
            .any(|foreign| foreign.network.protocol == protocol)
    }

    /// Whatever the peer says about such a protocol ends the asking; what it asks for is refused.
    pub(super) fn foreign_input(
        &mut self,
        now: Instant,
        protocol: u16,
        information: &[u8],
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let packet = Packet::parse(information)?;
        let answer = match (packet.code, packet.body) {
            (code::CONFIGURE_REQUEST, []) => code::CONFIGURE_ACK,
            (code::CONFIGURE_REQUEST, _) => code::CONFIGURE_REJECT,
            (code::TERMINATE_REQUEST, _) => code::TERMINATE_ACK,
            _ => {
                self.foreign_answered(protocol);
                return Ok(());
            }
        };
        let answer = Packet {
            code: answer,
            ..packet
        };
        self.context(now, out).send(protocol, answer);
        Ok(())
    }

    /// The peer has answered, or has rejected the protocol.
    pub(super) fn foreign_answered(&mut self, protocol: u16) {
        for foreign in &mut self.foreign {
            if foreign.network.protocol == protocol {
                foreign.deadline = None;
            }
        }
    }

    pub(super) fn foreign_deadline(&self) -> Option<Instant> {
        self.foreign.iter().filter_map(|one| one.deadline).min()
    }

    pub(super) fn foreign_timeout(&mut self, now: Instant, out: &mut Vec<Output>) {
        let mut foreign = std::mem::take(&mut self.foreign);
        for one in &mut foreign {
            if one.deadline.is_some_and(|at| at <= now) {
                one.ask(&mut self.context(now, out));
            }
        }
        self.foreign = foreign;
    }
}
