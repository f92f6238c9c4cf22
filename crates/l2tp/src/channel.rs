//! Reliable delivery of control messages, RFC 2661 §5.8.
//!
//! Outgoing messages wait until both the peer's receive window and the congestion window let them go; they get their Ns when
//! they first leave, and stay in `sent` until they are acknowledged. Incoming messages are handed on strictly in the order
//! of Ns. Every message that isn't a ZLB is acknowledged at once: by whatever is sent anyway, or else by a ZLB. Delayed
//! acknowledgements would save little and hang Android, which does nothing until its last message is acknowledged.

mod congestion;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use congestion::Congestion;

use crate::avp;
use crate::header::CONTROL_OCTETS;
use crate::{Habits, Output, SessionId, Settings, TunnelId};

/// RFC 2661 §4.4.3: the window of a peer that doesn't say.
const DEFAULT_WINDOW: u16 = 4;
/// How many messages are kept that came before their turn, however large our window is.
const AHEAD_MAX: usize = 32;
/// How long such a message may be; a longer one is left to the peer to send again.
const AHEAD_OCTETS_MAX: usize = 2048;
/// RFC 2661 §5.8: the last received number and the 32767 before it are duplicates.
const HALF: u16 = 0x8000;

/// A received message that waits for its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ahead {
    pub(crate) session: SessionId,
    pub(crate) body: Vec<u8>,
}

/// Where a received message stands in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Its turn: process it, then ask `take_next`.
    InOrder,
    /// Seen before.
    Duplicate,
    /// Kept until what is missing has come.
    Kept,
    /// Too far ahead, or too long to keep.
    Outside,
}

/// What the retransmission timer found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not due, or sent again.
    Left,
    /// The last retransmission went unanswered.
    Exhausted,
}

/// One end of the reliable channel.
#[derive(Debug)]
pub(crate) struct Channel {
    settings: Arc<Settings>,
    /// Not acknowledged; the first has the Ns `unacknowledged`.
    messages: VecDeque<Vec<u8>>,
    /// How many of them were transmitted at least once; the others have no Ns yet.
    sent: usize,
    /// How many of those count as under way; the others were given up when the window shrank and will be sent again.
    in_flight: usize,
    unacknowledged: u16,
    congestion: Congestion,
    /// Retransmissions since the last sign of life; too many end the tunnel.
    tries: u32,
    /// How often the interval was doubled.
    doublings: u32,
    retransmit_at: Option<Instant>,
    /// Nr: the Ns that is expected next.
    expected: u16,
    ahead: BTreeMap<u16, Ahead>,
    owes_acknowledgement: bool,
    /// The tunnel id that goes into headers; 0 until the peer has said.
    pub(crate) peer: TunnelId,
}

impl Channel {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            messages: VecDeque::new(),
            sent: 0,
            in_flight: 0,
            unacknowledged: 0,
            congestion: Congestion::new(DEFAULT_WINDOW),
            tries: 0,
            doublings: 0,
            retransmit_at: None,
            expected: 0,
            ahead: BTreeMap::new(),
            owes_acknowledgement: false,
            peer: TunnelId(0),
        }
    }

    /// The peer's Receive Window Size; to be set before the first message goes out to a peer that has said.
    pub(crate) fn set_peer_window(&mut self, window: u16) {
        self.congestion.set_limit(window);
    }

    /// Takes the Nr of any message from the peer.
    pub(crate) fn acknowledge(&mut self, now: Instant, nr: u16) {
        let acknowledged = usize::from(nr.wrapping_sub(self.unacknowledged));
        // An old Nr is reordering; one beyond everything sent means nothing that we could use.
        if acknowledged == 0 || acknowledged > self.sent {
            return;
        }
        self.messages.drain(..acknowledged);
        if self.messages.is_empty() {
            // An idle tunnel keeps no room for messages.
            self.messages = VecDeque::new();
        }
        self.sent -= acknowledged;
        self.unacknowledged = nr;
        self.in_flight = self.in_flight.saturating_sub(acknowledged);
        self.congestion.acknowledged();
        self.tries = 0;
        self.doublings = 0;
        self.retransmit_at = None;
        self.arm(now);
    }

    /// Sorts a received message that isn't a ZLB. Whatever comes of it, an acknowledgement is owed.
    pub(crate) fn arrive(&mut self, ns: u16, session: SessionId, body: &[u8]) -> Arrival {
        self.owes_acknowledgement = true;
        let distance = ns.wrapping_sub(self.expected);
        if distance == 0 {
            self.expected = self.expected.wrapping_add(1);
            return Arrival::InOrder;
        }
        if distance >= HALF {
            return Arrival::Duplicate;
        }
        let fits = distance < self.settings.receive_window.max(1)
            && self.ahead.len() < AHEAD_MAX
            && body.len() <= AHEAD_OCTETS_MAX;
        if !fits {
            return Arrival::Outside;
        }
        self.ahead.entry(ns).or_insert_with(|| Ahead {
            session,
            body: body.to_vec(),
        });
        Arrival::Kept
    }

    /// The next kept message whose turn has come.
    pub(crate) fn take_next(&mut self) -> Option<Ahead> {
        let ahead = self.ahead.remove(&self.expected)?;
        self.expected = self.expected.wrapping_add(1);
        Some(ahead)
    }

    /// Takes the peer's word for its Ns: it has lost its state and says goodbye.
    pub(crate) fn resynchronise(&mut self, ns: u16) {
        self.expected = ns.wrapping_add(1);
        self.ahead.clear();
        self.owes_acknowledgement = true;
    }

    /// Queues a message; `flush` sends it when the window allows.
    pub(crate) fn send(&mut self, message: Vec<u8>) {
        let message = self.shape(message);
        self.messages.push_back(message);
    }

    /// Queues the last message in place of all that were not sent yet, and sends it whatever the congestion window says;
    /// the peer's receive window is kept.
    pub(crate) fn send_last(&mut self, now: Instant, message: Vec<u8>, out: &mut Vec<Output>) {
        self.messages.truncate(self.sent);
        self.send(message);
        if self.in_flight == self.sent && self.sent < self.congestion.limit() {
            self.transmit_next(out);
            self.arm(now);
        }
    }

    /// Forgets everything unsent and unacknowledged: the peer wants to hear no more than acknowledgements.
    pub(crate) fn abandon(&mut self) {
        self.unacknowledged = self.unacknowledged.wrapping_add(self.sent as u16);
        self.messages.clear();
        self.sent = 0;
        self.ahead.clear();
        self.in_flight = 0;
        self.retransmit_at = None;
    }

    /// Sends what the window allows, and a ZLB if an acknowledgement is owed and nothing else carried it.
    pub(crate) fn flush(&mut self, now: Instant, out: &mut Vec<Output>) {
        while self.in_flight < self.window() && self.transmit_next(out) {}
        self.arm(now);
        if self.owes_acknowledgement {
            self.owes_acknowledgement = false;
            out.push(Output::Send(self.zlb()));
        }
    }

    /// Sends again what has waited too long.
    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Output>) -> Patience {
        if self.retransmit_at.is_none_or(|at| now < at) {
            return Patience::Left;
        }
        if self.tries >= self.retransmissions() {
            return Patience::Exhausted;
        }
        self.tries += 1;
        self.retransmit(now, out);
        Patience::Left
    }

    /// Goes on for as long again although nothing was acknowledged: the peer is known to live.
    pub(crate) fn keep_trying(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.tries = 0;
        self.retransmit(now, out);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.retransmit_at
    }

    /// Nothing is unacknowledged or waiting.
    pub(crate) fn is_idle(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many messages wait to be sent for the first time.
    pub(crate) fn backlog(&self) -> usize {
        self.messages.len() - self.sent
    }

    /// The oldest unacknowledged message.
    pub(crate) fn oldest(&self) -> Option<&[u8]> {
        let first = self.messages.front().filter(|_| self.sent > 0);
        first.map(Vec::as_slice)
    }

    /// The Ns that is expected next.
    pub(crate) fn expected(&self) -> u16 {
        self.expected
    }

    /// How many messages may be under way.
    fn window(&self) -> usize {
        match &self.settings.habits {
            Some(habits) if habits.sends_one_at_a_time => 1,
            Some(_) | None => self.congestion.window(),
        }
    }

    /// The habits of somebody who has not heard anything yet.
    fn opening(&self) -> Option<&Habits> {
        self.settings
            .habits
            .as_deref()
            .filter(|_| self.expected == 0)
    }

    fn interval(&self) -> Duration {
        let opening = self
            .opening()
            .and_then(|habits| habits.opening_wait(self.doublings));
        opening.unwrap_or_else(|| self.settings.retransmit_interval(self.doublings))
    }

    fn retransmissions(&self) -> u32 {
        let opening = self.opening().map(|habits| habits.opening_retransmissions);
        opening
            .filter(|tries| *tries > 0)
            .unwrap_or(self.settings.retransmissions)
    }

    fn shape(&self, message: Vec<u8>) -> Vec<u8> {
        match &self.settings.habits {
            Some(habits) => habits.shape(message),
            None => message,
        }
    }

    /// RFC 2661 Appendix A: a retransmission is a sign of congestion, the window starts again from one.
    fn retransmit(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.congestion.lost();
        self.doublings = self.doublings.saturating_add(1);
        self.in_flight = 0;
        self.retransmit_at = None;
        self.transmit_next(out);
        self.arm(now);
    }

    /// Sends the first message that isn't under way, and says whether there was one.
    fn transmit_next(&mut self, out: &mut Vec<Output>) -> bool {
        if self.in_flight == self.messages.len() {
            return false;
        }
        let ns = self.unacknowledged.wrapping_add(self.in_flight as u16);
        let message = &mut self.messages[self.in_flight];
        // RFC 2661 §5.8: a retransmission keeps its Ns and carries the Nr of now.
        message[4..6].copy_from_slice(&self.peer.0.to_be_bytes());
        message[8..10].copy_from_slice(&ns.to_be_bytes());
        message[10..12].copy_from_slice(&self.expected.to_be_bytes());
        out.push(Output::Send(message.clone()));
        self.in_flight += 1;
        self.sent = self.sent.max(self.in_flight);
        self.owes_acknowledgement = false;
        true
    }

    fn arm(&mut self, now: Instant) {
        if self.in_flight > 0 {
            let interval = self.interval();
            self.retransmit_at.get_or_insert(now + interval);
        }
    }

    /// RFC 2661 §5.8: a ZLB takes no number; its Ns is that of the next new message.
    fn zlb(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CONTROL_OCTETS);
        let ns = self.unacknowledged.wrapping_add(self.sent as u16);
        avp::header(&mut bytes, self.peer, SessionId(0), ns, self.expected);
        bytes
    }
}

#[cfg(test)]
mod tests;
