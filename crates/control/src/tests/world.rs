//! A gateway, its clients, and an ideal wire between them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto::dh::Job;
use crypto::{Random, Secret};
use dataplane::change::{Class, Origin, Punt};
use dataplane::id::WorkerId;
use packet::Endpoint;
use ppp::{Method, UserSecret};

use super::client::{Client, Upstream};
use super::fast_path::{Downstream, Esp, FastPath};
use super::lines::Lines;
use super::start;
use crate::admin::{Request, Response};
use crate::settings::{Listener, Pool, Profile, User};
use crate::{Control, Input, Output, Settings};

pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Steps after which a conversation has gone wrong.
const STEPS_MAX: usize = 2_000_000;

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) control: Control,
    pub(super) fast: FastPath,
    pub(super) clients: Vec<Client>,
    pub(super) lines: Lines,
    pub(super) replies: Vec<(u64, Response, bool)>,
    pub(super) is_finished: bool,
    /// Everything that the slow path was given to read.
    pub(super) punts: Vec<Punt>,
    /// Public-key work, if it is to wait.
    pub(super) jobs: Option<Vec<(u64, Job)>>,
    pub(super) key_logs: usize,
    pub(super) weather: Option<Weather>,
    _guard: tracing::subscriber::DefaultGuard,
}

/// What the wire does to messages.
pub(super) struct Weather {
    pub(super) random: Random,
    pub(super) lost_percent: u32,
    pub(super) repeated_percent: u32,
}

impl Weather {
    /// How often a message arrives.
    fn copies(weather: &mut Option<Self>) -> usize {
        let Some(weather) = weather else {
            return 1;
        };
        match weather.random.below(100) {
            n if n < weather.lost_percent => 0,
            n if n < weather.lost_percent + weather.repeated_percent => 2,
            _ => 1,
        }
    }
}

/// One listener without IPsec, one pool, and users `user0` … with the password `secret`.
pub(super) fn plain_settings(users: usize) -> Settings {
    let user = |n| {
        User::new(
            &format!("user{n}"),
            UserSecret::Password(Secret::new("secret")),
        )
    };
    let mut ppp = ppp::Settings::server("gateway");
    ppp.auth = vec![Method::MsChapV2, Method::ChapMd5, Method::Pap];
    Settings {
        listeners: vec![Listener {
            index: 0,
            name: "test".to_owned(),
            address: GATEWAY.into(),
            vrf: 0,
            ipsec_required: false,
            ike: None,
            l2tp: Arc::new(l2tp::Settings::default()),
            ppp,
            profile: "home".to_owned(),
            data_checksum: false,
        }],
        pools: vec![pool("10.64.0.0/16")],
        profiles: vec![Profile::new("home", "pool")],
        users: (0..users).map(user).collect(),
        ..Settings::default()
    }
}

pub(super) fn pool(prefix: &str) -> Pool {
    let prefix: ipnet::IpNet = prefix.parse().unwrap();
    Pool {
        name: "pool".to_owned(),
        vrf: 0,
        ranges: vec![prefix.into()],
        gateway: Ipv4Addr::new(10, 64, 0, 1).into(),
        dns: vec![Ipv4Addr::new(10, 64, 0, 1).into()],
        wins: Vec::new(),
        quarantine: Duration::from_secs(60),
    }
}

impl World {
    pub(super) fn new(settings: Settings, clients: u32) -> Self {
        let (now, lines, fast) = (start(), Lines::default(), FastPath::default());
        let guard = tracing::subscriber::set_default(lines.clone());
        Self {
            now,
            control: Control::new(settings, [42; 32], now, Box::new(fast.stamps.clone())),
            fast,
            clients: (0..clients).map(Client::new).collect(),
            lines,
            replies: Vec::new(),
            is_finished: false,
            punts: Vec::new(),
            jobs: None,
            key_logs: 0,
            weather: None,
            _guard: guard,
        }
    }

    /// Client `n` dials in.
    pub(super) fn dial(&mut self, n: usize) {
        self.clients[n].dial(self.now);
        self.settle();
    }

    pub(super) fn inner(&self, n: usize) -> Option<IpAddr> {
        self.clients[n].inner.map(IpAddr::V4)
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        self.settle();
        while let Some(at) = self.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.control.handle_timeout(self.now);
            for client in &mut self.clients {
                if client.deadline().is_some_and(|at| at <= self.now) {
                    client.on_timeout(self.now);
                }
            }
            self.settle();
        }
        self.now = until;
    }

    fn next_deadline(&self) -> Option<Instant> {
        let control = self.control.poll_timeout().map(|deadline| deadline.at);
        let clients = self.clients.iter().filter_map(Client::deadline);
        clients.chain(control).min()
    }

    /// Delivers everything that is on its way; none of it takes any time.
    pub(super) fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            let sent = self.deliver_upstream();
            let has_events = !self.fast.events.is_empty();
            self.drain_control();
            if !sent && !has_events && !self.deliver_downstream() && self.fast.events.is_empty() {
                let is_due = |at| at <= self.now;
                if !self
                    .control
                    .poll_timeout()
                    .is_some_and(|deadline| is_due(deadline.at))
                {
                    return;
                }
            }
        }
        panic!("the conversation does not end");
    }

    fn deliver_upstream(&mut self) -> bool {
        let mut any = false;
        for n in 0..self.clients.len() {
            for sent in std::mem::take(&mut self.clients[n].sends) {
                any = true;
                self.upstream(n, sent);
            }
        }
        any
    }

    fn upstream(&mut self, n: usize, sent: Upstream) {
        let client = &self.clients[n];
        // The newest pair that the client has.
        let esp = client.pairs.last().map(|pair| Esp {
            now: self.now,
            spi: pair.outbound,
            from: client.outer(4500),
        });
        let is_plain = client.policy.is_none();
        let plain = client.outer(client.port);
        let punt = match sent {
            Upstream::Compute(sa, token, job) => {
                return self.clients[n].on_computed(self.now, sa, token, job.run());
            }
            Upstream::Ike(remote, bytes) => Some(Punt {
                class: Class::Stranger,
                origin: Origin::Ike {
                    worker: WorkerId(0),
                    local: remote.into(),
                    remote: client.outer(remote.port()),
                },
                bytes,
            }),
            Upstream::L2tp(bytes) if is_plain => {
                let local = Endpoint::new(GATEWAY.into(), 1701);
                Some(self.fast.plain_l2tp(local, plain, bytes))
            }
            Upstream::L2tp(bytes) => esp.and_then(|esp| self.fast.secured_l2tp(esp, bytes)),
            Upstream::Ppp(tunnel, session, frame) if is_plain => {
                self.fast.plain_ppp(plain, (tunnel, session), frame)
            }
            Upstream::Ppp(tunnel, session, frame) => {
                esp.and_then(|esp| self.fast.secured_ppp(esp, (tunnel, session), frame))
            }
        };
        let copies = Weather::copies(&mut self.weather);
        for punt in punt.into_iter().flat_map(|punt| vec![punt; copies]) {
            self.punts.push(punt.clone());
            self.control.handle_input(self.now, Input::Punt(punt));
        }
    }

    fn drain_control(&mut self) {
        while let Some(event) = self.fast.events.pop_front() {
            self.control.handle_input(self.now, Input::Event(event));
        }
        self.control.handle_timeout(self.now);
        while let Some(output) = self.control.poll_output() {
            match output {
                Output::ToWorker { message, .. } => self.fast.apply(message),
                Output::Shared(change) => self.fast.apply_shared(change),
                Output::Compute { token, job } => match &mut self.jobs {
                    Some(jobs) => jobs.push((token, job)),
                    None => self.computed(token, job),
                },
                Output::Reply {
                    request,
                    response,
                    last,
                } => self.replies.push((request, response, last)),
                Output::KeyLog(_) => self.key_logs += 1,
                Output::Finished => self.is_finished = true,
            }
        }
    }

    pub(super) fn computed(&mut self, token: u64, job: Job) {
        let outcome = job.run();
        self.control
            .handle_input(self.now, Input::Computed { token, outcome });
    }

    /// How often something happened whose name contains `text`.
    pub(super) fn count(&self, text: &str) -> u64 {
        let mut counters = self.control.counters();
        counters.find(|(name, _)| name.contains(text)).unwrap().1
    }

    fn deliver_downstream(&mut self) -> bool {
        let sent = std::mem::take(&mut self.fast.sent);
        let any = !sent.is_empty();
        for downstream in sent {
            for _ in 0..Weather::copies(&mut self.weather) {
                self.downstream(&downstream);
            }
        }
        any
    }

    fn downstream(&mut self, downstream: &Downstream) {
        let now = self.now;
        match downstream {
            Downstream::Ike {
                local,
                remote,
                message,
            } => {
                if let Some((client, port)) = self.at(*remote) {
                    client.on_ike(now, port, (*local).into(), message);
                }
            }
            Downstream::PlainL2tp(to, message) => {
                if let Some((client, _)) = self.at(*to) {
                    client.on_l2tp(now, message);
                }
            }
            Downstream::SecuredL2tp {
                spi,
                remote,
                message,
            } => {
                if let Some(client) = self.with_spi(*spi, *remote) {
                    client.on_l2tp(now, message);
                }
            }
            Downstream::Ppp {
                spi,
                remote,
                session,
                frame,
            } => {
                let client = match spi {
                    Some(spi) => self.with_spi(*spi, *remote),
                    None => self.at(*remote).map(|(client, _)| client),
                };
                if let Some(client) = client {
                    client.on_ppp(now, (session.peer_tunnel, session.peer_session), frame);
                }
            }
        }
    }

    /// The client at an outer endpoint, and the port that it has for itself.
    fn at(&mut self, remote: Endpoint) -> Option<(&mut Client, u16)> {
        let mut clients = self.clients.iter_mut();
        clients.find_map(|client| {
            let port = client.port_at(remote)?;
            Some((client, port))
        })
    }

    fn with_spi(&mut self, spi: u32, remote: Endpoint) -> Option<&mut Client> {
        let mut clients = self.clients.iter_mut();
        let has = |client: &&mut Client| {
            let is_here = remote.port() == 0 || client.port_at(remote).is_some();
            is_here && client.pairs.iter().any(|pair| pair.inbound == spi)
        };
        clients.find(has)
    }

    /// Lets the slow path work, and takes what is on its way in the clear.
    pub(super) fn drain_plain_l2tp(&mut self) -> Vec<Vec<u8>> {
        self.drain_control();
        let sent = std::mem::take(&mut self.fast.sent).into_iter();
        let l2tp = sent.filter_map(|downstream| match downstream {
            Downstream::PlainL2tp(_, bytes) => Some(bytes),
            Downstream::Ike { .. } | Downstream::SecuredL2tp { .. } | Downstream::Ppp { .. } => {
                None
            }
        });
        l2tp.collect()
    }

    /// An operator asks; all pages of the answer.
    pub(super) fn ask(&mut self, query: Request) -> Vec<Response> {
        let request = 77;
        self.control
            .handle_input(self.now, Input::Admin { request, query });
        self.settle();
        let replies = std::mem::take(&mut self.replies);
        assert!(replies.last().is_some_and(|(_, _, last)| *last));
        assert_eq!(replies.iter().filter(|(_, _, last)| *last).count(), 1);
        replies
            .into_iter()
            .map(|(_, response, _)| response)
            .collect()
    }

    /// Nothing is left of anybody.
    pub(super) fn assert_empty(&self) {
        assert!(self.fast.is_empty(), "{:?}", self.fast);
        let control = &self.control;
        assert_eq!(
            control.peers.slots.len() + control.peers.slots.retiring(),
            0
        );
        assert_eq!(
            control.subscribers.len() + control.subscribers.retiring(),
            0
        );
        assert_eq!(control.inbound.len() + control.inbound.retiring(), 0);
        assert_eq!(control.tunnels.by_key.len(), 0);
        assert_eq!(control.ike.slots.len(), 0);
        assert_eq!(control.ike.half_open.len(), 0);
        assert_eq!(control.tunnels.half_open.len(), 0);
        assert_eq!(control.tunnels.in_the_clear.len(), 0);
        assert_eq!(control.tunnels.sessions_in_the_clear.len(), 0);
        assert_eq!(control.sessions_up, 0);
        assert_eq!(control.timers.len(), 0, "{:?}", control.timers);
        assert_eq!(control.verify_pools(), Vec::<String>::new());
    }
}
