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

pub mod admin;
pub mod settings;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use dataplane::change::{Event, Punt, SessionTraffic, SharedChange, ToWorker, Traffic};
use dataplane::id::{InboundSa, PathId, SessionSlot, ShardId, WorkerId};

pub use settings::Settings;

/// Something that has happened.
#[derive(Debug)]
pub enum Input {
    /// A control frame. Those of [`Origin::Host`](dataplane::change::Origin::Host) are not ours and
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
    settings: Settings,
    activity: Box<dyn Activity>,
    outputs: std::collections::VecDeque<Output>,
}

impl Control {
    /// A slow path that serves nobody yet. The first outputs are the listeners, our own inner
    /// addresses and the pools, for the tables that all workers read.
    pub fn new(
        settings: Settings,
        seed: [u8; 32],
        now: Instant,
        activity: Box<dyn Activity>,
    ) -> Self {
        let _ = (seed, now);
        Self {
            settings,
            activity,
            outputs: std::collections::VecDeque::new(),
        }
    }

    /// Takes what has happened.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        let _ = (now, input, &self.settings, &self.activity);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// The next thing to be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Control::handle_timeout`] is next wanted; at once if a backlog is waiting.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        None
    }

    /// How often each named thing happened, names in order.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        std::iter::empty()
    }
}

/// The longest that any shutdown may take.
pub const SHUTDOWN_LIMIT_MAX: Duration = Duration::from_secs(5);
