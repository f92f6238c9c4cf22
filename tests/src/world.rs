//! The world: a gateway, its subscribers, the wire between them, and a clock that jumps.
//!
//! ```text
//!   Fleet (clients) ── Place (NAT) ── Wire, faults ──► Gateway ──► Wire ──► the server
//!        ▲                                   │            │
//!        └───────────── Wire, faults ◄───────┘         Ledger
//! ```
//!
//! [`World::step`] jumps to the earliest arrival or deadline, delivers, lets everybody work, and
//! looks at what must be true.

mod access;
mod acts;
mod check;

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crypto::dh::Outcome;
use lab::fleet::{ClientId, Fleet};

use crate::dice::Dice;
use crate::gateway::Gateway;
use crate::gateway::settings::{PLAIN, SECURE, settings};
use crate::letters::Letters;
use crate::lines::Lines;
use crate::model::Model;
use crate::plan::{Act, hour};
use crate::subscriber::Subscriber;
use crate::trace::{Record, Trace};
use crate::tuning::Tuning;
use crate::wire::{Faults, Stamp, WORKERS_MAX, Wire};

/// Steps in a row that may take no time.
const STANDSTILL_MAX: usize = 1000;
/// Datagrams that an eavesdropper keeps.
const CAPTURED_MAX: usize = 64;

/// The world.
pub struct World {
    epoch: Instant,
    now: Instant,
    dice: Dice,
    tuning: Tuning,
    faults: Faults,
    wire: Wire,
    gateway: Gateway,
    /// Those who dial where IPsec is required, and those who dial the other listener.
    fleets: [Fleet; 2],
    /// Of each fleet, whose client each is.
    owners: [Vec<usize>; 2],
    tokens: u32,
    by_token: BTreeMap<Ipv4Addr, usize>,
    subscribers: Vec<Subscriber>,
    /// Public-key work of clients.
    errands: BTreeMap<(Instant, u64), Errand>,
    errands_begun: u64,
    letters: Letters,
    captured: VecDeque<Vec<u8>>,
    acts: BTreeMap<(Instant, u64), Act>,
    acts_entered: u64,
    is_calm: bool,
    /// Everybody is where he should be, and nothing happens to anybody: nobody goes down.
    is_settled: bool,
    is_over: bool,
    /// Until when what is not as it should be may become so.
    patience: Option<Instant>,
    looked_at: Instant,
    /// When a shutdown has to be over.
    shutdown_until: Option<Instant>,
    model: Model,
    trace: Trace,
    lines: Lines,
    steps: u64,
    /// Steps that took no time.
    standstill: usize,
}

#[derive(Debug)]
struct Errand {
    fleet: usize,
    client: ClientId,
    token: u64,
    outcome: Outcome,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Stands for everything that happened.
    pub digest: u64,
    /// How much that was.
    pub events: u64,
    /// Steps taken.
    pub steps: u64,
    /// How often each named thing happened: what the slow path counts, what the workers discarded,
    /// letters, hand-overs.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Summary {
    /// How often a named thing happened.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.events += other.events;
        self.steps += other.steps;
        for (name, count) in &other.counts {
            *self.counts.entry(name).or_default() += count;
        }
        self
    }
}

/// Some moment: time is an argument everywhere, but the first one has to come from somewhere.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "any moment will do")]
pub fn some_moment() -> Instant {
    Instant::now()
}

impl World {
    /// The world of a seed, an hour planned and nothing done.
    #[must_use]
    pub fn new(seed: u64, subscribers: usize, record: Option<Record>) -> Self {
        let mut dice = Dice::new(seed);
        let tuning = Tuning::draw(seed, &mut dice);
        let mut world = Self::empty(tuning, subscribers, dice, record);
        let acts = hour(subscribers, &world.tuning, &mut world.dice);
        for (at, act) in acts {
            world.plan(at, act);
        }
        world
    }

    /// A world in which nothing is planned.
    #[must_use]
    pub fn empty(
        tuning: Tuning,
        subscribers: usize,
        mut dice: Dice,
        record: Option<Record>,
    ) -> Self {
        let lines = Lines::listen(record.clone());
        let epoch = some_moment();
        let settings = settings(&tuning, subscribers);
        let gateway = Gateway::new(&tuning, settings, &mut dice, epoch);
        let mut model = Model::default();
        let subscribers: Vec<Subscriber> = (0..subscribers)
            .map(|index| Subscriber::draw(index, &tuning, &mut dice))
            .inspect(|subscriber| model.add(subscriber.credentials))
            .collect();
        Self {
            epoch,
            now: epoch,
            faults: Faults::none(),
            wire: Wire::default(),
            gateway,
            fleets: [SECURE, PLAIN].map(|server| Fleet::new(server, dice.seed())),
            owners: [Vec::new(), Vec::new()],
            tokens: 0,
            by_token: BTreeMap::new(),
            subscribers,
            errands: BTreeMap::new(),
            errands_begun: 0,
            letters: Letters::default(),
            captured: VecDeque::new(),
            acts: BTreeMap::new(),
            acts_entered: 0,
            is_calm: true,
            is_settled: false,
            is_over: false,
            patience: None,
            looked_at: epoch,
            shutdown_until: None,
            model,
            trace: Trace::new(epoch, record),
            lines,
            steps: 0,
            standstill: 0,
            tuning,
            dice,
        }
    }

    /// Something is to happen.
    pub fn plan(&mut self, at: Duration, act: Act) {
        self.acts_entered += 1;
        self.acts.insert((self.epoch + at, self.acts_entered), act);
    }

    /// Runs to the end of the plan.
    #[must_use]
    pub fn run(mut self) -> Summary {
        while !self.is_over {
            self.step();
        }
        self.summary()
    }

    /// Runs until a moment, counted from the beginning.
    pub fn run_until(&mut self, at: Duration) {
        let until = self.epoch + at;
        while self.next().is_some_and(|next| next <= until) {
            self.step();
        }
        self.now = self.now.max(until);
    }

    /// From here on, what the fast path is told is saved.
    pub fn save(&mut self) {
        self.gateway.save();
    }

    /// Another fast path with so many workers takes up the state of this one.
    pub fn restart(&mut self, workers: u8) {
        self.tuning.workers = workers;
        let settings = settings(&self.tuning, self.subscribers.len());
        let other = Gateway::new(&self.tuning, settings, &mut self.dice, self.now);
        let (saved, ledger) = std::mem::replace(&mut self.gateway, other).into_saved();
        self.gateway
            .restore(self.now, saved, &mut self.dice, &mut self.trace);
        self.gateway.ledger_mut().remember(ledger);
        // What the subscribers have, they were told by the one before.
        for subscriber in &mut self.subscribers {
            subscriber.seen = Stamp([u64::MAX; WORKERS_MAX]);
        }
    }

    /// How many subscribers are up.
    #[must_use]
    pub fn up(&self) -> usize {
        let is_up = |subscriber: &&Subscriber| subscriber.lease.is_some();
        self.subscribers.iter().filter(is_up).count()
    }

    /// Jumps to whatever happens next, and lets it happen.
    pub fn step(&mut self) {
        let next = self.next().expect("the end of the hour is planned");
        self.standstill = match next <= self.now {
            true => self.standstill + 1,
            false => 0,
        };
        assert!(self.standstill < STANDSTILL_MAX, "time stands still");
        self.now = self.now.max(next);
        self.steps += 1;
        self.deliver();
        self.act();
        self.clients_work();
        self.gateway_works();
        self.check_step();
    }

    fn next(&self) -> Option<Instant> {
        let errand = self.errands.keys().next().map(|(at, _)| *at);
        let act = self.acts.keys().next().map(|(at, _)| *at);
        let fleets = self.fleets.iter().filter_map(Fleet::poll_timeout);
        let others = [self.wire.next(), self.gateway.next(), errand, act];
        fleets
            .chain(others.into_iter().flatten())
            .chain(self.patience)
            .min()
    }

    fn act(&mut self) {
        while let Some(entry) = self.acts.first_entry() {
            if entry.key().0 > self.now {
                return;
            }
            let act = entry.remove();
            self.trace.say(self.now, &format!("{act:?}"));
            self.perform(act);
        }
    }

    /// The time since the beginning.
    fn time(&self) -> Duration {
        self.now - self.epoch
    }

    fn later(&mut self, delay: Duration, act: Act) {
        let at = self.time() + delay;
        self.plan(at, act);
    }

    /// What has happened so far; the gateway is taken apart and its chunks are counted.
    #[must_use]
    pub fn summary(self) -> Summary {
        let (sent, arrived) = self.letters.counts();
        let mut counts = self.gateway.counts();
        counts.extend([
            ("letters sent", sent),
            ("letters arrived", arrived),
            ("seconds simulated", self.time().as_secs()),
        ]);
        let summary = Summary {
            digest: self.trace.digest(),
            events: self.trace.events(),
            steps: self.steps,
            counts,
        };
        self.gateway.dismantle();
        summary
    }
}
