//! The slow path of a concentrator as one machine: the place where IKE, L2TP and PPP meet.
//!
//! [`Control`] owns every negotiation of a gateway. It never opens a socket, never reads a clock and
//! never waits: punts and events of the fast path, results of public-key work and questions of an
//! operator go in as [`Input`]; changes of the fast path, control frames, work and answers come out
//! as [`Output`], in an order that must be kept. Time is an argument, randomness comes from one
//! seed, so the same inputs give the same outputs.
//!
//! ```text
//!    Punt::Ike ──► exchange ──Established──► peer ──ChildUp──► Change::Install…      (IKE → path)
//!                  half-open      joins        │
//!                                              ▼
//!    Punt::SecuredL2tp, PlainL2tp ─────────► tunnel ──CallOffered──► Change::OpenSession
//!                                              │
//!                                              ▼
//!    Punt::Ppp ─────────────────────────► subscriber ──Authenticate──► users ──► pool
//!                                              │                                  │ lease
//!                                              ▼                                  ▼
//!                                   Shared::Attach, Change::OpenNetwork, then the IPCP Ack
//! ```
//!
//! What is told to a peer (quick mode message 2, SCCRP, ICRP, the IPCP Ack) is an
//! [`Inject`](dataplane::change::Inject) behind the changes it depends on, in the ring of the same
//! shard: it cannot leave before they are applied.
//!
//! | file | holds |
//! |---|---|
//! | `exchange.rs`, `half_open.rs`, `compute.rs` | main modes under way, what strangers may cost, public-key work |
//! | `peer.rs`, `peers.rs`, `children.rs`, `path_mtu.rs`, `mtu.rs` | whom a path leads to, its SAs, how long its packets may be |
//! | `opening.rs`, `tunnel.rs`, `call.rs` | who may open a tunnel, tunnels, calls in them |
//! | `subscriber.rs`, `admission.rs`, `users.rs`, `pool.rs`, `network.rs` | PPP, who may come in, addresses, routes |
//! | `backlog.rs`, `outbox.rs`, `timers.rs`, `slots.rs`, `ids.rs` | the order of what comes and goes, deadlines, names |
//! | `admin.rs`, `show.rs`, `counters.rs`, `log.rs`, `shutdown.rs` | what an operator asks and sees, the goodbye |
//! | `settings.rs` | what is configured |

pub mod admin;
mod admission;
mod backlog;
mod call;
mod children;
mod compute;
mod counters;
mod exchange;
mod half_open;
mod ids;
mod log;
pub mod mtu;
mod network;
mod opening;
mod outbox;
mod path_mtu;
mod peer;
mod peers;
mod pool;
pub mod settings;
mod show;
mod shutdown;
mod slots;
mod subscriber;
#[cfg(test)]
mod tests;
mod timers;
mod tunnel;
mod users;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto::Random;
use dataplane::Shared;
use dataplane::change::{Event, Origin, Punt, SessionTraffic, SharedChange, ToWorker, Traffic};
use dataplane::id::{InboundSa, PathId, SessionSlot, ShardId, WorkerId};
use packet::Endpoint;

use backlog::Backlog;
use counters::{Counter, Counters};
use exchange::Exchanges;
use half_open::Bucket;
use log::Log;
use outbox::Outbox;
use peers::Peers;
pub use pool::POOL_SIZE_MAX;
use pool::Pools;
pub use settings::Settings;
use show::Requests;
use shutdown::Shutdown;
use slots::Slots;
use subscriber::Subscriber;
use timers::{Timer, Timers};
use tunnel::{Carrier, Tunnels};
use users::Users;

/// Something that has happened.
#[derive(Debug)]
pub enum Input {
    /// A control frame. Those of [`Origin::Host`] are not ours and
    /// are ignored.
    Punt(Punt),
    /// News of a worker.
    Event(Event),
    /// The answer to [`Output::Compute`].
    Computed {
        /// As it was asked.
        token: u64,
        /// What came out.
        outcome: crypto::dh::Outcome,
    },
    /// An operator asks.
    Admin {
        /// Comes back with each page of the answer.
        request: u64,
        /// What is asked.
        query: admin::Request,
    },
    /// A shard is to move: told to its present owner, and held back until it has arrived.
    GiveShard {
        /// Which.
        shard: ShardId,
        /// To whom.
        to: WorkerId,
    },
    /// An ICMP message that the host received, from its IP header on; only those that say that a
    /// packet of ours was too long for a link (type 3, code 4) matter.
    Icmp(Vec<u8>),
    /// Say goodbye to everybody; with `hurry`, at once and without waiting for answers.
    Shutdown {
        /// Do not wait.
        hurry: bool,
    },
}

/// Something to be done, in this order.
#[derive(Debug)]
pub enum Output {
    /// For the ring of the worker that owns the shard.
    ToWorker {
        /// Whose owner.
        shard: ShardId,
        /// What.
        message: ToWorker,
    },
    /// To be applied at once, before any later output.
    Shared(SharedChange),
    /// Public-key work, for a thread that may take its time.
    Compute {
        /// Names the answer.
        token: u64,
        /// The work.
        job: crypto::dh::Job,
    },
    /// A page of an answer.
    Reply {
        /// As it was asked.
        request: u64,
        /// The page.
        response: admin::Response,
        /// Whether it was the last one.
        last: bool,
    },
    /// Keys for decoding a capture; only with [`Settings::key_log`].
    KeyLog(KeyLog),
    /// After [`Input::Shutdown`]: everybody has been told.
    Finished,
}

/// Keys for decoding a capture.
#[derive(Clone, Debug)]
pub enum KeyLog {
    /// Of an ISAKMP SA.
    Ike(ike::KeyLog),
    /// Of one direction of an IPsec SA pair.
    Esp {
        /// What its packets carry.
        spi: u32,
        /// Algorithms and keys.
        keys: crypto::esp::Keymat,
        /// Outer source.
        source: IpAddr,
        /// Outer destination.
        destination: IpAddr,
    },
}

/// When the machine next wants to be called, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Not later than this.
    pub at: Instant,
    /// What will happen then.
    pub why: &'static str,
}

/// What the workers stamp as they go, read when a deadline fires.
pub trait Activity: Send {
    /// When the session's subscriber last sent data; `None` if never.
    fn session_last_seen(&self, session: SessionSlot) -> Option<Instant>;
    /// When the peer last sent anything authentic (plain peers: anything); `None` if never.
    fn path_last_seen(&self, path: PathId) -> Option<Instant>;
    /// What a session has moved so far.
    fn session_traffic(&self, session: SessionSlot) -> SessionTraffic;
    /// What an inbound SA has received so far.
    fn inbound_traffic(&self, sa: InboundSa) -> Traffic;
}

/// What the workers have stamped.
impl Activity for Arc<Shared> {
    fn session_last_seen(&self, session: SessionSlot) -> Option<Instant> {
        self.session(session)?.last_seen_up
    }

    fn path_last_seen(&self, path: PathId) -> Option<Instant> {
        self.path(path)?.last_authentic
    }

    fn session_traffic(&self, session: SessionSlot) -> SessionTraffic {
        let view = self.session(session);
        view.map(|view| view.traffic).unwrap_or_default()
    }

    fn inbound_traffic(&self, sa: InboundSa) -> Traffic {
        let view = self.inbound(sa);
        view.map(|view| view.received).unwrap_or_default()
    }
}

/// Nothing is known about anybody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoActivity;

impl Activity for NoActivity {
    fn session_last_seen(&self, _: SessionSlot) -> Option<Instant> {
        None
    }
    fn path_last_seen(&self, _: PathId) -> Option<Instant> {
        None
    }
    fn session_traffic(&self, _: SessionSlot) -> SessionTraffic {
        SessionTraffic::default()
    }
    fn inbound_traffic(&self, _: InboundSa) -> Traffic {
        Traffic::default()
    }
}

/// The slow path.
pub struct Control {
    settings: Arc<Settings>,
    activity: Box<dyn Activity>,
    random: Random,
    log: Log,
    counters: Counters,
    outbox: Outbox,
    timers: Timers,
    backlog: Backlog,
    requests: Requests,
    shutdown: Option<Shutdown>,
    /// Lines about strangers, so many a second.
    lines: Bucket,
    /// News of routers that are looked at.
    looks: Bucket,
    users: Users,
    pools: Pools,
    ppp: PppSettings,
    ike: Exchanges,
    peers: Peers,
    /// Our SPIs, and whose they are.
    inbound: Slots<Option<PathId>>,
    tunnels: Tunnels,
    subscribers: Slots<Subscriber>,
    sessions_up: usize,
    /// The time of the last call.
    now: Instant,
}

/// Log lines about people whom nobody knows, a second.
const STRANGER_LINES_PER_SECOND: u32 = 20;

/// Deadlines that one turn looks after.
const TIMERS_PER_TURN: usize = 4096;

impl Control {
    /// A slow path that serves nobody yet. The first outputs are the cookie key, the listeners, our
    /// own inner addresses and the pools, for the tables that all workers read.
    pub fn new(
        settings: Settings,
        seed: [u8; 32],
        now: Instant,
        activity: Box<dyn Activity>,
    ) -> Self {
        let mut random = Random::from_seed(seed);
        let limits = &settings.limits;
        let mut control = Self {
            log: Log {
                redact: settings.redact,
            },
            counters: Counters::new(),
            outbox: Outbox::new(settings.owners),
            timers: Timers::default(),
            backlog: Backlog::new(limits.backlog, limits.backlog_age),
            requests: Requests::new(),
            shutdown: None,
            lines: Bucket::new(STRANGER_LINES_PER_SECOND),
            looks: Bucket::new(path_mtu::LOOKS_PER_SECOND),
            users: Users::new(&settings),
            pools: Pools::new(&settings.pools, &settings.users),
            ppp: PppSettings::default(),
            ike: Exchanges::new(limits, &mut random),
            peers: Peers::new(limits.slots_per_shard, &mut random),
            inbound: Slots::new(limits.slots_per_shard, &mut random),
            tunnels: Tunnels::new(limits),
            subscribers: Slots::new(limits.slots_per_shard, &mut random),
            sessions_up: 0,
            now,
            random,
            activity,
            settings: Arc::new(settings),
        };
        control.announce();
        control
    }

    /// What all workers have to know before the first frame.
    fn announce(&mut self) {
        let settings = Arc::clone(&self.settings);
        self.outbox
            .shared(SharedChange::SetCookieKey(self.ike.key.clone()));
        for listener in &settings.listeners {
            self.outbox
                .shared(SharedChange::SetListener(dataplane::change::Listener {
                    index: listener.index,
                    address: listener.address,
                    ipsec_required: listener.ipsec_required,
                    data_checksum: listener.data_checksum,
                    vrf: listener.vrf,
                }));
        }
        for pool in &settings.pools {
            let (vrf, address) = (pool.vrf, pool.gateway);
            self.outbox.shared(SharedChange::AddLocal { vrf, address });
            for prefix in pool.ranges.iter().flat_map(|range| range.prefixes()) {
                self.outbox.shared(SharedChange::AddPool { vrf, prefix });
            }
        }
    }

    /// Takes what has happened. Frames and questions wait for their turn in
    /// [`Control::handle_timeout`], which [`Control::poll_timeout`] then asks for at once.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Punt(punt) => {
                if let Err(full) = self.backlog.push(now, punt) {
                    self.counters.add(full);
                }
            }
            Input::Event(event) => self.on_event(now, event),
            Input::Computed { token, outcome } => self.on_computed(now, token, outcome),
            Input::Admin { request, query } => self.ask(request, query),
            Input::GiveShard { shard, to } => self.outbox.give(shard, to),
            Input::Icmp(packet) => self.on_icmp(now, &packet),
            Input::Shutdown { hurry } => self.shut_down(now, hurry),
        }
    }

    fn on_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::SessionRetired(slot, traffic) => self.session_retired(slot, &traffic),
            Event::ShardArrived(shard, worker) => self.outbox.arrived(shard, worker),
            Event::PathMoved { .. }
            | Event::FirstInbound(_)
            | Event::SoftLimit(_)
            | Event::HardLimit(_)
            | Event::InboundRetired(..)
            | Event::PathRetired(_) => self.on_path_event(now, event),
        }
    }

    /// One turn: what is due, then frames of the established, of those in progress, of strangers,
    /// then a page for an operator. Call it again while [`Control::poll_timeout`] is not in the
    /// future.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        for _ in 0..TIMERS_PER_TURN {
            let Some(timer) = self.timers.pop_due(now) else {
                break;
            };
            self.on_timer(now, timer);
        }
        let (turn, stale) = self.backlog.take(now);
        (0..stale).for_each(|_| self.counters.add(Counter::StaleStranger));
        for punt in turn {
            self.on_punt(now, punt);
        }
        self.answer(now);
    }

    fn on_timer(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Ike(id) => self.ike_timeout(now, id),
            Timer::Peer(path) => self.peer_timeout(now, path),
            Timer::PathMtu(path) => self.path_mtu_timeout(path),
            Timer::Tunnel(key) => self.tunnel_timeout(now, key),
            Timer::Link(slot) => self.link_timeout(now, slot),
            Timer::Session(slot) => self.session_timeout(now, slot),
            Timer::Shutdown => self.shutdown_timeout(now),
        }
    }

    fn on_punt(&mut self, now: Instant, punt: Punt) {
        match punt.origin {
            Origin::Ike {
                worker,
                local,
                remote,
            } => self.on_ike(now, worker, (local, remote), &punt.bytes),
            Origin::PlainL2tp {
                worker,
                listener,
                local,
                remote,
            } => {
                let carrier = Carrier::Plain {
                    worker,
                    listener,
                    local,
                    remote,
                };
                self.on_l2tp(now, carrier, &punt.bytes);
            }
            Origin::SecuredL2tp {
                path,
                local_port,
                peer_port,
            } => {
                let carrier = Carrier::Secured {
                    path,
                    local_port,
                    peer_port,
                };
                self.on_l2tp(now, carrier, &punt.bytes);
            }
            Origin::Ppp(slot) => self.on_ppp(now, slot, punt.bytes),
            Origin::Host(_) => {}
        }
    }

    /// The next thing to be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop()
    }

    /// When [`Control::handle_timeout`] is next wanted; at once while something waits.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        if !self.backlog.is_empty() || !self.requests.is_empty() {
            return Some(Deadline {
                at: self.now,
                why: "backlog",
            });
        }
        let (at, timer) = self.timers.next()?;
        let why = self.waits_for(timer).map_or("nothing", |(_, why)| why);
        Some(Deadline { at, why })
    }

    /// What a timer is for.
    fn waits_for(&self, timer: Timer) -> Option<(Instant, &'static str)> {
        match timer {
            Timer::Ike(id) => self.ike.slots.get(id.0)?.sa.poll_timeout(),
            Timer::Tunnel(key) => self.tunnels.by_key.get(&key)?.machine.poll_timeout(),
            Timer::Link(slot) => self.subscribers.get(slot.0)?.waits_for(),
            Timer::Peer(_) | Timer::PathMtu(_) | Timer::Session(_) | Timer::Shutdown => {
                self.timers.of(timer)
            }
        }
    }

    /// How often each named thing happened.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.counters.iter()
    }

    /// Whether there may be another line about somebody whom nobody knows.
    /// Says that a limit keeps somebody out, if not too much has been said of late.
    fn log_limit(&mut self, now: Instant, remote: Endpoint, what: &str) {
        if self.may_log(now) {
            log::limit(&self.log, remote, what);
        }
    }

    fn may_log(&mut self, now: Instant) -> bool {
        let may = self.lines.take(now);
        if !may {
            self.counters.add(Counter::LinesHeldBack);
        }
        may
    }

    /// The listener that serves an address of ours; an exact one comes before an unspecified one.
    fn listener_at(&self, address: IpAddr) -> Option<usize> {
        let position = |wanted: &dyn Fn(IpAddr) -> bool| {
            let mut listeners = self.settings.listeners.iter();
            listeners.position(|listener| wanted(listener.address))
        };
        position(&|at| at == address).or_else(|| position(&|at| at.is_unspecified()))
    }

    fn listener_index(&self, number: u16) -> Option<usize> {
        let mut listeners = self.settings.listeners.iter();
        listeners.position(|listener| listener.index == number)
    }
}

/// PPP settings by listener and MRU: shared by all links that ask for the same.
#[derive(Debug, Default)]
struct PppSettings(BTreeMap<(usize, u16), Arc<ppp::Settings>>);

impl PppSettings {
    fn of(&mut self, settings: &Settings, listener: usize, mru: u16) -> Arc<ppp::Settings> {
        let shared = self.0.entry((listener, mru)).or_insert_with(|| {
            Arc::new(ppp::Settings {
                mru,
                ..settings.listeners[listener].ppp.clone()
            })
        });
        Arc::clone(shared)
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("peers", &self.peers.slots.len())
            .field("tunnels", &self.tunnels.by_key.len())
            .field("sessions", &self.subscribers.len())
            .finish_non_exhaustive()
    }
}

/// The longest that any shutdown may take.
pub const SHUTDOWN_LIMIT_MAX: Duration = Duration::from_secs(3);
