//! One run: everybody dials, traffic flows, everybody says goodbye.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use crypto::Random;

use super::board::Board;
use super::crowd::{Act, Crowd};
use super::far_end::{self, FarEnd, Finished};
use super::generator::Generator;
use super::load::{Load, Peer};
use super::meter::{Meter, Sample};
use super::outcome::{
    ETHERNET, FLOWS_MAX, FlowFigures, GroupOutcome, Outcome, SetUp, WayFigures, Wire, judge,
};
use super::phase::{Busy, Phase};
use super::roster::{self, Roster};
use super::setups::SetUps;
use super::source::Source;
use crate::clock;
use crate::driver::Driver;
use crate::fleet::{ClientId, Event, WireCount};
use crate::flow::Account;
use crate::impair::Tally;
use crate::scenario::Scenario;
use crate::sockets;
use crate::summary::Latency;
use crate::terminal::Face;

/// Until both ends are ready.
const LEAD: Duration = Duration::from_millis(100);
/// Silence after which no more packets are waited for.
const GRACE: Duration = Duration::from_secs(1);
/// Clients that begin to say goodbye in one turn.
const GOODBYES: usize = 64;
/// Silence after which no more goodbyes are waited for: more than a client takes for one.
const GOODBYE: Duration = Duration::from_secs(7);
/// The longest turn.
const TURN: Duration = Duration::from_millis(50);

/// One run of a scenario.
pub struct Run {
    scenario: Scenario,
    driver: Driver,
    path: Option<Arc<Mutex<Tally>>>,
    random: Random,
    crowd: Crowd,
    load: Load,
    setups: SetUps,
    meter: Meter,
    face: Face,
    interrupted: Arc<AtomicBool>,
    epoch: Instant,
    /// Of each client: its group, when it should dial, and whether it has come up or failed once.
    seats: Vec<Seat>,
    settled: usize,
    /// Clients that have not ended since the goodbyes began.
    leaving: usize,
    busy: Busy,
    far_busy: f64,
    moved: Option<Moved>,
    board: Arc<Board>,
    runs: u32,
}

struct Seat {
    group: usize,
    planned: Instant,
    is_settled: bool,
}

/// What a run of traffic came to, way by way and group by group.
struct Moved {
    ways: Vec<Vec<WayFigures>>,
    all: Vec<WayFigures>,
    flows: Vec<FlowFigures>,
    wire: Wire,
    overflowed: u64,
    withheld: u64,
    sent: u64,
    damaged: u64,
}

impl Run {
    /// Opens everything that a scenario needs.
    pub fn new(scenario: Scenario, interrupted: Arc<AtomicBool>, is_quiet: bool) -> Result<Self> {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&scenario.seed.to_le_bytes());
        let mut random = Random::from_seed(seed);
        let epoch = clock::now();
        let roster = Roster::new(&scenario, &mut random, epoch + LEAD)?;
        let (driver, path) = roster::driver(roster.fleet, &scenario.path, &mut random)?;
        let sizes: Vec<usize> = scenario
            .groups
            .iter()
            .map(|group| group.subscribers)
            .collect();
        let churn = scenario.groups.iter();
        let churn: Vec<_> = churn
            .map(|group| (group.subscribers, group.churn.clone()))
            .collect();
        let groups = sizes.iter().enumerate();
        let groups = groups.flat_map(|(group, size)| std::iter::repeat_n(group, *size));
        let seats = groups.zip(roster.planned).map(|(group, planned)| Seat {
            group,
            planned,
            is_settled: false,
        });
        let peer = match &scenario.network {
            Some(port) => Peer::far_end(port.address),
            None => Peer::Echo(scenario.ping_target),
        };
        let face = Face::new(scenario.subscribers() as u64, is_quiet);
        Ok(Self {
            driver,
            path,
            crowd: Crowd::new(&churn, epoch, random.fork()),
            load: Load::new(peer, &sizes, epoch),
            setups: SetUps::new(sizes.len()),
            meter: Meter::new(epoch),
            face,
            interrupted,
            epoch,
            seats: seats.collect(),
            settled: 0,
            leaving: 0,
            busy: Busy::default(),
            far_busy: 0.0,
            moved: None,
            board: Arc::new(Board::new(&sizes)),
            runs: 0,
            random,
            scenario,
        })
    }

    /// From the first message to the last goodbye.
    pub fn complete(mut self) -> Result<Outcome> {
        self.set_up()?;
        self.hold()?;
        let up = self.crowd.up();
        self.hang_up()?;
        Ok(self.finish(up))
    }

    /// Until every client has come up or failed.
    fn set_up(&mut self) -> Result<()> {
        let phase = Phase::begin();
        while self.settled < self.seats.len() && !self.is_interrupted() {
            self.turn()?;
        }
        self.busy = phase.end(Duration::ZERO);
        Ok(())
    }

    /// For as long as was asked, with traffic if there is any.
    fn hold(&mut self) -> Result<()> {
        if self.crowd.up() > 0 && self.scenario.groups.iter().any(|g| g.traffic.is_some()) {
            return self.move_packets();
        }
        self.turn_until(clock::now() + self.scenario.duration)
    }

    fn move_packets(&mut self) -> Result<()> {
        let begin = clock::now() + LEAD;
        let sizes: Vec<usize> = self.scenario.groups.iter().map(|g| g.subscribers).collect();
        let board = Arc::new(Board::new(&sizes));
        self.board = Arc::clone(&board);
        self.runs += 1;
        let far = self.begin_far_end(begin)?;
        let has_up = |group: &crate::scenario::Group| {
            far.is_none()
                || group
                    .traffic
                    .as_ref()
                    .is_some_and(|load| load.direction.has_up())
        };
        let source = self.source(begin, has_up);
        self.load.begin(begin, source, self.accounts(), board);
        let overflowed = self.overflowed()?;
        let (phase, wire) = (Phase::begin(), self.driver.fleet.wire());
        let end = begin + self.scenario.duration;
        let flowed = self.turn_until(end);
        let wire = self.driver.fleet.wire().since(&wire);
        self.board.is_stopped.store(true, Ordering::Relaxed);
        let drained = flowed.and_then(|()| self.drain());
        self.board.is_over.store(true, Ordering::Relaxed);
        let far = far.map(|far| far.join().map_err(|_| anyhow!("the far end panicked")));
        let far = far.transpose()?.transpose()?;
        drained?;
        let far_time = far.as_ref().map_or(Duration::ZERO, |far| far.busy);
        self.busy = self.busy.max(phase.end(far_time));
        self.far_busy = far.as_ref().map_or(0.0, |far| {
            far.busy.as_secs_f64() / far.lasted.as_secs_f64().max(f64::EPSILON)
        });
        let overflowed = self.overflowed()?.saturating_sub(overflowed);
        let seconds = (clock::now().min(end) - begin).as_secs_f64();
        self.moved = Some(self.account_for(far.as_ref(), overflowed, in_bits(&wire, seconds)));
        Ok(())
    }

    fn begin_far_end(
        &mut self,
        begin: Instant,
    ) -> Result<Option<std::thread::JoinHandle<std::io::Result<Finished>>>> {
        let Some(port) = &self.scenario.network else {
            return Ok(None);
        };
        let socket = far_end::open(port)?;
        let source = self.source(begin, |group| {
            group
                .traffic
                .as_ref()
                .is_some_and(|load| load.direction.has_down())
        });
        let end = FarEnd::new(source, self.accounts(), Arc::clone(&self.board), self.epoch);
        Ok(Some(far_end::serve(socket, end)?))
    }

    fn source(
        &mut self,
        begin: Instant,
        does_send: impl Fn(&crate::scenario::Group) -> bool,
    ) -> Source {
        let mut source = Source::new();
        for (index, group) in self.scenario.groups.iter().enumerate() {
            let load = group.traffic.as_ref().filter(|_| does_send(group));
            let run = self.runs << 16 | index as u32;
            source.add(run, group.subscribers, load, begin, self.random.fork());
        }
        source
    }

    fn accounts(&self) -> Vec<Account> {
        let mut named = FLOWS_MAX;
        let groups = self.scenario.groups.iter().zip(0..);
        let accounts = groups.map(|(group, index)| {
            let own = group.subscribers.min(named);
            named -= own;
            Account::new(self.runs << 16 | index, group.subscribers).with_named(own)
        });
        accounts.collect()
    }

    /// Packets for which the sockets on both our sides have had no room.
    fn overflowed(&self) -> Result<u64> {
        let far = far_end::overflowed(self.scenario.network.as_ref())?;
        Ok(sockets::overflowed() + far)
    }

    /// Until everything that was sent is there, or nothing more comes.
    fn drain(&mut self) -> Result<()> {
        let mut changed = clock::now();
        let mut known = self.sample();
        while clock::now() < changed + GRACE && known.received < known.sent {
            self.turn()?;
            let state = self.sample();
            if state.received != known.received {
                (known, changed) = (state, clock::now());
            }
        }
        Ok(())
    }

    fn hang_up(&mut self) -> Result<()> {
        self.crowd.close();
        let clients = self.driver.fleet.clients();
        let left = clients.filter(|(_, client, _)| !client.is_over());
        let left: Vec<ClientId> = left.map(|(id, ..)| id).collect();
        self.leaving = left.len();
        for some in left.chunks(GOODBYES) {
            for id in some {
                self.driver.fleet.hang_up(clock::now(), *id);
            }
            self.turn()?;
        }
        let (mut known, mut changed) = (self.leaving, clock::now());
        while self.leaving > 0 && clock::now() < changed + GOODBYE {
            self.turn()?;
            if self.leaving != known {
                (known, changed) = (self.leaving, clock::now());
            }
        }
        Ok(())
    }

    fn turn_until(&mut self, end: Instant) -> Result<()> {
        while clock::now() < end && !self.is_interrupted() {
            self.turn()?;
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<()> {
        let longest = clock::now() + TURN;
        let until = self
            .crowd
            .poll_timeout()
            .map_or(longest, |at| at.min(longest));
        self.driver.turn(&mut self.load, until)?;
        let now = clock::now();
        for event in self.driver.fleet.take_events() {
            self.note(now, event);
        }
        for (id, act) in self.crowd.handle_timeout(now) {
            self.act(now, id, act);
        }
        let sample = self.sample();
        if self.meter.tick(now, || sample) {
            let (last, before) = self.meter.last();
            self.face.tell(&last, &before);
        }
        Ok(())
    }

    fn note(&mut self, now: Instant, event: Event) {
        let (id, failure) = match event {
            Event::Up(id, lease) => {
                self.load.open(id, &lease);
                self.crowd.handle_up(now, id);
                let stages = *self.driver.fleet.client(id).stages();
                let seat = &self.seats[id.0 as usize];
                self.setups.note_up(now, seat.group, &stages, seat.planned);
                return self.settle(id);
            }
            Event::Down(id, failure) => (id, failure),
        };
        self.load.close(id);
        self.crowd.handle_down(now, id);
        self.leaving = self.leaving.saturating_sub(1);
        if let Some(failure) = failure {
            let stages = *self.driver.fleet.client(id).stages();
            let seat = &self.seats[id.0 as usize];
            self.setups
                .note_failure(seat.group, &stages, seat.planned, &failure);
        }
        self.settle(id);
    }

    fn settle(&mut self, id: ClientId) {
        let seat = &mut self.seats[id.0 as usize];
        self.settled += usize::from(!seat.is_settled);
        seat.is_settled = true;
    }

    fn act(&mut self, now: Instant, id: ClientId, act: Act) {
        match act {
            Act::Silence => self.load.close(id),
            Act::HangUp => self.driver.fleet.hang_up(now, id),
            Act::Vanish => self.driver.fleet.vanish(id),
            Act::Redial => {
                self.seats[id.0 as usize].planned = now;
                self.driver.fleet.redial(id, now);
            }
        }
    }

    fn sample(&self) -> Sample {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Sample {
            at: 0.0,
            up: self.crowd.up(),
            succeeded: self.setups.succeeded(),
            failed: self.setups.failed(),
            sent: self.load.sent() + read(&self.board.far_sent),
            received: self.load.received() + read(&self.board.far_received),
            octets: self.load.octets() + read(&self.board.far_octets),
        }
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn account_for(&self, far: Option<&Finished>, overflowed: u64, wire: Wire) -> Moved {
        let own = &self.load;
        let mut ways: Vec<Vec<WayFigures>> = Vec::new();
        let mut all = Vec::new();
        let mut flows = Vec::new();
        let seconds = wire.seconds;
        let mut add = |way, source: &Source, accounts: &[Account]| {
            let mut total: Option<hdrhistogram::Histogram<u64>> = None;
            let mut figures = Vec::new();
            for (index, account) in accounts.iter().enumerate() {
                let sent = source.sent(index);
                let figure = WayFigures::new(way, sent, account, seconds);
                match &mut total {
                    Some(total) => total
                        .add(account.latency())
                        .expect("the bounds are the same"),
                    None => total = Some(account.latency().clone()),
                }
                let name = &self.scenario.groups[index].name;
                let named = sent.iter().enumerate().map_while(|(flow, sent)| {
                    let arrived = account.flow(flow)?;
                    arrived.latency?;
                    Some(FlowFigures::new(name, flow + 1, way, *sent, &arrived))
                });
                flows.extend(named);
                figures.push((index, figure));
            }
            ways.resize_with(accounts.len(), Vec::new);
            let moving: Vec<&WayFigures> = figures
                .iter()
                .map(|(_, f)| f)
                .filter(|f| f.sent > 0)
                .collect();
            let latency = total.map(|total| Latency::of(&total));
            all.extend(latency.and_then(|latency| WayFigures::sum(&moving, latency)));
            for (index, figure) in figures.into_iter().filter(|(_, f)| f.sent > 0) {
                ways[index].push(figure);
            }
        };
        match far {
            Some(far) => {
                add("up", own.source(), far.end.accounts());
                add("down", far.end.source(), own.accounts());
            }
            None => add("echo", own.source(), own.accounts()),
        }
        let far_source = far.map(|far| far.end.source());
        Moved {
            ways,
            all,
            flows,
            wire,
            overflowed,
            withheld: own.source().withheld() + far_source.map_or(0, Source::withheld),
            sent: self.sample().sent,
            damaged: own.damaged(),
        }
    }

    fn finish(mut self, up: usize) -> Outcome {
        self.face.finish();
        let moved = self.moved.take();
        let traffic = moved
            .as_ref()
            .map_or_else(Vec::new, |moved| moved.all.clone());
        let assertions = judge(&self.scenario.wants, self.setups.succeeded(), &traffic);
        let discards = self.driver.fleet.discards().occurred();
        let discards: Vec<(String, u64)> = discards
            .map(|(reason, count)| (reason.text().to_owned(), count))
            .collect();
        let refused = self
            .driver
            .fleet
            .discards()
            .of(crate::discard::Discard::NotSent);
        let path = self.path.as_ref();
        let path = path.map(|path| *path.lock().unwrap_or_else(PoisonError::into_inner));
        let generator = Generator {
            clients_busy: self.busy.clients,
            compute_busy: self.busy.compute,
            far_end_busy: self.far_busy,
            dial_late_p99_ms: self.setups.lateness().as_secs_f64() * 1000.0,
            withheld: moved.as_ref().map_or(0, |moved| moved.withheld),
            sent: moved.as_ref().map_or(0, |moved| moved.sent),
            overflowed: moved.as_ref().map_or(0, |moved| moved.overflowed),
            refused,
            impaired: path.map_or(0, |path| path.up.lost + path.down.lost + path.forgotten),
        };
        let lost: u64 = traffic.iter().map(|way| way.lost).sum();
        let figures = self.setups.all();
        let busy_side = generator.judge(lost, figures.failed + figures.lost);
        let problems = self.problems(moved.as_ref());
        let is_interrupted = self.is_interrupted();
        let is_complete =
            figures.failed == 0 && figures.lost == 0 || self.scenario.wants.min_setups.is_some();
        Outcome {
            ok: assertions.iter().all(|assertion| assertion.held)
                && is_complete
                && figures.succeeded > 0
                && !is_interrupted,
            version: env!("CARGO_PKG_VERSION"),
            scenario: self.scenario.written(),
            interrupted: is_interrupted,
            seconds: (clock::now() - self.epoch).as_secs_f64(),
            setup: SetUp {
                subscribers: self.seats.len(),
                up,
                per_second: self.setups.per_second(),
                best_second: self.meter.best_setups_per_second(),
                failures: self.setups.failures(),
                figures,
            },
            groups: self.groups(moved.as_ref()),
            wire: moved
                .as_ref()
                .map_or_else(Wire::default, |moved| moved.wire),
            flows: moved.map_or_else(Vec::new, |moved| moved.flows),
            traffic,
            assertions,
            path,
            generator,
            busy_side,
            timeline: self.meter.samples().to_vec(),
            discards,
            problems,
        }
    }

    fn groups(&self, moved: Option<&Moved>) -> Vec<GroupOutcome> {
        let groups = self.scenario.groups.iter().enumerate();
        let groups = groups.map(|(index, group)| GroupOutcome {
            name: group.name.clone(),
            subscribers: group.subscribers,
            setup: self.setups.group(index),
            traffic: moved.map_or_else(Vec::new, |moved| moved.ways[index].clone()),
        });
        groups.collect()
    }

    fn problems(&self, moved: Option<&Moved>) -> Vec<String> {
        let damaged = moved.map_or(0, |moved| moved.damaged);
        let parts = [
            (damaged > 0).then(|| format!("{damaged} packets came damaged, or from somebody else")),
            self.driver
                .refused()
                .map(|refused| format!("the kernel refused to send: {refused}")),
            (self.leaving > 0)
                .then(|| format!("{} clients were not done with their goodbye", self.leaving)),
        ];
        parts.into_iter().flatten().collect()
    }
}

fn in_bits(wire: &WireCount, seconds: f64) -> Wire {
    let seconds = seconds.max(f64::EPSILON);
    let bits = |packets: u64, octets: u64| (octets + packets * ETHERNET) as f64 * 8.0 / seconds;
    Wire {
        seconds,
        up_packets: wire.up_packets,
        up_bits_per_second: bits(wire.up_packets, wire.up_octets),
        down_packets: wire.down_packets,
        down_bits_per_second: bits(wire.down_packets, wire.down_octets),
    }
}
