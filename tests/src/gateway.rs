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

pub mod seat;
pub mod settings;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::time::{Duration, Instant};

use control::admin::{Request, Response};
use control::{Activity, Control, Deadline, Input, Output};
use crypto::dh::Outcome;
use dataplane::change::{
    Adjacency, AdjacencyId, Change, Class, Event, Punt, RouteTarget, SessionTraffic, SharedChange,
    ToWorker, Traffic,
};
use dataplane::id::{InboundSa, PathId, SessionSlot, ShardId, WorkerId};
use dataplane::mesh::{SlowEnd, mesh};
use dataplane::{Discard, Limits, Shared, WorkerCounters};

use crate::dice::Dice;
use crate::ledger::{Ledger, Mark};
use crate::trace::Trace;
use crate::tuning::Tuning;
use crate::wire::Stamp;
use seat::{Alarm, CHUNKS, NETWORK, Seat, TUNNEL};

/// Chunks in a parcel that the depot takes or gives.
const DEPOT_PARCEL: usize = 64;
/// Inputs of one kind that the slow path takes in one turn.
const SHARE: usize = 256;
/// Messages that may wait for a ring before strangers are no longer listened to.
const CROWD: usize = 64;
/// Turns at one moment after which somebody runs in circles.
const TURNS_MAX: usize = 200_000;
/// Turns in a row that may be asked for in which the slow path then does nothing.
const IDLE_TURNS_MAX: usize = 64;
/// How long public-key work takes, milliseconds.
const COMPUTE_MS: std::ops::Range<u32> = 1..300;

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

/// A piece of the state of the fast path.
#[derive(Clone, Debug)]
pub enum Saved {
    /// For the owner of a shard.
    Change(ShardId, Change),
    /// For all.
    Shared(SharedChange),
}

/// How far outbound sequence numbers jump when state is taken up again: further than was sent since
/// it was saved.
const SEQUENCE_GAP: u64 = 1 << 20;

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
        let stamps = Box::new(Stamps(Arc::clone(&shared)));
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

    fn slow_turn(&mut self, now: Instant, dice: &mut Dice, trace: &mut Trace) -> bool {
        if self.stalled_until.is_some() {
            // Not in its loop, and so not asleep.
            self.slow.bell.disarm();
            return false;
        }
        self.slow.bell.disarm();
        let inputs = self.take_inputs(now, trace);
        let deadline = self.control.poll_timeout().filter(|d| d.at <= now);
        if deadline.is_some() {
            self.control.handle_timeout(now);
        }
        let outputs = self.carry_out(now, dice, trace);
        self.assert_progress(inputs + outputs, deadline);
        if inputs + outputs == 0 && deadline.is_none() {
            self.slow.bell.arm();
            return false;
        }
        true
    }

    /// A deadline in the past, with nothing to show for it, turn after turn: the process would
    /// burn a core.
    fn assert_progress(&mut self, done: usize, deadline: Option<Deadline>) {
        self.idle_turns = match deadline {
            Some(_) if done == 0 => self.idle_turns + 1,
            _ => 0,
        };
        let is_idle = self.idle_turns > IDLE_TURNS_MAX;
        assert!(!is_idle, "{deadline:?} is in the past and stays there");
    }

    /// Events and results, established, in progress, strangers: the order of the process.
    fn take_inputs(&mut self, now: Instant, trace: &mut Trace) -> usize {
        let mut count = 0;
        for worker in 0..self.seats.len() {
            for _ in 0..SHARE {
                let Some(event) = self.slow.workers[worker].events.receive() else {
                    break;
                };
                count += 1;
                self.take_event(now, event, trace);
            }
        }
        while let Some(entry) = self.computing.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let ((_, token), outcome) = entry.remove_entry();
            count += 1;
            trace.note(now, &token.to_le_bytes(), || format!("  computed {token}"));
            self.control
                .handle_input(now, Input::Computed { token, outcome });
        }
        count += self.take_punts(now, Class::Established, trace);
        count += self.take_punts(now, Class::InProgress, trace);
        if self.waiting.iter().all(|queue| queue.len() <= CROWD) {
            count += self.take_punts(now, Class::Stranger, trace);
        }
        count
    }

    fn take_event(&mut self, now: Instant, event: Event, trace: &mut Trace) {
        if trace.is_recorded() {
            trace.say(now, &format!("  event {event:?}"));
        }
        self.ledger.event(&event);
        self.control.handle_input(now, Input::Event(event));
    }

    fn take_punts(&mut self, now: Instant, class: Class, trace: &mut Trace) -> usize {
        let mut count = 0;
        for worker in 0..self.seats.len() {
            for _ in 0..SHARE {
                let Some(punt) = self.slow.workers[worker].punts(class).receive() else {
                    break;
                };
                count += 1;
                note_punt(now, &punt, trace);
                self.ledger.punt(&punt);
                self.control.handle_input(now, Input::Punt(punt));
            }
        }
        count
    }

    fn carry_out(&mut self, now: Instant, dice: &mut Dice, trace: &mut Trace) -> usize {
        let mut count = self.send_waiting();
        while let Some(output) = self.control.poll_output() {
            count += 1;
            self.carry_out_one(now, output, dice, trace);
        }
        count + self.send_waiting()
    }

    fn carry_out_one(&mut self, now: Instant, output: Output, dice: &mut Dice, trace: &mut Trace) {
        match output {
            Output::ToWorker { shard, message } => {
                let worker = usize::from(self.shared.owner(shard).0);
                let number =
                    self.slow.workers[worker].sent() + self.waiting[worker].len() as u64 + 1;
                note_message(now, worker, number, &message, trace);
                if let (Some(saved), ToWorker::Change(change)) = (&mut self.saved, &message) {
                    saved.push(Saved::Change(shard, change.clone()));
                }
                self.ledger.to_worker(&message, Mark { worker, number });
                self.waiting[worker].push_back(message);
            }
            Output::Shared(change) => {
                trace.note(now, &[], || format!("  {change:?}"));
                self.ledger.shared(&change);
                if let Some(saved) = &mut self.saved {
                    saved.push(Saved::Shared(change.clone()));
                }
                self.shared.apply(change);
            }
            Output::Compute { token, job } => {
                let at = now + dice.ms(COMPUTE_MS);
                self.computing.insert((at, token), job.run());
            }
            Output::Reply { response, last, .. } => {
                self.replies.push(response);
                self.is_answered = last;
            }
            Output::KeyLog(_) => {}
            Output::Finished => self.is_finished = true,
        }
    }

    fn send_waiting(&mut self) -> usize {
        let mut count = 0;
        for (link, queue) in self.slow.workers.iter_mut().zip(&mut self.waiting) {
            while let Some(message) = queue.pop_front() {
                if let Err(message) = link.send(message) {
                    queue.push_front(message);
                    break;
                }
                count += 1;
            }
        }
        count
    }

    /// From here on, changes are saved.
    pub fn save(&mut self) {
        self.saved = Some(Vec::new());
    }

    /// What was saved, and the books.
    #[must_use]
    pub fn into_saved(self) -> (Vec<Saved>, Ledger) {
        (self.saved.unwrap_or_default(), self.ledger)
    }

    /// Takes up the state of another fast path: the fold of its changes. The slow path knows nothing
    /// of it.
    pub fn restore(&mut self, now: Instant, saved: Vec<Saved>, dice: &mut Dice, trace: &mut Trace) {
        self.carry_out(now, dice, trace);
        for piece in saved {
            let output = match piece {
                Saved::Change(_, Change::GiveShard { .. }) => continue,
                Saved::Change(shard, mut change) => {
                    if let Change::InstallOutbound(install) = &mut change {
                        install.first_sequence += SEQUENCE_GAP;
                    }
                    let message = ToWorker::Change(change);
                    Output::ToWorker { shard, message }
                }
                Saved::Shared(change) => Output::Shared(change),
            };
            self.carry_out_one(now, output, dice, trace);
        }
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

    /// Frames discarded for this reason, by all workers.
    #[must_use]
    pub fn discarded(&self, reason: Discard) -> u64 {
        let workers = 0..self.seats.len() as u8;
        workers
            .map(|worker| self.shared.worker(WorkerId(worker)).discarded(reason))
            .sum()
    }

    /// What was discarded so far; only for somebody who wants to read it.
    fn discards(&self, trace: &Trace) -> BTreeMap<Discard, u64> {
        if !trace.is_recorded() {
            return BTreeMap::new();
        }
        let reasons = Discard::ALL.iter();
        reasons
            .map(|reason| (*reason, self.discarded(*reason)))
            .collect()
    }

    /// How often each named thing has happened to the slow path.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.control.counters()
    }

    /// How often each named thing has happened, to the slow path and to the workers.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts: BTreeMap<_, _> = self.counters().collect();
        counts.extend(
            Discard::ALL
                .iter()
                .map(|reason| (reason.text(), self.discarded(*reason))),
        );
        let sum = |of: fn(&WorkerCounters) -> u64| -> u64 {
            let workers = (0..self.seats.len() as u8).map(WorkerId);
            workers.map(|worker| of(self.shared.worker(worker))).sum()
        };
        counts.extend([
            (
                "frames handed over",
                sum(|counters| counters.handed_out.value()),
            ),
            (
                "frames received",
                sum(|counters| counters.received.value().packets),
            ),
            ("frames sent", sum(|counters| counters.sent.value().packets)),
            ("naps", self.naps),
        ]);
        counts
    }

    /// The next deadline of the slow path.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        self.control.poll_timeout()
    }

    /// Changes for which the shared tables had no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.refused()
    }

    fn assert_nobody_sleeps_in(&mut self) {
        self.seats.iter_mut().for_each(Seat::assert_woken);
        if self.stalled_until.is_some() {
            return;
        }
        let classes = [Class::Established, Class::InProgress, Class::Stranger];
        let is_empty = self.slow.workers.iter().all(|link| {
            link.events.is_empty() && classes.iter().all(|class| link.punts(*class).is_empty())
        });
        assert!(is_empty, "the slow path has slept through its bell");
    }

    /// Free, waiting, in parcels between workers, in the depot: none is lost, none is made.
    fn assert_chunks_sum_up(&self) {
        let workers = (0..self.seats.len() as u8).map(|w| self.shared.worker(WorkerId(w)));
        let mut chunks = 0;
        let mut travelling = 0;
        for (counters, seat) in workers.zip(&self.seats) {
            chunks += seat.worker.chunks() as u64;
            travelling += counters.handed_out.value() as i64 - counters.handed_in.value() as i64;
        }
        let missing = (self.seats.len() * CHUNKS) as i64 - chunks as i64 - travelling;
        let parcel = DEPOT_PARCEL as i64;
        let fits = missing >= 0 && missing % parcel == 0 && missing <= parcel * self.depot as i64;
        assert!(fits, "{missing} chunks are missing, {travelling} travel");
    }

    /// Takes everything apart and counts the chunks.
    ///
    /// # Panics
    /// If one is missing.
    pub fn dismantle(self) {
        let expected = self.seats.len() * CHUNKS;
        let mut found = 0;
        for seat in self.seats {
            let (_, chunks) = seat.worker.dismantle();
            found += chunks.len();
        }
        assert_eq!(found, expected, "chunks");
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

fn note_punt(now: Instant, punt: &Punt, trace: &mut Trace) {
    trace.note(now, &punt.bytes, || {
        format!(
            "  punt {:?} {:?} {} octets",
            punt.class,
            punt.origin,
            punt.bytes.len()
        )
    });
}

fn note_message(now: Instant, worker: usize, number: u64, message: &ToWorker, trace: &mut Trace) {
    let octets: &[u8] = match message {
        ToWorker::Change(_) => &[worker as u8],
        ToWorker::Inject(inject) => &inject.bytes,
    };
    trace.note(now, octets, || match message {
        ToWorker::Change(change) => format!("  {worker}/{number} {change:?}"),
        ToWorker::Inject(inject) => format!(
            "  {worker}/{number} inject {:?} {} octets",
            inject.entry,
            inject.bytes.len()
        ),
    });
}

/// What the workers stamped, for the slow path.
struct Stamps(Arc<Shared>);

impl Activity for Stamps {
    fn session_last_seen(&self, session: SessionSlot) -> Option<Instant> {
        self.0.session(session)?.last_seen_up
    }

    fn path_last_seen(&self, path: PathId) -> Option<Instant> {
        self.0.path(path)?.last_authentic
    }

    fn session_traffic(&self, session: SessionSlot) -> SessionTraffic {
        let view = self.0.session(session);
        view.map(|view| view.traffic).unwrap_or_default()
    }

    fn inbound_traffic(&self, sa: InboundSa) -> Traffic {
        let view = self.0.inbound(sa);
        view.map(|view| view.received).unwrap_or_default()
    }
}

/// How long a gateway that was told to shut down may take.
pub const SHUTDOWN_MAX: Duration = Duration::from_secs(5);
