//! Packets that no automaton answers: echo, Protocol-Reject, and what RFC 1570 adds.

use std::time::{Duration, Instant};

use super::Link;
use crate::frame::{self, PACKET_HEADER, Packet, code, protocol};
use crate::{DownReason, MAX_IDENTS, Output, Refusal};

/// Protocol-Rejects per [`REJECT_INTERVAL`]. A client tries three or four protocols in vain.
const REJECTS: u32 = 16;
const REJECT_INTERVAL: Duration = Duration::from_secs(1);

/// RFC 1570 §1.2: "forever".
const FOREVER: u32 = u32::MAX;

/// How many more Protocol-Rejects go out in this interval.
pub(super) struct RejectBudget {
    since: Instant,
    left: u32,
}

impl RejectBudget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            left: REJECTS,
        }
    }

    fn spend(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= REJECT_INTERVAL {
            *self = Self::new(now);
        }
        let may_spend = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may_spend
    }
}

impl Link {
    /// Identification may come in any state (RFC 1570 §1.1), and with it the only news there will
    /// be of a peer that does not converge.
    pub(super) fn hear_out_of_band(
        &mut self,
        packet: Packet<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        if packet.code != code::IDENTIFICATION {
            return Ok(());
        }
        let (_magic, message) = split_magic(packet.body)?;
        if self.idents == MAX_IDENTS {
            return Err(Refusal::TooManyIdents);
        }
        self.idents += 1;
        out.push(Output::Ident(frame::printable(message)));
        Ok(())
    }

    /// The link maintenance packets, in LCP's Opened state.
    pub(super) fn maintain(
        &mut self,
        now: Instant,
        packet: Packet<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        match packet.code {
            code::PROTOCOL_REJECT => self.protocol_rejected(now, packet, out),
            code::ECHO_REQUEST => self.answer_echo(now, packet, out),
            code::ECHO_REPLY => self.echo_answered(now, packet, out),
            code::TIME_REMAINING => hear_time_remaining(packet, out),
            code::DISCARD_REQUEST => split_magic(packet.body).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// RFC 1661 §5.7: the protocol is not sent any more. Ours are all needed.
    fn protocol_rejected(
        &mut self,
        now: Instant,
        packet: Packet<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let &[high, low] = packet.body.first_chunk().ok_or(Refusal::Malformed)?;
        let rejected = u16::from_be_bytes([high, low]);
        match rejected {
            // RFC 1661 §4.3, RXJ-: a link without LCP is none.
            protocol::LCP => {
                let _closes_below = self.lcp.rejected(&mut self.context(now, out));
            }
            protocol::IPCP | protocol::IP | protocol::PAP | protocol::CHAP => {}
            // RXJ+: something we don't send anyway.
            _ => {
                self.foreign_answered(rejected);
                return Ok(());
            }
        }
        self.close(now, DownReason::ProtocolRejected(rejected), out);
        Ok(())
    }

    /// RFC 1661 §5.8: the same Identifier and data, our own magic number.
    fn answer_echo(
        &mut self,
        now: Instant,
        packet: Packet<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let (magic, text) = split_magic(packet.body)?;
        let own_magic = self.lcp.dialect.magic();
        if magic == own_magic && magic != 0 {
            return Err(Refusal::OwnMagic);
        }
        self.saw_traffic(now);
        let mut body = own_magic.to_be_bytes().to_vec();
        body.extend_from_slice(text);
        let mut ctx = self.context(now, out);
        body.truncate(usize::from(ctx.peer_mru) - PACKET_HEADER);
        let reply = Packet {
            code: code::ECHO_REPLY,
            id: packet.id,
            body: &body,
        };
        ctx.send(protocol::LCP, reply);
        Ok(())
    }

    fn echo_answered(
        &mut self,
        now: Instant,
        packet: Packet<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let (magic, _) = split_magic(packet.body)?;
        if magic == self.lcp.dialect.magic() && magic != 0 {
            return Err(Refusal::OwnMagic);
        }
        let took = self
            .echo
            .answered(packet.id, now, &self.settings)
            .ok_or(Refusal::StaleIdentifier)?;
        out.push(Output::EchoRtt(took));
        Ok(())
    }

    pub(super) fn ask_echo(&mut self, now: Instant, out: &mut Vec<Output>) {
        let id = self.lcp.next_id();
        self.echo.asked(id, now, &self.settings);
        let magic = self.lcp.dialect.magic().to_be_bytes();
        let packet = Packet {
            code: code::ECHO_REQUEST,
            id,
            body: &magic,
        };
        self.context(now, out).send(protocol::LCP, packet);
    }

    /// RFC 1661 §5.7: the protocol's number and its packet, cut to the peer's MRU. Each network
    /// protocol is answered for itself: that one is refused holds no other up.
    pub(super) fn reject_protocol(
        &mut self,
        now: Instant,
        protocol: u16,
        information: &[u8],
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        self.has_followed = true;
        if !self.rejects.spend(now) {
            return Err(Refusal::TooManyRejects(protocol));
        }
        let id = self.lcp.next_id();
        let mut ctx = self.context(now, out);
        let mut body = protocol.to_be_bytes().to_vec();
        body.extend_from_slice(information);
        body.truncate(usize::from(ctx.peer_mru) - PACKET_HEADER);
        let packet = Packet {
            code: code::PROTOCOL_REJECT,
            id,
            body: &body,
        };
        ctx.send(protocol::LCP, packet);
        Err(Refusal::UnsupportedProtocol(protocol))
    }
}

fn hear_time_remaining(packet: Packet<'_>, out: &mut Vec<Output>) -> Result<(), Refusal> {
    let (_magic, rest) = split_magic(packet.body)?;
    let (seconds, message) = rest.split_first_chunk().ok_or(Refusal::Malformed)?;
    let seconds = u32::from_be_bytes(*seconds);
    out.push(Output::TimeRemaining {
        remaining: (seconds != FOREVER).then(|| Duration::from_secs(seconds.into())),
        message: frame::printable(message),
    });
    Ok(())
}

/// RFC 1661 §5.8, RFC 1570 §1: a magic number comes first in all of these.
fn split_magic(body: &[u8]) -> Result<(u32, &[u8]), Refusal> {
    let (magic, rest) = body.split_first_chunk().ok_or(Refusal::Malformed)?;
    Ok((u32::from_be_bytes(*magic), rest))
}
