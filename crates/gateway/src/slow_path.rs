//! The only event loop: whatever the slow path waits for arrives here and becomes an input.
//!
//! ```text
//!   worker rings ─┐                                   ┌─► worker rings (changes, injects)
//!   compute pool ─┼─► Control::handle_input           ├─► shared tables
//!   admin socket ─┤   Control::handle_timeout         ├─► compute pool
//!   netlink ──────┤   Control::poll_output ───────────┼─► answers
//!   signals ──────┘                                   └─► key log
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use control::admin::Response;
use control::{Control, Input, Output};
use crossbeam::channel::{Receiver, Sender};
use crypto::cpu;
use dataplane::change::{Class, Entry, Event, Inject, Origin, Punt, ToWorker};
use dataplane::id::{SessionSlot, WorkerId};
use dataplane::mesh::SlowEnd;
use dataplane::{Discard, Shared, Stage};

use crate::admin::{Answer, Asked, DiscardRow, Question, StageRow, Status, WorkerRow};
use crate::clock;
use crate::compute::Compute;
use crate::host;
use crate::icmp::Icmp;
use crate::key_log::KeyLogFile;
use crate::port::{Loss, Losses};
use crate::routes::Routes;
use crate::signals::Signals;
use crate::wake::{Alarm, until};
use crate::workers::Post;

/// Inputs of one class that are taken before the loop looks at the others again.
const SHARE: usize = 256;
/// Long messages that are taken likewise.
const LETTERS: usize = 4;
/// Messages that may wait for room in a worker's ring before strangers are no longer listened to.
const BACKLOG: usize = 1024;
/// Longest wait: a lost wake-up would cost this much and no more.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The slow path and all it talks to.
pub(crate) struct SlowPath {
    pub(crate) control: Control,
    pub(crate) shared: Arc<Shared>,
    pub(crate) rings: SlowEnd,
    pub(crate) compute: Compute,
    pub(crate) questions: Receiver<Asked>,
    /// IKE messages that are longer than a chunk.
    pub(crate) letters: Receiver<Punt>,
    pub(crate) routes: Option<Routes>,
    pub(crate) icmp: Option<Icmp>,
    pub(crate) adit0: Option<Adit0>,
    pub(crate) signals: Signals,
    pub(crate) key_log: Option<KeyLogFile>,
    pub(crate) alarm: Arc<Alarm>,
    pub(crate) posts: Vec<Arc<Post>>,
    pub(crate) status: Status,
    pub(crate) started: Instant,
    /// The cycle counter at that moment.
    pub(crate) started_cycles: u64,
    pub(crate) waiting: Waiting,
}

/// The slow path's share of the TUN device.
pub(crate) struct Adit0 {
    /// A queue, for what subscribers send to the host itself.
    pub(crate) queue: OwnedFd,
    /// The interface index.
    pub(crate) index: u32,
}

/// What waits for something else.
#[derive(Default)]
pub(crate) struct Waiting {
    /// For room in a worker's ring.
    messages: Vec<VecDeque<ToWorker>>,
    /// For the slow path's answer.
    callers: BTreeMap<u64, Sender<Answer>>,
    next_request: u64,
}

impl Waiting {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            messages: (0..workers).map(|_| VecDeque::new()).collect(),
            ..Self::default()
        }
    }

    fn is_crowded(&self) -> bool {
        self.messages.iter().any(|queue| queue.len() > BACKLOG)
    }
}

impl SlowPath {
    /// Serves until everybody has been told goodbye.
    pub(crate) fn run(&mut self) -> Result<()> {
        loop {
            let worked = self.take_inputs();
            let now = clock::now();
            if self
                .control
                .poll_timeout()
                .is_some_and(|deadline| deadline.at <= now)
            {
                self.control.handle_timeout(now);
            }
            if self.carry_out()? {
                return Ok(());
            }
            if !worked {
                self.wait();
            }
        }
    }

    /// The order of work: events and results, established, in progress, strangers, admin.
    fn take_inputs(&mut self) -> bool {
        let mut count = self.take_signals() + self.take_events() + self.take_outcomes();
        count += self.take_punts(Class::Established);
        count += self.take_punts(Class::InProgress);
        if !self.waiting.is_crowded() {
            count += self.take_punts(Class::Stranger) + self.take_letters();
        }
        count += self.take_icmp() + self.take_questions();
        if let Some(routes) = &mut self.routes {
            count += routes.follow(&self.shared);
        }
        count > 0
    }

    fn take_signals(&mut self) -> usize {
        let Some(hurry) = self.signals.shutdown_wanted() else {
            return 0;
        };
        tracing::info!(
            "{}",
            if hurry {
                "ending at once"
            } else {
                "saying goodbye to everybody"
            }
        );
        self.control
            .handle_input(clock::now(), Input::Shutdown { hurry });
        1
    }

    fn take_events(&mut self) -> usize {
        let mut events: Vec<Event> = Vec::new();
        for worker in &self.rings.workers {
            events.extend(std::iter::from_fn(|| worker.events.receive()).take(SHARE));
        }
        let (count, now) = (events.len(), clock::now());
        for event in events {
            if let Event::ShardArrived(shard, worker) = event {
                tracing::debug!(shard = shard.index(), worker = worker.0, "shard arrived");
            }
            self.control.handle_input(now, Input::Event(event));
        }
        count
    }

    fn take_outcomes(&mut self) -> usize {
        let outcomes: Vec<_> = self.compute.outcomes().take(SHARE).collect();
        let (count, now) = (outcomes.len(), clock::now());
        for (token, outcome) in outcomes {
            self.control
                .handle_input(now, Input::Computed { token, outcome });
        }
        count
    }

    fn take_punts(&mut self, class: Class) -> usize {
        let mut punts = Vec::new();
        for worker in &self.rings.workers {
            punts.extend(std::iter::from_fn(|| worker.punts(class).receive()).take(SHARE));
        }
        let (count, now) = (punts.len(), clock::now());
        for punt in punts {
            if let Origin::Host(from) = punt.origin {
                self.host_packet(from, punt.bytes);
            } else {
                self.control.handle_input(now, Input::Punt(punt));
            }
        }
        count
    }

    fn take_letters(&mut self) -> usize {
        let letters: Vec<Punt> = self.letters.try_iter().take(LETTERS).collect();
        let (count, now) = (letters.len(), clock::now());
        for letter in letters {
            self.control.handle_input(now, Input::Punt(letter));
        }
        count
    }

    fn take_icmp(&mut self) -> usize {
        let messages: Vec<_> = self.icmp.iter().flat_map(Icmp::messages).collect();
        let (count, now) = (messages.len(), clock::now());
        for message in messages {
            self.control.handle_input(now, Input::Icmp(message));
        }
        count
    }

    /// What a subscriber sends to the host, or to a neighbour that nobody knows yet: that packet
    /// goes back into the line and waits there for the neighbour.
    fn host_packet(&mut self, from: SessionSlot, bytes: Vec<u8>) {
        // Subscribers' packets may be lost, what waits here may not: it is not theirs to fill.
        if self.waiting.is_crowded() {
            return;
        }
        let routes = self.routes.as_mut();
        if routes.is_some_and(|routes| routes.seek(&bytes, &self.shared)) {
            let WorkerId(worker) = self.shared.owner(from.0.shard());
            let entry = Entry::Route { vrf: 0 };
            let inject = ToWorker::Inject(Inject { entry, bytes });
            self.waiting.messages[usize::from(worker)].push_back(inject);
        } else if let Some(adit0) = &self.adit0 {
            // A full device drops it, as a full link would.
            let _ = rustix::io::write(&adit0.queue, &bytes);
        }
    }

    fn take_questions(&mut self) -> usize {
        let asked: Vec<Asked> = self.questions.try_iter().take(SHARE).collect();
        let count = asked.len();
        for Asked { question, answers } in asked {
            // A caller that does not read its answer misses it.
            let answer = match question {
                Question::Control(query) => {
                    let request = self.waiting.next_request;
                    self.waiting.next_request += 1;
                    self.waiting.callers.insert(request, answers);
                    self.control
                        .handle_input(clock::now(), Input::Admin { request, query });
                    continue;
                }
                Question::Discards => Answer::Discards(self.discards()),
                Question::Workers => Answer::Workers(self.workers()),
                Question::Stages => Answer::Stages(self.stages()),
                Question::Status => Answer::Status(self.status()),
            };
            let _ = answers.try_send(answer);
            let _ = answers.try_send(Answer::End);
        }
        count
    }

    /// Does what the slow path wants done; `true` when it has finished.
    fn carry_out(&mut self) -> Result<bool> {
        self.send_waiting();
        while let Some(output) = self.control.poll_output() {
            match output {
                Output::ToWorker { shard, message } => {
                    let WorkerId(worker) = self.shared.owner(shard);
                    self.waiting.messages[usize::from(worker)].push_back(message);
                }
                Output::Shared(change) => self.shared.apply(change),
                Output::Compute { token, job } => {
                    // Control never has more under way than the pool was made for.
                    if self.compute.submit(token, job).is_err() {
                        tracing::error!("the compute pool is full");
                    }
                }
                Output::Reply {
                    request,
                    response,
                    last,
                } => self.reply(request, response, last),
                Output::KeyLog(keys) => {
                    if let Some(file) = &mut self.key_log {
                        file.write(&keys)?;
                    }
                }
                Output::Finished => {
                    self.send_waiting();
                    return Ok(true);
                }
            }
        }
        self.send_waiting();
        Ok(false)
    }

    fn reply(&mut self, request: u64, response: Response, last: bool) {
        let Some(caller) = self.waiting.callers.get(&request) else {
            return;
        };
        let _ = caller.try_send(Answer::Control(response));
        if last {
            let _ = caller.try_send(Answer::End);
            self.waiting.callers.remove(&request);
        }
    }

    fn send_waiting(&mut self) {
        for (link, queue) in self
            .rings
            .workers
            .iter_mut()
            .zip(&mut self.waiting.messages)
        {
            while let Some(message) = queue.pop_front() {
                if let Err(message) = link.send(message) {
                    queue.push_front(message);
                    break;
                }
            }
        }
    }

    fn wait(&self) {
        self.rings.bell.arm();
        // Whatever arrived before the bell was armed rang it in vain: look once more.
        let classes = [Class::Established, Class::InProgress, Class::Stranger];
        let something = self.rings.workers.iter().any(|worker| {
            !worker.events.is_empty()
                || classes.iter().any(|class| !worker.punts(*class).is_empty())
        });
        let now = clock::now();
        let deadline = self.control.poll_timeout().map(|deadline| deadline.at);
        let look = self.routes.as_ref().and_then(Routes::look_at);
        let deadline = deadline.into_iter().chain(look).min();
        let longest = if self.waiting.messages.iter().any(|queue| !queue.is_empty()) {
            Duration::from_millis(1)
        } else {
            LONGEST_WAIT
        };
        let wait = until(now, deadline).unwrap_or(longest).min(longest);
        if !something && !wait.is_zero() {
            let routes = self.routes.as_ref().map(Routes::descriptor);
            let icmp = self.icmp.as_ref().map(Icmp::descriptor);
            let signals = [self.signals.as_fd()];
            let others: Vec<_> = routes.into_iter().chain(icmp).chain(signals).collect();
            self.alarm.wait(&others, Some(wait));
        }
        self.rings.bell.disarm();
    }

    fn discards(&self) -> Vec<DiscardRow> {
        let row = |reason: &Discard| {
            let workers = 0..self.posts.len() as u8;
            let frames = workers
                .map(|w| self.shared.worker(WorkerId(w)).discarded(*reason))
                .sum();
            DiscardRow {
                name: reason.name().into(),
                meaning: reason.text().into(),
                frames,
            }
        };
        let faults = Discard::ALL.iter().filter(|reason| reason.is_fault());
        faults.map(row).chain(self.losses()).collect()
    }

    /// What the kernel lost at the ports of all workers.
    fn losses(&self) -> Vec<DiscardRow> {
        let mut losses = Losses::default();
        for post in &self.posts {
            let of_worker = post.losses.lock();
            losses.add_all(&of_worker.unwrap_or_else(PoisonError::into_inner));
        }
        // A device that cannot be asked is a count that is missing, nothing else.
        let adit0 = self.adit0.as_ref();
        let drops = adit0.and_then(|adit0| host::drops(adit0.index).ok());
        losses.add(Loss::TunFull, drops.unwrap_or(0));
        let row = |(loss, frames): (Loss, u64)| DiscardRow {
            name: loss.name().into(),
            meaning: loss.text().into(),
            frames,
        };
        losses.iter().map(row).collect()
    }

    fn workers(&self) -> Vec<WorkerRow> {
        self.posts
            .iter()
            .enumerate()
            .map(|(index, post)| self.worker(index, post))
            .collect()
    }

    fn stages(&self) -> Vec<StageRow> {
        let workers = 0..self.posts.len() as u8;
        workers.flat_map(|worker| self.stages_of(worker)).collect()
    }

    /// The stages of a worker through which packets have gone.
    fn stages_of(&self, worker: u8) -> impl Iterator<Item = StageRow> {
        let counters = self.shared.worker(WorkerId(worker));
        let timed = |stage: &Stage| (*stage, counters.stage(*stage));
        let stages: Vec<_> = Stage::ALL.iter().map(timed).collect();
        let all: u64 = stages.iter().map(|(_, (_, cycles))| cycles).sum();
        let gone_through = stages.into_iter().filter(|(_, (packets, _))| *packets > 0);
        gone_through.map(move |(stage, (packets, cycles))| StageRow {
            worker,
            stage: stage.key().into(),
            meaning: stage.text().into(),
            packets,
            cycles_per_packet: cycles as f64 / packets as f64,
            percent: 100.0 * cycles as f64 / all.max(1) as f64,
        })
    }

    fn worker(&self, index: usize, post: &Post) -> WorkerRow {
        let id = WorkerId(index as u8);
        let counters = self.shared.worker(id);
        let owned = |shard: &dataplane::id::ShardId| self.shared.owner(*shard) == id;
        let (busy, all) = (counters.busy_cycles.value(), counters.cycles.value());
        let burst = post
            .burst_cycles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let scale = self.microseconds_per_cycle();
        let microseconds = |quantile: f64| burst.value_at_quantile(quantile) as f64 * scale;
        WorkerRow {
            worker: id.0,
            core: post.core,
            shards: dataplane::id::ShardId::all().filter(owned).count(),
            busy_percent: 100.0 * busy as f64 / (all.max(1)) as f64,
            turns: counters.turns.value(),
            frames: counters.received.value().packets,
            express: counters.express.value(),
            handed_over: counters.handed_out.value(),
            taken_over: counters.handed_in.value(),
            applied: counters.applied.load(Ordering::Acquire),
            parks: post.parks.load(Ordering::Relaxed),
            burst_us_p50: microseconds(0.5),
            burst_us_p99: microseconds(0.99),
            burst_us_max: burst.max() as f64 * scale,
        }
    }

    fn microseconds_per_cycle(&self) -> f64 {
        let cycles = cpu::cycles().wrapping_sub(self.started_cycles).max(1);
        clock::now().duration_since(self.started).as_secs_f64() * 1e6 / cycles as f64
    }

    fn status(&self) -> Status {
        let uptime_seconds = clock::now().duration_since(self.started).as_secs();
        Status {
            uptime_seconds,
            ..self.status.clone()
        }
    }
}
