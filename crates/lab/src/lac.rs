//! A LAC's tunnel with the calls of many subscribers in it (RFC 2661 §5.2): whose call is which.
//!
//! ```text
//!   Client ─ enter ──────► Lac ─ SCCRQ ─────►     the first who enters dials, the others wait
//!          ◄ TunnelUp ─────    ◄──── SCCRP ─
//!          ─ place_call ──►    ─ ICRQ … ICCN ►     each has a session of its own
//!          ◄ CallUp ───────
//!          ─ leave ───────►    ─ CDN ───────►     who leaves last takes the tunnel along: StopCCN
//! ```
//!
//! Like every machine here it has no clock and no socket. Subscribers are numbers of its owner.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use crypto::Random;
use l2tp::{CallEnd, CallParameters, CallRefusal, Refusal, SessionId, Tunnel, TunnelEnd, TunnelId};

/// Something to be done for a tunnel, in order.
#[derive(Debug)]
pub enum Output {
    /// A control message for the gateway.
    Send(Vec<u8>),
    /// News of the tunnel, or of its call, for a subscriber.
    News(u32, l2tp::Output),
    /// What came for a subscriber, or for everybody in the tunnel, was not taken.
    Refused(u32, Refusal),
    /// A subscriber has left: its call, and if it was the last the tunnel, is over.
    Left(u32),
}

/// One tunnel, which is dialled when somebody wants it.
pub struct Lac {
    settings: Arc<l2tp::Settings>,
    random: Random,
    tunnel: Option<Tunnel>,
    is_ending: bool,
    /// Who has entered, and the call it has placed.
    inside: BTreeMap<u32, Option<SessionId>>,
    calls: HashMap<SessionId, u32>,
    /// Who waits for the end of the tunnel.
    leaving: Vec<u32>,
}

impl Lac {
    /// Nobody is in it yet.
    #[must_use]
    pub fn new(settings: &l2tp::Settings, random: Random) -> Self {
        let settings = l2tp::Settings {
            max_sessions: usize::from(u16::MAX),
            ..settings.clone()
        };
        Self {
            settings: Arc::new(settings),
            random,
            tunnel: None,
            is_ending: false,
            inside: BTreeMap::new(),
            calls: HashMap::new(),
            leaving: Vec::new(),
        }
    }

    /// A subscriber wants the tunnel; it hears `TunnelUp` when it is there.
    pub fn enter(&mut self, now: Instant, who: u32, out: &mut Vec<Output>) {
        self.inside.insert(who, None);
        match &self.tunnel {
            None => self.dial(now, out),
            Some(tunnel) if tunnel.is_established() => {
                let news = l2tp::Output::TunnelUp {
                    peer: tunnel.peer_id(),
                    host_name: tunnel.peer_host_name().to_owned(),
                    vendor_name: String::new(),
                };
                out.push(Output::News(who, news));
            }
            // It is being dialled, or it is ending.
            Some(_) => self.settle(now, out),
        }
    }

    /// A subscriber that is in the tunnel wants its call.
    pub fn place_call(
        &mut self,
        now: Instant,
        who: u32,
        call: CallParameters,
        out: &mut Vec<Output>,
    ) {
        let Some(place) = self.inside.get_mut(&who) else {
            return;
        };
        let Some(tunnel) = &mut self.tunnel else {
            return;
        };
        let drawn = self.random.u16();
        let ids = (0..=u16::MAX).map(|step| SessionId(drawn.wrapping_add(step)));
        let mut free = ids.filter(|id| id.0 != 0 && !self.calls.contains_key(id));
        // Without a free one it asks for the id that nobody may have, and is told so.
        let id = free.next().unwrap_or(SessionId(0));
        *place = Some(id);
        self.calls.insert(id, who);
        let mut events = Vec::new();
        tunnel.place_call(now, id, call, &mut events);
        self.follow(now, events, out);
    }

    /// A subscriber goes: CDN for its call, StopCCN if nobody is left.
    pub fn leave(&mut self, now: Instant, who: u32, out: &mut Vec<Output>) {
        let Some(call) = self.inside.remove(&who) else {
            return out.push(Output::Left(who));
        };
        if let (Some(id), Some(tunnel)) = (call, &mut self.tunnel) {
            self.calls.remove(&id);
            let mut events = Vec::new();
            tunnel.hang_up(now, id, CallEnd::LostCarrier, &mut events);
            self.follow(now, events, out);
        }
        match self.inside.is_empty() {
            true => {
                self.leaving.push(who);
                self.close(now, out);
            }
            false => out.push(Output::Left(who)),
        }
    }

    /// A subscriber is no more, and nobody is told; without any, the LAC is no more either.
    pub fn forget(&mut self, who: u32) {
        if let Some(Some(id)) = self.inside.remove(&who) {
            self.calls.remove(&id);
        }
        self.leaving.retain(|leaving| *leaving != who);
        if self.inside.is_empty() && !self.is_ending {
            self.tunnel = None;
        }
    }

    /// The whole tunnel goes, with StopCCN or without a word; who was in it.
    pub fn cut(&mut self, now: Instant, is_silent: bool, out: &mut Vec<Output>) -> Vec<u32> {
        if self.is_ending {
            return Vec::new();
        }
        let inside = std::mem::take(&mut self.inside).into_keys().collect();
        self.calls.clear();
        match is_silent {
            true => self.tunnel = None,
            false => self.close(now, out),
        }
        inside
    }

    /// Takes a control message.
    pub fn handle_input(&mut self, now: Instant, message: &[u8], out: &mut Vec<Output>) {
        let Some(tunnel) = &mut self.tunnel else {
            return;
        };
        let mut events = Vec::new();
        let taken = tunnel.handle_input(now, message, &mut self.random, &mut events);
        // Before the end that may follow from it.
        self.tell_of_refusal(message, taken.err(), out);
        self.follow(now, events, out);
        self.settle(now, out);
    }

    /// Who is meant by a message that was refused knows it; whose session it does not name, everybody.
    fn tell_of_refusal(&self, message: &[u8], refusal: Option<Refusal>, out: &mut Vec<Output>) {
        let Some(refusal) = refusal.filter(|refusal| !refusal.is_harmless()) else {
            return;
        };
        let session = l2tp::peek(message).map(|header| header.session);
        let one = session.ok().and_then(|id| self.calls.get(&id).copied());
        let all = self.inside.keys().copied().filter(|_| one.is_none());
        out.extend(
            one.into_iter()
                .chain(all)
                .map(|who| Output::Refused(who, refusal.clone())),
        );
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(tunnel) = &mut self.tunnel else {
            return;
        };
        let mut events = Vec::new();
        tunnel.handle_timeout(now, &mut self.random, &mut events);
        self.follow(now, events, out);
        self.settle(now, out);
    }

    /// When [`Self::handle_timeout`] is next wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.tunnel.as_ref()?.poll_timeout();
        deadline.map(|(at, _)| at)
    }

    /// Whose data messages with this header are.
    #[must_use]
    pub fn whose(&self, header: &l2tp::Header) -> Option<u32> {
        let tunnel = self.tunnel.as_ref()?;
        let is_ours = tunnel.id() == header.tunnel;
        self.calls.get(&header.session).copied().filter(|_| is_ours)
    }

    /// A data message came: the gateway is there.
    pub fn saw_traffic(&mut self, at: Instant) {
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.saw_traffic(at);
        }
    }

    fn dial(&mut self, now: Instant, out: &mut Vec<Output>) {
        let id = TunnelId(self.random.u16().max(1));
        let settings = Arc::clone(&self.settings);
        let mut events = Vec::new();
        self.is_ending = false;
        self.tunnel = Some(Tunnel::dial(
            settings,
            id,
            now,
            &mut self.random,
            &mut events,
        ));
        self.follow(now, events, out);
    }

    fn close(&mut self, now: Instant, out: &mut Vec<Output>) {
        let mut events = Vec::new();
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.close(now, TunnelEnd::Administrative, &mut events);
        }
        let is_told = events
            .iter()
            .any(|event| matches!(event, l2tp::Output::Send(_)));
        self.is_ending = true;
        self.follow(now, events, out);
        if !is_told {
            self.tunnel = None;
        }
        self.settle(now, out);
    }

    /// Once the gateway knows of the end, everybody has left, and who came meanwhile may dial.
    fn settle(&mut self, now: Instant, out: &mut Vec<Output>) {
        let tunnel = self.tunnel.as_ref();
        let is_over = tunnel.is_none_or(|t| t.is_acknowledged() || t.is_finished());
        if !self.is_ending || !is_over {
            return;
        }
        out.extend(self.leaving.drain(..).map(Output::Left));
        if !self.inside.is_empty() {
            self.dial(now, out);
        } else if tunnel.is_some_and(Tunnel::is_finished) {
            self.tunnel = None;
        }
    }

    /// Messages first: an acknowledgement goes out before what follows from the message.
    fn follow(&mut self, now: Instant, events: Vec<l2tp::Output>, out: &mut Vec<Output>) {
        let is_message = |event: &l2tp::Output| matches!(event, l2tp::Output::Send(_));
        let (messages, news): (Vec<_>, Vec<_>) = events.into_iter().partition(is_message);
        for event in messages.into_iter().chain(news) {
            self.follow_event(now, event, out);
        }
    }

    fn follow_event(&mut self, now: Instant, event: l2tp::Output, out: &mut Vec<Output>) {
        match &event {
            l2tp::Output::Send(message) => out.push(Output::Send(message.clone())),
            l2tp::Output::TunnelUp { .. } => {
                let all = self.inside.keys();
                out.extend(all.map(|who| Output::News(*who, event.clone())));
            }
            l2tp::Output::TunnelDown { .. } => {
                self.is_ending = true;
                self.calls.clear();
                let all = std::mem::take(&mut self.inside).into_keys();
                out.extend(all.map(|who| Output::News(who, event.clone())));
            }
            l2tp::Output::CallUp { session, .. } => {
                let owner = self.calls.get(session);
                out.extend(owner.map(|who| Output::News(*who, event.clone())));
            }
            // `TunnelDown`, which follows, says it to everybody.
            l2tp::Output::CallDown { session, end } => {
                let owner = self.calls.get(session).copied();
                if *end != CallEnd::TunnelDown
                    && let Some(who) = owner
                {
                    self.calls.remove(session);
                    self.inside.insert(who, None);
                }
                out.extend(owner.map(|who| Output::News(who, event.clone())));
            }
            l2tp::Output::CallOffered { peer_session, .. } => {
                self.reject(now, *peer_session, out);
            }
            l2tp::Output::OfferWithdrawn { .. } => {}
        }
    }

    /// Subscribers are called by nobody.
    fn reject(&mut self, now: Instant, peer: SessionId, out: &mut Vec<Output>) {
        let mut events = Vec::new();
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.reject_call(now, peer, CallRefusal::NoFacilities, &mut events);
        }
        self.follow(now, events, out);
    }
}

#[cfg(test)]
mod tests;
