//! RFC 1661 §4.4: what each of the table's abbreviations does.

use super::{Context, Dialect, Negotiation, Request, Signals};
use crate::Refusal;
use crate::automaton::{self, Action, Event, State};
use crate::frame::{PACKET_HEADER, Packet, code};

impl<D: Dialect> Negotiation<D> {
    /// Looks the event up and does what the table says.
    pub(super) fn step(
        &mut self,
        event: Event,
        packet: Option<Packet<'_>>,
        ctx: &mut Context<'_>,
    ) -> Result<Signals, Refusal> {
        let (actions, next) = automaton::step(self.state, event).ok_or(Refusal::OutOfState)?;
        let mut signals = Signals::default();
        for &action in actions {
            self.act(action, next, packet, &mut signals, ctx);
        }
        self.state = next;
        if !next.is_timed() {
            self.deadline = None;
        }
        Ok(signals)
    }

    fn act(
        &mut self,
        action: Action,
        next: State,
        packet: Option<Packet<'_>>,
        signals: &mut Signals,
        ctx: &mut Context<'_>,
    ) {
        match action {
            Action::tlu => {
                signals.up = true;
                self.naks_sent = 0;
                self.naks_received = 0;
                self.copies = 0;
            }
            Action::tld => signals.down = true,
            Action::tls => {}
            Action::tlf => signals.finished = true,
            Action::irc => {
                let is_leaving = matches!(next, State::Closing | State::Stopping);
                self.restart_count = match is_leaving {
                    true => ctx.settings.max_terminate,
                    false => ctx.settings.max_configure,
                };
            }
            Action::zrc => {
                self.restart_count = 0;
                self.start_timer(ctx);
            }
            Action::scr => {
                self.renew_request(ctx);
                self.send_configure_request(ctx);
            }
            Action::sca => {
                signals.acks = true;
                self.send_answer(ctx);
            }
            Action::scn => self.send_answer(ctx),
            Action::str => self.send_terminate_request(ctx),
            Action::sta => self.send_terminate_ack(packet, ctx),
            Action::scj => self.send_code_reject(packet, ctx),
            Action::ser => signals.echo = true,
        }
    }

    fn start_timer(&mut self, ctx: &Context<'_>) {
        self.deadline = Some(ctx.now + ctx.settings.restart_timer);
    }

    /// RFC 1661 §5.1: the Identifier changes when the options do, and when the last request was
    /// answered; a retransmission keeps it.
    fn renew_request(&mut self, ctx: &Context<'_>) {
        let own = self.dialect.request();
        let options = match &ctx.settings.habits {
            Some(habits) => habits.request(D::PROTOCOL, &own, &self.rejected),
            None => own,
        };
        if self.request.is_answered || *self.request.options != *options {
            let id = self.next_id();
            self.request = Request {
                id,
                options: options.into(),
                is_answered: false,
            };
        }
        self.may_repeat = true;
    }

    pub(super) fn send_configure_request(&mut self, ctx: &mut Context<'_>) {
        self.restart_count = self.restart_count.saturating_sub(1);
        self.start_timer(ctx);
        let packet = Packet {
            code: code::CONFIGURE_REQUEST,
            id: self.request.id,
            body: &self.request.options,
        };
        ctx.send(D::PROTOCOL, packet);
    }

    pub(super) fn send_answer(&self, ctx: &mut Context<'_>) {
        if let Some(heard) = &self.heard {
            ctx.send(D::PROTOCOL, heard.answer());
        }
    }

    fn send_terminate_request(&mut self, ctx: &mut Context<'_>) {
        self.restart_count = self.restart_count.saturating_sub(1);
        self.start_timer(ctx);
        let packet = Packet {
            code: code::TERMINATE_REQUEST,
            id: self.next_id(),
            body: &[],
        };
        ctx.send(D::PROTOCOL, packet);
    }

    /// RFC 1661 §5.5: with the Identifier of the request.
    fn send_terminate_ack(&self, packet: Option<Packet<'_>>, ctx: &mut Context<'_>) {
        let packet = Packet {
            code: code::TERMINATE_ACK,
            id: packet.map_or(0, |request| request.id),
            body: &[],
        };
        ctx.send(D::PROTOCOL, packet);
    }

    /// RFC 1661 §5.6: a new Identifier, and the packet as it came, cut to the peer's MRU.
    fn send_code_reject(&mut self, packet: Option<Packet<'_>>, ctx: &mut Context<'_>) {
        let Some(rejected) = packet else { return };
        let mut body = rejected.frame(D::PROTOCOL).split_off(PACKET_HEADER);
        body.truncate(usize::from(ctx.peer_mru) - PACKET_HEADER);
        let packet = Packet {
            code: code::CODE_REJECT,
            id: self.next_id(),
            body: &body,
        };
        ctx.send(D::PROTOCOL, packet);
    }
}
