//! What the automaton's actions do: one engine for LCP and IPCP.
//!
//! It owns what RFC 1661 §4.6 calls the restart timer and counters, the identifiers, the last
//! Configure-Request of each side, and the rules by which an answer counts. What the options mean
//! is the [`Dialect`]'s business.
//!
//! ```text
//!  packet ─► is it an answer to ours? ─► Event ─► automaton::step ─► actions ─► frames
//!                    │                                                   │
//!                    ▼                                                   ▼
//!              Dialect: judge, adopt, drop                            Signals for the link
//! ```

use std::sync::Arc;
use std::time::Instant;

use crypto::Random;

use crate::automaton::{Event, State};
use crate::frame::{Packet, code};
use crate::options::{Judgement, Options, Patience};
use crate::{DownReason, Output, Refusal, Settings};

mod actions;

/// What a protocol has of its own.
pub(crate) trait Dialect {
    /// Its number.
    const PROTOCOL: u16;
    /// Highest code that is no reason for a Code-Reject.
    const LAST_CODE: u8;

    /// The options of our Configure-Request.
    fn request(&self) -> Vec<u8>;

    /// Looks at the peer's Configure-Request and remembers what it would come to.
    fn judge(
        &mut self,
        options: Options<'_>,
        patience: Patience,
        random: &mut Random,
    ) -> Result<Judgement, DownReason>;

    /// The peer would prefer these values.
    fn adopt(&mut self, options: Options<'_>, random: &mut Random) -> Result<(), DownReason>;

    /// The peer does not want these options; they are not asked for again (RFC 1661 §5.4).
    fn drop_rejected(&mut self, options: Options<'_>) -> Result<(), DownReason>;
}

/// The surroundings of one call.
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) settings: Arc<Settings>,
    /// RFC 1661 §5.6: what a Code-Reject is cut to.
    pub(crate) peer_mru: u16,
    pub(crate) out: &'a mut Vec<Output>,
}

impl Context<'_> {
    pub(crate) fn send(&mut self, protocol: u16, packet: Packet<'_>) {
        self.out.push(Output::Send(packet.frame(protocol)));
    }
}

/// What the layer above has to know after an event.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub(crate) struct Signals {
    /// This-Layer-Up.
    pub(crate) up: bool,
    /// This-Layer-Down.
    pub(crate) down: bool,
    /// This-Layer-Finished.
    pub(crate) finished: bool,
    /// Send-Configure-Ack.
    pub(crate) acks: bool,
    /// Send-Echo-Reply: the packet was one of those that count in Opened only.
    pub(crate) echo: bool,
    /// There is no point in going on.
    pub(crate) fatal: Option<DownReason>,
}

impl Signals {
    fn fatal(reason: DownReason) -> Self {
        Self {
            fatal: Some(reason),
            ..Self::default()
        }
    }
}

/// How many copies of the Configure-Request that led to Opened are answered with another Ack
/// before one is taken for the begin of a new negotiation.
const COPIES_IN_OPENED: u8 = 3;

/// One protocol's side of the link.
pub(crate) struct Negotiation<D> {
    pub(crate) dialect: D,
    state: State,
    /// RFC 1661 §4.6 Restart counter.
    restart_count: u32,
    deadline: Option<Instant>,
    /// The last identifier that was given to a packet of ours.
    last_id: u8,
    request: Request,
    /// What we said to the peer's last Configure-Request.
    heard: Option<Heard>,
    naks_sent: u32,
    naks_received: u32,
    copies: u8,
    may_repeat: bool,
    /// Options that the peer does not want, for those with habits.
    rejected: Box<[u8]>,
}

/// Our last Configure-Request.
#[derive(Default)]
struct Request {
    id: u8,
    options: Box<[u8]>,
    /// An Ack, Nak or Reject came, or there is no request yet.
    is_answered: bool,
}

/// The peer's last Configure-Request.
struct Heard {
    id: u8,
    options: Box<[u8]>,
    /// The code of the answer.
    answer: u8,
    /// What a Nak or Reject holds; an Ack repeats the options.
    objections: Box<[u8]>,
}

impl Heard {
    fn answer(&self) -> Packet<'_> {
        let body = match self.answer {
            code::CONFIGURE_ACK => &self.options,
            _ => &self.objections,
        };
        Packet {
            code: self.answer,
            id: self.id,
            body,
        }
    }

    fn event(&self) -> Event {
        match self.answer {
            code::CONFIGURE_ACK => Event::RcrPlus,
            _ => Event::RcrMinus,
        }
    }
}

impl<D: Dialect> Negotiation<D> {
    pub(crate) fn new(dialect: D) -> Self {
        Self {
            dialect,
            state: State::Initial,
            restart_count: 0,
            deadline: None,
            last_id: 0,
            request: Request {
                is_answered: true,
                ..Request::default()
            },
            heard: None,
            naks_sent: 0,
            naks_received: 0,
            copies: 0,
            may_repeat: false,
            rejected: Box::default(),
        }
    }

    /// Open and Up: the first Configure-Request goes out.
    pub(crate) fn start(&mut self, ctx: &mut Context<'_>) {
        for event in [Event::Open, Event::Up] {
            let _starts_nothing_else = self.step(event, None, ctx);
        }
    }

    pub(crate) fn close(&mut self, ctx: &mut Context<'_>) -> Signals {
        self.step(Event::Close, None, ctx).unwrap_or_default()
    }

    /// What carried the packets is gone.
    pub(crate) fn down(&mut self, ctx: &mut Context<'_>) -> Signals {
        self.step(Event::Down, None, ctx).unwrap_or_default()
    }

    pub(crate) fn is_opened(&self) -> bool {
        self.state == State::Opened
    }

    /// A Terminate-Request of either side is out, or all is over.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(
            self.state,
            State::Closing | State::Stopping | State::Closed | State::Stopped
        )
    }

    pub(crate) fn is_initial(&self) -> bool {
        self.state == State::Initial
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn handle_timeout(&mut self, ctx: &mut Context<'_>) -> Signals {
        if self.deadline.is_none_or(|deadline| ctx.now < deadline) {
            return Signals::default();
        }
        let event = match self.restart_count {
            0 => Event::TimeoutMinus,
            _ => Event::TimeoutPlus,
        };
        self.step(event, None, ctx).unwrap_or_default()
    }

    /// An identifier of its own for a packet that no option packet is.
    pub(crate) fn next_id(&mut self) -> u8 {
        self.last_id = self.last_id.wrapping_add(1);
        self.last_id
    }

    pub(crate) fn handle_packet(
        &mut self,
        packet: Packet<'_>,
        random: &mut Random,
        ctx: &mut Context<'_>,
    ) -> Result<Signals, Refusal> {
        match packet.code {
            code::CONFIGURE_REQUEST => self.configure_request(packet, random, ctx),
            code::CONFIGURE_ACK => self.configure_ack(packet, ctx),
            code::CONFIGURE_NAK | code::CONFIGURE_REJECT => {
                self.configure_refused(packet, random, ctx)
            }
            code::TERMINATE_REQUEST => self.step(Event::Rtr, Some(packet), ctx),
            code::TERMINATE_ACK => self.step(Event::Rta, Some(packet), ctx),
            code::CODE_REJECT => self.code_reject(packet, ctx),
            known if known > 0 && known <= D::LAST_CODE => self.step(Event::Rxr, Some(packet), ctx),
            unknown => {
                let _ = self.step(Event::Ruc, Some(packet), ctx)?;
                Err(Refusal::UnknownCode(unknown))
            }
        }
    }

    /// RXJ-: the peer does not speak this protocol, or not all of it that matters.
    pub(crate) fn rejected(&mut self, ctx: &mut Context<'_>) -> Signals {
        self.step(Event::RxjMinus, None, ctx).unwrap_or_default()
    }

    fn configure_request(
        &mut self,
        packet: Packet<'_>,
        random: &mut Random,
        ctx: &mut Context<'_>,
    ) -> Result<Signals, Refusal> {
        let options = Options::parse(packet.body)?;
        if self.is_copy(packet) {
            return self.answer_copy(packet, ctx);
        }
        let judgement = match self.dialect.judge(options, self.patience(ctx), random) {
            Ok(judgement) => judgement,
            Err(reason) => return Ok(Signals::fatal(reason)),
        };
        self.hear(packet, judgement);
        self.repeat_lost_request(ctx);
        self.step(self.heard_event(), Some(packet), ctx)
    }

    fn patience(&self, ctx: &Context<'_>) -> Patience {
        match self.naks_sent < ctx.settings.max_failure {
            true => Patience::Left,
            false => Patience::Exhausted,
        }
    }

    fn hear(&mut self, packet: Packet<'_>, judgement: Judgement) {
        let (answer, objections) = match judgement {
            Judgement::Ack => (code::CONFIGURE_ACK, Vec::new()),
            Judgement::Nak(options) => (code::CONFIGURE_NAK, options),
            Judgement::Reject(options) => (code::CONFIGURE_REJECT, options),
        };
        match answer {
            code::CONFIGURE_ACK => self.naks_sent = 0,
            code::CONFIGURE_NAK => self.naks_sent = self.naks_sent.saturating_add(1),
            _ => {}
        }
        self.copies = 0;
        self.heard = Some(Heard {
            id: packet.id,
            options: packet.body.into(),
            answer,
            objections: objections.into(),
        });
    }

    fn heard_event(&self) -> Event {
        self.heard.as_ref().map_or(Event::RcrMinus, Heard::event)
    }

    /// The same Configure-Request again: our answer was lost, or the network doubled the frame.
    fn is_copy(&self, packet: Packet<'_>) -> bool {
        self.heard
            .as_ref()
            .is_some_and(|heard| heard.id == packet.id && *heard.options == *packet.body)
    }

    /// A copy gets the same answer, judged but once.
    ///
    /// Departs from RFC 1661 §4.1 (RCR+ in Opened): a copy of the request that was acknowledged
    /// last gets its Ack again and does not restart negotiation, because a lost Ack or a doubled
    /// datagram would otherwise cost the peer its authentication. A few times only: a peer that
    /// really starts anew, with the very same octets, is believed in the end.
    fn answer_copy(
        &mut self,
        packet: Packet<'_>,
        ctx: &mut Context<'_>,
    ) -> Result<Signals, Refusal> {
        if self.state == State::Opened && self.copies < COPIES_IN_OPENED {
            self.copies += 1;
            self.send_answer(ctx);
            return Ok(Signals::default());
        }
        self.repeat_lost_request(ctx);
        self.step(self.heard_event(), Some(packet), ctx)
    }

    /// RFC 1661 §4.6 repeats an unanswered request when the Restart timer runs out.
    ///
    /// Departs from RFC 1661 §4.1 (RCR in Req-Sent): an unanswered request is repeated at once when
    /// the peer's own comes, because such a peer has, as a rule, only begun to listen (with Linux
    /// clients pppd starts after the call is up) and ours was lost: it saves the 3 seconds of the
    /// timer. Once per run of the timer, which starts anew. The repetition precedes our answer, so
    /// that a peer that did get the first copy sees the second before it can be Opened; the second
    /// Ack is then dropped as a copy.
    fn repeat_lost_request(&mut self, ctx: &mut Context<'_>) {
        let is_unanswered = self.state == State::ReqSent && !self.request.is_answered;
        // Others repeat themselves when their timer says so.
        let is_own_habit = ctx.settings.habits.is_none();
        if is_unanswered && is_own_habit && self.may_repeat && self.restart_count > 0 {
            self.send_configure_request(ctx);
            self.may_repeat = false;
        }
    }

    fn configure_ack(
        &mut self,
        packet: Packet<'_>,
        ctx: &mut Context<'_>,
    ) -> Result<Signals, Refusal> {
        self.check_identifier(packet)?;
        // RFC 1661 §5.2: the options must be those of the last request, bit for bit.
        if *packet.body != *self.request.options {
            return Err(Refusal::NotOurOptions);
        }
        self.request.is_answered = true;
        self.step(Event::Rca, Some(packet), ctx)
    }

    /// RFC 1661 §5.2–5.4: the Identifier must be that of the last request.
    ///
    /// Departs from RFC 1661 §4.1 (RCA and RCN in Ack-Rcvd and Opened): a second answer to one
    /// request is dropped, as pppd does, because a doubled datagram would otherwise take a
    /// working link down.
    fn check_identifier(&self, packet: Packet<'_>) -> Result<(), Refusal> {
        match (packet.id == self.request.id, self.request.is_answered) {
            (true, false) => Ok(()),
            (true, true) => Err(Refusal::SecondAnswer),
            (false, _) => Err(Refusal::StaleIdentifier),
        }
    }

    fn configure_refused(
        &mut self,
        packet: Packet<'_>,
        random: &mut Random,
        ctx: &mut Context<'_>,
    ) -> Result<Signals, Refusal> {
        let options = Options::parse(packet.body)?;
        self.check_identifier(packet)?;
        let is_reject = packet.code == code::CONFIGURE_REJECT;
        if is_reject && !self.requested_all(options) {
            return Err(Refusal::NotOurOptions);
        }
        self.request.is_answered = true;
        self.naks_received = self.naks_received.saturating_add(1);
        // RFC 1661 §4.6 bounds the Naks we send; a peer that Naks without end is met likewise: the
        // options it does not like are left out.
        let changed = match is_reject || self.naks_received > ctx.settings.max_failure {
            true => {
                self.note_rejected(options);
                self.dialect.drop_rejected(options)
            }
            false => self.dialect.adopt(options, random),
        };
        match changed {
            Ok(()) => self.step(Event::Rcn, Some(packet), ctx),
            Err(reason) => Ok(Signals::fatal(reason)),
        }
    }

    fn note_rejected(&mut self, options: Options<'_>) {
        let mut rejected = std::mem::take(&mut self.rejected).into_vec();
        for option in options.iter() {
            if !rejected.contains(&option.kind) {
                rejected.push(option.kind);
            }
        }
        self.rejected = rejected.into();
    }

    /// RFC 1661 §5.4: a Reject repeats options of ours, unchanged.
    fn requested_all(&self, refused: Options<'_>) -> bool {
        let Ok(ours) = Options::parse(&self.request.options) else {
            return false;
        };
        refused
            .iter()
            .all(|option| ours.iter().any(|own| own.wire == option.wire))
    }

    fn code_reject(
        &mut self,
        packet: Packet<'_>,
        ctx: &mut Context<'_>,
    ) -> Result<Signals, Refusal> {
        let &rejected = packet.body.first().ok_or(Refusal::Malformed)?;
        if rejected > code::CODE_REJECT {
            return self.step(Event::RxjPlus, Some(packet), ctx);
        }
        let mut signals = self.step(Event::RxjMinus, Some(packet), ctx)?;
        signals.fatal = Some(DownReason::CodeRejected(rejected));
        Ok(signals)
    }
}
