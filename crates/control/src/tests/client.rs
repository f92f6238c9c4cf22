//! A client: the same machines in the other role.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crypto::dh::{Job, Outcome};
use crypto::{Random, Secret};
use ike::v1::Sa;
use ike::{Cookie, Policy, Spi};
use l2tp::{CallParameters, SessionId, TunnelId};
use packet::Endpoint;

use super::world::GATEWAY;

/// Our session id in every client: they are only unique within a tunnel.
const SESSION: SessionId = SessionId(7);

/// What a client sends.
#[derive(Debug)]
pub(super) enum Upstream {
    Ike(SocketAddr, Vec<u8>),
    L2tp(Vec<u8>),
    /// The gateway's tunnel and session id, and a frame.
    Ppp(u16, u16, Vec<u8>),
    Compute(usize, u64, Job),
}

/// A pair of SAs as the client has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) inbound: u32,
    pub(super) outbound: u32,
}

pub(super) struct Client {
    /// As the gateway sees it.
    pub(super) address: Ipv4Addr,
    /// Behind a NAT: its own address, and the NAT's ports for its 500 and 4500.
    pub(super) nat: Option<(Ipv4Addr, [u16; 2])>,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) l2tp: Arc<l2tp::Settings>,
    /// With IPsec, if there is a policy.
    pub(super) policy: Option<Arc<Policy>>,
    /// The newest last.
    pub(super) sas: Vec<Sa>,
    pub(super) pairs: Vec<Pair>,
    pub(super) tunnel: Option<l2tp::Tunnel>,
    pub(super) link: Option<ppp::Link>,
    peer_session: SessionId,
    next_tunnel: u16,
    next_spi: u32,
    pub(super) random: Random,
    pub(super) inner: Option<Ipv4Addr>,
    /// How often it got an address.
    pub(super) dialled_in: usize,
    pub(super) mtu: Option<u16>,
    /// How sessions and tunnels ended.
    pub(super) ends: Vec<String>,
    pub(super) sends: Vec<Upstream>,
}

struct Environment<'a>(&'a mut Random, &'a mut u32);

impl ike::Environment for Environment<'_> {
    fn random(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
    fn allocate_spi(&mut self) -> Option<Spi> {
        *self.1 += 1;
        Some(Spi(*self.1))
    }
}

impl Client {
    pub(super) fn new(n: u32) -> Self {
        let [_, _, high, low] = (n + 1).to_be_bytes();
        let mut random = Random::from_seed([0x5a; 32]);
        for _ in 0..n {
            random = random.fork();
        }
        Self {
            address: Ipv4Addr::new(198, 51, high, low),
            nat: None,
            port: 1701,
            user: format!("user{n}"),
            password: "secret".to_owned(),
            l2tp: Arc::new(l2tp::Settings {
                host_name: format!("client{n}"),
                ..l2tp::Settings::default()
            }),
            policy: None,
            sas: Vec::new(),
            pairs: Vec::new(),
            tunnel: None,
            link: None,
            peer_session: SessionId(0),
            next_tunnel: 1,
            next_spi: n << 12 | 0x4000_0000,
            random,
            inner: None,
            dialled_in: 0,
            mtu: None,
            ends: Vec::new(),
            sends: Vec::new(),
        }
    }

    /// Dials in: IKE if there is a policy, then L2TP.
    pub(super) fn dial(&mut self, now: Instant) {
        if self.policy.is_some() && self.pairs.is_empty() {
            self.dial_ike(now);
        } else {
            self.dial_l2tp(now);
        }
    }

    pub(super) fn dial_ike(&mut self, now: Instant) {
        let policy = self.policy.clone().unwrap();
        let cookie = Cookie(self.random.array());
        let local = self.own(500);
        let remote = SocketAddr::new(GATEWAY.into(), 500);
        let mut out = Vec::new();
        let mut env = Environment(&mut self.random, &mut self.next_spi);
        let sa = Sa::initiate(policy, cookie, now, local, remote, &mut env, &mut out);
        self.sas.push(sa);
        self.take_ike(now, self.sas.len() - 1, out);
    }

    pub(super) fn dial_l2tp(&mut self, now: Instant) {
        let id = TunnelId(self.next_tunnel);
        self.next_tunnel += 1;
        let mut out = Vec::new();
        let settings = Arc::clone(&self.l2tp);
        self.tunnel = Some(l2tp::Tunnel::dial(
            settings,
            id,
            now,
            &mut self.random,
            &mut out,
        ));
        self.take_l2tp(now, out);
    }

    /// Its own end, as it sees it.
    fn own(&self, port: u16) -> SocketAddr {
        let address = self.nat.map_or(self.address, |(own, _)| own);
        SocketAddr::new(address.into(), port)
    }

    /// Where the gateway sees one of its ports.
    pub(super) fn outer(&self, port: u16) -> Endpoint {
        let port = match self.nat {
            Some((_, [ike, natt])) => {
                if port == 500 {
                    ike
                } else {
                    natt
                }
            }
            None => port,
        };
        Endpoint::new(self.address.into(), port)
    }

    /// Which of its ports an outer endpoint leads to.
    pub(super) fn port_at(&self, remote: Endpoint) -> Option<u16> {
        if remote.address() != IpAddr::V4(self.address) {
            return None;
        }
        match self.nat {
            None => Some(remote.port()),
            Some((_, [ike, _])) if ike == remote.port() => Some(500),
            Some((_, [_, natt])) if natt == remote.port() => Some(4500),
            Some(_) => None,
        }
    }

    /// Forgets everything, as after a power cut.
    pub(super) fn crash(&mut self) {
        let (next_tunnel, next_spi) = (1, self.next_spi + 1);
        (self.tunnel, self.link) = (None, None);
        self.sas.clear();
        self.pairs.clear();
        (self.next_tunnel, self.next_spi) = (next_tunnel, next_spi);
        (self.inner, self.mtu) = (None, None);
        self.sends.clear();
    }

    /// Hangs up as a well-behaved client does: LCP, call, tunnel, SAs.
    pub(super) fn hang_up(&mut self, now: Instant) {
        self.with_link(now, |link, _, out, now| {
            link.close(now, ppp::DownReason::Cleared, out)
        });
        self.with_l2tp(now, |tunnel, _, out, now| {
            tunnel.hang_up(now, SESSION, l2tp::CallEnd::LostCarrier, out);
            tunnel.close(now, l2tp::TunnelEnd::Administrative, out);
        });
    }

    /// Says goodbye in LCP, and closes the tunnel without a word about the call.
    pub(super) fn hang_up_at_once(&mut self, now: Instant) {
        self.with_link(now, |link, _, out, now| {
            link.close(now, ppp::DownReason::Cleared, out)
        });
        self.with_l2tp(now, |tunnel, _, out, now| {
            tunnel.close(now, l2tp::TunnelEnd::Administrative, out);
        });
    }

    /// Closes the tunnel without a word to PPP.
    pub(super) fn close_tunnel(&mut self, now: Instant) {
        self.with_l2tp(now, |tunnel, _, out, now| {
            tunnel.close(now, l2tp::TunnelEnd::Administrative, out);
        });
    }

    /// Deletes its IPsec SAs and keeps the ISAKMP SA.
    pub(super) fn delete_pairs(&mut self, now: Instant) {
        for pair in self.pairs.clone() {
            let inbound = ike::Spi(pair.inbound);
            self.with_ike(now, |sa, env, out, now| {
                sa.delete_child(now, inbound, env, out)
            });
        }
    }

    pub(super) fn hang_up_ike(&mut self, now: Instant) {
        self.with_ike(now, |sa, env, out, now| sa.close(now, env, out));
        self.sas.clear();
    }

    pub(super) fn on_ike(&mut self, now: Instant, port: u16, from: SocketAddr, message: &[u8]) {
        let to = self.own(port);
        let Some(policy) = self.policy.clone() else {
            return;
        };
        let header = ike::peek(message).unwrap();
        let is_ours = |sa: &Sa| sa.cookies().initiator == header.cookies.initiator;
        if header.is_first() && !self.sas.iter().any(is_ours) {
            // The gateway begins.
            let cookie = Cookie(self.random.array());
            self.sas.push(Sa::respond(policy, cookie, now, to, from));
        }
        for n in (0..self.sas.len()).rev() {
            let taken = self.with_sa(now, n, |sa, env, out| {
                sa.handle_input(now, to, from, message, env, out)
            });
            if taken != Some(Err(ike::Refusal::ForeignCookies)) {
                break;
            }
        }
    }

    pub(super) fn on_computed(&mut self, now: Instant, sa: usize, token: u64, outcome: Outcome) {
        self.with_sa(now, sa, |sa, env, out| {
            sa.handle_computed(now, token, outcome, env, out)
        });
    }

    pub(super) fn on_l2tp(&mut self, now: Instant, message: &[u8]) {
        self.with_l2tp(now, |tunnel, random, out, now| {
            let _ = tunnel.handle_input(now, message, random, out);
        });
    }

    pub(super) fn on_ppp(&mut self, now: Instant, ids: (u16, u16), frame: &[u8]) {
        let tunnel = self.tunnel.as_ref().map(l2tp::Tunnel::id);
        if tunnel == Some(TunnelId(ids.0)) && ids.1 == SESSION.0 {
            self.with_l2tp(now, |tunnel, _, _, now| tunnel.saw_traffic(now));
            self.with_link(now, |link, random, out, now| {
                link.handle_input(now, frame, random, out);
            });
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let ike = self.sas.iter().filter_map(Sa::poll_timeout).min();
        let l2tp = self.tunnel.as_ref().and_then(l2tp::Tunnel::poll_timeout);
        let ppp = self.link.as_ref().and_then(ppp::Link::poll_timeout);
        [ike, l2tp, ppp]
            .into_iter()
            .flatten()
            .map(|(at, _)| at)
            .min()
    }

    pub(super) fn on_timeout(&mut self, now: Instant) {
        for n in 0..self.sas.len() {
            self.with_sa(now, n, |sa, env, out| sa.handle_timeout(now, env, out));
        }
        self.with_l2tp(now, |tunnel, random, out, now| {
            tunnel.handle_timeout(now, random, out)
        });
        self.with_link(now, |link, random, out, now| {
            link.handle_timeout(now, random, out)
        });
    }

    /// Calls the newest ISAKMP SA.
    pub(super) fn with_ike(
        &mut self,
        now: Instant,
        act: impl FnOnce(&mut Sa, &mut dyn ike::Environment, &mut Vec<ike::Output>, Instant),
    ) {
        if let Some(newest) = self.sas.len().checked_sub(1) {
            self.with_sa(now, newest, |sa, env, out| act(sa, env, out, now));
        }
    }

    fn with_sa<R>(
        &mut self,
        now: Instant,
        n: usize,
        act: impl FnOnce(&mut Sa, &mut dyn ike::Environment, &mut Vec<ike::Output>) -> R,
    ) -> Option<R> {
        let mut out = Vec::new();
        let mut env = Environment(&mut self.random, &mut self.next_spi);
        let result = act(self.sas.get_mut(n)?, &mut env, &mut out);
        self.take_ike(now, n, out);
        Some(result)
    }

    fn with_l2tp(
        &mut self,
        now: Instant,
        act: impl FnOnce(&mut l2tp::Tunnel, &mut Random, &mut Vec<l2tp::Output>, Instant),
    ) {
        let mut out = Vec::new();
        if let Some(tunnel) = &mut self.tunnel {
            act(tunnel, &mut self.random, &mut out, now);
        }
        self.take_l2tp(now, out);
    }

    fn with_link(
        &mut self,
        now: Instant,
        act: impl FnOnce(&mut ppp::Link, &mut Random, &mut Vec<ppp::Output>, Instant),
    ) {
        let mut out = Vec::new();
        if let Some(link) = &mut self.link {
            act(link, &mut self.random, &mut out, now);
        }
        self.take_ppp(now, out);
    }

    fn take_ike(&mut self, now: Instant, n: usize, out: Vec<ike::Output>) {
        for output in out {
            match output {
                ike::Output::Send {
                    remote, message, ..
                } => self.sends.push(Upstream::Ike(remote, message)),
                ike::Output::Compute { token, job } => {
                    self.sends.push(Upstream::Compute(n, token, job));
                }
                ike::Output::Established(_) => self.established(now, n),
                ike::Output::RenewalDue => self.dial_ike(now),
                ike::Output::ChildUp(child) => {
                    let (inbound, outbound) = (child.inbound.0, child.outbound.0);
                    self.pairs.push(Pair { inbound, outbound });
                    if self.tunnel.is_none() {
                        self.dial_l2tp(now);
                    }
                }
                ike::Output::ChildDown { inbound, .. } => {
                    self.pairs.retain(|pair| pair.inbound != inbound.0);
                }
                ike::Output::Down { reason } => self.ends.push(format!("ike: {reason}")),
                ike::Output::Keepalive { .. }
                | ike::Output::ChildConfirmed { .. }
                | ike::Output::ChildFailed { .. }
                | ike::Output::RemoteMoved { .. }
                | ike::Output::InitialContact
                | ike::Output::ProposalRefused(_)
                | ike::Output::KeysForLog(_) => {}
            }
        }
    }

    /// The living pairs go over to the new ISAKMP SA; the first one makes a pair.
    fn established(&mut self, now: Instant, n: usize) {
        for older in 0..n {
            let children = self.sas[older].take_children();
            self.sas[n].adopt_children(children);
        }
        if self.pairs.is_empty() {
            self.with_sa(now, n, |sa, env, out| sa.create_child(now, env, out));
        }
    }

    fn take_l2tp(&mut self, now: Instant, out: Vec<l2tp::Output>) {
        for output in out {
            match output {
                l2tp::Output::Send(message) => self.sends.push(Upstream::L2tp(message)),
                l2tp::Output::TunnelUp { .. } => {
                    let call = CallParameters {
                        serial: 1,
                        tx_speed: 1_000_000,
                        framing_type: 1,
                        ..CallParameters::default()
                    };
                    self.with_l2tp(now, |tunnel, _, out, now| {
                        tunnel.place_call(now, SESSION, call, out);
                    });
                }
                l2tp::Output::CallUp { peer_session, .. } => {
                    self.peer_session = peer_session;
                    let password = Secret::new(self.password.as_bytes());
                    let settings = Arc::new(ppp::Settings::client(&self.user, password));
                    self.link = Some(ppp::Link::new(settings, now, &mut self.random));
                    self.with_link(now, |link, random, out, now| link.open(now, random, out));
                }
                l2tp::Output::CallDown { end, .. } => {
                    self.ends.push(format!("call: {end}"));
                    (self.link, self.inner) = (None, None);
                }
                l2tp::Output::TunnelDown { end } => self.ends.push(format!("tunnel: {end}")),
                l2tp::Output::CallOffered { .. } | l2tp::Output::OfferWithdrawn { .. } => {}
            }
        }
    }

    fn take_ppp(&mut self, now: Instant, out: Vec<ppp::Output>) {
        for output in out {
            match output {
                ppp::Output::Send(frame) => {
                    let tunnel = self.tunnel.as_ref().map_or(0, |tunnel| tunnel.peer_id().0);
                    self.sends
                        .push(Upstream::Ppp(tunnel, self.peer_session.0, frame));
                }
                ppp::Output::LcpUp(negotiated) => self.mtu = Some(negotiated.peer_mru),
                ppp::Output::Up(addresses) => {
                    self.inner = Some(addresses.own);
                    self.dialled_in += 1;
                }
                ppp::Output::Down(reason) => {
                    self.ends.push(format!("ppp: {reason}"));
                    self.inner = None;
                }
                ppp::Output::NetworkDown => self.inner = None,
                ppp::Output::Authenticate(_)
                | ppp::Output::AuthRefused { .. }
                | ppp::Output::Ident(_)
                | ppp::Output::TimeRemaining { .. }
                | ppp::Output::EchoRtt(_)
                | ppp::Output::Discarded(_) => {}
            }
        }
        let _ = now;
    }
}
