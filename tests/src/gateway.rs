//! The gateway under test: the slow path and its workers, with everything around them that the
//! process would do, stepped by hand.
//!
//! ```text
//!            ┌──────────── Control ◄──── events, punts ────────────┐
//!   Ledger ◄─┤ outputs, in order                                   │
//!            └──► waiting ──► ring ──► Seat (Worker, ports, bell) ──┘ ──► Leaving
//! ```
//!
//! Who has the next turn is drawn from the seed, and so is who sleeps; a sleeper is woken by its
//! bell, by a frame, or by its own deadline, and by nothing else.

mod check;
mod saved;
pub mod seat;
pub mod settings;
mod slow_path;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::time::{Duration, Instant};

use control::admin::{Request, Response};
use control::{Control, Deadline, Input};
use crypto::dh::Outcome;
use dataplane::change::{Adjacency, AdjacencyId, RouteTarget, SharedChange, ToWorker};
use dataplane::id::{ShardId, WorkerId};
use dataplane::mesh::{SlowEnd, mesh};
use dataplane::{Limits, Shared};

use crate::dice::Dice;
use crate::ledger::Ledger;
use crate::trace::Trace;
use crate::tuning::Tuning;
use crate::wire::Stamp;
pub use saved::Saved;
use seat::{Alarm, NETWORK, Seat, TUNNEL};

/// How often everybody comes to rest between two looks at who owns the shards.
const OWNERS_EVERY: u64 = 32;
/// Turns at one moment after which somebody runs in circles.
const TURNS_MAX: usize = 200_000;

/// A frame that has left.
#[derive(Debug)]
pub struct Leaving {
    /// By which port of the worker's.
    pub port: u8,
    /// From Ethernet on.
    pub frame: Vec<u8>,
    /// What had been applied by then.
    pub stamp: Stamp,
}

/// The gateway.
pub struct Gateway {
    control: Control,
    shared: Arc<Shared>,
    seats: Vec<Seat>,
    slow: SlowEnd,
    alarm: Arc<Alarm>,
    /// The slow path does nothing until then.
    stalled_until: Option<Instant>,
    /// Messages that wait for room in a worker's ring.
    waiting: Vec<VecDeque<ToWorker>>,
    computing: BTreeMap<(Instant, u64), Outcome>,
    ledger: Ledger,
    depot: usize,
    idle_turns: usize,
    replies: Vec<Response>,
    is_answered: bool,
    is_finished: bool,
    /// How often a worker went to sleep.
    naps: u64,
    /// How often everybody came to rest.
    rests: u64,
    /// The changes so far, if somebody wants them.
    saved: Option<Vec<Saved>>,
}

impl Gateway {
    /// A gateway that serves nobody yet.
    #[must_use]
    pub fn new(
        tuning: &Tuning,
        settings: control::Settings,
        dice: &mut Dice,
        now: Instant,
    ) -> Self {
        let limits = Limits {
            workers: tuning.workers,
            slots_per_shard: settings.limits.slots_per_shard,
            ..Limits::default()
        };
        let shared = Shared::new(limits, now);
        connect(&shared);
        let (ends, slow) = mesh(tuning.workers, tuning.sizes);
        let seats: Vec<Seat> = ends
            .into_iter()
            .map(|end| Seat::new(&shared, end))
            .collect();
        let stamps = Box::new(Arc::clone(&shared));
        Self {
            control: Control::new(settings, dice.seed(), now, stamps),
            alarm: Alarm::hang_on(&slow.bell),
            waiting: seats.iter().map(|_| VecDeque::new()).collect(),
            shared,
            seats,
            slow,
            stalled_until: None,
            computing: BTreeMap::new(),
            ledger: Ledger::default(),
            depot: tuning.sizes.depot,
            idle_turns: 0,
            replies: Vec::new(),
            is_answered: false,
            is_finished: false,
            naps: 0,
            rests: 0,
            saved: None,
        }
    }

    /// A frame arrives at a port of a worker.
    pub fn arrive(&mut self, worker: usize, port: u8, frame: Vec<u8>) {
        self.seats[worker].arrive(port, frame);
    }

    /// Something that does not come by the rings happens to the slow path.
    pub fn input(&mut self, now: Instant, input: Input) {
        self.control.handle_input(now, input);
        self.idle_turns = 0;
    }

    /// The slow path stands still for a while; workers do not.
    pub fn stall(&mut self, until: Instant) {
        self.stalled_until = Some(until);
    }

    /// When something is due.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        let control = self.control.poll_timeout().map(|deadline| deadline.at);
        let computed = self.computing.keys().next().map(|(at, _)| *at);
        let slow = control.into_iter().chain(computed).min();
        let slow = slow.map(|at| self.stalled_until.map_or(at, |until| at.max(until)));
        let woken = self.stalled_until;
        let workers = self.seats.iter().filter_map(Seat::next);
        workers.chain(slow).chain(woken).min()
    }

    /// Lets everybody work until nobody has anything to do at this moment.
    pub fn work(&mut self, now: Instant, dice: &mut Dice, trace: &mut Trace) -> Vec<Leaving> {
        if self.stalled_until.is_some_and(|until| until <= now) {
            self.stalled_until = None;
        }
        let mut leaving = Vec::new();
        let mut order: Vec<usize> = (0..=self.seats.len()).collect();
        for _ in 0..TURNS_MAX {
            dice.shuffle(&mut order);
            let mut has_worked = false;
            for &who in &order {
                has_worked |= match who.checked_sub(1) {
                    None => self.slow_turn(now, dice, trace),
                    Some(worker) => self.worker_turn(worker, now, dice, trace, &mut leaving),
                };
            }
            // A worker that had nothing else to do may have told or handed over what was left.
            has_worked |= self.alarm.rang() || self.seats.iter().any(Seat::is_woken);
            if !has_worked {
                self.assert_nobody_sleeps_in();
                self.rests += 1;
                if self.rests.is_multiple_of(OWNERS_EVERY) {
                    self.assert_shards_have_one_owner();
                }
                return leaving;
            }
        }
        panic!("the gateway does not come to rest");
    }

    fn worker_turn(
        &mut self,
        worker: usize,
        now: Instant,
        dice: &mut Dice,
        trace: &mut Trace,
        leaving: &mut Vec<Leaving>,
    ) -> bool {
        let before = self.discards(trace);
        let Some(turn) = self.seats[worker].turn(now) else {
            return false;
        };
        if turn.work > 0 {
            trace.note(now, &[worker as u8, turn.work as u8], || {
                format!("  worker {worker} did {}", turn.work)
            });
        } else if dice.permille(750) {
            self.seats[worker].park();
            self.naps += 1;
        }
        for (reason, count) in self.discards(trace) {
            if before.get(&reason) != Some(&count) {
                trace.say(
                    now,
                    &format!("  worker {worker} discards: {}", reason.text()),
                );
            }
        }
        let stamp = self.stamp();
        for port in [TUNNEL, NETWORK] {
            while let Some(frame) = self.seats[worker].sent(port) {
                trace.note(now, &frame, || {
                    format!("  worker {worker} port {port} sends {} octets", frame.len())
                });
                leaving.push(Leaving { port, frame, stamp });
            }
        }
        self.assert_chunks_sum_up();
        turn.work > 0
    }

    /// What each worker has applied.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp(std::array::from_fn(|worker| {
            if worker < self.seats.len() {
                let counters = self.shared.worker(WorkerId(worker as u8));
                counters.applied.load(Acquire)
            } else {
                0
            }
        }))
    }

    /// A shard moves to another worker.
    pub fn give_shard(&mut self, now: Instant, shard: ShardId, to: WorkerId) {
        self.input(now, Input::GiveShard { shard, to });
    }

    /// An operator asks; all pages of the answer. Nothing else happens meanwhile.
    pub fn ask(
        &mut self,
        now: Instant,
        query: Request,
        dice: &mut Dice,
        trace: &mut Trace,
    ) -> Vec<Response> {
        self.is_answered = false;
        self.control
            .handle_input(now, Input::Admin { request: 1, query });
        for _ in 0..TURNS_MAX {
            if self.is_answered {
                return std::mem::take(&mut self.replies);
            }
            self.control.handle_timeout(now);
            self.carry_out(now, dice, trace);
        }
        panic!("no answer");
    }

    /// The books.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The books, to note what was seen on the wire.
    pub fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.seats.len()
    }

    /// The worker that runs a shard.
    #[must_use]
    pub fn owner(&self, shard: ShardId) -> usize {
        usize::from(self.shared.owner(shard).0)
    }

    /// Whether the shutdown is over.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// The next deadline of the slow path.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        self.control.poll_timeout()
    }
}

/// The routes: subscribers by one port, everybody else by the other.
fn connect(shared: &Shared) {
    let prefixes = ["198.51.0.0/16", "203.0.113.0/24"];
    for (port, prefix) in prefixes.into_iter().enumerate() {
        let id = AdjacencyId(port as u16);
        let port = port as u8;
        let adjacency = Adjacency {
            port,
            mtu: 1500,
            rewrite: Some([[2, 1, 0, 0, 0, port], [2, 0, 0, 0, 0, port]]),
            is_resolved: true,
        };
        shared.apply(SharedChange::SetAdjacency(id, adjacency));
        shared.apply(SharedChange::SetRoute {
            vrf: 0,
            prefix: prefix.parse().expect("a prefix"),
            target: RouteTarget::Via(id),
        });
    }
}

/// How long a gateway that was told to shut down may take.
pub const SHUTDOWN_MAX: Duration = control::SHUTDOWN_LIMIT_MAX;
