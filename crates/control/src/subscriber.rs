//! Subscribers: an L2TP session, the PPP link in it, the user who authenticated and the address
//! that was leased, from the call to the summary line.
//!
//! ```text
//!   CallOffered ─► OpenSession ─► ICRP      ICCN ─► link opens      Authenticate ─► user ─► lease
//!   Up ─► Attach, OpenNetwork ─► IPCP Ack       … data …
//!   Down ─► CDN ─► Detach, lease released, CloseSession      SessionRetired ─► summary line
//! ```

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crypto::esp::Suite;
use dataplane::change::{Change, Session, SessionTraffic};
use dataplane::id::SessionSlot;
use ipnet::IpNet;
use l2tp::{CallEnd, TunnelEnd};
use packet::Endpoint;
use ppp::{DownReason, Link};

use crate::counters::Counter;
use crate::half_open::source_of;
use crate::log::Correlation;
use crate::peer::Peer;
use crate::pool::Lease;
use crate::timers::{Place, Timer};
use crate::tunnel::TunnelKey;
use crate::{Control, log};

/// Frames kept for a link whose call is not up yet: the first LCP packet may come before the ICCN.
const EARLY_FRAMES_MAX: usize = 4;

/// An L2TP session and everything on it.
pub(crate) struct Subscriber {
    pub(crate) correlation: Correlation,
    pub(crate) session: Session,
    /// Outer endpoint, for people.
    pub(crate) remote: Endpoint,
    /// It is in the clear, and counts under its source.
    is_counted: bool,
    /// Of the SA that carries it.
    pub(crate) suite: Option<Suite>,
    ppp: Ppp,
    /// Of the link.
    place: Place,
    /// Empty before authentication, and where nobody is asked.
    pub(crate) user: Box<str>,
    pub(crate) lease: Option<Lease>,
    /// Kept for the summary when the lease is gone.
    pub(crate) address: Option<IpAddr>,
    pub(crate) profile: usize,
    pub(crate) attached: Box<[IpNet]>,
    /// What we asked the peer to send at most.
    pub(crate) mru: u16,
    pub(crate) since: Instant,
    pub(crate) up_since: Option<Instant>,
    /// Why it ends; the first reason counts.
    pub(crate) end: Option<Box<End>>,
}

/// What becomes of the peer's frames.
#[expect(
    clippy::large_enum_variant,
    reason = "calls are few, links are many, and a subscriber is boxed as it is"
)]
enum Ppp {
    /// They wait until the call is up.
    Waits(Vec<Vec<u8>>),
    Runs(Link),
}

/// Why and when it ended.
pub(crate) struct End {
    why: Box<str>,
    /// `None` while it is taking its leave.
    at: Option<Instant>,
    /// Who was refused, and how the peer is told.
    pub(crate) denied: Option<(String, CallEnd)>,
}

impl End {
    pub(crate) fn of(why: &str) -> Box<Self> {
        Box::new(Self {
            why: why.into(),
            at: None,
            denied: None,
        })
    }
}

impl Subscriber {
    pub(crate) fn new(
        correlation: Correlation,
        session: Session,
        peer: &Peer,
        now: Instant,
    ) -> Self {
        Self {
            correlation,
            session,
            remote: peer.shown(),
            is_counted: peer.plain_source().is_some(),
            suite: peer.suite(),
            ppp: Ppp::Waits(Vec::new()),
            place: Place::default(),
            user: Box::default(),
            lease: None,
            address: None,
            profile: 0,
            attached: Box::default(),
            mru: 0,
            since: now,
            up_since: None,
            end: None,
        }
    }

    pub(crate) fn address_text(&self) -> String {
        self.address
            .map_or_else(|| "none".to_owned(), |address| address.to_string())
    }

    /// Who it is, or claimed to be.
    pub(crate) fn claimant(&self) -> &str {
        let denied = self.end.as_ref().and_then(|end| end.denied.as_ref());
        match denied {
            Some((user, _)) if self.user.is_empty() => user,
            _ => &self.user,
        }
    }

    pub(crate) fn end_text(&self) -> &str {
        self.end.as_ref().map_or("unknown", |end| &end.why)
    }

    /// From the call to the address.
    pub(crate) fn setup_time(&self) -> Duration {
        let up = self.up_since.unwrap_or(self.since);
        up.saturating_duration_since(self.since)
    }

    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up_since.is_some()
    }

    /// The tunnel that its call is in.
    pub(crate) fn tunnel(&self) -> TunnelKey {
        TunnelKey {
            path: self.session.path,
            id: self.session.tunnel,
        }
    }

    pub(crate) fn link(&self) -> Option<&Link> {
        match &self.ppp {
            Ppp::Waits(_) => None,
            Ppp::Runs(link) => Some(link),
        }
    }

    fn link_mut(&mut self) -> Option<&mut Link> {
        match &mut self.ppp {
            Ppp::Waits(_) => None,
            Ppp::Runs(link) => Some(link),
        }
    }

    /// When its link wants to be called, and what for.
    pub(crate) fn waits_for(&self) -> Option<(Instant, &'static str)> {
        self.link()?.poll_timeout()
    }

    /// One word for people.
    pub(crate) fn state(&self) -> &'static str {
        match self.link().map(Link::phase) {
            None => "calling",
            Some(ppp::Phase::Dead | ppp::Phase::Establish) => "lcp",
            Some(ppp::Phase::Authenticate) => "authenticating",
            Some(ppp::Phase::Network) if self.is_up() => "up",
            Some(ppp::Phase::Network) => "ipcp",
            Some(ppp::Phase::Terminate) => "ending",
        }
    }
}

impl Control {
    /// The call is up: PPP begins, and hears what came too early.
    pub(crate) fn call_up(&mut self, now: Instant, slot: SessionSlot, sequencing: bool) {
        let Some(subscriber) = self.subscribers.get_mut(slot.0) else {
            return;
        };
        let Some(peer) = self.peers.slots.get(subscriber.session.path.0) else {
            return;
        };
        let most = self.settings.listeners[peer.listener].ppp.mru;
        subscriber.mru = peer.carriage(self.settings.path_mtu).mru(most);
        subscriber.suite = peer.suite();
        let settings = self.ppp.of(&self.settings, peer.listener, subscriber.mru);
        let link = Link::new(settings, now, &mut self.random);
        let early = match std::mem::replace(&mut subscriber.ppp, Ppp::Runs(link)) {
            Ppp::Waits(early) => early,
            Ppp::Runs(_) => Vec::new(),
        };
        if sequencing {
            subscriber.session.sequencing = true;
            let session = subscriber.session;
            self.outbox
                .change(slot.0.shard(), Change::OpenSession(session));
        }
        self.with_link(now, slot, |link, random, out| link.open(now, random, out));
        for frame in early {
            self.with_link(now, slot, |link, random, out| {
                link.handle_input(now, &frame, random, out);
            });
        }
    }

    /// A PPP frame that is not IP has come.
    pub(crate) fn on_ppp(&mut self, now: Instant, slot: SessionSlot, frame: Vec<u8>) {
        let Some(subscriber) = self.subscribers.get_mut(slot.0) else {
            return self.counters.add(Counter::PppUnknownSession);
        };
        let tunnel = subscriber.tunnel();
        if let Ppp::Waits(early) = &mut subscriber.ppp {
            match early.len() < EARLY_FRAMES_MAX {
                true => early.push(frame),
                false => self.counters.add(Counter::PppEarlyDropped),
            }
            return;
        }
        if let Some(tunnel) = self.tunnels.by_key.get_mut(&tunnel) {
            tunnel.machine.saw_traffic(now);
        }
        self.with_link(now, slot, |link, random, out| {
            link.handle_input(now, &frame, random, out);
        });
    }

    /// Calls a link and does what it asks for.
    pub(crate) fn with_link<R>(
        &mut self,
        now: Instant,
        slot: SessionSlot,
        act: impl FnOnce(&mut Link, &mut crypto::Random, &mut Vec<ppp::Output>) -> R,
    ) -> Option<R> {
        let link = self.subscribers.get_mut(slot.0)?.link_mut()?;
        let mut out = Vec::new();
        let result = act(link, &mut self.random, &mut out);
        for output in out {
            self.take_link_output(now, slot, output);
        }
        if let Some(subscriber) = self.subscribers.get_mut(slot.0) {
            let deadline = subscriber.waits_for().map(|(at, _)| at);
            self.timers
                .put(Timer::Link(slot), &mut subscriber.place, deadline);
        }
        Some(result)
    }

    fn take_link_output(&mut self, now: Instant, slot: SessionSlot, output: ppp::Output) {
        let Some(subscriber) = self.subscribers.get_mut(slot.0) else {
            return;
        };
        let id = subscriber.correlation;
        match output {
            ppp::Output::Send(frame) => self.send_ppp(slot, frame),
            ppp::Output::LcpUp(_) => {}
            ppp::Output::Authenticate(credentials) => self.authenticate(now, slot, &credentials),
            ppp::Output::AuthRefused { message, .. } => {
                log::note(id, &message, "authentication refused");
            }
            ppp::Output::Up(_) => self.network_up(now, slot),
            ppp::Output::NetworkDown => self.detach(slot),
            ppp::Output::Ident(text) => log::note(id, &text, "LCP identification"),
            ppp::Output::TimeRemaining { message, .. } => {
                log::note(id, &message, "LCP time remaining");
            }
            ppp::Output::EchoRtt(time) => log::note(id, &time.as_millis(), "LCP echo, ms"),
            ppp::Output::Discarded(refusal) => {
                if refusal.is_fault() {
                    self.counters.add(Counter::PppDiscarded);
                }
                log::note(id, &refusal, "PPP frame discarded");
            }
            ppp::Output::Down(reason) => self.link_down(now, slot, &reason),
        }
    }

    pub(crate) fn link_timeout(&mut self, now: Instant, slot: SessionSlot) {
        let last_seen = self.activity.session_last_seen(slot);
        self.with_link(now, slot, |link, random, out| {
            if let Some(at) = last_seen {
                link.saw_traffic(at);
            }
            link.handle_timeout(now, random, out);
        });
    }

    /// Ends a session from our side: LCP Terminate-Request, CDN.
    pub(crate) fn terminate(
        &mut self,
        now: Instant,
        slot: SessionSlot,
        reason: DownReason,
        why: &str,
    ) {
        let Some(subscriber) = self.subscribers.get_mut(slot.0) else {
            return;
        };
        subscriber.end.get_or_insert_with(|| End::of(why));
        let (tunnel, session) = (subscriber.tunnel(), subscriber.session.session);
        self.with_link(now, slot, |link, _, out| link.close(now, reason, out));
        self.hang_up(now, tunnel, session, CallEnd::Administrative);
        // A tunnel that is over already has nothing more to say about its calls.
        self.end_subscriber(now, slot, why);
    }

    /// PPP is over: so is the call.
    fn link_down(&mut self, now: Instant, slot: SessionSlot, reason: &DownReason) {
        let Some(subscriber) = self.subscribers.get_mut(slot.0) else {
            return;
        };
        let end = subscriber
            .end
            .get_or_insert_with(|| End::of(&reason.to_string()));
        let denied = end.denied.as_ref().map(|(_, told)| told.clone());
        let end = denied.unwrap_or_else(|| call_end(reason));
        let (tunnel, session) = (subscriber.tunnel(), subscriber.session.session);
        self.hang_up(now, tunnel, session, end);
    }

    /// The call has ended below PPP.
    pub(crate) fn call_down(
        &mut self,
        now: Instant,
        slot: SessionSlot,
        end: &CallEnd,
        tunnel_end: Option<&TunnelEnd>,
    ) {
        let subscriber = self.subscribers.get(slot.0);
        let link = subscriber.and_then(|subscriber| subscriber.link());
        // Who says goodbye in LCP and closes the tunnel at once has given his reason there.
        let is_tunnels = *end == CallEnd::TunnelDown;
        let said = link.and_then(Link::ending).filter(|_| is_tunnels);
        let why = match (said, tunnel_end.filter(|_| is_tunnels)) {
            (Some(said), _) => said.to_string(),
            (None, Some(tunnel_end)) => format!("{end}: {tunnel_end}"),
            (None, None) => end.to_string(),
        };
        self.end_subscriber(now, slot, &why);
    }

    /// The call is over: everything that hangs on it is given back, but the slot, which waits for
    /// the last counters.
    pub(crate) fn end_subscriber(&mut self, now: Instant, slot: SessionSlot, why: &str) {
        let Some(subscriber) = self.subscribers.get_mut(slot.0) else {
            return;
        };
        let end = subscriber.end.get_or_insert_with(|| End::of(why));
        end.at = Some(now);
        if subscriber.up_since.is_some() {
            self.sessions_up -= 1;
        }
        if std::mem::take(&mut subscriber.is_counted) {
            let source = source_of(subscriber.remote.address());
            self.tunnels.sessions_in_the_clear.leave(&source);
        }
        subscriber.ppp = Ppp::Waits(Vec::new());
        self.timers
            .put(Timer::Link(slot), &mut subscriber.place, None);
        let (tunnel, session) = (subscriber.tunnel(), subscriber.session.session);
        self.detach(slot);
        self.release(now, slot);
        self.timers.set(Timer::Session(slot), None);
        self.leave_tunnel(now, tunnel, session);
        let of_path = tunnel.path.0.shard();
        if of_path != slot.0.shard() {
            self.outbox.withdraw(of_path, slot);
        }
        self.outbox
            .change(slot.0.shard(), Change::CloseSession(slot));
        self.subscribers.retire(slot.0);
    }

    /// The fast path has let go: the last counters, and the line that says it all.
    pub(crate) fn session_retired(&mut self, slot: SessionSlot, traffic: &SessionTraffic) {
        let Some(subscriber) = self.subscribers.release(slot.0) else {
            return self.counters.add(Counter::UnknownEvent);
        };
        self.counters.add(Counter::SessionsEnded);
        let end = subscriber.end.as_ref();
        let ended_at = end.and_then(|end| end.at).unwrap_or(subscriber.since);
        let duration = ended_at.saturating_duration_since(subscriber.since);
        log::summary(&self.log, &subscriber, traffic, duration);
    }
}

/// RFC 2661 §4.4.2: whether a call ends because somebody here wanted it, or because the line went.
fn call_end(reason: &DownReason) -> CallEnd {
    match reason {
        DownReason::Cleared
        | DownReason::Shutdown
        | DownReason::SessionTimeout
        | DownReason::IdleTimeout
        | DownReason::NoCommonMethod
        | DownReason::AuthenticationFailed { .. } => CallEnd::Administrative,
        DownReason::LowerLayerDown
        | DownReason::PeerTerminated { .. }
        | DownReason::NoAnswer
        | DownReason::NegotiationLimit
        | DownReason::TooManyRenegotiations
        | DownReason::AuthenticationTimeout
        | DownReason::ServerNotAuthentic
        | DownReason::Loopback
        | DownReason::EchoTimeout
        | DownReason::NetworkClosed
        | DownReason::NoNetwork
        | DownReason::NoAddress
        | DownReason::ProtocolRejected(_)
        | DownReason::CodeRejected(_) => CallEnd::LostCarrier,
    }
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subscriber({}, {})", self.correlation, self.state())
    }
}
