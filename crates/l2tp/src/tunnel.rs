//! One control connection and its calls, RFC 2661 §7.2.
//!
//! A datagram goes through three doors: the header must be sound and name this tunnel, the channel must say that it is its
//! turn, and the table of its state must have a row for it. An end is reported once (`TunnelDown`); after it the channel
//! alone stays for a full retransmission cycle, to deliver our StopCCN or to acknowledge the peer's repeats.

mod call_messages;
mod calls;
mod establishment;
mod receive;
mod register;
mod table;
mod timers;

use std::sync::Arc;
use std::time::Instant;

use crypto::Random;

use crate::avp::Hiding;
use crate::channel::Channel;
use crate::header::Kind;
use crate::message::{self, MessageType, Opening};
use crate::{Output, Refusal, SessionId, Settings, TunnelEnd, TunnelId, peek};
use register::Calls;
use table::{Action, Event, State};

/// Messages that may wait for the peer's acknowledgements beyond two for each call.
const BACKLOG_SPARE: usize = 256;

/// One control connection with its calls.
#[derive(Debug)]
pub struct Tunnel {
    settings: Arc<Settings>,
    id: TunnelId,
    state: State,
    channel: Channel,
    calls: Calls,
    peer_host_name: Box<str>,
    /// Until the tunnel is up.
    set_up: Option<Box<SetUp>>,
    /// Of vectors for hiding, and of ids for calls that are refused; from what the owner gives. A
    /// generator would be ten times as large, and is hardly ever wanted.
    seed: Option<[u8; 32]>,
    /// When anything authentic last came from the peer.
    heard_at: Instant,
    /// Since when the oldest HELLO is being tried; later traffic earns it more tries.
    hello_since: Instant,
    end: End,
}

/// What is of no interest any more when the tunnel is up.
#[derive(Debug)]
struct SetUp {
    deadline: Instant,
    peer_vendor_name: String,
    /// The challenge that we sent and that the peer has not answered yet.
    challenge: Option<[u8; 16]>,
    /// Our answer to the peer's challenge.
    response: Option<[u8; 16]>,
    tie_breaker: Option<u64>,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Not in sight.
    Open,
    /// Reported; the channel works until the given time.
    Closing(Instant),
    /// Nothing left to do.
    Finished,
}

/// How two hosts that dial each other at once are told apart, RFC 2661 §4.4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// Neither side minds: answer the SCCRQ, both tunnels live.
    Both,
    /// Ours won: drop the SCCRQ in silence.
    Won,
    /// Ours lost and is gone: answer the SCCRQ.
    Lost,
    /// Equal: ours is gone, and the SCCRQ is dropped in silence.
    Neither,
}

impl Tunnel {
    /// Waits for an SCCRQ, which is the first thing to give to `handle_input`.
    pub fn answer(settings: Arc<Settings>, id: TunnelId, now: Instant) -> Self {
        debug_assert_ne!(id, TunnelId(0), "RFC 2661 §5.3: 0 is never assigned");
        let set_up = SetUp {
            deadline: now + settings.setup_limit,
            peer_vendor_name: String::new(),
            challenge: None,
            response: None,
            tie_breaker: None,
        };
        Self {
            id,
            state: State::Idle,
            channel: Channel::new(Arc::clone(&settings)),
            calls: Calls::default(),
            peer_host_name: Box::default(),
            set_up: Some(Box::new(set_up)),
            seed: None,
            heard_at: now,
            hello_since: now,
            end: End::Open,
            settings,
        }
    }

    /// Sends an SCCRQ.
    pub fn dial(
        settings: Arc<Settings>,
        id: TunnelId,
        now: Instant,
        random: &mut Random,
        out: &mut Vec<Output>,
    ) -> Self {
        let mut tunnel = Self::answer(settings, id, now);
        tunnel.seed = Some(random.array());
        if let Some(set_up) = &mut tunnel.set_up {
            set_up.tie_breaker = tunnel.settings.tie_breaker.then(|| random.u64());
        }
        tunnel.draw_challenge();
        tunnel.drive(now, Event::LocalOpen, TunnelEnd::Administrative, out);
        tunnel.channel.flush(now, out);
        tunnel
    }

    /// Takes one datagram. `Err` names what was refused; acknowledgements, CDN or StopCCN may be in `out` all the same.
    pub fn handle_input(
        &mut self,
        now: Instant,
        message: &[u8],
        random: &mut Random,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let header = peek(message)?;
        let (ns, nr) = header
            .sequence
            .filter(|_| header.kind == Kind::Control)
            .ok_or(Refusal::NotControl)?;
        let body = &message[header.payload.clone()];
        if self.end == End::Finished {
            return Err(Refusal::TunnelOver);
        }
        if header.tunnel != self.id {
            self.admit_without_id(&header, body)?;
        }
        if self.state == State::Idle && self.end == End::Open && (ns != 0 || body.is_empty()) {
            // RFC 2661 §5.8: a connection begins with Ns 0.
            return Err(Refusal::OutsideWindow);
        }
        self.seed.get_or_insert_with(|| random.array());
        self.heard_at = self.heard_at.max(now);
        let taken = self.take(now, (ns, nr), &header, body, out);
        if self.end != End::Finished {
            self.channel.flush(now, out);
        }
        taken
    }

    /// An SCCRQ came from the peer whom we are dialling: settles whose tunnel lives.
    pub fn meet(&mut self, now: Instant, theirs: &Opening, out: &mut Vec<Output>) -> Tie {
        if self.state != State::WaitCtlReply || self.end != End::Open {
            return Tie::Both;
        }
        // RFC 2661 §4.4.3: the lower value wins, and whoever has one wins over whoever has none.
        let tie = match (self.tie_breaker(), theirs.tie_breaker) {
            (None, None) => return Tie::Both,
            (Some(_), None) => return Tie::Won,
            (None, Some(_)) => Tie::Lost,
            (Some(own), Some(theirs)) if own < theirs => return Tie::Won,
            (Some(own), Some(theirs)) if own > theirs => Tie::Lost,
            (Some(_), Some(_)) => Tie::Neither,
        };
        self.drive(now, Event::LostTie, TunnelEnd::LostTie, out);
        tie
    }

    /// Ends the tunnel: `CallDown` for each call, `TunnelDown`, StopCCN.
    pub fn close(&mut self, now: Instant, end: TunnelEnd, out: &mut Vec<Output>) {
        if self.end == End::Open {
            self.drive(now, Event::AdminClose, end, out);
        }
    }

    /// Something authentic other than a control message came from this peer: it lives. So no HELLO is due, and one that
    /// it doesn't acknowledge won't end the tunnel.
    pub fn saw_traffic(&mut self, at: Instant) {
        self.heard_at = self.heard_at.max(at);
    }

    /// Whether a message with tunnel id 0 belongs to this tunnel and not to a new one: the repeat of an SCCRQ whose
    /// answer is still under way, or a StopCCN. An SCCRQ from the peer of an *established* tunnel is a new beginning, even
    /// if it names the same id (Windows counts from 1 each time).
    pub fn expects(&self, opening: &Opening) -> bool {
        let is_peer =
            opening.assigned_tunnel == self.channel.peer && self.channel.peer != TunnelId(0);
        match MessageType::from_number(opening.message_type) {
            Some(MessageType::Sccrq) => {
                let is_refused = matches!(self.end, End::Closing(_)) && !self.channel.is_idle();
                let is_repeat = self.state == State::WaitCtlConn || is_refused;
                is_peer && is_repeat && self.channel.expected() == 1
            }
            // Whom we dial may not have understood our SCCRQ, and so not know our id.
            Some(MessageType::StopCcn) => is_peer || self.state == State::WaitCtlReply,
            _ => false,
        }
    }

    /// The Ns of the peer's next message.
    pub fn expected(&self) -> u16 {
        self.channel.expected()
    }

    /// Our tunnel id.
    pub fn id(&self) -> TunnelId {
        self.id
    }

    /// The peer's tunnel id; 0 until it has said.
    pub fn peer_id(&self) -> TunnelId {
        self.channel.peer
    }

    /// The peer's Host Name; empty until it has said.
    pub fn peer_host_name(&self) -> &str {
        &self.peer_host_name
    }

    /// Ids of our calls, set up or being set up, in order.
    pub fn calls(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.calls.ids()
    }

    /// Calls may be placed and offered.
    pub fn is_established(&self) -> bool {
        self.state == State::Established
    }

    /// The peer has acknowledged everything; after an end: it knows of it.
    pub fn is_acknowledged(&self) -> bool {
        self.channel.is_idle()
    }

    /// Nothing more will come from this machine; it can go.
    pub fn is_finished(&self) -> bool {
        self.end == End::Finished
    }

    /// Runs one row of the table.
    fn drive(&mut self, now: Instant, event: Event, end: TunnelEnd, out: &mut Vec<Output>) {
        let (actions, next) = table::transition(self.state, event);
        self.state = next;
        let stop = if actions.contains(&Action::SendStopCcn) {
            end.stop_ccn()
        } else {
            None
        };
        for action in actions {
            match action {
                Action::SendSccrq => self.send_sccrq(),
                Action::SendSccrp => self.send_sccrp(),
                Action::SendScccn => self.send_scccn(),
                Action::TunnelOpen => self.open(out),
                Action::CleanUp => self.clean_up(now, end.clone(), out),
                // Left to the end, when the owner has been told.
                Action::SendStopCcn => {}
            }
        }
        if let Some(result) = stop {
            let message = message::stop_ccn(self.id, &result);
            self.channel.send_last(now, message, out);
            self.channel.flush(now, out);
        }
    }

    /// The peer did something that ends the tunnel whatever the state.
    fn give_up(
        &mut self,
        now: Instant,
        refusal: Refusal,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        if self.end == End::Open {
            let end = TunnelEnd::PeerMisbehaved(refusal.clone());
            self.drive(now, Event::AdminClose, end, out);
        }
        Err(refusal)
    }

    /// Reports the end of the calls and of the tunnel, and decides how long the channel stays.
    fn clean_up(&mut self, now: Instant, end: TunnelEnd, out: &mut Vec<Output>) {
        if self.end != End::Open {
            return;
        }
        self.calls.end_all(out);
        let stays = match end {
            TunnelEnd::PeerSilent | TunnelEnd::LostTie => false,
            TunnelEnd::PeerStopped(_) => {
                self.channel.abandon();
                true
            }
            // A stranger whose first message was no SCCRQ leaves nothing behind.
            TunnelEnd::Administrative
            | TunnelEnd::ShuttingDown
            | TunnelEnd::NotAuthorized
            | TunnelEnd::NoResources
            | TunnelEnd::AlreadyExists
            | TunnelEnd::SetupTimedOut
            | TunnelEnd::PeerMisbehaved(_) => !self.is_unused(),
        };
        self.end = if stays {
            // RFC 2661 §5.7: repeats are acknowledged for a full retransmission cycle.
            End::Closing(now + self.settings.retransmission_cycle())
        } else {
            self.channel.abandon();
            End::Finished
        };
        out.push(Output::TunnelDown { end });
    }

    /// Nothing was ever sent, and the peer hasn't named its tunnel.
    fn is_unused(&self) -> bool {
        self.channel.is_idle() && self.channel.peer == TunnelId(0)
    }

    fn tie_breaker(&self) -> Option<u64> {
        self.set_up.as_ref()?.tie_breaker
    }

    /// What a message of ours is hidden with, if it is.
    fn hiding<'s>(&mut self, settings: &'s Settings) -> Option<Hiding<'s>> {
        let secret = settings.hiding_secret()?;
        let vector = self.draw()?;
        Some(Hiding { secret, vector })
    }

    /// Random bytes, and the seed of the next; `None` before the owner has given any.
    fn draw<const N: usize>(&mut self) -> Option<[u8; N]> {
        let seed = self.seed.as_mut()?;
        let mut random = Random::from_seed(*seed);
        *seed = random.array();
        Some(random.array())
    }
}

#[cfg(test)]
mod mutation;
#[cfg(test)]
mod tests;
