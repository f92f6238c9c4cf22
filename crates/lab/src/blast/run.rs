//! One run: everybody dials, traffic flows, everybody says goodbye.

mod telling;
mod traffic;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use crypto::Random;
use gateway::memory::Cycles;

use super::board::Board;
use super::crowd::{Act, Cohort, Crowd};
use super::line::Line;
use super::load::{Load, Peer};
use super::meter::{Meter, Sample};
use super::near::{Both, NearEnd};
use super::outcome::Outcome;
use super::phase::{Busy, Phase};
use super::roster::{self, Roster};
use super::setups::{FailureCount, SetUpFigures, SetUps};
use crate::clock;
use crate::driver::Driver;
use crate::fleet::{ClientId, Event};
use crate::impair::Tally;
use crate::key_log::KeyLogFile;
use crate::memory::{self, Network, Stage};
use crate::scenario::{OfferedLoad, Scenario};
use crate::terminal::Face;
pub(crate) use traffic::Moved;

/// Until both ends are ready.
const LEAD: Duration = Duration::from_millis(100);
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
    /// The gateway, if it is in this process, and its network side if that is ours: between two loads.
    stage: Option<Stage>,
    network: Option<Network>,
    near: Option<NearEnd>,
    /// What carries the packets of a far end elsewhere, between two loads.
    line: Option<Line>,
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
    /// Set-ups a second until everybody had come up or failed.
    setup_rate: f64,
    /// Clients that have not ended since the goodbyes began.
    leaving: usize,
    busy: Busy,
    far_busy: f64,
    moved: Option<Moved>,
    has_learned: bool,
    board: Arc<Board>,
    runs: u32,
}

struct Seat {
    group: usize,
    planned: Instant,
    is_settled: bool,
    /// It failed, or was lost, and has not been up since.
    is_missing: bool,
}

impl Run {
    /// Opens everything that a scenario needs.
    pub fn new(scenario: Scenario, interrupted: Arc<AtomicBool>, is_quiet: bool) -> Result<Self> {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&scenario.seed.to_le_bytes());
        let mut random = Random::from_seed(seed);
        let epoch = clock::now();
        let (server, mut stage) = memory::reach(&scenario.target)?;
        let network = stage
            .as_mut()
            .filter(|_| scenario.network.is_some())
            .map(Stage::network);
        let roster = Roster::new(&scenario, server, &mut random, epoch + LEAD)?;
        let (mut driver, path) =
            roster::driver(roster.fleet, &scenario, stage.as_mut(), &mut random)?;
        // Opening took its time, and nobody is late for that.
        let delay = clock::now() - epoch;
        let mut planned = roster.planned;
        for (begin, id) in planned.iter_mut().zip(0..) {
            *begin += delay;
            driver.fleet.schedule(ClientId(id), *begin);
        }
        let sizes: Vec<usize> = scenario
            .groups
            .iter()
            .map(|group| group.subscribers)
            .collect();
        let cohorts = scenario.groups.iter().map(|group| Cohort {
            size: group.subscribers,
            tunnels: group.places(),
            churn: group.churn.clone(),
        });
        let cohorts = cohorts.collect();
        let groups = sizes.iter().enumerate();
        let groups = groups.flat_map(|(group, size)| std::iter::repeat_n(group, *size));
        let seats = groups.zip(planned).map(|(group, planned)| Seat {
            group,
            planned,
            is_settled: false,
            is_missing: false,
        });
        let peer = match &scenario.network {
            Some(port) => Peer::far_end(port.address),
            None => Peer::Echo(scenario.ping_target),
        };
        let face = Face::new(scenario.subscribers() as u64, is_quiet);
        Ok(Self {
            driver,
            stage,
            network,
            near: None,
            line: None,
            path,
            crowd: Crowd::new(cohorts, epoch, random.fork()),
            load: Load::new(peer, &sizes, epoch),
            setups: SetUps::new(sizes.len()),
            meter: Meter::new(epoch),
            face,
            interrupted,
            epoch,
            seats: seats.collect(),
            settled: 0,
            setup_rate: 0.0,
            leaving: 0,
            busy: Busy::default(),
            far_busy: 0.0,
            moved: None,
            has_learned: false,
            board: Arc::new(Board::new(&sizes)),
            runs: 0,
            random,
            scenario,
        })
    }

    /// Writes the keys of all subscribers to a file from here on.
    pub fn log_keys(&mut self, file: KeyLogFile) {
        self.driver.fleet.log_keys(file);
    }

    /// From the first message to the last goodbye.
    pub fn complete(mut self) -> Result<Outcome> {
        self.set_up()?;
        self.hold()?;
        let missing = self.seats.iter().filter(|seat| seat.is_missing).count();
        let up = self.crowd.up();
        self.hang_up()?;
        let outcome = self.finish(up, missing);
        self.close()?;
        Ok(outcome)
    }

    /// Ends a gateway in this process; an error if it kept something.
    pub(crate) fn close(self) -> Result<()> {
        self.face.finish();
        drop((self.driver, self.near, self.network));
        self.stage.map_or(Ok(()), Stage::close)
    }

    /// Nobody is there, and the first `count` clients dial at a rate.
    pub(crate) fn dial(&mut self, count: usize, per_second: f64) {
        let begin = clock::now() + LEAD;
        for (id, seat) in self.seats.iter_mut().enumerate() {
            seat.is_settled = id >= count;
            seat.planned = begin + Duration::from_secs_f64(id as f64 / per_second);
            match seat.is_settled {
                true => self.driver.fleet.vanish(ClientId(id as u32)),
                false => self.driver.fleet.redial(ClientId(id as u32), seat.planned),
            }
        }
        self.settled = self.seats.len() - count;
        (self.setups, self.busy) = (SetUps::new(self.scenario.groups.len()), Busy::default());
    }

    /// Each subscriber sends and gets this for so long; what came of it.
    pub(crate) fn try_load(&mut self, load: OfferedLoad, lasts: Duration) -> Result<Moved> {
        for group in &mut self.scenario.groups {
            group.traffic = Some(load.clone());
        }
        (self.scenario.duration, self.busy) = (lasts, Busy::default());
        // How late they dialled is no matter of the packets.
        self.setups = SetUps::new(self.scenario.groups.len());
        self.measure()
    }

    /// What is run.
    pub(crate) fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// What went wrong in set-ups so far.
    pub(crate) fn failures(&self) -> Vec<FailureCount> {
        self.setups.failures()
    }

    /// The set-ups so far.
    pub(crate) fn setups(&self) -> SetUpFigures {
        self.setups.all()
    }

    /// Their rate.
    pub(crate) fn setups_per_second(&self) -> f64 {
        self.setups.per_second()
    }

    /// Until every client has come up or failed.
    pub(crate) fn set_up(&mut self) -> Result<()> {
        let phase = Phase::begin();
        while self.settled < self.seats.len() && !self.is_interrupted() {
            self.turn()?;
        }
        self.busy = self.busy.max(phase.end().busy(Duration::ZERO));
        self.setup_rate = self.setups.per_second();
        Ok(())
    }

    /// For as long as was asked, with traffic if there is any.
    fn hold(&mut self) -> Result<()> {
        if self.is_interrupted() {
            return Ok(());
        }
        if self.crowd.up() > 0 && self.scenario.groups.iter().any(|g| g.traffic.is_some()) {
            self.moved = Some(self.measure()?);
            return Ok(());
        }
        self.turn_until(clock::now() + self.scenario.duration)
    }

    /// Everybody says goodbye.
    pub(crate) fn hang_up(&mut self) -> Result<()> {
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

    /// What the gateway's workers have done so far, if it is in this process.
    fn cycles(&self) -> Vec<Cycles> {
        self.stage.as_ref().map(Stage::cycles).unwrap_or_default()
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
        match &mut self.near {
            Some(near) => {
                let load = &mut self.load;
                self.driver.turn(&mut Both { load, near }, until)?;
            }
            None => self.driver.turn(&mut self.load, until)?,
        }
        let now = clock::now();
        for event in self.driver.fleet.take_events() {
            self.note(now, event);
        }
        for (id, act) in self.crowd.handle_timeout(now) {
            self.act(now, id, act);
        }
        if self.meter.is_due(now) {
            let sample = self.sample();
            self.meter.take(now, sample);
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
                let seat = &mut self.seats[id.0 as usize];
                seat.is_missing = false;
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
            let seat = &mut self.seats[id.0 as usize];
            seat.is_missing = true;
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
            Act::Cut { is_silent } => self.driver.fleet.cut(now, id, is_silent),
            Act::Redial => {
                self.seats[id.0 as usize].planned = now;
                self.driver.fleet.redial(id, now);
            }
        }
    }

    fn sample(&self) -> Sample {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Sample {
            at: 0.0,
            up: self.crowd.up(),
            succeeded: self.setups.succeeded(),
            failed: self.setups.failed(),
            sent: self.sent(),
            received: self.received(),
            octets: self.load.octets() + read(&self.board.far_octets),
            overdue: self.load.overdue() + read(&self.board.far_overdue),
            p99_ms: self.load.p99().as_secs_f64() * 1000.0,
        }
    }

    /// Packets sent by both ends.
    fn sent(&self) -> u64 {
        self.load.sent() + self.board.far_sent.load(Ordering::Relaxed)
    }

    /// Packets received by both ends.
    fn received(&self) -> u64 {
        self.load.received() + self.board.far_received.load(Ordering::Relaxed)
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}
