//! Subscribers: an L2TP session, the PPP link in it, the user who authenticated and the address
//! that was leased, from the call to the summary line.
//!
//! ```text
//!   CallOffered ─► OpenSession ─► ICRP      ICCN ─► link opens      Authenticate ─► user ─► lease
//!   Up ─► Attach, OpenNetwork ─► IPCP Ack       … data …
//!   Down ─► CDN ─► Detach, lease released, CloseSession      SessionRetired ─► summary line
//! ```

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dataplane::change::{Change, Entry, Network, Session, SessionTraffic, SharedChange};
use dataplane::id::{SessionSlot, Slot};
use ipnet::IpNet;
use l2tp::CallEnd;
use packet::Endpoint;
use ppp::{Addresses, Credentials, DownReason, Grant, Link, Negotiated, Verdict};

use crate::counters::Counter;
use crate::log::Correlation;
use crate::mtu::{L2TP_HEADER, L2TP_HEADER_SEQUENCED, PPP_HEADER};
use crate::peer::Peer;
use crate::pool::{Lease, NoLease};
use crate::settings::Beyond;
use crate::timers::Timer;
use crate::tunnel::TunnelKey;
use crate::users::{Service, Stranger, ipv4};
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
    pub(crate) suite: String,
    link: Option<Link>,
    early: Vec<Vec<u8>>,
    /// Empty before authentication, and where nobody is asked.
    pub(crate) user: String,
    lease: Option<Lease>,
    /// Kept for the summary when the lease is gone.
    pub(crate) address: Option<IpAddr>,
    profile: usize,
    attached: Vec<IpNet>,
    negotiated: Option<Negotiated>,
    /// What we asked the peer to send at most.
    pub(crate) mru: u16,
    pub(crate) since: Instant,
    up_since: Option<Instant>,
    /// Why it ends; the first reason counts.
    end: Option<String>,
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
            suite: peer.suite_text(),
            link: None,
            early: Vec::new(),
            user: String::new(),
            lease: None,
            address: None,
            profile: 0,
            attached: Vec::new(),
            negotiated: None,
            mru: 0,
            since: now,
            up_since: None,
            end: None,
            ended_at: None,
        }
    }

    /// The same, in its slot.
    pub(crate) fn at(mut self, slot: Slot) -> Self {
        self.session.id = SessionSlot(slot);
        self
    }

    pub(crate) fn address_text(&self) -> String {
        self.address
            .map_or_else(|| "none".to_owned(), |address| address.to_string())
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
        subscriber.suite = peer.suite_text();
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
    fn with_link<R>(
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
            ppp::Output::Send(frame) => {
                self.outbox
                    .inject(slot.0.shard, Entry::Session(slot), frame);
            }
            ppp::Output::LcpUp(negotiated) => subscriber.negotiated = Some(negotiated),
            ppp::Output::Authenticate(credentials) => self.authenticate(now, slot, &credentials),
            ppp::Output::AuthRefused { message, .. } => {
                log::note(id, &message, "authentication refused");
            }
            ppp::Output::Up(addresses) => self.network_up(now, slot, &addresses),
            ppp::Output::NetworkDown => self.detach(slot),
            ppp::Output::Ident(text) => log::note(id, &text, "LCP identification"),
            ppp::Output::TimeRemaining { message, .. } => {
                log::note(id, &message, "LCP time remaining");
            }
            ppp::Output::EchoRtt(time) => log::note(id, &time.as_millis(), "LCP echo, ms"),
            ppp::Output::Discarded(refusal) => {
                self.counters.add(Counter::PppDiscarded);
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

    /// Who is it, and what does he get?
    fn authenticate(&mut self, now: Instant, slot: SessionSlot, credentials: &Credentials) {
        let verdict = match self.admit(now, slot, credentials) {
            Ok(grant) => Verdict::Accept(grant),
            Err(why) => {
                if let Some(subscriber) = self.subscribers.get_mut(slot.0) {
                    let (user, remote) = (credentials.user(), subscriber.remote);
                    log::refused(&self.log, subscriber, remote, user, &why);
                    subscriber.end.get_or_insert(format!("refused: {why}"));
                }
                let message = String::new();
                Verdict::Reject { message }
            }
        };
        self.with_link(now, slot, |link, random, out| {
            link.authorize(now, verdict, random, out)
        });
    }

    fn admit(
        &mut self,
        now: Instant,
        slot: SessionSlot,
        credentials: &Credentials,
    ) -> Result<Grant, String> {
        let settings = Arc::clone(&self.settings);
        let listener = self
            .listener_of_session(slot)
            .ok_or("the session is gone")?;
        let default_profile = &settings.listeners[listener].profile;
        let known = self
            .users
            .authenticate(credentials, default_profile, &settings.profiles);
        let service = known.map_err(|stranger| {
            let (counter, why) = match stranger {
                Stranger::UnknownUser => (Counter::AuthUnknownUser, "no such user"),
                Stranger::WrongSecret => (Counter::AuthWrongSecret, "wrong password"),
            };
            self.counters.add(counter);
            why.to_owned()
        })?;
        self.forget_previous_user(now, slot, &service.user);
        self.make_room_for(now, slot, &service)?;
        let lease = self.lease_for(now, slot, listener, &service)?;
        Ok(self.grant(now, slot, lease, service))
    }

    fn listener_of_session(&self, slot: SessionSlot) -> Option<usize> {
        let path = self.subscribers.get(slot.0)?.tunnel.path;
        Some(self.peers.slots.get(path.0)?.listener)
    }

    /// LCP may start anew, and somebody else authenticate.
    fn forget_previous_user(&mut self, now: Instant, slot: SessionSlot, user: &str) {
        let Some(subscriber) = self.subscribers.get(slot.0) else {
            return;
        };
        if subscriber.lease.is_some() && subscriber.user != user {
            self.detach(slot);
            self.release(now, slot);
        }
    }

    /// Holds a dial-in against the user's session limit.
    fn make_room_for(
        &mut self,
        now: Instant,
        slot: SessionSlot,
        service: &Service,
    ) -> Result<(), String> {
        let limit = service.sessions;
        if limit.max == 0 || service.user.is_empty() {
            return Ok(());
        }
        let others = self.users.connected(&service.user).iter().copied();
        let others: Vec<SessionSlot> = others.filter(|&other| other != slot).collect();
        let surplus = (others.len() + 1).saturating_sub(limit.max as usize);
        if surplus > 0 && limit.beyond == Beyond::Deny {
            self.counters.add(Counter::AuthTooManySessions);
            return Err("too many sessions of this user".to_owned());
        }
        for &oldest in others.iter().take(surplus) {
            self.counters.add(Counter::AuthReplaced);
            let why = "replaced by a new session of the same user";
            self.terminate(now, oldest, DownReason::Cleared, why);
        }
        Ok(())
    }

    fn lease_for(
        &mut self,
        now: Instant,
        slot: SessionSlot,
        listener: usize,
        service: &Service,
    ) -> Result<Lease, String> {
        let subscriber = self
            .subscribers
            .get_mut(slot.0)
            .ok_or("the session is gone")?;
        if let Some(lease) = subscriber.lease.take() {
            return Ok(lease);
        }
        let fixed = self.users.find(&service.user).and_then(|user| user.address);
        let leased = match fixed {
            Some(address) => {
                let vrf = self.settings.listeners[listener].vrf;
                self.pools.lease_fixed(vrf, address)
            }
            None if service.user.is_empty() => {
                let nobody = subscriber.correlation.to_string();
                self.pools.lease(now, &nobody, &service.pools)
            }
            None => self.pools.lease(now, &service.user, &service.pools),
        };
        leased.map_err(|why| {
            self.counters.add(Counter::AuthNoAddress);
            match why {
                NoLease::Exhausted => "no address left in the pool".to_owned(),
                NoLease::InUse(address) => format!("the fixed address {address} is in use"),
                NoLease::NoPool => "no pool is configured for this user".to_owned(),
            }
        })
    }

    fn grant(&mut self, now: Instant, slot: SessionSlot, lease: Lease, service: Service) -> Grant {
        let settings = Arc::clone(&self.settings);
        let pool = lease.pool().or(service.pools.first().copied());
        let pool = pool.and_then(|pool| settings.pools.get(pool));
        let profile = settings.profiles.get(service.profile);
        let of_pool = |list: fn(&crate::settings::Pool) -> &Vec<IpAddr>| {
            pool.map(list).map(Vec::as_slice).unwrap_or_default()
        };
        let dns = profile
            .map(|profile| &profile.dns[..])
            .filter(|dns| !dns.is_empty());
        let wins = profile
            .map(|profile| &profile.wins[..])
            .filter(|wins| !wins.is_empty());
        let first = |address| ipv4(&[address]).first().copied();
        let grant = Grant {
            peer_address: first(lease.address()).unwrap_or(std::net::Ipv4Addr::UNSPECIFIED),
            own_address: pool
                .and_then(|pool| first(pool.gateway))
                .unwrap_or(std::net::Ipv4Addr::UNSPECIFIED),
            dns: ipv4(dns.unwrap_or(of_pool(|pool| &pool.dns))),
            wins: ipv4(wins.unwrap_or(of_pool(|pool| &pool.wins))),
            authenticator_response: service.authenticator_response,
        };
        let Some(subscriber) = self.subscribers.get_mut(slot.0) else {
            self.pools.release(now, lease);
            return grant;
        };
        let is_new = subscriber.user != service.user || subscriber.address.is_none();
        subscriber.address = Some(lease.address());
        subscriber.lease = Some(lease);
        subscriber.profile = service.profile;
        subscriber.user.clone_from(&service.user);
        subscriber.end = None;
        if is_new && !service.user.is_empty() {
            self.users.enter(&service.user, slot);
        }
        grant
    }

    /// IPCP is open: the address leads to the session before the peer learns of it.
    fn network_up(&mut self, now: Instant, slot: SessionSlot, addresses: &Addresses) {
        let settings = Arc::clone(&self.settings);
        let Some(subscriber) = self.subscribers.get_mut(slot.0) else {
            return;
        };
        let Some(peer) = self.peers.slots.get(subscriber.tunnel.path.0) else {
            return;
        };
        let address = IpAddr::V4(addresses.peer);
        let user = self.users.find(&subscriber.user);
        let prefixes = user.map(|user| user.prefixes.clone()).unwrap_or_default();
        let Some(profile) = settings.profiles.get(subscriber.profile) else {
            return;
        };
        let l2tp_header = match subscriber.session.sequencing {
            true => L2TP_HEADER_SEQUENCED,
            false => L2TP_HEADER,
        };
        let largest = peer
            .carriage(settings.path_mtu)
            .largest_inner(l2tp_header, PPP_HEADER);
        let negotiated = subscriber.negotiated;
        let network = Network {
            session: slot,
            address,
            prefixes: prefixes.clone(),
            mtu: negotiated.map_or(largest, |negotiated| negotiated.peer_mru.min(largest)),
            pfc: negotiated.is_some_and(|negotiated| negotiated.pfc),
            acfc: negotiated.is_some_and(|negotiated| negotiated.acfc),
            clamp_mss: profile.clamp_mss,
            isolate: profile.isolate,
        };
        subscriber.attached = prefixes;
        subscriber.attached.push(IpNet::from(address));
        for &prefix in &subscriber.attached {
            self.outbox.shared(SharedChange::Attach {
                vrf: peer.vrf,
                prefix,
                session: slot,
            });
        }
        self.outbox
            .change(slot.0.shard, Change::OpenNetwork(network));
        let is_first = subscriber.up_since.is_none();
        subscriber.up_since.get_or_insert(now);
        if is_first {
            self.sessions_up += 1;
            self.counters.add(Counter::SessionsUp);
            log::session_up(&self.log, subscriber, peer.shown(), &peer.suite_text());
        }
        self.set_session_limits(now, slot);
    }

    /// Nothing leads to the session any more.
    fn detach(&mut self, slot: SessionSlot) {
        let Some(subscriber) = self.subscribers.get_mut(slot.0) else {
            return;
        };
        let vrf = self
            .peers
            .slots
            .get(subscriber.tunnel.path.0)
            .map_or(0, |peer| peer.vrf);
        for prefix in std::mem::take(&mut subscriber.attached) {
            let session = slot;
            self.outbox.shared(SharedChange::Detach {
                vrf,
                prefix,
                session,
            });
        }
    }

    /// User and address are free again.
    fn release(&mut self, now: Instant, slot: SessionSlot) {
        let Some(subscriber) = self.subscribers.get_mut(slot.0) else {
            return;
        };
        if let Some(lease) = subscriber.lease.take() {
            self.pools.release(now, lease);
            self.users.leave(&subscriber.user, slot);
        }
    }

    /// The session and idle time-outs of the profile, whichever comes first.
    fn set_session_limits(&mut self, now: Instant, slot: SessionSlot) {
        let Some(subscriber) = self.subscribers.get(slot.0) else {
            return;
        };
        let Some(profile) = self.settings.profiles.get(subscriber.profile) else {
            return;
        };
        let up_since = subscriber.up_since.unwrap_or(now);
        let session = profile
            .session_timeout
            .map(|limit| (up_since + limit, "session time-out"));
        let last_seen = self
            .activity
            .session_last_seen(slot)
            .unwrap_or(up_since)
            .max(up_since);
        let idle = profile
            .idle_timeout
            .map(|limit| (last_seen + limit, "idle time-out"));
        let first = [session, idle]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at);
        self.timers.set(Timer::Session(slot), first);
    }

    pub(crate) fn session_timeout(&mut self, now: Instant, slot: SessionSlot) {
        self.set_session_limits(now, slot);
        match self.timers.of(Timer::Session(slot)) {
            Some((at, "session time-out")) if at <= now => {
                self.terminate(now, slot, DownReason::SessionTimeout, "session time-out");
            }
            Some((at, _)) if at <= now => {
                self.terminate(now, slot, DownReason::IdleTimeout, "idle time-out");
            }
            Some(_) | None => {}
        }
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
        subscriber.end.get_or_insert_with(|| why.to_owned());
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
        subscriber.end.get_or_insert_with(|| reason.to_string());
        let (tunnel, session) = (subscriber.tunnel, subscriber.session.session);
        self.hang_up(now, tunnel, session, CallEnd::LostCarrier);
    }

    /// The call is over: everything that hangs on it is given back, but the slot, which waits for
    /// the last counters.
    pub(crate) fn end_subscriber(&mut self, now: Instant, slot: SessionSlot, why: &str) {
        let Some(subscriber) = self.subscribers.get_mut(slot.0) else {
            return;
        };
        subscriber.end.get_or_insert_with(|| why.to_owned());
        subscriber.ended_at = Some(now);
        if subscriber.up_since.is_some() {
            self.sessions_up -= 1;
        }
        subscriber.link = None;
        subscriber.early = Vec::new();
        let (tunnel, session) = (subscriber.tunnel, subscriber.session.session);
        self.detach(slot);
        self.release(now, slot);
        self.timers.set(Timer::Link(slot), None);
        self.timers.set(Timer::Session(slot), None);
        self.leave_tunnel(now, tunnel, session);
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

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subscriber({}, {})", self.correlation, self.state())
    }
}
