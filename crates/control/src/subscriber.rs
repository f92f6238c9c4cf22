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
use ppp::{DownReason, Link, Negotiated};

use crate::counters::Counter;
use crate::half_open::source_of;
use crate::log::Correlation;
use crate::peer::Peer;
use crate::pool::Lease;
use crate::timers::Timer;
use crate::tunnel::TunnelKey;
use crate::{Control, log};

/// Frames kept for a link whose call is not up yet: the first LCP packet may come before the ICCN.
const EARLY_FRAMES_MAX: usize = 4;

/// An L2TP session and everything on it.
pub(crate) struct Subscriber {
    pub(crate) correlation: Correlation,
    pub(crate) tunnel: TunnelKey,
    pub(crate) session: Session,
    /// Outer endpoint, for people.
    pub(crate) remote: Endpoint,
    /// It is in the clear, and counts under its source.
    is_counted: bool,
    /// Of the SA that carries it.
    pub(crate) suite: Option<Suite>,
    link: Option<Link>,
    early: Vec<Vec<u8>>,
    /// Empty before authentication, and where nobody is asked.
    pub(crate) user: String,
    pub(crate) lease: Option<Lease>,
    /// Kept for the summary when the lease is gone.
    pub(crate) address: Option<IpAddr>,
    pub(crate) profile: usize,
    pub(crate) attached: Box<[IpNet]>,
    pub(crate) negotiated: Option<Negotiated>,
    /// What we asked the peer to send at most.
    pub(crate) mru: u16,
    pub(crate) since: Instant,
    pub(crate) up_since: Option<Instant>,
    /// Who was refused, and how the peer is told.
    pub(crate) denied: Option<Box<(String, CallEnd)>>,
    /// Why it ends; the first reason counts.
    pub(crate) end: Option<Box<str>>,
    ended_at: Option<Instant>,
}

impl Subscriber {
    pub(crate) fn new(
        correlation: Correlation,
        tunnel: TunnelKey,
        session: Session,
        peer: &Peer,
        now: Instant,
    ) -> Self {
        Self {
            correlation,
            tunnel,
            session,
            remote: peer.shown(),
            is_counted: peer.plain_source().is_some(),
            suite: peer.suite(),
            link: None,
            early: Vec::new(),
            user: String::new(),
            lease: None,
            address: None,
            profile: 0,
            attached: Box::default(),
            negotiated: None,
            mru: 0,
            since: now,
            up_since: None,
            denied: None,
            end: None,
            ended_at: None,
        }
    }

    pub(crate) fn address_text(&self) -> String {
        self.address
            .map_or_else(|| "none".to_owned(), |address| address.to_string())
    }

    /// Who it is, or claimed to be.
    pub(crate) fn claimant(&self) -> &str {
        match &self.denied {
            Some(denied) if self.user.is_empty() => &denied.0,
            _ => &self.user,
        }
    }

    pub(crate) fn end_text(&self) -> &str {
        self.end.as_deref().unwrap_or("unknown")
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

    /// One word for people.
    pub(crate) fn state(&self) -> &'static str {
        match self.link.as_ref().map(Link::phase) {
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
        let Some(peer) = self.peers.slots.get(subscriber.tunnel.path.0) else {
            return;
        };
        let most = self.settings.listeners[peer.listener].ppp.mru;
        subscriber.mru = peer.carriage(self.settings.path_mtu).mru(most);
        subscriber.suite = peer.suite();
        let settings = self.ppp.of(&self.settings, peer.listener, subscriber.mru);
        subscriber.link = Some(Link::new(settings, now, &mut self.random));
        let early = std::mem::take(&mut subscriber.early);
        if sequencing {
            subscriber.session.sequencing = true;
            let session = subscriber.session;
            self.outbox
                .change(slot.0.shard, Change::OpenSession(session));
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
        let tunnel = subscriber.tunnel;
        if subscriber.link.is_none() {
            match subscriber.early.len() < EARLY_FRAMES_MAX {
                true => subscriber.early.push(frame),
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
        let link = self.subscribers.get_mut(slot.0)?.link.as_mut()?;
        let mut out = Vec::new();
        let result = act(link, &mut self.random, &mut out);
        for output in out {
            self.take_link_output(now, slot, output);
        }
        let link = self
            .subscribers
            .get(slot.0)
            .and_then(|subscriber| subscriber.link.as_ref());
        self.timers
            .set(Timer::Link(slot), link.and_then(Link::poll_timeout));
        Some(result)
    }

    fn take_link_output(&mut self, now: Instant, slot: SessionSlot, output: ppp::Output) {
        let Some(subscriber) = self.subscribers.get_mut(slot.0) else {
            return;
        };
        let id = subscriber.correlation;
        match output {
            ppp::Output::Send(frame) => self.send_ppp(slot, frame),
            ppp::Output::LcpUp(negotiated) => subscriber.negotiated = Some(negotiated),
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
        subscriber.end.get_or_insert_with(|| why.into());
        let (tunnel, session) = (subscriber.tunnel, subscriber.session.session);
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
        subscriber
            .end
            .get_or_insert_with(|| reason.to_string().into());
        let denied = subscriber.denied.as_ref().map(|denied| denied.1.clone());
        let end = denied.unwrap_or_else(|| call_end(reason));
        let (tunnel, session) = (subscriber.tunnel, subscriber.session.session);
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
        let link = subscriber.and_then(|subscriber| subscriber.link.as_ref());
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
        subscriber.end.get_or_insert_with(|| why.into());
        subscriber.ended_at = Some(now);
        if subscriber.up_since.is_some() {
            self.sessions_up -= 1;
        }
        if std::mem::take(&mut subscriber.is_counted) {
            let source = source_of(subscriber.remote.address());
            self.tunnels.sessions_in_the_clear.leave(&source);
        }
        subscriber.link = None;
        subscriber.early = Vec::new();
        let (tunnel, session) = (subscriber.tunnel, subscriber.session.session);
        self.detach(slot);
        self.release(now, slot);
        self.timers.set(Timer::Link(slot), None);
        self.timers.set(Timer::Session(slot), None);
        self.leave_tunnel(now, tunnel, session);
        let of_path = tunnel.path.0.shard;
        if of_path != slot.0.shard {
            self.outbox.withdraw(of_path, slot);
        }
        self.outbox.change(slot.0.shard, Change::CloseSession(slot));
        self.subscribers.retire(slot.0);
    }

    /// The fast path has let go: the last counters, and the line that says it all.
    pub(crate) fn session_retired(&mut self, slot: SessionSlot, traffic: &SessionTraffic) {
        let Some(subscriber) = self.subscribers.release(slot.0) else {
            return self.counters.add(Counter::UnknownEvent);
        };
        self.counters.add(Counter::SessionsEnded);
        let ended_at = subscriber.ended_at.unwrap_or(subscriber.since);
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
