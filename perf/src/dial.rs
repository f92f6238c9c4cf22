//! The slow path under test, and the clients that dial it: the lab's own, without a wire between.
//!
//! ```text
//!   Client ──message──► Punt ──► Control ──► Change ──► (a worker, where its memory is asked for)
//!      ▲                            │
//!      └────────message◄── Inject ◄─┘          only what Control does is timed
//! ```
//!
//! Clients dial in crowds, so that the slow path always has several calls in progress. Time is
//! made up, so that a minute of idling takes a moment.

mod settings;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use af_xdp::Chunk;
use anyhow::{Context, Result, bail, ensure};
use control::{Control, Input, NoActivity, Output};
use crypto::dh::KeyPair;
use crypto::{Random, cpu};
use dataplane::change::{Change, Class, Entry, Event, Inject, Kind, Origin, Punt, ToWorker};
use dataplane::id::{InboundSa, PathId, SessionSlot, WorkerId};
use dataplane::mesh::{SlowEnd, mesh};
use dataplane::{Limits, Settings as WorkerSettings, Shared, Worker};
use lab::client::{self, Client, Turn};
use packet::Endpoint;
use packet::header::{L2tp, Udp};

use crate::clock;
use crate::port::RingPort;
pub(crate) use settings::Call;
use settings::inside;

/// Clients that dial at the same time.
const CROWD: usize = 32;
/// Between two crowds.
const PAUSE: Duration = Duration::from_millis(10);
/// What a client puts off for no longer than this, it does; the rest can wait for ever.
const SOON: Duration = Duration::from_secs(1);

/// A slow path and its clients.
pub(crate) struct Exchange {
    call: Call,
    control: Control,
    shared: Arc<Shared>,
    /// Where changes go, if the state of the fast path is of interest.
    slow: Option<SlowEnd>,
    /// Holds that state, unless somebody else does.
    worker: Option<Worker<RingPort>>,
    now: Instant,
    /// Ticks that the slow path took.
    pub(crate) ticks: u64,
    lines: Vec<Line>,
    places: Places,
    letters: VecDeque<(usize, Letter)>,
    /// Clients that want to be called.
    due: BTreeSet<(Instant, usize)>,
    next_spi: u32,
    up: usize,
    settings: Arc<client::Settings>,
    /// Whether a key pair for public-key work was made before anybody asked.
    pub(crate) uses_pairs: bool,
    random: Random,
}

/// A client and what the gateway calls it by.
struct Line {
    /// Apart, so that what the slow path has is not hidden behind what its clients had.
    client: Option<Box<Client>>,
    path: Option<PathId>,
    session: Option<SessionSlot>,
    /// Its own tunnel and session id.
    ids: [u16; 2],
    inbound: Option<InboundSa>,
}

/// Whose is what.
#[derive(Default)]
struct Places {
    paths: HashMap<PathId, usize>,
    sessions: HashMap<SessionSlot, usize>,
    addresses: HashMap<IpAddr, usize>,
}

/// Something for a client.
enum Letter {
    Ike(bool, Vec<u8>),
    L2tp(Vec<u8>),
}

impl Exchange {
    /// Nobody has dialled yet; `users` may.
    pub(crate) fn new(call: Call, users: usize, seed: u64) -> Self {
        let shared = Shared::new(Limits::default(), clock::now());
        Self::on(settings::gateway(call, users), call, shared, seed)
    }

    /// With a worker that holds the state of the fast path. Nobody is asked for a sign of life, so
    /// that clients can be forgotten.
    pub(crate) fn of_both_planes(call: Call, users: usize, seed: u64) -> Self {
        let shared = Shared::new(Limits::default(), clock::now());
        let settings = settings::patient(settings::gateway(call, users));
        let mut exchange = Self::on(settings, call, Arc::clone(&shared), seed);
        let (mut ends, slow) = mesh::<Chunk>(1, dataplane::mesh::Sizes::default());
        let end = ends.remove(0);
        let worker = Worker::new(
            shared,
            Vec::new(),
            Vec::new(),
            end,
            WorkerSettings::default(),
        );
        (exchange.worker, exchange.slow) = (Some(worker), Some(slow));
        exchange
    }

    /// A slow path of a fast path that somebody else has.
    pub(crate) fn beside(
        call: Call,
        users: usize,
        (shared, slow): (Arc<Shared>, SlowEnd),
        seed: u64,
    ) -> Self {
        let mut exchange = Self::on(settings::gateway(call, users), call, shared, seed);
        exchange.slow = Some(slow);
        exchange
    }

    fn on(settings: control::Settings, call: Call, shared: Arc<Shared>, seed: u64) -> Self {
        let now = clock::now();
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut exchange = Self {
            call,
            control: Control::new(settings, bytes, now, Box::new(NoActivity)),
            shared,
            slow: None,
            worker: None,
            now,
            ticks: 0,
            lines: Vec::new(),
            places: Places::default(),
            letters: VecDeque::new(),
            due: BTreeSet::new(),
            next_spi: 0x1000_0000,
            up: 0,
            settings: Arc::new(settings::client(call, 0)),
            uses_pairs: false,
            random: Random::from_seed(bytes),
        };
        exchange.carry_out();
        exchange
    }

    /// So many more clients dial, and get what they want. Gives ticks and calls of each crowd.
    pub(crate) fn dial(&mut self, count: usize) -> Result<Vec<(u64, usize)>> {
        let mut crowds = Vec::new();
        let mut left = count;
        while left > 0 {
            let crowd = left.min(CROWD);
            let (before, was_up) = (self.ticks, self.up);
            for _ in 0..crowd {
                self.begin();
            }
            self.run_until(self.now + PAUSE)?;
            let came = self.up - was_up;
            ensure!(came == crowd, "{came} of {crowd} calls came up");
            crowds.push((self.ticks - before, crowd));
            left -= crowd;
        }
        Ok(crowds)
    }

    /// The clients that are up say goodbye, and are answered.
    pub(crate) fn hang_up(&mut self) -> Result<()> {
        let first = self.lines.len()
            - self
                .lines
                .iter()
                .rev()
                .take_while(|l| l.client.is_some())
                .count();
        for number in first..self.lines.len() {
            self.touch(number, Client::hang_up);
        }
        self.run_until(self.now + PAUSE)?;
        let mut left = self.lines[first..]
            .iter()
            .filter_map(|l| l.client.as_deref());
        ensure!(
            left.all(Client::is_over),
            "a client is not done with its goodbye"
        );
        Ok(())
    }

    /// Lets clients that are up go without a word; their memory is free.
    pub(crate) fn forget_clients(&mut self) {
        self.lines.iter_mut().for_each(|line| line.client = None);
        self.due.clear();
    }

    fn begin(&mut self) {
        let number = self.lines.len();
        if self.call.has_session() {
            self.settings = Arc::new(settings::client(self.call, number));
        }
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&(number as u64 + 1).to_le_bytes());
        let inside = inside(number);
        let client = Client::new(
            Arc::clone(&self.settings),
            inside,
            self.call.server(number),
            Random::from_seed(seed),
        );
        self.places.addresses.insert(inside, number);
        self.lines.push(Line {
            client: Some(Box::new(client)),
            path: None,
            session: None,
            ids: [0; 2],
            inbound: None,
        });
        self.touch(number, Client::dial);
    }

    /// Everything that happens until a time, and at it.
    pub(crate) fn run_until(&mut self, end: Instant) -> Result<()> {
        loop {
            while let Some((number, letter)) = self.letters.pop_front() {
                match letter {
                    Letter::Ike(is_floated, bytes) => {
                        self.touch(number, |client, turn| {
                            client.handle_ike(is_floated, &bytes, turn);
                        });
                    }
                    Letter::L2tp(bytes) => {
                        self.touch(number, |client, turn| client.handle_l2tp(&bytes, turn));
                    }
                }
            }
            self.check()?;
            let control = self.control.poll_timeout().map(|deadline| deadline.at);
            let client = self.due.first().map(|(at, _)| *at);
            let next = control.into_iter().chain(client).min();
            let Some(at) = next.filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            if control.is_some_and(|at| at <= self.now) {
                let start = cpu::cycles();
                self.control.handle_timeout(self.now);
                self.ticks += cpu::cycles() - start;
                self.carry_out();
            }
            while let Some((at, number)) = self.due.first().copied().filter(|d| d.0 <= self.now) {
                self.due.remove(&(at, number));
                self.touch(number, Client::handle_timeout);
            }
        }
        self.now = end;
        Ok(())
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    fn check(&self) -> Result<()> {
        let mut clients = self
            .lines
            .iter()
            .rev()
            .take(CROWD)
            .filter_map(|l| l.client.as_deref());
        match clients.find_map(Client::failure) {
            Some(failure) => bail!("a call failed: {failure:?}"),
            None => Ok(()),
        }
    }

    /// A client does something, and what it wants is done.
    fn touch(&mut self, number: usize, act: impl FnOnce(&mut Client, &mut Turn<'_>)) {
        let mut out = Vec::new();
        let next_spi = &mut self.next_spi;
        let mut spis = || {
            *next_spi += 1;
            Some(ike::Spi(*next_spi))
        };
        let Some(client) = self.lines[number].client.as_deref_mut() else {
            return;
        };
        let mut turn = Turn {
            now: self.now,
            spis: &mut spis,
            out: &mut out,
        };
        act(client, &mut turn);
        if let Some((at, _)) = client
            .poll_timeout()
            .filter(|(at, _)| *at <= self.now + SOON)
        {
            self.due.insert((at, number));
        }
        for output in out {
            self.follow(number, output);
        }
    }

    fn follow(&mut self, number: usize, output: client::Output) {
        match output {
            client::Output::Ike {
                is_floated,
                message,
            } => self.send_ike(number, is_floated, message),
            client::Output::L2tp(message) if self.call.has_session() => {
                self.send_l2tp(number, message);
            }
            client::Output::Compute { token, job } => {
                let outcome = job.run();
                self.touch(number, |client, turn| {
                    client.handle_computed(token, outcome, turn);
                });
            }
            // It has what it wants; its tunnel is of no interest.
            client::Output::SaUp(_) if !self.call.has_session() => {
                self.up += 1;
                self.lines[number].client = None;
            }
            client::Output::Up(_) => self.up += 1,
            client::Output::SaUp(_)
            | client::Output::L2tp(_)
            | client::Output::Keepalive
            | client::Output::Lac(_)
            | client::Output::Keys(_)
            | client::Output::SaConfirmed(_)
            | client::Output::SaDown(_)
            | client::Output::Down(_) => {}
        }
    }

    fn send_ike(&mut self, number: usize, is_floated: bool, bytes: Vec<u8>) {
        let port = if is_floated { Udp::NAT_T } else { Udp::IKE };
        let class = match bytes.get(8..16) {
            Some([0, 0, 0, 0, 0, 0, 0, 0]) | None => Class::Stranger,
            Some(_) => Class::InProgress,
        };
        let origin = Origin::Ike {
            worker: WorkerId(0),
            local: Endpoint::new(self.call.server(number), port),
            remote: Endpoint::new(inside(number), port),
        };
        self.punt(class, origin, bytes);
    }

    fn send_l2tp(&mut self, number: usize, bytes: Vec<u8>) {
        let Ok(header) = l2tp::peek(&bytes) else {
            return;
        };
        let line = &mut self.lines[number];
        if header.kind != l2tp::Kind::Control {
            let Some(session) = line.session else { return };
            let frame = bytes[header.payload].to_vec();
            return self.punt(Class::Established, Origin::Ppp(session), frame);
        }
        if self.call == Call::Plain {
            let origin = Origin::PlainL2tp {
                worker: WorkerId(0),
                listener: self.call.listener(number),
                local: Endpoint::new(self.call.server(number), Udp::L2TP),
                remote: Endpoint::new(inside(number), Udp::L2TP),
            };
            let class = match line.path {
                None => Class::Stranger,
                Some(_) => Class::InProgress,
            };
            return self.punt(class, origin, bytes);
        }
        let Some(path) = line.path else { return };
        let origin = Origin::SecuredL2tp {
            path,
            local_port: Udp::L2TP,
            peer_port: Udp::L2TP,
        };
        if let Some(sa) = line.inbound.take() {
            self.tell(Input::Event(Event::FirstInbound(sa)));
        }
        self.punt(Class::Established, origin, bytes);
    }

    fn punt(&mut self, class: Class, origin: Origin, bytes: Vec<u8>) {
        self.tell(Input::Punt(Punt {
            class,
            origin,
            bytes,
        }));
    }

    fn tell(&mut self, input: Input) {
        let start = cpu::cycles();
        self.control.handle_input(self.now, input);
        self.ticks += cpu::cycles() - start;
        self.carry_out();
    }

    /// Does what the slow path wants done.
    fn carry_out(&mut self) {
        loop {
            let start = cpu::cycles();
            let output = self.control.poll_output();
            self.ticks += cpu::cycles() - start;
            match output {
                None => break,
                Some(Output::ToWorker { message, .. }) => self.hand_to_worker(message),
                Some(Output::Shared(change)) => {
                    let start = cpu::cycles();
                    self.shared.apply(change);
                    self.ticks += cpu::cycles() - start;
                }
                Some(Output::Compute { token, job }) => {
                    let pair = self.pair();
                    let start = clock::thread_ticks();
                    let outcome = job.run_with(|_| pair);
                    let input = Input::Computed { token, outcome };
                    self.control.handle_input(self.now, input);
                    self.ticks += clock::thread_ticks() - start;
                }
                Some(Output::Reply { .. } | Output::KeyLog(_) | Output::Finished) => {}
            }
        }
        if let Some(worker) = &mut self.worker {
            worker.turn(self.now);
        }
        self.listen();
    }

    /// Takes what the worker has to tell: one that is not heard keeps trying, and is busy with that.
    pub(crate) fn listen(&mut self) {
        if let Some(slow) = &mut self.slow {
            while slow.workers[0].events.receive().is_some() {}
        }
    }

    /// A key pair, if they are made beforehand.
    fn pair(&mut self) -> Option<KeyPair> {
        let group = self.call.group().filter(|_| self.uses_pairs)?;
        Some(KeyPair::draw(group, &mut self.random))
    }

    fn hand_to_worker(&mut self, message: ToWorker) {
        match message {
            ToWorker::Inject(inject) => self.deliver(inject),
            ToWorker::Change(change) => {
                self.note(&change);
                if let Some(slow) = &mut self.slow {
                    while slow.workers[0].room() == 0 {
                        self.worker.as_mut().map(|worker| worker.turn(self.now));
                    }
                    let sent = slow.workers[0].send(ToWorker::Change(change));
                    assert!(sent.is_ok(), "there is room");
                }
            }
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only some changes name a client"
    )]
    /// Remembers by what names the gateway calls a client.
    fn note(&mut self, change: &Change) {
        match change {
            Change::OpenPath(path) => {
                let number = self.places.addresses.get(&path.remote.address());
                if let Some(number) = number.copied() {
                    self.places.paths.insert(path.id, number);
                    self.lines[number].path = Some(path.id);
                }
            }
            Change::OpenSession(session) => {
                if let Some(number) = self.places.paths.get(&session.path).copied() {
                    self.places.sessions.insert(session.id, number);
                    let line = &mut self.lines[number];
                    line.session = Some(session.id);
                    line.ids = [session.peer_tunnel, session.peer_session];
                }
            }
            Change::InstallInbound(install) => {
                if let Some(number) = self.places.paths.get(&install.path) {
                    self.lines[*number].inbound = Some(install.sa);
                }
            }
            _ => {}
        }
    }

    /// A control frame on its way to a client.
    fn deliver(&mut self, Inject { entry, bytes }: Inject) {
        let places = &self.places;
        let (number, letter) = match entry {
            Entry::Transmit { kind, remote, .. } => (
                places.addresses.get(&remote.address()),
                match kind {
                    Kind::Ike => Letter::Ike(remote.port() != Udp::IKE, bytes),
                    Kind::Esp | Kind::EspInUdp | Kind::L2tp | Kind::Keepalive | Kind::Ip => {
                        Letter::L2tp(bytes)
                    }
                },
            ),
            Entry::Tunnel { path, .. } => (places.paths.get(&path), Letter::L2tp(bytes)),
            Entry::Session(slot) => {
                let number = places.sessions.get(&slot);
                let ids = number.map_or([0; 2], |number| self.lines[*number].ids);
                let header = [L2tp::VERSION & 2, ids[0], ids[1]].map(u16::to_be_bytes);
                let message = [header.as_flattened(), &bytes].concat();
                (number, Letter::L2tp(message))
            }
            Entry::Link { .. } | Entry::Route { .. } => return,
        };
        if let Some(number) = number {
            self.letters.push_back((*number, letter));
        }
    }
}

/// Octets of memory that this process has.
pub(crate) fn resident() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split(' ').nth(1).context("the second number")?;
    Ok(pages.parse::<u64>()? * 4096)
}
