//! One emulated client: IKE as initiator, L2TP as LAC, PPP as the side that asks for an address.
//!
//! The same machines as the gateway's, turned round. A client has no socket, no clock, no thread
//! and no keys: what it wants sent, computed or installed comes out as [`Output`].
//!
//! ```text
//!   dial ─► ike::v1::Sa ─► l2tp::Tunnel ─► ppp::Link ─► Up(Lease)
//!            Phase1         Tunnel          Lcp
//!            Phase2         Call            Authentication
//!                                           Ipcp
//!   hang_up: the same way back, each layer with its own goodbye, and Down at the end
//! ```

mod failure;
mod follow;
mod goodbye;
mod habits;
mod journal;
mod renewal;
mod shared;
mod stage;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto::Random;
use crypto::dh;
use crypto::esp::{Integrity, Suite};
use ike::{Cookie, Environment, Spi};
use l2tp::{CallParameters, Kind, SessionId, TunnelId};
use packet::header::Udp;

pub use failure::{Cause, Failure};
pub use habits::Habits;
pub use journal::{Entry, Journal, Medium, Way};
pub use shared::Wish;
pub use stage::{Stage, Stages};

use crate::wire::{self, ShortPpp};

/// How long a client says goodbye before it just goes.
const GOODBYE_LIMIT: Duration = Duration::from_secs(5);

/// What a kind of client does; shared by all of that kind.
#[derive(Clone, Debug)]
pub struct Settings {
    /// IPsec around L2TP; `None` is plain L2TP.
    pub ipsec: Option<Arc<ike::Policy>>,
    /// The tunnel.
    pub l2tp: Arc<l2tp::Settings>,
    /// The call.
    pub call: CallParameters,
    /// The link.
    pub ppp: Arc<ppp::Settings>,
    /// From the first message to the address.
    pub setup_limit: Duration,
    /// What no machine decides.
    pub habits: Habits,
}

/// Something to be done for a client, in order.
#[derive(Debug)]
pub enum Output {
    /// An ISAKMP message, without marker.
    Ike {
        /// From port 4500 to port 4500, not 500 to 500.
        is_floated: bool,
        /// The message.
        message: Vec<u8>,
    },
    /// A NAT keepalive, on port 4500.
    Keepalive,
    /// An L2TP message, control or data: sealed where there is IPsec.
    L2tp(Vec<u8>),
    /// Public-key work; its outcome goes to [`Client::handle_computed`].
    Compute {
        /// Names the answer.
        token: u64,
        /// The work.
        job: dh::Job,
    },
    /// Of a client whose tunnel is a LAC's: what it wants of the LAC.
    Lac(Wish),
    /// A pair of SAs to install.
    SaUp(Box<ike::Child>),
    /// Keys of the ISAKMP SA, for decoding a capture.
    Keys(Box<ike::KeyLog>),
    /// The pair may be sent on.
    SaConfirmed(Spi),
    /// The pair, or the reserved SPI, is no more.
    SaDown(Spi),
    /// The client has an address.
    Up(Lease),
    /// The client is over. Once, and last; `None` if it was asked to hang up.
    Down(Option<Failure>),
}

/// What PPP gave the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its own address.
    pub address: Ipv4Addr,
    /// The gateway's inside the tunnel; unspecified if it did not say.
    pub gateway: Ipv4Addr,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
}

/// What was agreed on, for show.
#[derive(Clone, Debug, Default)]
pub struct Agreed {
    /// Phase 1, as `AES256/SHA1/MODP2048`.
    pub phase1: String,
    /// Whether anybody found a NAT.
    pub nat: bool,
    /// The ESP suite.
    pub suite: Option<crypto::esp::Suite>,
    /// ESP in UDP.
    pub is_encapsulated: bool,
    /// The server's L2TP host name.
    pub host_name: String,
    /// How the client showed who it is.
    pub auth: Option<ppp::Method>,
    /// The longest packet the server takes.
    pub peer_mru: u16,
    /// The address that it got first, also when it is over.
    pub address: Option<Ipv4Addr>,
}

/// What every call brings along.
pub struct Turn<'a> {
    /// The time.
    pub now: Instant,
    /// Reserves SPIs.
    pub spis: &'a mut dyn FnMut() -> Option<Spi>,
    /// What comes out.
    pub out: &'a mut Vec<Output>,
}

/// How far in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    SettingUp { until: Instant },
    Up,
    Leaving { until: Instant },
    Over,
}

/// The call and what runs in it.
struct Session {
    id: SessionId,
    peer: SessionId,
    link: ppp::Link,
}

/// One client.
pub struct Client {
    settings: Arc<Settings>,
    /// Its own address as it knows it: behind a NAT the world sees another.
    inside: IpAddr,
    server: IpAddr,
    random: Random,
    phase: Phase,
    stages: Stages,
    agreed: Agreed,
    isakmp: Option<ike::v1::Sa>,
    /// Another one: that is to take its place, or that had it before, until its time is over.
    other: Option<Box<ike::v1::Sa>>,
    /// How often they have changed places, as far as it tells them apart.
    has_odd_isakmp: bool,
    tunnel: Option<l2tp::Tunnel>,
    /// The gateway's id of the tunnel, if that is a LAC's with other calls in it; 0 until it is up.
    shared: Option<TunnelId>,
    session: Option<Session>,
    lease: Option<Lease>,
    ppp_header: ShortPpp,
    /// When data last came: told to the machines when they next look at the time.
    heard_at: Option<Instant>,
    /// The Ns of our StopCCN.
    farewell: Option<u16>,
    failure: Option<Failure>,
    remark: Option<String>,
    /// Messages sent since one was accepted.
    unanswered: u32,
    /// The call is connected, but the client does not know it yet.
    connected: Option<(SessionId, SessionId)>,
    journal: Option<Box<Journal>>,
}

impl Client {
    /// A client that has not begun.
    #[must_use]
    pub fn new(settings: Arc<Settings>, inside: IpAddr, server: IpAddr, random: Random) -> Self {
        let journal = settings.habits.keeps_journal.then(Box::default);
        Self {
            settings,
            inside,
            server,
            random,
            phase: Phase::Idle,
            stages: Stages::default(),
            agreed: Agreed::default(),
            isakmp: None,
            other: None,
            has_odd_isakmp: false,
            tunnel: None,
            shared: None,
            session: None,
            lease: None,
            ppp_header: ShortPpp::default(),
            heard_at: None,
            farewell: None,
            failure: None,
            remark: None,
            unanswered: 0,
            connected: None,
            journal,
        }
    }

    /// Sends the first message. A second call does nothing.
    pub fn dial(&mut self, turn: &mut Turn<'_>) {
        if self.phase != Phase::Idle {
            return;
        }
        let until = turn.now + self.settings.setup_limit;
        self.phase = Phase::SettingUp { until };
        self.stages.begin(turn.now);
        match self.settings.ipsec.clone() {
            Some(policy) => self.begin_ike(policy, turn),
            None => self.begin_tunnel(turn),
        }
    }

    /// Takes an ISAKMP message that came to port 500, or 4500 if `is_floated`.
    pub fn handle_ike(&mut self, is_floated: bool, message: &[u8], turn: &mut Turn<'_>) {
        let medium = if is_floated {
            Medium::FloatedIke
        } else {
            Medium::Ike
        };
        self.note(turn.now, Way::Received, medium, message);
        let (local, remote) = self.path(is_floated);
        if self.is_for_other(message) {
            return self.with_other(turn, |sa, now, env, out| {
                let _refused = sa.handle_input(now, local, remote, message, env, out);
            });
        }
        let mut events = Vec::new();
        let Some(sa) = &mut self.isakmp else { return };
        let env = &mut Env::new(&mut self.random, turn.spis);
        match sa.handle_input(turn.now, local, remote, message, env, &mut events) {
            Ok(()) => self.unanswered = 0,
            Err(refusal) if is_harmless(refusal) => {}
            Err(refusal) => self.refuse(refusal.to_string()),
        }
        self.follow_ike(events, turn);
    }

    /// Takes the outcome of public-key work.
    pub fn handle_computed(&mut self, token: u64, outcome: dh::Outcome, turn: &mut Turn<'_>) {
        let (token, is_for_other) = self.addressee(token);
        if is_for_other {
            return self.with_other(turn, |sa, now, env, out| {
                sa.handle_computed(now, token, outcome, env, out);
            });
        }
        let mut events = Vec::new();
        let Some(sa) = &mut self.isakmp else { return };
        let env = &mut Env::new(&mut self.random, turn.spis);
        sa.handle_computed(turn.now, token, outcome, env, &mut events);
        self.follow_ike(events, turn);
    }

    /// Where an L2TP message holds a packet for the subscriber, if that is what it is.
    pub fn find_packet(&mut self, now: Instant, message: &[u8]) -> Option<Range<usize>> {
        let header = l2tp::peek(message).ok()?;
        self.lease.as_ref()?;
        if header.kind == Kind::Control || !self.is_ours(&header) {
            return None;
        }
        let packet = wire::ip_in_ppp(&message[header.payload.clone()])?;
        self.heard_at = Some(now);
        Some(header.payload.end - packet.len()..header.payload.end)
    }

    /// Takes an L2TP message of control, or a PPP frame.
    pub fn handle_l2tp(&mut self, message: &[u8], turn: &mut Turn<'_>) {
        self.note(turn.now, Way::Received, Medium::L2tp, message);
        let header = match l2tp::peek(message) {
            Ok(header) => header,
            Err(refusal) => {
                return self.refuse(refusal.to_string());
            }
        };
        if header.kind == Kind::Control {
            return self.handle_control(&header, message, turn);
        }
        let is_ours = self.is_ours(&header);
        let Some(session) = self.session.as_mut().filter(|_| is_ours) else {
            return;
        };
        self.unanswered = 0;
        let mut events = Vec::new();
        let frame = &message[header.payload];
        session
            .link
            .handle_input(turn.now, frame, &mut self.random, &mut events);
        self.follow_ppp(events, turn);
    }

    /// Something authentic came over this pair, on which we have not been sending.
    pub fn saw_pair(&mut self, inbound: Spi, turn: &mut Turn<'_>) {
        let mut events = Vec::new();
        if let Some(sa) = &mut self.isakmp {
            sa.saw_child_traffic(turn.now, inbound, &mut events);
        }
        self.follow_ike(events, turn);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, turn: &mut Turn<'_>) {
        if let Some(at) = self.heard_at.take() {
            self.tell_of_traffic(at);
        }
        self.ike_timeout(turn);
        self.tunnel_timeout(turn);
        self.link_timeout(turn);
        if matches!(self.phase, Phase::SettingUp { until } if until <= turn.now) {
            self.fail(Cause::SetupLimit(self.settings.setup_limit));
            self.leave(turn);
        }
        if matches!(self.phase, Phase::Leaving { until } if until <= turn.now) {
            self.finish(turn);
        }
    }

    /// When [`Self::handle_timeout`] is next wanted, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let own = match self.phase {
            Phase::Idle | Phase::Over => return None,
            Phase::SettingUp { until } => Some((until, "set-up limit")),
            Phase::Leaving { until } => Some((until, "end of the goodbye")),
            Phase::Up => None,
        };
        let isakmp = self.isakmp.as_ref().and_then(ike::v1::Sa::poll_timeout);
        let other = self.other.as_ref().and_then(|sa| sa.poll_timeout());
        let tunnel = self.tunnel.as_ref().and_then(l2tp::Tunnel::poll_timeout);
        let link = self.session.as_ref().and_then(|s| s.link.poll_timeout());
        [own, isakmp, other, tunnel, link]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// Says goodbye from PPP down to IKE.
    pub fn hang_up(&mut self, turn: &mut Turn<'_>) {
        match self.phase {
            Phase::Idle => {
                self.phase = Phase::Over;
                turn.out.push(Output::Down(None));
            }
            Phase::SettingUp { .. } => {
                self.fail(Cause::HungUp);
                self.leave(turn);
            }
            Phase::Up => self.leave(turn),
            Phase::Leaving { .. } | Phase::Over => {}
        }
    }

    /// What goes before each packet of the subscriber; `None` while there is no address.
    #[must_use]
    pub fn session_header(&self) -> Option<Vec<u8>> {
        self.lease.as_ref()?;
        let (tunnel, session) = (self.peer_tunnel()?, self.session.as_ref()?);
        Some(wire::session_header(
            tunnel.0,
            session.peer.0,
            self.ppp_header,
        ))
    }

    /// What PPP gave it, while it is up.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// When it came how far.
    #[must_use]
    pub fn stages(&self) -> &Stages {
        &self.stages
    }

    /// What was agreed on so far.
    #[must_use]
    pub fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// Why it is not up, if it has failed.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// L2TP without IPsec.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.settings.ipsec.is_none()
    }

    /// The port from which its L2TP leaves inside ESP.
    #[must_use]
    pub fn l2tp_port(&self) -> u16 {
        self.settings.habits.l2tp_port
    }

    /// Whether 96 bits of HMAC-SHA2-256 are what it sends and expects.
    #[must_use]
    pub fn cuts_icv(&self) -> bool {
        let integrity = Integrity::HmacSha256_128;
        self.settings.habits.cuts_sha256
            && matches!(self.agreed.suite, Some(Suite::AesCbc { integrity: own, .. }) if own == integrity)
    }

    /// What it has sent and received, if it keeps a journal.
    #[must_use]
    pub fn journal(&self) -> Option<&Journal> {
        self.journal.as_deref()
    }

    /// Nothing more comes from it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// A data message of our tunnel and our session.
    fn is_ours(&self, header: &l2tp::Header) -> bool {
        let tunnel = self.tunnel.as_ref().map(l2tp::Tunnel::id);
        let session = self.session.as_ref().map(|session| session.id);
        // A LAC has looked at the tunnel already.
        let is_tunnel = self.shared.is_some() || tunnel == Some(header.tunnel);
        is_tunnel && session == Some(header.session)
    }

    /// The gateway's id of the tunnel.
    fn peer_tunnel(&self) -> Option<TunnelId> {
        let own = self.tunnel.as_ref().map(l2tp::Tunnel::peer_id);
        self.shared.or(own)
    }

    fn begin_ike(&mut self, policy: Arc<ike::Policy>, turn: &mut Turn<'_>) {
        let (local, remote) = self.path(false);
        let cookie = Cookie(self.random.array());
        let mut events = Vec::new();
        let env = &mut Env::new(&mut self.random, turn.spis);
        let sa = ike::v1::Sa::initiate(policy, cookie, turn.now, local, remote, env, &mut events);
        self.isakmp = Some(sa);
        self.follow_ike(events, turn);
    }

    fn begin_tunnel(&mut self, turn: &mut Turn<'_>) {
        if self.shared.is_some() {
            return turn.out.push(Output::Lac(Wish::Enter));
        }
        let drawn = self.random.u16().max(1);
        let id = TunnelId(self.settings.habits.tunnel_id.unwrap_or(drawn));
        let mut events = Vec::new();
        let settings = Arc::clone(&self.settings.l2tp);
        self.tunnel = Some(l2tp::Tunnel::dial(
            settings,
            id,
            turn.now,
            &mut self.random,
            &mut events,
        ));
        self.follow_l2tp(events, turn);
    }

    fn handle_control(&mut self, header: &l2tp::Header, message: &[u8], turn: &mut Turn<'_>) {
        let mut events = Vec::new();
        if !self.settings.habits.hears(message) {
            return self.refuse("its header is not the one that it listens to".into());
        }
        let Some(tunnel) = &mut self.tunnel else {
            return;
        };
        match tunnel.handle_input(turn.now, message, &mut self.random, &mut events) {
            Ok(()) => self.unanswered = 0,
            Err(refusal) if refusal.is_harmless() => {}
            Err(refusal) => self.refuse(refusal.to_string()),
        }
        self.follow_l2tp(events, turn);
        self.begin_acknowledged(turn);
        // RFC 2661 §5.8: Nr is the number of the next message that the peer expects.
        let acknowledged = header.sequence.map(|(_, nr)| nr.wrapping_sub(1));
        if self.farewell.is_some() && self.farewell == acknowledged {
            self.end_ike(turn);
        }
    }

    fn path(&self, is_floated: bool) -> (SocketAddr, SocketAddr) {
        let port = if is_floated { Udp::NAT_T } else { Udp::IKE };
        (
            SocketAddr::new(self.inside, port),
            SocketAddr::new(self.server, port),
        )
    }

    fn tell_of_traffic(&mut self, at: Instant) {
        for sa in self.isakmp.iter_mut().chain(self.other.as_deref_mut()) {
            sa.saw_traffic(at);
        }
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.saw_traffic(at);
        }
        if let Some(session) = &mut self.session {
            session.link.saw_traffic(at);
        }
    }

    fn ike_timeout(&mut self, turn: &mut Turn<'_>) {
        let mut events = Vec::new();
        if let Some(sa) = &mut self.isakmp
            && is_due(sa.poll_timeout(), turn.now)
        {
            let env = &mut Env::new(&mut self.random, turn.spis);
            sa.handle_timeout(turn.now, env, &mut events);
        }
        self.follow_ike(events, turn);
        let other = self.other.as_ref().and_then(|sa| sa.poll_timeout());
        if is_due(other, turn.now) {
            self.with_other(turn, |sa, now, env, out| sa.handle_timeout(now, env, out));
        }
    }

    fn tunnel_timeout(&mut self, turn: &mut Turn<'_>) {
        let mut events = Vec::new();
        if let Some(tunnel) = &mut self.tunnel
            && is_due(tunnel.poll_timeout(), turn.now)
        {
            tunnel.handle_timeout(turn.now, &mut self.random, &mut events);
        }
        self.follow_l2tp(events, turn);
    }

    fn link_timeout(&mut self, turn: &mut Turn<'_>) {
        let mut events = Vec::new();
        if let Some(session) = &mut self.session
            && is_due(session.link.poll_timeout(), turn.now)
        {
            session
                .link
                .handle_timeout(turn.now, &mut self.random, &mut events);
        }
        self.follow_ppp(events, turn);
    }
}

/// What IKE needs from whoever owns it.
struct Env<'a> {
    random: &'a mut Random,
    spis: &'a mut dyn FnMut() -> Option<Spi>,
}

impl<'a> Env<'a> {
    fn new(random: &'a mut Random, spis: &'a mut dyn FnMut() -> Option<Spi>) -> Self {
        Self { random, spis }
    }
}

impl Environment for Env<'_> {
    fn random(&mut self, bytes: &mut [u8]) {
        self.random.fill(bytes);
    }

    fn allocate_spi(&mut self) -> Option<Spi> {
        (self.spis)()
    }
}

/// Refusals that are part of every conversation over a lossy path.
fn is_harmless(refusal: ike::Refusal) -> bool {
    matches!(
        refusal,
        ike::Refusal::Duplicate
            | ike::Refusal::FragmentStored
            | ike::Refusal::Finished
            | ike::Refusal::UnauthenticatedNotification
    )
}

fn is_due(deadline: Option<(Instant, &'static str)>, now: Instant) -> bool {
    deadline.is_some_and(|(at, _)| at <= now)
}
